"""The tshark engine: our own flow engine's rows, with services and application counters from tshark's dissection.

Connections, states and counts are those of the dpkt engine, packet for packet; what tshark says of a frame is added to
the connection that frame belongs to (the innermost one, where it is tunnelled). ICMP rows and those of a single SYN
have no counters.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pyad.errors import InputError, printable
from pyad.flow.capture import Packet, read_packets
from pyad.flow.engine import FlowEngine
from pyad.flow.flows import Flow
from pyad.flow.options import FlowOptions
from pyad.flow.table import Syn
from pyad.flow.tshark_counters import observe
from pyad.flow.tshark_facts import AppFacts, Fields
from pyad.row import COUNTERS, Rows, from_tuples
from pyad.sources.base import ReadReport

_COUNTER_NAMES = tuple(f.name for f in COUNTERS)
# tshark gives times in whole milliseconds; a frame is ours when the two agree to this.
_SAME_TIME_MS = 2.0


def read_with_tshark(paths: Path | Sequence[Path], report: ReadReport, options: FlowOptions) -> Iterator[Rows]:
    """Rows of captures (pcap or pcapng, plain, gzip or zstd), with counters, in the order in which connections ended.

    Several files are one stream, as in `read_captures`; tshark itself begins anew with each.

    Raises PyadError where tshark is not installed. A capture that cannot be read (further), or on which tshark fails,
    is an InputError in `report.problems`; every row is given all the same, then without more counters.
    """
    # pyshark takes 0.3 s to import, which only who asks for this engine should pay.
    from pyad.flow.tshark_process import dissect, require_tshark

    require_tshark()
    engine = _Engine(options, report.skipped)
    for path in [paths] if isinstance(paths, Path) else paths:
        engine.source = str(path)
        report.files += 1
        before = engine.packets
        frames = _InStep(path, dissect(path), report)
        try:
            for link_type, packets in read_packets(path, report.consumed):
                timelines = engine.timelines
                for packet in packets:
                    engine.packet(link_type, packet, frames.of(packet[0]))
                report.packets += len(packets)
                if engine.timelines > max(timelines, 1):
                    lateness = f"more than {options.max_lateness_s:g} s"
                    what = f"{printable(str(path))}: time went back by {lateness}; all connections were ended there"
                    report.skip("time went back", what)
                yield from _batches(engine, report, options.chunk_rows)
            frames.finish()
            if engine.packets == before:
                report.warnings.append(f"{printable(str(path))}: no packets in it")
        except InputError as error:
            report.problems.append(error)
        finally:
            frames.close()
    report.timelines += engine.timelines
    engine.flush()
    yield from _batches(engine, report, 1)


def _batches(engine: _Engine, report: ReadReport, at_least: int) -> Iterator[Rows]:
    if len(engine.rows) >= at_least:
        rows = engine.take()
        report.rows += len(rows)
        yield rows


class _InStep:
    """tshark's frames beside our own packets, one for one; where they part, the packets go on alone."""

    def __init__(self, path: Path, frames: Iterator[tuple[float | None, Fields]], report: ReadReport) -> None:
        self._path = path
        self._frames: Iterator[tuple[float | None, Fields]] | None = frames
        self._report = report
        self._count = 0

    def of(self, ts: float) -> Fields:
        """What tshark says of the next packet, which has time `ts` (s); nothing once tshark has failed."""
        if self._frames is None:
            return {}
        try:
            frame = next(self._frames, None)
        except InputError as error:
            self._stop(error)
            return {}
        self._count += 1
        if frame is None:
            self._stop(self._error("tshark stopped early"))
            return {}
        ms, fields = frame
        if ms is not None and abs(ms - ts * 1000) > _SAME_TIME_MS:
            self._stop(self._error("tshark counts the packets of this capture otherwise"))
            return {}
        return fields

    def finish(self) -> None:
        """All packets are read: hear how tshark ended. It has told everything, so a complaint is only a warning."""
        try:
            if self._frames is not None and next(self._frames, None) is not None:
                self._report.warnings.append(str(self._error("tshark sees more packets in this capture")))
        except InputError as error:
            self._report.warnings.append(str(error))

    def close(self) -> None:
        """End tshark."""
        if self._frames is not None:
            self._frames.close()  # type: ignore[attr-defined]
            self._frames = None

    def _error(self, what: str) -> InputError:
        hint = "rows from there on have no application counters; `editcap` can rewrite the capture"
        return InputError(str(self._path), f"packet {self._count}", what, hint)

    def _stop(self, error: InputError) -> None:
        self._report.problems.append(error)
        self.close()


class _Engine(FlowEngine):
    """The flow engine packet by packet, remembering which flow each packet went to and what tshark said of it."""

    def __init__(self, options: FlowOptions, skipped: Counter[str]) -> None:
        super().__init__(options, skipped)
        self._touched: tuple[Flow, bool] | None = None  # the packet's innermost flow, whether its originator sent it
        self._facts: dict[Flow, AppFacts] = {}  # of open connections
        self._said: dict[int, tuple[str | int | None, ...]] = {}  # index in `rows` → service and counters then

    def packet(self, link_type: int, packet: Packet, fields: Fields) -> None:
        """One packet, and what tshark says of it."""
        self._touched = None
        self.feed(link_type, (packet,))
        flow, from_orig = self._touched or self._fast(link_type, packet[2]) or (None, False)
        if flow is not None and fields and not flow.dead:
            facts = self._facts.get(flow)
            if facts is None:
                facts = self._facts[flow] = AppFacts()
            observe(facts, fields, from_orig, packet[0])

    def take(self) -> Rows:
        """The rows finished since the last call, with services and counters."""
        rows, said = super().take(), self._said
        self._said = {}
        nothing = (None,) * (1 + len(_COUNTER_NAMES))
        names = ("service", *_COUNTER_NAMES)
        added = from_tuples(names, [said.get(n, nothing) for n in range(len(rows))], "").columns
        added["service"] = np.where([t is None for t in added["service"]], rows.text("service"), added["service"])
        return Rows(rows.columns | added, rows.source)

    def _emit(self, flow: Flow, partial: int) -> None:
        super()._emit(flow, partial)
        facts = self._facts.get(flow) if partial else self._facts.pop(flow, None)
        if facts is not None:
            self._said[len(self.rows) - 1] = (facts.service, *(facts.counters.get(n) for n in _COUNTER_NAMES))

    # ---- which flow a packet went to --------------------------------------------------------------------------

    def _fast(self, link_type: int, data: bytes) -> tuple[Flow, bool] | None:
        """The flow of a packet that `feed` counted without the methods below: plain Ethernet, IPv4, TCP or UDP."""
        if link_type != 1 or len(data) < 38 or data[12:15] != b"\x08\0\x45":
            return None
        if data[23] == 6:
            e = self.tcp.get(data[26:38])
            return (e.flow, e.is_orig) if e is not None else None
        s = self.udp.get(data[26:38]) if data[23] == 17 else None
        return (s.flow, s.is_orig) if s is not None else None

    def _inflate(self, syn: Syn) -> None:
        super()._inflate(syn)
        self._touched = None  # that was the connection's first packet, not the one at hand

    def tcp_packet(self, *args: Any) -> None:
        """As in the engine; remembers the flow."""
        super().tcp_packet(*args)
        _, data, body, _, _, _, src, dst, *_ = args
        e = self.tcp.get(src + dst + data[body : body + 4])
        if e is not None and self._touched is None:
            self._touched = e.flow, e.is_orig

    def udp_packet(self, *args: Any) -> None:
        """As in the engine; remembers the flow, unless it tunnelled another, whose facts they are."""
        super().udp_packet(*args)
        _, data, body, _, _, src, dst, *_ = args
        s = self.udp.get(src + dst + data[body : body + 4])
        if s is not None and self._touched is None:
            self._touched = s.flow, s.is_orig
