"""A Zeek with pyad's package, as the bridge sees it: the WebSocket API, credit, resending, the checks of verdicts.

It follows the Zeek scripts in what can be seen on the wire. `Peer` is the node without I/O; `FakeZeek` serves it.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from math import isnan

import numpy as np
from websockets.asyncio.server import serve

from pyad import wire
from pyad.row import CORE, COUNTERS, SCHEMA_HASH, Rows
from pyad.wire import Event

SECRET = "0123456789abcdef0123456789abcdef"


def row_texts(rows: Rows) -> list[str]:
    """Rows as rows.zeek packs them."""
    texts = []
    columns = [(f, rows.number(f.name) if f.numeric else rows.text(f.name)) for f in CORE]
    counters = [rows.number(f.name) for f in COUNTERS]
    for at in range(len(rows)):
        parts = [_value(f, column[at]) for f, column in columns]
        counted = ["-1" if np.isnan(column[at]) else str(int(column[at])) for column in counters]
        if any(text != "-1" for text in counted[:-1]):
            parts += counted
        elif counted[-1] != "-1":
            parts.append(counted[-1])  # weirds alone
        texts.append(" ".join(parts))
    return texts


def _value(field, value):
    if value is None or value == "" or (field.numeric and isnan(value)):
        return "-"
    if field.type == "time":
        return f"{value:.6f}"
    if field.type == "bool":
        return "T" if value else "F"
    if field.type == "interval":
        return repr(float(value))
    return str(int(value)) if field.numeric else str(value)


def frame(event: str, args, topic: str = wire.ROWS_TOPIC) -> bytes:
    return wire.encode(topic, event, args).encode()


class Peer:
    """One Zeek node, standalone unless told otherwise. `take` a frame of the bridge's, get the frames to send it.

    applied: (node, epoch, lane, seq) → notices, as they would be raised; refused: what was not obeyed, by reason.
    """

    def __init__(self, secret=SECRET, node="zeek", epoch="e1", role="standalone", lane="all", max_unacked=32):
        self.secret, self.node, self.epoch, self.role, self.lane = secret, node, epoch, role, lane
        self.max_unacked = max_unacked
        self.answers_status = True
        self.schema = SCHEMA_HASH
        self.session = ""
        self.credit = self.hellos = self.counter = self.verdict_counter = self.dropped = self.seq = self.sent = 0
        self.batches: dict[int, list[str]] = {}
        self.acked: list[int] = []
        self.events: list[Event] = []
        self.applied: dict[tuple, list[str]] = {}
        self.drifts: list[tuple] = []
        self.times_sent: Counter = Counter()
        self.refused: Counter = Counter()
        self.flushed = False

    def add(self, rows: list[str]) -> list[bytes]:
        """One more batch; the frames it makes."""
        self.seq += 1
        self.batches[self.seq] = list(rows)
        return self.pump()

    def pump(self) -> list[bytes]:
        frames = []
        while self.session and self.sent < self.seq and self.in_flight() < min(self.credit, self.max_unacked):
            self.sent += 1
            if self.sent in self.batches:
                self.times_sent[self.sent] += 1
                frames.append(self.rows_frame(self.sent, self.batches[self.sent]))
        return frames

    def in_flight(self) -> int:
        return sum(seq <= self.sent for seq in self.batches)

    def rows_frame(self, seq: int, rows, **other) -> bytes:
        given = {"schema": self.schema, "node": self.node, "epoch": self.epoch, "lane": self.lane}
        given |= {"session": self.session, "dropped": self.dropped} | other
        args = (given["schema"], given["node"], given["epoch"], given["lane"], given["session"], seq)
        args = (*args, given["dropped"], list(rows))
        code = given.get("mac", wire.mac(self.secret, "rows", args) if self.secret else "")
        return frame("rows", (*args, code), f"{wire.ROWS_TOPIC}{self.lane}/")

    def flush(self) -> bytes:
        """The end of the capture."""
        rows = self.total_rows
        return frame("flush", wire.signed(self.secret, "flush", (*self._name(), self.seq, rows)))

    total_rows = 0

    def status(self, facts=(), **other) -> bytes:
        known = ["pyad=0.1.0", "zeek=9.1.0-dev", f"secret={wire.fingerprint(self.secret) if self.secret else '-'}"]
        known += [f"refused.{why}={n}" for why, n in self.refused.items()]
        given = {"schema": self.schema, "node": self.node, "epoch": self.epoch, "role": self.role} | other
        return frame("status", (*given.values(), [*known, *facts]), wire.STATUS_TOPIC)

    def take(self, raw: str | bytes) -> list[bytes]:
        event = wire.decode(raw if isinstance(raw, bytes) else raw.encode())
        assert isinstance(event, Event), event
        self.events.append(event)
        if event.name == "status_request":
            return [self.status()] if self.answers_status else []
        if event.args[0] != self.schema:
            return []
        if self.secret and not wire.is_signed(self.secret, event):
            self.refused[f"{event.name} with a wrong code"] += 1
            return []
        return getattr(self, f"_{event.name}")(*event.args[1:-1])

    def _name(self):
        return self.schema, self.node, self.epoch, self.lane

    def _hello(self, lane, session, window, counter):
        if lane != self.lane or counter <= self.counter:
            self.refused["hello that is a repeat"] += 1
            return []
        self.counter, self.credit = counter, window
        self.hellos += 1
        if session != self.session:
            self.session, self.sent = session, min(self.batches, default=self.seq + 1) - 1
        return self.pump()

    def _ack(self, node, epoch, lane, seqs):
        if (node, epoch, lane) == (self.node, self.epoch, self.lane):
            for seq in map(int, seqs):
                self.acked.append(seq)
                self.batches.pop(seq, None)
        return self.pump()

    def _verdicts(self, epoch, counter, node, node_epoch, lane, seq, notices):
        if epoch != self.epoch:
            self.refused["verdicts for another run of Zeek"] += 1
            return [self.status()]
        if counter <= self.verdict_counter:
            self.refused["verdicts that are a repeat"] += 1
            return []
        self.verdict_counter = counter
        self.applied.setdefault((node, node_epoch, lane, seq), notices)
        return []

    def _drift(self, epoch, counter, lane, conns, hours, moved):
        if epoch != self.epoch:
            self.refused["drift for another run of Zeek"] += 1
            return [self.status()]
        if counter <= self.verdict_counter:
            self.refused["drift that is a repeat"] += 1
            return []
        self.verdict_counter = counter
        self.drifts.append((lane, conns, hours, moved))
        return []

    def _flushed(self, node, epoch, lane, seq):
        self.flushed = (node, epoch, lane, seq) == (self.node, self.epoch, self.lane, self.seq)
        return []


class FakeZeek:
    """Serves a Peer to one bridge at a time: `async with FakeZeek() as zeek`, and then `zeek.url`."""

    def __init__(self, peer: Peer | None = None, acks_subscription=True, port: int = 0, tls=None):
        self.peer = peer or Peer()
        self.acks_subscription = acks_subscription
        self.port = port
        self.tls = tls
        self.connections = 0
        self.headers: list = []
        self.subscriptions: list = []
        self.socket = None
        self.hangs = False
        self._changed = asyncio.Event()
        self._hanging = None

    async def __aenter__(self):
        options = {"compression": None, "ping_interval": None, "close_timeout": 0.2, "ssl": self.tls}
        self._server = await serve(self._serve, "127.0.0.1", self.port, **options)
        self.port = self._server.sockets[0].getsockname()[1]
        self.url = f"{'wss' if self.tls else 'ws'}://127.0.0.1:{self.port}{wire.PATH}"
        return self

    async def __aexit__(self, *_):
        if self._hanging is not None:
            self._hanging.cancel()
        self._server.close()
        await self._server.wait_closed()

    async def send(self, *frames: bytes):
        for one in frames:
            await self.socket.send(one, text=True)

    async def add(self, rows):
        """One more batch, on its way as soon as there is credit and somebody to take it."""
        frames = self.peer.add(rows)
        if self.socket is not None:
            await self.send(*frames)

    async def until(self, condition, within_s: float = 5.0):
        """Wait until `condition()` after something came from the bridge."""
        async with asyncio.timeout(within_s):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    async def _serve(self, websocket):
        self.connections += 1
        self.headers.append(websocket.request.headers)
        if websocket.request.path != wire.PATH:
            await websocket.close(1008)
            return
        self.subscriptions.append(json.loads(await websocket.recv()))
        self._changed.set()
        if not self.acks_subscription:
            await websocket.wait_closed()
            return
        await websocket.send(json.dumps({"type": "ack", "endpoint": "fake", "version": "9.1.0-dev"}))
        self.socket = websocket
        try:
            async for raw in websocket:
                if self.hangs:
                    websocket.transport.pause_reading()
                    self._hanging = asyncio.current_task()
                    await asyncio.Event().wait()
                await self.send(*self.peer.take(raw))
                self._changed.set()
        finally:
            self.socket = None
            self._changed.set()
