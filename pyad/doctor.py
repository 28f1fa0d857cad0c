"""`pyad doctor`: is everything in place, and what to do where it is not."""

from __future__ import annotations

import importlib
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path

import numpy as np

from pyad import __version__
from pyad.config import Config
from pyad.doctor_live import live_findings
from pyad.errors import PyadError, printable
from pyad.finding import Finding
from pyad.row import Rows, from_tuples

_MIN_PYTHON = (3, 11)


def run(config: Config, out: Path, live: bool | None = None) -> int:
    """Print all findings; 1 where one is FAIL.

    live: look at the connection to Zeek, too, and fail where there is none; None: look if something listens there.
    """
    failed = False
    for finding in chain(findings(config, out), () if live is False else live_findings(config.bridge, bool(live))):
        failed |= finding.level == "FAIL"
        todo = f"; {finding.todo}" if finding.todo else ""
        sys.stdout.write(f"{finding.level:<4}  {finding.what:<14} {finding.found}{todo}\n")
    return int(failed)


def findings(config: Config, out: Path) -> Iterator[Finding]:
    """Every check in turn; a check that breaks is a FAIL of its own, never the end of the others."""
    yield _python()
    yield Finding("ok", "pyad", __version__)
    for what, check in (
        ("onnxruntime", _onnxruntime),
        ("model", lambda: _model(config)),
        ("dpkt", lambda: _module("dpkt", "captures cannot be read")),
        ("pyshark", lambda: _module("pyshark", "--engine tshark cannot be used")),
        ("zstandard", lambda: _module("zstandard", ".zst logs cannot be read")),
        ("tshark", lambda: _program("tshark", "--engine tshark", "apt install tshark")),
        ("zeek", lambda: _program("zeek", "--engine zeek", "see https://zeek.org/get-zeek")),
        ("output folder", lambda: _folder(out)),
    ):
        yield _safely(what, check)


def _safely(what: str, check: Callable[[], Finding]) -> Finding:
    try:
        return check()
    except PyadError as error:
        return Finding("FAIL", what, str(error))
    except Exception as error:
        return Finding("FAIL", what, printable(f"{type(error).__name__}: {' '.join(str(error).split())}"))


def _python() -> Finding:
    found = sys.version.split()[0]
    if sys.version_info >= _MIN_PYTHON:
        return Finding("ok", "python", found)
    return Finding("FAIL", "python", found, f"pyad needs Python {'.'.join(map(str, _MIN_PYTHON))} or newer")


def _onnxruntime() -> Finding:
    from pyad.model import check_distributions

    check_distributions()
    runtime = importlib.import_module("onnxruntime")
    return Finding("ok", "onnxruntime", str(runtime.__version__))


def _model(config: Config) -> Finding:
    """The bundle verifies, and a row goes through it."""
    from pyad.detector import load_detector

    loaded = load_detector(config)
    scores = loaded.detector.scorer.score(loaded.detector.extractor.extract(_test_row()))
    found = f"{loaded.label} on {loaded.provider}"
    if loaded.calibration:
        found += f", calibrated by {printable(loaded.calibration)}"
    if loaded.drift is None and config.drift.window_h:
        found += ", drift not watched: there is no reference (pyad calibrate makes one)"
    if not np.isfinite(scores.probs).all() or abs(float(scores.probs.sum()) - 1) > 1e-3:
        return Finding("FAIL", "model", f"{found}: a test row has no sound score", "get the bundle again")
    if loaded.warnings:
        return Finding("warn", "model", found, "; ".join(loaded.warnings))
    return Finding("ok", "model", found)


def _test_row() -> Rows:
    names = ("ts", "id.orig_h", "id.orig_p", "id.resp_h", "id.resp_p", "proto", "duration", "conn_state")
    return from_tuples(names, [(1e9, "10.0.0.1", 40000, "10.0.0.2", 80, "tcp", 0.1, "SF")], "doctor")


def _module(name: str, without: str) -> Finding:
    try:
        module = importlib.import_module(name)
    except ImportError as error:
        return Finding("FAIL", name, printable(f"not importable ({error}): {without}"), f"pip install {name}")
    return Finding("ok", name, str(getattr(module, "__version__", "present")))


def _program(name: str, what_for: str, todo: str) -> Finding:
    found = shutil.which(name)
    if found is None:
        return Finding("warn", name, f"not found; only {what_for} needs it", todo)
    return Finding("ok", name, found)


def _folder(out: Path) -> Finding:
    """Whether a replay could write there; the nearest folder that exists is tried, nothing is left behind."""
    place = out.absolute()
    while not place.exists():
        place = place.parent
    try:
        with tempfile.TemporaryFile(dir=place):
            pass
    except OSError as error:
        return Finding("FAIL", "output folder", f"{place}: {error.strerror}", "choose another --out")
    free = shutil.disk_usage(place).free
    return Finding("ok", "output folder", f"{out} ({free / 1e9:.1f} GB free)")
