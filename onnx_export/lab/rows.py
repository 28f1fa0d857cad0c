"""Labelled connection rows from recordings: one JSON object per connection, the same bytes from the same captures."""

from __future__ import annotations

import gzip
import hashlib
import json
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import yaml

from onnx_export.label import load_rules
from pyad import __version__
from pyad.flow.options import FlowOptions
from pyad.sources import read
from pyad.sources.base import ReadReport

from . import stored

ENGINES = ("zeek", "dpkt")
_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
# The lab's internet are documentation addresses, which Zeek would take for private ones and so for local.
_OPTIONS = FlowOptions(local_nets=stored.INSIDE, private_nets_are_local=False)


def build(recordings: list[Path], out: Path, engine: str, jobs: int) -> int:
    """Rows of every recording into `out`, with recordings.yaml and SHA256SUMS (of the captures); 1 after a failure.

    engine: zeek (a real Zeek that runs our package, so with its application counters) or dpkt (ours, without).
    What `out` holds of other recordings stays.
    """
    captures = stored.captures(recordings)
    if not captures:
        sys.stderr.write(
            f"lab: no recordings (TITLE.pcap with TITLE.labels.yaml) in {' '.join(map(str, recordings))}\n"
        )
        return 1
    version = engine_version(engine)
    out.mkdir(parents=True, exist_ok=True)
    failed = 0
    with ProcessPoolExecutor(jobs) as pool:
        for capture, done in zip(captures, [pool.submit(_one, c, out, engine) for c in captures], strict=True):
            try:
                facts, digest = done.result()
            except Exception as error:  # one damaged recording must not cost the others
                sys.stderr.write(f"lab: {capture.stem}: {error}\n")
                failed += 1
                continue
            _note(out, capture, facts | {"engine": f"{engine} {version}"}, digest)
            counts = ", ".join(f"{k} {n}" for k, n in facts["rows"].items())
            sys.stdout.write(f"{capture.stem}: {counts}\n")
            sys.stdout.flush()
    return 1 if failed else 0


def engine_version(engine: str) -> str:
    """The version of what makes the rows. Raises SystemExit where it is not there or too old for our package."""
    if engine == "dpkt":
        return f"(pyad {__version__})"
    from pyad.sources.zeek_process import runs_package

    if shutil.which("zeek") is None:
        raise SystemExit("lab: zeek is not on PATH; --engine dpkt needs none, but counts nothing of the applications")
    if not runs_package():
        raise SystemExit("lab: this Zeek is older than 8.0 and cannot run pyad's package; --engine dpkt needs none")
    told = subprocess.run(["zeek", "--version"], capture_output=True, text=True, check=True).stdout
    return told.strip().rpartition(" ")[2]


def _one(capture: Path, out: Path, engine: str) -> tuple[dict[str, Any], str]:
    facts = stored.read_scenario(capture)
    counts: Counter[str] = Counter()
    part = out / f".{capture.stem}.part"
    # mtime 0 and no name in the header: the same recording gives the same bytes.
    with part.open("wb") as raw, gzip.GzipFile(fileobj=raw, mode="wb", compresslevel=9, filename="", mtime=0) as file:
        for record in labelled(capture, engine, facts):
            file.write(json.dumps(record, separators=(",", ":"), ensure_ascii=False).encode() + b"\n")
            counts[record["label"]] += 1
    part.rename(out / f"{capture.stem}{stored.ROWS}")
    with capture.open("rb") as source:
        digest = hashlib.file_digest(source, "sha256").hexdigest()
    return facts | {"rows": dict(sorted(counts.items()))}, digest


def labelled(capture: Path, engine: str, facts: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The connections of one recording with their class. Raises RuntimeError where it cannot be read to its end."""
    label = load_rules(stored.beside(capture, "labels.yaml"))
    report = ReadReport()
    uids: dict[str, str] = {}
    about = {"capture": f"lab/{capture.name}"}
    source = {"label_source": "rule", "scenario": facts["scenario"], "seed": facts["seed"]}
    for rows in read([capture], engine, report, _OPTIONS):
        for record in rows.records():
            name, detail = label(record)
            yield _compact(record, uids) | about | {"label": name, "label_detail": detail} | source
    if report.problems:
        raise RuntimeError("; ".join(map(str, report.problems)))


def _compact(record: dict[str, Any], uids: dict[str, str]) -> dict[str, Any]:
    """Microseconds, the shortest form of every number, and a short uid: the connection's number in the capture."""
    short: dict[str, Any] = {}
    for name, value in record.items():
        if isinstance(value, float):
            rounded = round(value, 6)
            short[name] = int(rounded) if rounded.is_integer() else rounded
        elif name == "uid":
            short[name] = uids.setdefault(value, _base36(len(uids)))
        else:
            short[name] = value
    return short


def _base36(number: int) -> str:
    text = ""
    while number >= 36:
        number, digit = divmod(number, 36)
        text = _DIGITS[digit] + text
    return "C" + _DIGITS[number] + text


def _note(out: Path, capture: Path, facts: dict[str, Any], digest: str) -> None:
    """Put one recording into recordings.yaml and SHA256SUMS."""
    path = out / stored.RECORDINGS
    known = (yaml.safe_load(path.read_text(encoding="utf-8")) or {}) if path.exists() else {}
    known[capture.stem] = facts
    lines = ["# Written by `python -m onnx_export.lab rows`: what every recording is, and its rows by class.\n"]
    for title, what in sorted(known.items()):
        lines.append(yaml.safe_dump({title: what}, sort_keys=False, default_flow_style=None, width=4096))
    path.write_text("".join(lines), encoding="utf-8")
    path = out / stored.SUMS
    sums = dict(reversed(line.split(maxsplit=1)) for line in path.read_text().splitlines()) if path.exists() else {}
    sums[capture.name] = digest
    path.write_text("".join(f"{digest}  {name}\n" for name, digest in sorted(sums.items())))
