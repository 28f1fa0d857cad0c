"""`python -m onnx_export`: train a bundle, run a study, write its report, look for overlap between the groups."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from onnx_export.data import load
from onnx_export.experiment import Experiment, read, read_study
from onnx_export.registry import CHOICES, GROUPS, HERE

LAB_ROWS = HERE / "data" / "lab"
CONFIGS = HERE / "configs"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m onnx_export", description="Train and measure pyad's models.")
    commands = parser.add_subparsers(dest="command", required=True)
    train = commands.add_parser("train", help="train, calibrate, evaluate and write a bundle")
    train.add_argument("--config", type=Path, default=CONFIGS / "hospital.yaml", help="experiment (YAML)")
    train.add_argument("--out", type=Path, required=True, help="bundle folder, such as models/hospital")
    train.add_argument("--version", default="dev", help="of the bundle; part of its label")
    train.add_argument("--seed", type=int, help="instead of the experiment's")
    train.add_argument("--init", type=Path, help="go on from this bundle's weights (a site's own data added)")
    study = commands.add_parser("study", help="run the experiments of a list, going on where it stopped")
    study.add_argument("--config", type=Path, default=CONFIGS / "study.yaml", help="list of experiments (YAML)")
    study.add_argument("--runs", type=Path, required=True, help="folder of result files")
    study.add_argument("--pause", type=Path, help="begin no run while this file exists")
    study.add_argument("--no-test", action="store_true", help="look at validation alone, as while trying things")
    evaluate = commands.add_parser("evaluate", help="write the report of the runs there are, and of bundles")
    evaluate.add_argument("bundle", type=Path, nargs="*", help="bundles to measure first")
    evaluate.add_argument("--runs", type=Path, required=True, help="folder of result files")
    evaluate.add_argument("--out", type=Path, required=True, help="folder for report.md and report.html")
    evaluate.add_argument("--config", type=Path, default=CONFIGS / "study.yaml", help="the list that should be there")
    overlap = commands.add_parser("overlap", help="what training, validation and test share; fails where they do")
    overlap.add_argument("--choice", choices=CHOICES, default="clean", help="what trains")
    paper = commands.add_parser("ciciot2023", help="the paper's task: CICIoT2023's tables, hybrid beside trees")
    paper.add_argument("folder", type=Path, help="folder of its tables, one CSV a class or with a column Label")
    paper.add_argument("--out", type=Path, required=True, help="Markdown file")
    paper.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    paper.set_defaults(data=[])
    for command in (train, study, evaluate, overlap):
        command.add_argument(
            "--data", type=Path, action="append", default=[],
            help="folder of labelled connections (see onnx_export/README.md); may be given several times",
        )  # fmt: skip
    return parser


def main() -> int:
    """Run; errors in the data end in a traceback, which is what a developer wants here."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    args = _parser().parse_args()
    commands: dict[str, Callable[[argparse.Namespace, list[Path]], int]] = {
        "train": _train, "study": _study, "evaluate": _evaluate, "overlap": _overlap,
        "ciciot2023": _ciciot2023,
    }  # fmt: skip
    folders = dict.fromkeys(folder.resolve() for folder in (LAB_ROWS, *args.data))  # each once
    return commands[args.command](args, list(folders))


def _train(args: argparse.Namespace, folders: list[Path]) -> int:
    from onnx_export import write_bundle
    from onnx_export.from_bundle import read_network
    from pyad.bundle import load_bundle

    experiment: Experiment = read(args.config)
    if args.seed is not None:
        experiment = replace(experiment, settings=replace(experiment.settings, seed=args.seed))
    start = read_network(args.init) if args.init else None
    split = load(folders, experiment.data)
    begun_from = load_bundle(args.init).label if args.init else ""
    study = args.config.with_suffix(".md")
    beside = study.read_text(encoding="utf-8") if study.exists() else ""
    logging.info(write_bundle.make(experiment, split, folders, args.out, args.version, start, begun_from, beside))
    return 0


def _study(args: argparse.Namespace, folders: list[Path]) -> int:
    from onnx_export.study import run_all

    groups = GROUPS[:-1] if args.no_test else GROUPS
    run_all(read_study(args.config), lambda choice: load(folders, choice, groups), args.runs, args.pause)
    return 0


def _evaluate(args: argparse.Namespace, folders: list[Path]) -> int:
    from onnx_export import report
    from onnx_export.overlap import held, lines, shared
    from onnx_export.run import read_all, write

    if args.bundle:
        from onnx_export.bundle_run import measure_bundle
        from pyad.bundle import load_bundle

        choices = {path: load_bundle(path).yaml["training"]["data"] for path in args.bundle}
        for choice in sorted(set(choices.values())):  # none is tested on what it was trained on
            split = load(folders, choice, only=("validation", "test"))
            for path in (p for p in args.bundle if choices[p] == choice):
                write(measure_bundle(path, split), args.runs)
    overlap = lines(shared(held(folders, "clean")))
    report.write(read_all(args.runs), [e.name for e in read_study(args.config)], args.out, overlap)
    logging.info("%s", args.out / "report.html")
    return 0


def _overlap(args: argparse.Namespace, folders: list[Path]) -> int:
    from onnx_export.overlap import HEAD, across, clean, held, lines, shared
    from onnx_export.tables import markdown

    found = held(folders, args.choice)
    table = shared(found)
    logging.info("Within sets:\n\n%s\n", markdown(HEAD, lines(table)))
    logging.info("Across sets, identical rows:\n\n%s", markdown(HEAD, lines(across(found))))
    return 0 if clean(table) else 1


def _ciciot2023(args: argparse.Namespace, _: list[Path]) -> int:
    from onnx_export import ciciot2023

    args.out.write_text(ciciot2023.report(args.folder, args.seeds), encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
