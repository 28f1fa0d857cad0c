"""Inputs as a person names them to one stream of rows: settings on one side, the sources on the other."""

from __future__ import annotations

import shutil
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path

import numpy as np

from pyad.config import InputSettings
from pyad.errors import InputError
from pyad.flow.options import FlowOptions
from pyad.row import Rows
from pyad.sources import detect, read
from pyad.sources.base import ReadReport


def open_rows(
    files: Sequence[Path],
    settings: InputSettings,
    report: ReadReport,
    *,
    zeek_out: Path | None = None,
    zeek_format: str = "tsv",
) -> Generator[Rows, Sequence[str] | None, None]:
    """Rows of the files (as from `pyad.sources.expand`), in order, partial ones included (see pyad.sources.read)."""
    options = FlowOptions(
        local_nets=tuple(map(str, settings.local_nets)),
        partial_rows=True,
        long_conn_first_s=settings.long_conn_first_s,
        long_conn_interval_s=settings.long_conn_interval_s,
        max_lateness_s=settings.max_lateness_s,
    )
    return read(files, engine_used(settings), report, options, zeek_out=zeek_out, zeek_format=zeek_format)


def engine_used(settings: InputSettings) -> str:
    """The engine that reads captures; "auto" is Zeek where it is installed."""
    if settings.engine != "auto":
        return settings.engine
    return "zeek" if shutil.which("zeek") else "dpkt"


def in_python(files: Sequence[Path], settings: InputSettings) -> bool:
    """Whether reading is work in this process, which gains from a thread; Zeek and tshark are processes themselves."""
    return engine_used(settings) == "dpkt" or not any(_is_capture(f) for f in files)


def through_zeek(files: Sequence[Path], settings: InputSettings) -> bool:
    """Whether all of the reading is done by a Zeek that runs pyad's package, so that it can raise the notices."""
    if engine_used(settings) != "zeek" or not all(map(_is_capture, files)):
        return False
    from pyad.sources.zeek_process import runs_package

    return runs_package()


def _is_capture(path: Path) -> bool:
    try:
        return detect(path) == "pcap"
    except InputError:
        return False


def as_conn_log(batches: Iterator[Rows]) -> Iterator[Rows]:
    """Only what a conn.log has: the last row of each connection, and no changes of address (ARP)."""
    for rows in batches:
        partial = rows.number("partial")
        keep = ~(partial > 0) & (rows.text("proto") != "arp")
        yield rows if bool(np.all(keep)) else rows.take(keep)
