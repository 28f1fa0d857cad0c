"""Harmless stand-ins where no tool is packaged: they reproduce the shape of the traffic, nothing else."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import threading
import time
from typing import TYPE_CHECKING

from .attacks import MAX_PACKETS
from .clients import fetch
from .context import question
from .plan import TLS_PORTS

if TYPE_CHECKING:
    from collections.abc import Callable

    from .context import Context


def _spread(ctx: Context, count: int, threads: int, rate: float, one: Callable[[int], None]) -> None:
    """Call `one` this many times (bounded) from some threads, `rate` calls a second in all."""
    count = min(count, MAX_PACKETS)

    def work(first: int) -> None:
        for number in range(first, count, threads):
            if time.time() >= ctx.end:
                return
            one(number)
            time.sleep(threads / rate * ctx.rng.uniform(0.5, 1.2))

    running = [threading.Thread(target=work, args=(n,), daemon=True) for n in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()


def connect_flood(
    ctx: Context, targets: list[str], port: int, count: int = 4000, threads: int = 16, rate: float = 200
) -> None:
    """Full TCP connections that say nothing and go."""

    def one(_: int) -> None:
        if s := ctx.connect(targets[0], port, 2):
            s.close()

    _spread(ctx, count, threads, rate, one)


def _mqtt_connect(ctx: Context, target: str, password: bytes) -> None:
    body = b"\0\4MQTT\4\xc2\0\x3c" + b"".join(
        struct.pack(">H", len(x)) + x for x in (f"c{ctx.rng.randrange(10**6)}".encode(), b"admin", password)
    )
    if s := ctx.connect(target, 1883, 3):
        with s:
            try:
                s.settimeout(3)
                s.sendall(bytes([0x10, len(body)]) + body)
                s.recv(4)
            except OSError:
                pass


def mqtt_flood(ctx: Context, targets: list[str], count: int = 4000, threads: int = 16, rate: float = 150) -> None:
    """MQTT CONNECTs as fast as the bound allows."""
    _spread(ctx, count, threads, rate, lambda _: _mqtt_connect(ctx, targets[0], os.urandom(4).hex().encode()))


def amplified(ctx: Context, targets: list[str], count: int = 3000, rate: float = 300, sources: int = 12) -> None:
    """Large DNS answers nobody asked for, from many of the internet's servers to one host."""
    answer = os.urandom(2) + struct.pack(">HHHHH", 0x8180, 1, 1, 0, 0) + question("big.example", 16, ctx.rng)[12:]
    answer += b"\xc0\x0c" + struct.pack(">HHIH", 16, 1, 60, 1005) + (b"\xc8" + b"x" * 200) * 5
    sockets = []
    for address in ctx.plan.internet[10 : 10 + sources]:
        s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        s.bind((address, 53))
        sockets.append(s)
    ports = [ctx.rng.randrange(1024, 65000) for _ in range(200)]

    def one(number: int) -> None:
        with contextlib.suppress(OSError):
            sockets[number % sources].sendto(answer, (targets[0], ctx.rng.choice(ports)))

    _spread(ctx, count, 4, rate, one)


def beacon(
    ctx: Context,
    targets: list[str],
    port: int = 443,
    period: float = 10,
    jitter: float = 0.2,
    count: int = 40,
) -> None:
    """A small request home at a steady beat; one in ten brings more back."""
    for _ in range(count):
        paths = ["/api/check"] + [f"/static/{ctx.rng.randrange(99)}"] * (ctx.rng.random() < 0.1)
        fetch(ctx, targets[0], port, paths)
        if not ctx.pause(period, jitter):
            return


def upload(ctx: Context, targets: list[str], port: int = 443, megabytes: float = 8, pieces: int = 1) -> None:
    """Bulk data out to an address on the internet, in one or many connections."""
    import http.client
    import ssl

    for _ in range(pieces):
        made = (http.client.HTTPSConnection(targets[0], port, timeout=30, context=ssl._create_unverified_context())
                if port in TLS_PORTS else http.client.HTTPConnection(targets[0], port, timeout=30))  # fmt: skip
        try:
            made.request("POST", "/api/put", os.urandom(int(megabytes * 1_000_000 / pieces)))
            made.getresponse().read()
        except (OSError, http.client.HTTPException):
            pass
        finally:
            made.close()
        if not ctx.pause(2, 0.8):
            return


_WORDS = (
    "admin",
    "backup",
    "cgi-bin",
    "config",
    "phpmyadmin",
    "test",
    "old",
    "wp-login",
    ".git",
    "server-status",
)
_ENDS = ("", "/", ".php", ".bak", ".asp", "/index.php", ".cgi", ".old", "~", ".txt")
