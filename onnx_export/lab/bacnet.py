"""BACnet/IP: building controllers that find each other, read, subscribe to changes and write set-points."""

from __future__ import annotations

import contextlib
import socket
import struct
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from . import habits

if TYPE_CHECKING:
    from .context import Context

PORT = 47808
_PRESENT, _FLAGS, _NAME, _UNITS = 85, 111, 77, 117
_DEVICE, _INPUT, _VALUE = 8, 0, 2
_READ, _MULTIPLE, _WRITE, _SUBSCRIBE = 12, 14, 15, 5  # confirmed services
_I_AM, _COV, _WHO_IS = 0, 2, 8  # unconfirmed services


def _object(kind: int, number: int) -> bytes:
    return struct.pack(">I", kind << 22 | number)


def _number(tag: int, value: int) -> bytes:
    """A context-tagged unsigned value of one or two bytes."""
    body = bytes([value]) if value < 256 else struct.pack(">H", value)
    return bytes([tag << 4 | 8 | len(body)]) + body


def unicast(apdu: bytes, reply: bool = False) -> bytes:
    """A packet for one peer; `reply` says that an answer is expected."""
    return struct.pack(">BBHBB", 0x81, 0x0A, len(apdu) + 6, 1, 4 if reply else 0) + apdu


def broadcast(apdu: bytes) -> bytes:
    """A packet for every device of every network."""
    return struct.pack(">BBHBBHBB", 0x81, 0x0B, len(apdu) + 10, 1, 0x20, 0xFFFF, 0, 255) + apdu


@dataclass
class Device:
    """A BACnet device: its objects, who subscribed, and its socket."""

    ctx: Context
    number: int
    vendor: int
    s: socket.socket
    points: int
    invoke: int = 0
    subscribers: dict[tuple[tuple[str, int], int], int] = field(default_factory=dict)
    found: set[str] = field(default_factory=set)

    def everybody(self, apdu: bytes) -> None:
        """Broadcast inside the segment."""
        habits.send(self.s, broadcast(apdu), (self.ctx.host.ip.rsplit(".", 1)[0] + ".255", PORT))

    def tell(self, peer: tuple[str, int], apdu: bytes, reply: bool = False) -> None:
        """Send to one peer."""
        habits.send(self.s, unicast(apdu, reply), peer)

    def request(self, address: str, service: int, body: bytes) -> None:
        """A confirmed request; its answer arrives in `handle` like everything else."""
        self.invoke = (self.invoke + 1) % 256
        self.tell((address, PORT), bytes([0, 5, self.invoke, service]) + body, True)

    def i_am(self) -> None:
        """Announce this device."""
        self.everybody(bytes([0x10, _I_AM, 0xC4]) + _object(_DEVICE, self.number) + b"\x22\x05\xc4\x91\x03\x21"
                       + bytes([self.vendor]))  # fmt: skip

    def who_is(self, low: int = 0, high: int = 0) -> None:
        """Ask who is there, all or a range of device numbers."""
        self.everybody(bytes([0x10, _WHO_IS]) + (_number(0, low) + _number(1, high) if high else b""))

    def value(self) -> bytes:
        """A present value, application-tagged."""
        return b"\x44" + struct.pack(">f", self.ctx.rng.uniform(5, 80))

    def change(self) -> None:
        """Tell every subscriber a new value."""
        for (peer, process), point in self.subscribers.items():
            self.tell(peer, bytes([0x10, _COV]) + _number(0, process) + b"\x1c" + _object(_DEVICE, self.number)
                      + b"\x2c" + _object(_INPUT, point) + _number(3, 300) + b"\x4e" + _number(0, _PRESENT)
                      + b"\x2e" + self.value() + b"\x2f"
                      + _number(0, _FLAGS) + b"\x2e\x82\x04\x00\x2f\x4f")  # fmt: skip

    def handle(self, data: bytes, peer: tuple[str, int]) -> None:
        """Answer what another device asks; note who announces itself."""
        if len(data) < 8 or data[0] != 0x81 or peer[0] == self.ctx.host.ip:
            return
        apdu = data[10:] if data[5] & 0x20 else data[6:]
        if apdu[:2] == bytes([0x10, _I_AM]):
            self.found.add(peer[0])
        elif apdu[:2] == bytes([0x10, _WHO_IS]):
            ranged = apdu[2:]
            if len(ranged) < 2 or ranged[1] <= self.number % 256:
                self.i_am()
        elif apdu[:1] == b"\x00" and len(apdu) >= 9:
            with contextlib.suppress(IndexError, struct.error):  # a broken request gets no answer
                self._answer(apdu, peer)

    def _answer(self, apdu: bytes, peer: tuple[str, int]) -> None:
        invoke, service, body = apdu[2], apdu[3], apdu[4:]
        if service == _READ:
            known = (int.from_bytes(body[1:5], "big") & 0x3FFFFF) < self.points
            if not known and body[1:5] != _object(_DEVICE, self.number):
                self.tell(peer, bytes([0x50, invoke, service, 0x91, 1, 0x91, 31]))  # unknown object
                return
            named = body[6:7] == bytes([_NAME])
            name = self.ctx.host.name.encode()
            value = b"\x75" + bytes([len(name) + 1, 0]) + name if named else self.value()
            self.tell(peer, bytes([0x30, invoke, service]) + body[:7] + b"\x3e" + value + b"\x3f")
        elif service == _MULTIPLE:
            answer = b""
            for at in range(0, len(body) - 10, 11):
                answer += (
                    body[at : at + 5] + b"\x1e\x29\x55\x4e" + self.value() + b"\x4f\x29\x6f\x4e\x82\x04\x00\x4f\x1f"
                )
            self.tell(peer, bytes([0x30, invoke, service]) + answer)
        elif service == _SUBSCRIBE and len(self.subscribers) < 40:
            self.subscribers[peer, body[1]] = int.from_bytes(body[3:7], "big") & 0x3FFFFF
            self.tell(peer, bytes([0x20, invoke, service]))
        elif service == _WRITE:
            self.tell(peer, bytes([0x20, invoke, service]))
        else:
            self.tell(peer, bytes([0x60, invoke, 9]))  # rejected: unrecognised service


def _device(ctx: Context, s: socket.socket) -> Device:
    vendor = ctx.rng.choice([5, 7, 8, 24, 35, 36, 86, 95, 133])
    return Device(ctx, ctx.rng.randrange(1000, 4_000_000), vendor, s, ctx.rng.randint(6, 60))


def bacnet_device(ctx: Context, period: float = 60) -> None:
    """A field controller: answers reads, tells subscribers of changes about every `period`, announces itself."""
    period, chatty = habits.around(ctx, period, 2.5), ctx.rng.random() < 0.3
    wait, told = min(1.0, period / habits.compress(ctx)), time.time()
    with habits.bound(PORT) as s:
        device = _device(ctx, s)
        device.i_am()
        for got in habits.datagrams(ctx, s, wait):
            if got is not None:
                device.handle(*got)
            if (time.time() - told) * habits.compress(ctx) >= period:
                told = time.time() + ctx.rng.uniform(-0.2, 0.2) * period / habits.compress(ctx)
                device.change()
                if chatty and ctx.rng.random() < 0.1:
                    device.i_am()


def bacnet_controller(ctx: Context, period: float = 30, discover: float = 900) -> None:
    """The building's controller: finds devices, reads points every `period`, subscribes, sometimes writes one.

    Points are read singly or many at a time, by subscription only or by polling only, as drawn.
    """
    period, discover = habits.around(ctx, period, 2), habits.around(ctx, discover, 2)
    style, points = ctx.rng.choice(["single", "multiple", "subscribe", "both"]), ctx.rng.randint(2, 12)
    ranged, writes = ctx.rng.random() < 0.4, ctx.rng.choice([0.0, 0.02, 0.1])
    searched = -1e9
    with habits.bound(PORT) as s:
        device = _device(ctx, s)
        device.i_am()
        while time.time() < ctx.end:
            search = (time.time() - searched) * habits.compress(ctx) >= discover
            if search:
                searched = time.time()
                device.who_is(*((0, ctx.rng.randint(100, 65000)) if ranged else ()))
            _listen(device, 1.5)
            for address in sorted(device.found):
                if style == "multiple":
                    _read_many(device, address, points)
                elif style != "subscribe" or search:
                    for point in range(points):
                        _subscribe_or_read(device, address, point, subscribe=search and style != "single")
                if ctx.rng.random() < writes:
                    device.request(address, _WRITE, b"\x0c" + _object(_VALUE, 1) + _number(1, _PRESENT)
                                   + b"\x3e" + device.value() + b"\x3f" + _number(4, 8))  # fmt: skip
                _listen(device, 0.3 * habits.compress(ctx))
            _listen(device, period * ctx.rng.uniform(0.9, 1.1))


def _subscribe_or_read(device: Device, address: str, point: int, subscribe: bool) -> None:
    if subscribe:
        body = _number(0, point + 1) + b"\x1c" + _object(_INPUT, point) + b"\x29\x00" + _number(3, 1800)
        device.request(address, _SUBSCRIBE, body)
    else:
        which = device.ctx.rng.choice([_PRESENT] * 8 + [_NAME, _UNITS])
        device.request(address, _READ, b"\x0c" + _object(_INPUT, point) + _number(1, which))
    _listen(device, 0.05 * habits.compress(device.ctx))


def _read_many(device: Device, address: str, points: int) -> None:
    body = b"".join(b"\x0c" + _object(_INPUT, n) + b"\x1e\x09\x55\x09\x6f\x1f" for n in range(points))
    device.request(address, _MULTIPLE, body)


def _listen(device: Device, seconds: float) -> None:
    """Handle what arrives for so many real-life seconds."""
    for got in habits.datagrams(device.ctx, device.s, 1.0, seconds / habits.compress(device.ctx)):
        if got is not None:
            device.handle(*got)
