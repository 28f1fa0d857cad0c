"""Captures as a source of rows, through the built-in flow engine: consecutive files are one stream."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from pyad.errors import InputError, printable
from pyad.flow.capture import read_packets
from pyad.flow.engine import FlowEngine
from pyad.flow.options import FlowOptions
from pyad.row import Rows
from pyad.sources.base import ReadReport

_SLICE = 512  # packets between two looks at the rows: one packet may end hundreds of connections


def read_captures(paths: Sequence[Path], report: ReadReport, options: FlowOptions | None = None) -> Iterator[Rows]:
    """Rows of the connections in `paths` (pcap or pcapng, plain, .gz or .zst), in the order in which they ended.

    The files are one stream in the order given: a connection may go on from one into the next. What is wrong with a
    file goes to `report.problems` after everything before the fault was used; the next file is read all the same.
    """
    options = options or FlowOptions()
    engine = FlowEngine(options, report.skipped)
    for path in paths:
        engine.source = str(path)
        report.files += 1
        before = engine.packets
        try:
            for link_type, packets in read_packets(path, report.consumed):
                report.packets += len(packets)
                for at in range(0, len(packets), _SLICE):
                    timelines = engine.timelines
                    engine.feed(link_type, packets[at : at + _SLICE])
                    if engine.timelines > max(timelines, 1):
                        _new_timelines(report, path, options, engine.timelines - max(timelines, 1))
                    if len(engine.rows) >= options.chunk_rows:
                        yield _take(engine, report)
            if engine.packets == before:
                report.warnings.append(f"{printable(str(path))}: no packets in it")
        except InputError as problem:
            report.problems.append(problem)
    report.timelines += engine.timelines
    for _ in engine.drain():
        yield _take(engine, report)
    if engine.rows:
        yield _take(engine, report)


def _take(engine: FlowEngine, report: ReadReport) -> Rows:
    rows = engine.take()
    report.rows += len(rows)
    return rows


def _new_timelines(report: ReadReport, path: Path, options: FlowOptions, n: int) -> None:
    if "time went back" not in report.skipped:
        name, limit = printable(str(path)), options.max_lateness_s
        report.warnings.append(f"{name}: time went back by more than {limit:g} s; all connections were ended there")
    report.skipped["time went back"] += n
