"""Batches into order: per node, run and lane, what came, what is missing, what is done. Bounded, sans I/O."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from pyad.logline import Log

GAP_S = 2.0  # how long later batches wait for a missing one
MAX_HELD = 64  # batches of one stream that wait for it
REACH = 1024  # batches on their way at most; a number further ahead comes from nobody who waits for acks
MAX_STREAMS = 256  # the least recently heard is forgotten
_MAX_DONE = 4 * REACH
_BEFORE_FIRST = 256  # batches before the first one seen that may still come
_TELL_DROPS_S = 10.0
_ROW_OVERHEAD = 64  # bytes of a short text in memory besides its characters

Key = tuple[str, str, str]  # node, its epoch, lane


class Counts(Protocol):
    """Where streams count (pyad.link.LinkCounts)."""

    late: int
    lost: int
    dropped: int


@dataclass(frozen=True, slots=True)
class Work:
    """A batch to score, or with `flush` the end of a capture: all that is open is to be closed.

    rows: texts, see pyad.row_text. received: s, the driver's clock. A flush bears the number after the last batch's,
    and in sent_rows how many rows Zeek says it sent in all.
    """

    key: Key
    seq: int
    rows: Sequence[str]
    received: float
    flush: bool = False
    sent_rows: int = 0

    @property
    def size(self) -> int:
        """Bytes in memory, roughly."""
        return sum(map(len, self.rows)) + _ROW_OVERHEAD * len(self.rows)


@dataclass(slots=True)
class Stream:
    """One node's batches. expected: the next number in order. All up to `floor` are done, and those in `done`.

    given: out to be scored. held: came before their turn. missing: given up and not come so far.
    resync: a connection is new, the numbers may have moved on without us. whole: seen from its first batch on.
    """

    key: Key
    expected: int
    floor: int
    done: set[int] = field(default_factory=set)
    given: set[int] = field(default_factory=set)
    held: dict[int, Work] = field(default_factory=dict)
    missing: set[int] = field(default_factory=set)
    waits_since: float | None = None
    resync: bool = True
    whole: bool = False
    rows: int = 0
    dropped: int = -1  # not told so far
    drops_untold: int = 0
    drops_told_at: float = float("-inf")
    flush: Work | None = None
    flush_given: bool = False

    def is_done(self, seq: int) -> bool:
        """Whether batch `seq` has been scored, by us or before our time."""
        return seq <= self.floor or seq in self.done

    def knows(self, seq: int) -> bool:
        """Whether batch `seq` has come before."""
        return self.is_done(seq) or seq in self.given or seq in self.held

    def reaches(self, seq: int) -> bool:
        """Whether `seq` is a number that can come now."""
        return self.resync or seq <= self.expected + REACH


class Streams:
    """All streams, by key; the least recently heard of too many is forgotten. held_size: bytes that wait for gaps."""

    def __init__(self, counts: Counts, log: Log) -> None:
        self.held_size = 0
        self._counts = counts
        self._log = log
        self._streams: OrderedDict[Key, Stream] = OrderedDict()
        self._waiting: dict[Key, Stream] = {}  # for a gap to fill

    def get(self, key: Key, seq: int) -> Stream:
        """The stream of `key`; a new one begins with batch `seq`."""
        stream = self._streams.get(key)
        if stream is None:
            first = max(seq, 1)
            floor = max(first - 1 - _BEFORE_FIRST, 0)
            stream = self._streams[key] = Stream(key, first, floor, whole=first == 1)
            if len(self._streams) > MAX_STREAMS:
                _, forgotten = self._streams.popitem(last=False)
                self._let_go(forgotten)
        self._streams.move_to_end(key)
        return stream

    def reconnected(self) -> None:
        """A new connection: whatever was not acknowledged comes again, in order."""
        for stream in self._streams.values():
            stream.resync = True
            self._let_go(stream)

    def take(self, stream: Stream, work: Work, now: float) -> list[Work]:
        """A batch not known so far: returns what is to be scored next."""
        seq = work.seq
        stream.rows += len(work.rows)
        if stream.resync:
            stream.resync = False
            stream.expected = max(stream.expected, seq)
        if seq < stream.expected:
            self._counts.late += 1
            if seq in stream.missing:
                stream.missing.discard(seq)
                self._counts.lost -= 1
            stream.given.add(seq)
            return [work]
        stream.held[seq] = work
        self.held_size += work.size
        out = self._in_order(stream)
        if len(stream.held) >= MAX_HELD:
            out += self._skip(stream)
        self._watch(stream, now)
        return out

    def take_flush(self, stream: Stream, now: float) -> list[Work]:
        """`stream.flush` has come: it is returned once all before it have."""
        out = self._in_order(stream)
        self._watch(stream, now)
        return out

    def give_up(self, now: float) -> list[Work]:
        """What has waited long enough for a gap to fill."""
        out: list[Work] = []
        for stream in [s for s in self._waiting.values() if s.waits_since is not None]:
            if now - (stream.waits_since or 0.0) >= GAP_S:
                out += self._skip(stream)
                self._watch(stream, now)
        return out

    def deadlines(self) -> list[float]:
        """When `give_up` is due."""
        return [s.waits_since + GAP_S for s in self._waiting.values() if s.waits_since is not None]

    def done(self, work: Work) -> None:
        """The batch has been scored."""
        stream = self._streams.get(work.key)
        if stream is None or work.flush:
            return
        stream.given.discard(work.seq)
        stream.done.add(work.seq)
        while stream.floor + 1 in stream.done:
            stream.floor += 1
            stream.done.discard(stream.floor)
        if len(stream.done) > _MAX_DONE:
            stream.floor = max(stream.floor, min([stream.expected - REACH, *stream.given]) - 1)
            stream.done = {seq for seq in stream.done if seq > stream.floor}

    def note_dropped(self, stream: Stream, total: int, now: float) -> None:
        """`total`: rows that Zeek says this stream has dropped so far."""
        if stream.dropped < 0:
            stream.dropped = 0 if stream.whole else total
        new = total - stream.dropped
        if new > 0:
            stream.dropped = total
            stream.drops_untold += new
            self._counts.dropped += new
        if stream.drops_untold and now - stream.drops_told_at >= _TELL_DROPS_S:
            self._log(
                "warn", "rows_dropped", node=stream.key[0], lane=stream.key[2], rows=stream.drops_untold, total=total,
                todo="the bridge is or was too slow or away; more lanes share the load",
            )  # fmt: skip
            stream.drops_untold, stream.drops_told_at = 0, now

    def memory(self) -> list[Any]:
        """What `restore` takes: per stream its key and numbers."""
        return [[*s.key, s.expected, s.floor, s.dropped, sorted(s.done)] for s in self._streams.values()]

    def restore(self, memory: Iterable[Any]) -> None:
        """Streams as `memory` gave them. Raises ValueError or TypeError where they are not."""
        for node, epoch, lane, expected, floor, dropped, done in memory:
            key = (str(node), str(epoch), str(lane))
            self._streams[key] = Stream(key, int(expected), int(floor), {int(s) for s in done}, dropped=int(dropped))

    def _in_order(self, stream: Stream) -> list[Work]:
        out = []
        while stream.expected in stream.held:
            work = stream.held.pop(stream.expected)
            self.held_size -= work.size
            stream.given.add(work.seq)
            stream.expected += 1
            out.append(work)
        flush = stream.flush
        if flush is not None and not stream.flush_given and stream.expected >= flush.seq:
            stream.flush_given = True
            if stream.whole and stream.rows != flush.sent_rows:
                self._log(
                    "error", "rows_missing", node=stream.key[0], sent=flush.sent_rows, came=stream.rows,
                    todo="Zeek and bridge counted different numbers of rows: the run is incomplete",
                )  # fmt: skip
            out.append(flush)
        return out

    def _skip(self, stream: Stream) -> list[Work]:
        """Go on without what is missing."""
        out = []
        while stream.held or (stream.flush is not None and not stream.flush_given):
            until = min(stream.held) if stream.held else stream.flush.seq if stream.flush else stream.expected
            gap = range(stream.expected, until)
            if gap:
                self._counts.lost += len(gap)
                stream.missing.update(gap)
                self._log("warn", "batches_missing", node=stream.key[0], lane=stream.key[2], batches=len(gap),
                          first=gap[0], todo="they are scored late if Zeek sends them again")  # fmt: skip
            stream.expected = until
            out += self._in_order(stream)
        if len(stream.missing) > _MAX_DONE:
            stream.missing = {seq for seq in stream.missing if seq > stream.expected - REACH}
        return out

    def _watch(self, stream: Stream, now: float) -> None:
        """Start or end the wait for a gap."""
        if stream.held or (stream.flush is not None and not stream.flush_given):
            if stream.waits_since is None:
                stream.waits_since = now
            self._waiting[stream.key] = stream
        else:
            stream.waits_since = None
            self._waiting.pop(stream.key, None)

    def _let_go(self, stream: Stream) -> None:
        """What is held will come again."""
        for work in stream.held.values():
            self.held_size -= work.size
            stream.rows -= len(work.rows)
        stream.held.clear()
        stream.waits_since = None
        self._waiting.pop(stream.key, None)
