"""A site's quiet traffic, its calibration, and the same traffic after something changed."""

from __future__ import annotations

from pathlib import Path

from pyad import cli
from tests.traffic import connections, write_log


def quiet_log(path: Path, background: int = 3000, seed: int = 1) -> Path:
    """An hour of ordinary connections."""
    return write_log(path, connections(seed, background, scanned=0, flooded=0))


def changed(rows: list[dict]) -> list[dict]:
    """The same connections, ten times as large and all to one service."""
    sizes = ("orig_bytes", "resp_bytes")
    return [{**row, **{name: row.get(name, 0) * 10 for name in sizes}, "service": "http"} for row in rows]


def calibrated(folder: Path) -> Path:
    """The calibration of `quiet_log`."""
    out = folder / "site.yaml"
    log = quiet_log(folder / "quiet.log")
    assert cli.main(["calibrate", str(log), "--out", str(out), "--keep-incidents"]) == 0
    return out
