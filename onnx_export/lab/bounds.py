"""What every attack function shares: a tool with an end, a bounded loop over threads, addresses of a network."""

from __future__ import annotations

import contextlib
import ipaddress
import threading
import time
from typing import TYPE_CHECKING

from .attacks import MAX_PACKETS, MAX_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from .context import Context

MAX_RATE = 500.0  # calls a second of one stand-in


def tool(ctx: Context, args: list[str], seconds: float) -> int:
    """Run a tool for at most this long; its own children end with it."""
    limit = min(seconds, MAX_SECONDS)
    return ctx.command(["timeout", "-k", "2", f"{limit:.0f}", *args], limit + 5)


def spread(
    ctx: Context, jobs: Iterable[Callable[[], None]], rate: float, threads: int = 1, seconds: float = MAX_SECONDS
) -> None:
    """Do the jobs from some threads, `rate` of them a second in all, bounded in number and time."""
    waiting = iter(jobs)
    lock = threading.Lock()
    until = min(ctx.end, time.time() + min(seconds, MAX_SECONDS))
    left = MAX_PACKETS
    wait = threads / min(rate, MAX_RATE)

    def work() -> None:
        nonlocal left
        while time.time() < until:
            with lock:
                job = next(waiting, None) if left else None
                left -= 1
            if job is None:
                return
            began = time.time()
            with contextlib.suppress(OSError):  # refused, reset, timed out: what attackers meet all day
                job()
            if not ctx.pause(max(0.0, wait - (time.time() - began)), 0.6):
                return

    running = [threading.Thread(target=work, daemon=True) for _ in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()


def addresses(targets: list[str]) -> list[str]:
    """Targets with every network written out as its addresses."""
    found: list[str] = []
    for target in targets:
        found += [str(a) for a in ipaddress.ip_network(target).hosts()] if "/" in target else [target]
    return found


def words(ctx: Context, count: int) -> list[str]:
    """This many different words in the manner of password lists."""
    first = ("summer", "winter", "admin", "stm", "pass", "nurse", "welcome", "ward", "changeme", "qwerty")
    last = ("", "1", "!", "01", "2024", "2025", "123", "#1")
    drawn = [f"{a}{ctx.rng.randrange(100)}{b}" for a in first for b in last]
    drawn += [f"{ctx.rng.choice(first)}{n}" for n in range(count)]
    return ctx.rng.sample(drawn, min(count, len(drawn)))
