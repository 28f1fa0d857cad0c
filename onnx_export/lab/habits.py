"""What the benign behaviours share: particulars drawn once, partners, TLS dialects, UDP and TLS servers."""

from __future__ import annotations

import contextlib
import http.client
import socket
import ssl
import subprocess
import time
from typing import TYPE_CHECKING

from .servers import serve, tls_context

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from .context import Context
    from .plan import Host

_CIPHERS = (
    "DEFAULT",
    "ECDHE+AESGCM",
    "ECDHE+CHACHA20:ECDHE+AESGCM",
    "HIGH:!aNULL",
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE+AES:!SHA1",
)
_SPARE_HASTE, _SPARE_PACE = 12.0, 3.0  # faster clocks than the one thin `rarer` tasks to the other
_WALL_RATE = 20.0  # packets a second of one media stream on the machine's own clock, at most


def compress(ctx: Context) -> float:
    """How much faster than real life the lab's clock runs (1 in attack recordings)."""
    return ctx.haste


def beat(ctx: Context, rate: float) -> float:
    """Real-life seconds between packets of a stream: in compressed days streams thin out, or they would drown all."""
    return max(1 / rate, compress(ctx) / _WALL_RATE)


def rarer(ctx: Context, period: float) -> float:
    """A period for what is there to be everywhere: in compressed days it comes less often, or it would drown all."""
    pace = compress(ctx)
    return period * (pace / _SPARE_PACE if pace > _SPARE_HASTE else 1.0)


def some(ctx: Context, *roles: str) -> Host | None:
    """One host of the first of these roles that the plan has, never this one."""
    for role in roles:
        if found := [h for h in ctx.plan.role(role) if h is not ctx.host]:
            return ctx.rng.choice(found)
    return None


def around(ctx: Context, value: float, spread: float = 2.0) -> float:
    """A particular of this device: the value times or divided by up to `spread`, evenly on a log scale."""
    return float(value * spread ** ctx.rng.uniform(-1, 1))


def outside(ctx: Context) -> tuple[str, str]:
    """A site on the internet: its name and address, for a device that always uses the same one."""
    return ctx.rng.choice(sorted(ctx.plan.sites.items()))


def tls_client(ctx: Context) -> ssl.SSLContext:
    """A TLS client in one of the many dialects devices speak."""
    made = ssl._create_unverified_context()
    with contextlib.suppress(ssl.SSLError):
        made.set_ciphers(ctx.rng.choice(_CIPHERS))
    if ctx.rng.random() < 0.35:
        made.maximum_version = ssl.TLSVersion.TLSv1_2
    if ctx.rng.random() < 0.5:
        made.set_alpn_protocols(ctx.rng.choice([["http/1.1"], ["h2", "http/1.1"]]))
    return made


def tls_connect(
    ctx: Context, dialect: ssl.SSLContext, address: str, port: int, name: str | None = None
) -> ssl.SSLSocket | None:
    """A TLS connection, or None where there is nobody or the handshake fails."""
    raw = ctx.connect(address, port)
    if raw is None:
        return None
    try:
        return dialect.wrap_socket(raw, server_hostname=name)
    except OSError:
        raw.close()
        return None


def part(ctx: Context, link: socket.socket | http.client.HTTPConnection | None) -> None:
    """Close; over TLS most programs say goodbye first (close_notify), some just hang up."""
    s = link.sock if isinstance(link, http.client.HTTPConnection) else link
    with contextlib.suppress(OSError, ValueError):
        if isinstance(s, ssl.SSLSocket) and ctx.rng.random() < 0.8:
            s.settimeout(1)
            s.unwrap()
    if link is not None:
        link.close()


def serve_tls(ctx: Context, port: int, talk: Callable[[socket.socket], None]) -> None:
    """Serve TLS on a port; the handshake runs in the connection's own thread."""
    server = tls_context(ctx)

    def shake(raw: socket.socket) -> None:
        raw.settimeout(20)
        with server.wrap_socket(raw, server_side=True) as s:
            talk(s)

    serve(ctx, port, shake)


def datagrams(
    ctx: Context, s: socket.socket, wait: float = 1.0, seconds: float = 1e9
) -> Iterator[tuple[bytes, tuple[str, int]] | None]:
    """What arrives on a UDP socket until the recording (or this many seconds of it) is over; None when silent."""
    until = min(ctx.end, time.time() + seconds)
    while (now := time.time()) < until:
        s.settimeout(max(0.01, min(wait, until - now)))
        try:
            yield s.recvfrom(2048)
        except OSError:
            yield None


def send(s: socket.socket, data: bytes, peer: tuple[str, int]) -> None:
    """Send a datagram; while the interface is down nothing is sent, and nothing breaks."""
    with contextlib.suppress(OSError):
        s.sendto(data, peer)


def typed(ctx: Context, args: list[str], lines: Iterable[str], pause: float, cwd: Path | None = None) -> None:
    """Run an interactive tool and type lines into it, each about `pause` seconds after the last."""
    client = subprocess.Popen(
        args, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=cwd
    )
    with contextlib.suppress(OSError):  # the tool ended by itself: a wrong password, a lost connection
        for line in lines:
            client.stdin.write(line.encode() + b"\n")  # type: ignore[union-attr]
            client.stdin.flush()  # type: ignore[union-attr]
            if not ctx.pause(pause, 0.9) or client.poll() is not None:
                break
    with contextlib.suppress(OSError):
        client.stdin.close()  # type: ignore[union-attr]
    try:
        client.wait(10)
    except subprocess.TimeoutExpired:
        client.kill()
        client.wait()


def bound(port: int) -> socket.socket:
    """A UDP socket on a port that may also broadcast."""
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    s.bind(("", port))
    return s
