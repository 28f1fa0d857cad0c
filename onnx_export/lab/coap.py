"""CoAP sensors of the building (RFC 7252, observing after RFC 7641): served, polled, observed, reported."""

from __future__ import annotations

import json
import socket
import struct
import time
from typing import TYPE_CHECKING

from . import habits

if TYPE_CHECKING:
    from .context import Context

PORT = 5683
CON, NON, ACK, RST = range(4)
GET, POST, CHANGED, CONTENT, NOT_FOUND = 0x01, 0x02, 0x44, 0x45, 0x84
_OBSERVE, _PATH, _FORMAT, _QUERY = 6, 11, 12, 15
_PATHS = ("temperature", "humidity", "co2", "door", "pressure", "light", "leak", "fridge")
Option = tuple[int, bytes]


def message(kind: int, code: int, number: int, token: bytes, options: list[Option], payload: bytes = b"") -> bytes:
    """One CoAP message as it goes on the wire."""
    head = struct.pack(">BBH", 0x40 | kind << 4 | len(token), code, number & 0xFFFF) + token
    last = 0
    for option, value in sorted(options, key=lambda o: o[0]):
        delta, size = option - last, len(value)
        last = option
        extended = b"".join(bytes([n - 13]) for n in (delta, size) if n >= 13)
        head += bytes([min(delta, 13) << 4 | min(size, 13)]) + extended + value
    return head + (b"\xff" + payload if payload else b"")


def parse(data: bytes) -> tuple[int, int, int, bytes, list[Option]] | None:
    """(kind, code, number, token, options) of a message; None where it is none."""
    if len(data) < 4 or data[0] >> 6 != 1:
        return None
    kind, code, number, length = data[0] >> 4 & 3, data[1], int.from_bytes(data[2:4], "big"), data[0] & 15
    token, rest, option, options = data[4 : 4 + length], data[4 + length :], 0, []
    while rest and rest[0] != 0xFF:
        delta, size, rest = rest[0] >> 4, rest[0] & 15, rest[1:]
        if delta == 13 and rest:
            delta, rest = rest[0] + 13, rest[1:]
        if size == 13 and rest:
            size, rest = rest[0] + 13, rest[1:]
        option += delta
        options.append((option, rest[:size]))
        rest = rest[size:]
    return kind, code, number, token, options


def _reading(ctx: Context, path: str, style: str) -> tuple[bytes, list[Option]]:
    value = round(ctx.rng.uniform(15, 30), 1)
    if style == "text":
        return str(value).encode(), [(_FORMAT, b"")]
    if style == "json":
        return json.dumps({"n": path, "v": value, "t": int(time.time())}).encode(), [(_FORMAT, b"\x32")]
    records = [{"bn": f"urn:dev:{ctx.host.name}", "n": path, "u": "Cel", "v": value}] * ctx.rng.randint(1, 4)
    return json.dumps(records).encode(), [(_FORMAT, b"\x6e")]  # SenML


def coap_server(ctx: Context, period: float = 60) -> None:
    """A sensor: answers GET, tells its observers every `period`, takes POSTs; 4.04 for other paths."""
    paths = ctx.rng.sample(_PATHS, ctx.rng.randint(2, 4))
    style, kind = ctx.rng.choice(["text", "json", "senml"]), ctx.rng.choice([NON, NON, CON])
    period = habits.around(ctx, period, 1.8)
    observers: dict[tuple[tuple[str, int], bytes], str] = {}
    number, told = ctx.rng.randrange(65536), time.time()
    wait = min(1.0, period / habits.compress(ctx))
    with habits.bound(PORT) as s:
        for got in habits.datagrams(ctx, s, wait):
            if got is not None and (asked := parse(got[0])):
                how, code, theirs, token, options = asked
                names = [v.decode("latin-1") for o, v in options if o == _PATH]
                watch = next((v for o, v in options if o == _OBSERVE), None)
                if how == RST:
                    observers = {k: v for k, v in observers.items() if k[0] != got[1]}
                elif code in (GET, POST):
                    answer, extra, payload = CONTENT, [], b""
                    if code == POST:
                        answer = CHANGED
                    elif names == [".well-known", "core"]:
                        payload, extra = ",".join(f"</{p}>;obs" for p in paths).encode(), [(_FORMAT, b"\x28")]
                    elif names and names[-1] in _PATHS:
                        payload, extra = _reading(ctx, names[-1], style)
                        if watch == b"" and len(observers) < 20:
                            observers[got[1], token] = names[-1]
                            extra = [*extra, (_OBSERVE, b"\x01")]
                    else:
                        answer = NOT_FOUND
                    number += 1
                    reply = (ACK, theirs) if how == CON else (NON, number)
                    habits.send(s, message(reply[0], answer, reply[1], token, extra, payload), got[1])
            if (time.time() - told) * habits.compress(ctx) >= period:
                told = time.time()
                for (peer, token), path in observers.items():
                    number += 1
                    payload, extra = _reading(ctx, path, style)
                    count = (number & 0xFFFF).to_bytes(2, "big")
                    habits.send(s, message(kind, CONTENT, number, token, [*extra, (_OBSERVE, count)], payload), peer)


def coap_collector(ctx: Context, period: float = 120, session: float = 1800) -> None:
    """The building's controller: polls each sensor's values, or observes them for a session and renews.

    One source port for ever or one per round, confirmable or not, with discovery first or not: as drawn.
    """
    period, session = habits.around(ctx, period, 1.6), habits.around(ctx, session, 2)
    fresh, kind, discover = ctx.rng.random() < 0.4, ctx.rng.choice([CON, CON, NON]), ctx.rng.random() < 0.3
    token_size = ctx.rng.choice([1, 2, 4, 8])
    observed = set(ctx.rng.sample(range(8), ctx.rng.choice([0, 0, 3, 5, 8])))  # sensors not polled
    sensors = ctx.plan.role("sensor")
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    number, renewed = ctx.rng.randrange(65536), -1e9
    while True:
        renew = (time.time() - renewed) * habits.compress(ctx) >= session
        renewed = time.time() if renew else renewed
        for place, sensor in enumerate(sensors):
            watch = place % 8 in observed
            if watch and not renew:
                continue
            path: list[Option] = [(_PATH, ctx.rng.choice(_PATHS).encode())]
            if discover and renew:
                path = [(_PATH, b".well-known"), (_PATH, b"core")]
            number += 1
            token = ctx.rng.randbytes(token_size)
            options = [*path, (_OBSERVE, b"")] if watch else path
            _ask(s, message(kind, GET, number, token, options), sensor.ip)
            if not ctx.pause(1, 0.8):
                return
        if fresh and not observed:
            s.close()
            s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        # what the observed sensors tell in between is acknowledged where they want it
        for got in habits.datagrams(ctx, s, 0.5, ctx.rng.uniform(0.8, 1.2) * period / habits.compress(ctx)):
            if got is not None and (told := parse(got[0])) and told[0] == CON:
                habits.send(s, message(ACK, 0, told[2], b"", []), got[1])
        if time.time() >= ctx.end:
            return


def _ask(s: socket.socket, data: bytes, address: str) -> bool:
    """Send a request; a confirmable one up to three times, each time waiting longer."""
    for wait in (1.0, 2.0, 4.0) if data[0] >> 4 & 3 == CON else (0.5,):
        try:
            s.sendto(data, (address, PORT))
            s.settimeout(wait)
            s.recv(2048)
        except OSError:
            continue
        return True
    return False


def coap_reporter(ctx: Context, period: float = 90, to: str = "bms") -> None:
    """A sensor that reports by itself: POSTs to the controller, confirmable or not, one port for ever or one each."""
    period = habits.around(ctx, period, 2)
    kind, style, fresh = ctx.rng.choice([CON, NON]), ctx.rng.choice(["text", "json", "senml"]), ctx.rng.random() < 0.5
    prefix, path = ctx.rng.choice([b"rd", b"report", b"api", b"d"]), ctx.rng.choice(_PATHS)
    number, jitter = ctx.rng.randrange(65536), ctx.rng.uniform(0, 0.4)
    server = habits.some(ctx, to, "monitor")
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    while server is not None and ctx.pause(period, jitter):
        if fresh:
            s.close()
            s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        number += 1
        payload, extra = _reading(ctx, path, style)
        options = [(_PATH, prefix), (_PATH, ctx.host.name.encode()), (_QUERY, f"t={path}".encode()), *extra]
        _ask(s, message(kind, POST, number, ctx.rng.randbytes(2), options, payload), server.ip)
