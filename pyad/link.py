"""The bridge's end of the wire as a state machine, sans I/O: frames in, work out, answers in, frames out.

Whoever drives it (pyad.bridge with asyncio, a replay with a plain loop) does this:

    for frame in link.connected(now): send(frame)      # and then whenever a frame has come, or `next_tick` is over:
    for frame in link.receive(raw, now): send(frame)
    for frame in link.tick(now): send(frame)
    for work in link.take():                           # score them in this order
        for frame in link.done(work, notice_texts, now): send(frame)
    link.disconnected()                                # a later connection goes on where this one ended

`now` is seconds of a monotonic clock. Nothing that comes in raises: what is not right is counted and left out.
"""

from __future__ import annotations

import secrets
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from pyad import wire
from pyad.drift import Drift
from pyad.logline import Log, Tally
from pyad.row import SCHEMA_HASH
from pyad.streams import Key, Streams, Work
from pyad.trust import Trust
from pyad.verdict_box import VerdictBox

HINT_AFTER_S = 10.0
_ASK_AGAIN_S = 1.0  # between two status requests
_MAX_WAITING = 128 << 20  # bytes of rows received but not yet taken
_RAISES_NOTICES = ("manager", "standalone")


@dataclass(frozen=True)
class LinkSettings:
    """What a link needs to know. require_mac: auto, always or never (see pyad.config); peer: for the log.

    acks_at_once: answered batches of a node that are acknowledged together; fewer wait for the next tick. Every message
    costs Zeek about as much as three rows do.
    """

    secret: str
    lane: str = "all"
    window: int = 32
    require_mac: str = "auto"
    hello_interval_s: float = 1.0
    peer: str = ""
    acks_at_once: int = 1


@dataclass
class LinkCounts:
    """What came and went since the start; rows are what Zeek sent, sound or not. dropped: rows, by Zeek's own count.

    unsent: batches whose verdicts were never sent, because too many waited for Zeek to say who raises them.
    """

    batches: int = 0
    rows: int = 0
    repeats: int = 0
    late: int = 0
    lost: int = 0
    dropped: int = 0
    acks: int = 0
    verdicts: int = 0
    unsent: int = 0


class Link:
    """One bridge's side of the conversation, over any number of connections one after the other.

    joined: Zeek has taken the subscription. flushed: lanes whose capture is at its end and answered.
    """

    def __init__(
        self,
        settings: LinkSettings,
        log: Log,
        wall_us: Callable[[], int] = lambda: time.time_ns() // 1000,
        new_session: Callable[[], str] = lambda: secrets.token_hex(8),
    ) -> None:
        self.counts = LinkCounts()
        self.refused = Tally(log)
        self.joined = False
        self.zeek_version = ""
        self.session = ""
        self.flushed: list[Key] = []
        self._settings = settings
        self._log = log
        self._wall_us = wall_us
        self._new_session = new_session
        self._counter = 0
        self._ready: deque[Work] = deque()
        self._ready_size = 0
        self._answered: dict[Key, list[str]] = {}
        self._streams = Streams(self.counts, log)
        self._verdicts = VerdictBox()
        self._drift: Drift | None = None
        self._drift_told = ""  # the epoch that was told of it
        self._trust = Trust(settings.secret, settings.require_mac, log, self.refused)
        self._joined_at = 0.0
        self._heard = False  # rows or a status, in this connection
        self._hinted = False
        self._next_hello = 0.0
        self._asked_at = float("-inf")

    # The connection

    def connected(self, now: float) -> list[str]:
        """A new connection is there: the frames to open it with."""
        self.joined = self._heard = self._hinted = False
        self._answered.clear()
        self.session = self._new_session()
        self._streams.reconnected()
        self._verdicts.forget_epoch()
        self._drift_told = ""  # it may not have arrived; Zeek says it once a day at most
        self._next_hello = now + self._settings.hello_interval_s
        return [wire.subscription(self._settings.lane)]

    def disconnected(self) -> None:
        """The connection is gone. What is being worked on stays; its answers wait for the next connection."""
        self.joined = False

    def receive(self, frame: bytes, now: float) -> list[str]:
        """Take a frame; returns what to send at once."""
        try:
            message = wire.decode(frame)
        except wire.WireError as error:
            self.refused.add(str(error))
            return []
        if isinstance(message, wire.Joined):
            return self._join(message, now)
        if isinstance(message, wire.Refusal):
            self.refused.add("zeek could not read a message of ours", code=message.code, context=message.context)
            return []
        if not self.joined:
            self.refused.add("event before the subscription was taken")
            return []
        take = {"rows": self._rows, "flush": self._flush, "status": self._status}.get(message.name)
        if take is None:
            self.refused.add("event that is not for a bridge")
            return []
        if message.args[0] != SCHEMA_HASH:
            self._heard = True
            self._trust.tell_schema(message)
            return []
        return take(message, now)

    def take(self, most: int = 64) -> list[Work]:
        """What is to be scored next, in order; `done` must be called for each."""
        works = [self._ready.popleft() for _ in range(min(most, len(self._ready)))]
        self._ready_size -= sum(work.size for work in works)
        return works

    @property
    def waiting(self) -> int:
        """Batches received and not yet taken."""
        return len(self._ready)

    def done(self, work: Work, notices: Sequence[str], now: float) -> list[str]:
        """`work` has been scored; notices: as wire.notice_text gives them. Returns what to send."""
        self._streams.done(work)
        if notices:
            self.counts.unsent += self._verdicts.add(work, notices)
            return self._deliver(now)
        return self._answer(work) if self.joined else []  # unanswered work comes again, and then it is answered

    def tell_drift(self, drift: Drift | None) -> list[str]:
        """The newest window's drift, None or not drifting for none: Zeek is told once, and again when it has restarted.

        Returns what to send.
        """
        if drift is not self._drift:
            self._drift, self._drift_told = drift, ""
        epoch = self._verdicts.epoch
        if drift is None or not (drift.drifting and drift.moves and self.joined) or epoch in (None, self._drift_told):
            return []
        self._drift_told = str(epoch)
        hours, moves = round(drift.hours), wire.drift_texts(drift.moves)
        args = (SCHEMA_HASH, self._drift_told, self._count_up(), self._settings.lane, drift.rows, hours, moves)
        return [self._signed(wire.VERDICTS_TOPIC, "drift", args)]

    def tick(self, now: float) -> list[str]:
        """What time brings: the heartbeat, gaps given up, the hint that nothing comes."""
        self._release(now)
        if not self.joined:
            return []
        frames = self.settle()
        if now >= self._next_hello:
            frames += self._hello(now)
        if self._verdicts.epoch is None and now - self._asked_at >= _ASK_AGAIN_S:
            frames += self._ask(now)
        if not (self._heard or self._hinted) and now - self._joined_at >= HINT_AFTER_S:
            self._hinted = True
            self._log(
                "warn",
                "nothing_comes",
                todo="Zeek answers but sends neither rows nor a status: is pyad's Zeek package loaded there (zeek -N, "
                "zkg list), and is this the node of lane " + self._settings.lane + "? pyad doctor looks closer",
            )
        return frames

    def settle(self) -> list[str]:
        """The acknowledgements that still wait for others."""
        frames = [self._ack(key) for key in list(self._answered)]
        return frames if self.joined else []

    def next_tick(self, now: float) -> float:
        """Seconds until `tick` is due."""
        due = [self._next_hello] if self.joined else [now + self._settings.hello_interval_s]
        return max(min(due + self._streams.deadlines()) - now, 0.0)

    # What a bridge remembers beyond its own life

    def memory(self) -> dict[str, Any]:
        """What a later bridge must know to score nothing twice and lose no verdict: plain lists, numbers and text."""
        return {
            "counter": self._counter,
            "with_mac": self._trust.memory(),
            "streams": self._streams.memory(),
            "verdicts": self._verdicts.memory(),
        }

    def restore(self, memory: dict[str, Any]) -> None:
        """Take over what `memory` gave. ValueError where it is not that; then nothing is taken over."""
        try:
            streams, verdicts = Streams(self.counts, self._log), VerdictBox()
            streams.restore(memory["streams"])
            verdicts.restore(memory["verdicts"])
            counter, with_mac = int(memory["counter"]), [str(node) for node in memory["with_mac"]]
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ValueError(f"not a bridge's memory: {error!r}") from None
        self._streams, self._verdicts, self._counter = streams, verdicts, counter
        self._trust.restore(with_mac)

    # Events from Zeek

    def _join(self, message: wire.Joined, now: float) -> list[str]:
        self.joined, self._joined_at, self.zeek_version = True, now, message.version
        about = {"zeek": message.version, "lane": self._settings.lane, "session": self.session}
        self._log("info", "connected", url=self._settings.peer, **about)
        return self._hello(now) + self._ask(now)

    def _rows(self, event: wire.Event, now: float) -> list[str]:
        _, node, epoch, lane, session, seq, dropped, rows, _ = event.args
        if session != self.session:
            self.refused.add("rows for another bridge or an earlier connection", node=node)
            return []
        if not self._ours(event, node, lane):
            return []
        self._heard = True
        stream = self._streams.get((node, epoch, lane), seq)
        if self._ready_size + self._streams.held_size > _MAX_WAITING:
            self.refused.add("too much waits to be scored", node=node)
            return []
        self._streams.note_dropped(stream, dropped, now)
        work = Work((node, epoch, lane), seq, rows, now)
        if stream.knows(seq):
            self.counts.repeats += 1
            return self._answer_again(work, now) if stream.is_done(seq) else []
        if not stream.reaches(seq):
            self.refused.add("batch number out of reach", node=node, seq=seq, expected=stream.expected)
            return []
        self.counts.batches += 1
        self.counts.rows += len(rows)
        self._queue(self._streams.take(stream, work, now))
        return []

    def _flush(self, event: wire.Event, now: float) -> list[str]:
        _, node, epoch, lane, seq, rows, _ = event.args
        if not self._ours(event, node, lane):
            return []
        key = (node, epoch, lane)
        stream = self._streams.get(key, 1)
        work = Work(key, seq + 1, (), now, flush=True, sent_rows=rows)
        if not stream.flush_given:
            stream.flush = work
            self._queue(self._streams.take_flush(stream, now))
        elif key in self.flushed:
            return self._answer_again(work, now)
        return []

    def _status(self, event: wire.Event, now: float) -> list[str]:
        _, node, epoch, role, texts = event.args
        self._heard = True
        facts = wire.facts(texts)
        self._trust.compare_secrets(node, role in _RAISES_NOTICES, facts)
        if role not in _RAISES_NOTICES:
            return []
        refused = _refused(facts, "verdict")
        if refused > int(self._trust.note("refused_verdicts", f"{node} {epoch}", str(refused)) or "0"):
            self._log("warn", "verdicts_refused", node=node, refused=refused, todo="Zeek's reporter.log says why")
        changed = self._verdicts.learn(epoch, _refused(facts, "verdicts for another run"), now)
        # Nobody vouches for a status: ask again, so that a forged one does not stand for long.
        ask = self._ask(now) if changed and now - self._asked_at >= _ASK_AGAIN_S else []
        return self._deliver(now) + self.tell_drift(self._drift) + ask

    def _ours(self, event: wire.Event, node: str, lane: str) -> bool:
        """Whether rows or a flush are for this lane and come from who they should."""
        if lane != self._settings.lane:
            self.refused.add(f"{event.name} of another lane", node=node)
            return False
        return self._trust.believes(event, node)

    # Events to Zeek

    def _hello(self, now: float) -> list[str]:
        self._next_hello = now + self._settings.hello_interval_s
        args = (SCHEMA_HASH, self._settings.lane, self.session, self._settings.window, self._count_up())
        return [self._signed(wire.BRIDGE_TOPIC, "hello", args)]

    def _ask(self, now: float) -> list[str]:
        self._asked_at = now
        return [wire.encode(wire.BRIDGE_TOPIC, "status_request", (SCHEMA_HASH,))]

    def _answer(self, work: Work) -> list[str]:
        if work.flush:
            if work.key not in self.flushed:
                self.flushed.append(work.key)
            return [*self.settle(), self._signed(wire.BRIDGE_TOPIC, "flushed", (SCHEMA_HASH, *work.key, work.seq - 1))]
        self.counts.acks += 1
        answered = self._answered.setdefault(work.key, [])
        answered.append(str(work.seq))
        return [self._ack(work.key)] if len(answered) >= self._settings.acks_at_once else []

    def _ack(self, key: Key) -> str:
        return self._signed(wire.BRIDGE_TOPIC, "ack", (SCHEMA_HASH, *key, self._answered.pop(key)))

    def _answer_again(self, work: Work, now: float) -> list[str]:
        # That it comes again says that the answer may not have arrived, and the verdicts before it neither.
        if self._verdicts.again(work):
            return self._deliver(now)
        return self._answer(work)

    def _deliver(self, now: float) -> list[str]:
        """Verdicts that are due, each with the answer to its batch; none before it is known whom they are for."""
        frames: list[str] = []
        epoch = self._verdicts.epoch
        if not self.joined or epoch is None:
            return frames
        for work, notices, answer in self._verdicts.due(now):
            node, node_epoch, lane = work.key
            args = (SCHEMA_HASH, epoch, self._count_up(), node, node_epoch, lane, work.seq, notices)
            frames.append(self._signed(wire.VERDICTS_TOPIC, "verdicts", args))
            self.counts.verdicts += 1
            if answer:
                frames += self._answer(work)
        return frames

    def _signed(self, topic: str, event: str, args: Sequence[wire.Argument]) -> str:
        return wire.encode(topic, event, wire.signed(self._settings.secret, event, args))

    def _count_up(self) -> int:
        self._counter = max(self._counter + 1, self._wall_us())
        return self._counter

    # Order

    def _release(self, now: float) -> None:
        self._queue(self._streams.give_up(now))

    def _queue(self, works: Sequence[Work]) -> None:
        self._ready.extend(works)
        self._ready_size += sum(work.size for work in works)


def _refused(facts: dict[str, str], why: str) -> int:
    """How many messages a status says were refused for a reason with `why` in it."""
    counts = [v for k, v in facts.items() if k == "refused" or (k.startswith("refused.") and why in k)]
    return sum(int(v) for v in counts if v.isdecimal() and len(v) < 16)
