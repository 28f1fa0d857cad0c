"""`python -m onnx_export`: train a bundle, evaluate one."""

from __future__ import annotations

import argparse
import hashlib
import logging
from dataclasses import replace
from pathlib import Path

from onnx_export.data import HERE, Split, labelled_files, load, registry

LAB_ROWS = HERE / "data" / "lab"
SUMS = "SHA256SUMS"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m onnx_export", description="Train and measure pyad's models.")
    commands = parser.add_subparsers(dest="command", required=True)
    train = commands.add_parser("train", help="train, calibrate, evaluate and write a bundle")
    train.add_argument("--out", type=Path, required=True, help="bundle folder, such as models/hospital")
    train.add_argument("--version", default="0.1.0")
    train.add_argument("--seed", type=int, default=1)
    train.add_argument("--epochs", type=int, default=None)
    evaluate = commands.add_parser("evaluate", help="count what a bundle decides on labelled captures")
    evaluate.add_argument("bundle", type=Path)
    for command in (train, evaluate):
        command.add_argument(
            "--data", type=Path, action="append", default=[], help="folder of SET.jsonl.gz; may be given several times"
        )
    return parser


def main() -> int:
    """Run; errors in the data end in a traceback, which is what a developer wants here."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    args = _parser().parse_args()
    split = load([LAB_ROWS, *args.data])
    return _train(args, split) if args.command == "train" else _evaluate(args.bundle, split)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _train(args: argparse.Namespace, split: Split) -> int:
    from onnx_export import evaluate, write_bundle
    from onnx_export.train import Settings, fit
    from pyad.bundle import load_bundle

    known = registry()
    settings = Settings(seed=args.seed)
    if args.epochs:
        settings = replace(settings, epochs=args.epochs)
    model, curve = fit(split.train, split.validation, known["cap"], settings)
    for point in curve:
        logging.info(" ".join(f"{k}={v:.4g}" for k, v in point.items()))
    name = args.out.name
    graphs = write_bundle.write_graphs(args.out, model, name, args.version)
    used = {c.dataset for c in (*split.train, *split.validation)}
    files = {
        f"{dataset}/{path.name}": _sha256(path)
        for dataset, path in labelled_files([LAB_ROWS, *args.data])
        if dataset in used
    }
    files |= _lab_captures()
    fields = write_bundle.manifest(model, split, settings, known["sets"], name, args.version, graphs, files)
    write_bundle.write_manifest(args.out, fields, {})
    bundle = load_bundle(args.out)
    test = evaluate.tally(split.test, evaluate.decisions(bundle, split.test)) if split.test else {}
    validation = evaluate.tally(split.validation, evaluate.decisions(bundle, split.validation))
    write_bundle.write_manifest(args.out, fields, test)
    write_bundle.write_card(args.out, fields, test, validation)
    logging.info(evaluate.markdown({**validation}))
    logging.info(evaluate.markdown(test))
    return 0


def _lab_captures() -> dict[str, str]:
    # The recordings themselves are not kept here; their sums are, so that nobody can train on a demo unnoticed.
    sums = LAB_ROWS / SUMS
    pairs = (line.split() for line in sums.read_text().splitlines()) if sums.exists() else ()
    return {name: digest for digest, name in pairs}


def _evaluate(path: Path, split: Split) -> int:
    from onnx_export import evaluate
    from pyad.bundle import load_bundle

    bundle = load_bundle(path)
    for part in (split.validation, split.test):
        if part:
            logging.info(evaluate.markdown(evaluate.tally(part, evaluate.decisions(bundle, part))))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
