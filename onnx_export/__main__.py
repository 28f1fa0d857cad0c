"""`python -m onnx_export`: rows from recordings, train a bundle, evaluate one."""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from onnx_export.data import HERE, Split, labelled_files, load, registry

LAB_ROWS = HERE / "data" / "lab"
SUMS = "SHA256SUMS"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m onnx_export", description="Train and measure pyad's models.")
    commands = parser.add_subparsers(dest="command", required=True)
    rows = commands.add_parser("rows", help="labelled rows from recorded captures and their label files")
    rows.add_argument("recordings", type=Path, help="folder of NAME.pcap with NAME.labels.yaml")
    rows.add_argument("--out", type=Path, default=LAB_ROWS, help="folder for NAME.jsonl.gz and SHA256SUMS")
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
    if args.command == "rows":
        return _rows(args.recordings, args.out)
    split = load([LAB_ROWS, *args.data])
    return _train(args, split) if args.command == "train" else _evaluate(args.bundle, split)


def _rows(recordings: Path, out: Path) -> int:
    out.mkdir(parents=True, exist_ok=True)
    sums = []
    for path in sorted(recordings.glob("*.pcap")):
        target = out / f"{path.stem}.jsonl.gz"
        count = 0
        # mtime 0 and no name in the header: the same recordings give the same bytes.
        with target.open("wb") as raw, gzip.GzipFile(fileobj=raw, mode="wb", filename="", mtime=0) as file:
            for record in _labelled(path):
                file.write(json.dumps(record, separators=(",", ":")).encode() + b"\n")
                count += 1
        logging.info("%s: %d rows", target, count)
        sums.append(f"{_sha256(path)}  {path.name}\n")
    (out / SUMS).write_text("".join(sums))
    return 0


def _labelled(path: Path) -> Iterator[dict[str, Any]]:
    from onnx_export.label import load_rules
    from pyad.flow.options import FlowOptions
    from pyad.sources.base import ReadReport
    from pyad.sources.pcap import read_captures

    label = load_rules(path.with_suffix(".labels.yaml"))
    for rows in read_captures([path], ReadReport(), FlowOptions()):
        for record in rows.records():
            name, detail = label(record)
            yield {
                **record,
                "capture": f"lab/{path.name}",
                "label": name,
                "label_detail": detail,
                "label_source": "rule",
            }


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
