"""Labelled connections as people have them: our row files, conn.logs with a label column, captures with rules."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from onnx_export.label import load_rules
from onnx_export.registry import Registry
from pyad.config import InputSettings
from pyad.reading import open_rows
from pyad.sources.base import ReadReport
from pyad.verdict import CLASSES

Records = list[dict[str, Any]]
ROWS = ".jsonl.gz"
RULES = ".labels.yaml"
_LOGS = ("conn.log*", "*.conn.log", "*.conn.log.gz", "*.conn.log.labeled", "*.conn.log.labeled.gz")
_LABELS = frozenset((*CLASSES, "background"))
# Two kinds of columns that an authors' own label takes; the first that a log has counts.
_LABEL_COLUMNS = ("detailed-label", "label")


def labelled_files(folder: Path, registry: Registry) -> Iterator[tuple[str, Path]]:
    """(set, file) of everything labelled in a folder.

    A folder named after a set holds that set; else a row file is named after one, SET.jsonl.gz.
    """
    for path in sorted(folder.glob(f"*{ROWS}")):
        yield folder.name if folder.name in registry.sets else path.name.removesuffix(ROWS), path
    ruled = {p.name.removesuffix(RULES) for p in folder.glob(f"*{RULES}")}
    data = sorted(p for p in folder.iterdir() if _title(p) in ruled and _is_data(p))
    # Of a capture and its log the log is read: it has what Zeek saw.
    for path in {_title(p): p for p in sorted(data, key=lambda p: "conn.log" in p.name)}.values():
        yield folder.name, path
    logs = {p for pattern in _LOGS for p in folder.glob(pattern) if _title(p) not in ruled}
    for path in sorted(logs):
        yield folder.name, path


def recorded_groups(folder: Path) -> dict[str, str]:
    """Capture name → train, validation or test, of a folder that says so (`recordings.yaml`, as the lab writes it)."""
    path = folder / "recordings.yaml"
    if not path.exists():
        return {}
    recordings = yaml.safe_load(path.read_text(encoding="utf-8"))
    return {f"{folder.name}/{title}.pcap": recording["group"] for title, recording in recordings.items()}


def read_labelled(dataset: str, path: Path, known: Mapping[str, Any]) -> Iterator[tuple[str, Records]]:
    """(capture name, its connections with `label` and `label_detail`) of one file from `labelled_files`.

    known: the set's entry in the registry; `labels` maps an authors' words to our classes.
    """
    if path.name.endswith(ROWS):
        yield from _row_file(path)
        return
    rules = path.with_name(_title(path) + RULES)
    name = f"{dataset}/{path.name.removesuffix('.gz')}"
    records = _connections(path)
    if rules.exists():
        named = load_rules(rules)
        for record in records:
            record["label"], record["label_detail"] = named(record)
    else:
        words = _own_labels(path)
        for record in records:
            said = words.get(record["uid"], "-")
            record["label"], record["label_detail"] = _class_of(said, known.get("labels", {}), path), said
    yield name, records


def _title(path: Path) -> str:
    return re.sub(r"\.(pcap|pcapng|conn\.log)(\.gz)?$", "", path.name)


def _is_data(path: Path) -> bool:
    return _title(path) != path.name


def _row_file(path: Path) -> Iterator[tuple[str, Records]]:
    by_capture: dict[str, Records] = {}
    with gzip.open(path, "rt", encoding="utf-8") as file:
        for line in file:
            record = json.loads(line)
            by_capture.setdefault(record["capture"], []).append(record)
    yield from by_capture.items()


def _connections(path: Path) -> Records:
    report = ReadReport()
    records = [r for rows in open_rows([path], InputSettings(), report) for r in rows.records()]
    if report.problems:
        raise ValueError(str(report.problems[0]))
    return records


def _own_labels(path: Path) -> dict[str, str]:
    """uid → the authors' word, of a conn.log (TSV or JSON) that has a column of them."""
    words: dict[str, str] = {}
    fields: list[str] = []
    with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as file:
        for line in file:
            if line.startswith("{"):
                values = json.loads(line)
            elif line.startswith("#fields"):
                fields = _cells(line)[1:]
                continue
            elif line.startswith("#") or not line.strip():
                continue
            else:
                values = dict(zip(fields, _cells(line), strict=False))
            columns = [values[c] for c in _LABEL_COLUMNS if values.get(c) not in (None, "", "-")]
            if columns:
                words[values["uid"]] = str(columns[0])
    if not words:
        raise ValueError(f"{path}: neither {RULES} beside it nor a column {' or '.join(_LABEL_COLUMNS)} labels it")
    return words


def _cells(line: str) -> list[str]:
    # The labelled logs of the Stratosphere laboratory part their last columns by three blanks.
    return re.split(r"\t| {3}", line.rstrip("\n"))


def _class_of(word: str, labels: Mapping[str, str], path: Path) -> str:
    named = labels.get(word, word.lower() if word != "-" else "background")
    if named not in _LABELS:
        raise ValueError(f"{path}: label {word!r} is no class; map it under `labels` of the set's entry in sets.yaml")
    return named
