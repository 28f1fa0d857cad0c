"""Attacks that last a number of seconds: their beat, their small talk over a socket, and their Variant."""

from __future__ import annotations

import contextlib
import socket
import time
from typing import TYPE_CHECKING, Any

from .attacks import MAX_SECONDS
from .variant import Variant

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .context import Context

MAX_BEATS = 3000
MIN_PERIOD = 0.02


def beats(ctx: Context, seconds: float, period: float, jitter: float = 0.3, delay: float = 0) -> Iterator[int]:
    """Count from 0 once a period, after a delay, for this many seconds (all of it bounded)."""
    if delay and not ctx.pause(delay, 0):
        return
    until = time.time() + min(seconds, MAX_SECONDS)
    for number in range(MAX_BEATS):
        yield number
        if not ctx.pause(max(period, MIN_PERIOD), jitter) or time.time() >= until:
            return


def say(ctx: Context, address: str, port: int, parts: list[bytes], gap: float = 0, timeout: float = 3) -> list[bytes]:
    """Over one TCP connection send each part and wait for what comes back; the answers until the peer closes."""
    answers: list[bytes] = []
    if s := ctx.connect(address, port, timeout):
        with s, contextlib.suppress(OSError):
            s.settimeout(timeout)
            for part in parts:
                s.sendall(part)
                if gap and not ctx.pause(gap):
                    break
                answers.append(s.recv(65536))
                if not answers[-1]:
                    break
    return answers


def ask_udp(address: str, port: int, body: bytes, timeout: float = 1.0, source: int = 0) -> bytes:
    """One datagram from a fresh port; the answer, or nothing."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.settimeout(timeout)
        try:
            if source:
                s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                s.bind(("", source))
            s.sendto(body, (address, port))
            return s.recv(4096)
        except OSError:
            return b""


def lasting(
    label: str,
    group: str,
    detail: str,
    run: str,
    to: tuple[str, ...],
    seconds: float,
    by: str = "attacker",
    sources: int = 1,
    match: dict[str, Any] | None = None,
    shape: str = "direct",
    **with_: Any,
) -> Variant:
    """A Variant whose function takes `seconds` beside its other parameters."""
    return Variant(label, detail, group, run, to, by, sources, {"seconds": seconds, **with_}, match or {}, shape,
                   with_.get("delay", 0) + seconds)  # fmt: skip
