"""Visitors' phones and laptops: many sites over TLS, a push connection that stays, checks for a way out."""

from __future__ import annotations

import contextlib
import http.client
import threading
from typing import TYPE_CHECKING

from . import habits
from .clients import announcer
from .context import ask
from .nuisance import captive_check

if TYPE_CHECKING:
    from .context import Context

PUSH = 5223


def guest_phone(ctx: Context, period: float = 90, away: float = 0.5) -> None:
    """A visitor's phone or laptop: bursts of sites, push, mDNS, captive check; it sleeps `away` of the time.

    How many sites it likes, how it speaks TLS, how much it uploads and how long it is used at a time are drawn.
    """
    for behaviour, pace in ((captive_check, 4), (announcer, 2), (push_client, 3)):
        threading.Thread(target=behaviour, args=(ctx, pace * period), daemon=True).start()
    likes = ctx.rng.sample(sorted(ctx.plan.sites.items()), min(len(ctx.plan.sites), ctx.rng.randint(4, 30)))
    dialect, period = habits.tls_client(ctx), habits.around(ctx, period, 2)
    uploads, burst, used = ctx.rng.choice([0.02, 0.15]), ctx.rng.randint(2, 10), habits.around(ctx, 600, 3)
    agent = ctx.rng.choice(
        ["Mozilla/5.0 (iPhone)", "Mozilla/5.0 (Android 14)", "Mozilla/5.0 (Macintosh)", "okhttp/4.12"]
    )
    server = ctx.plan.one("dns").ip

    def visit(name: str, address: str) -> None:
        ask(server, name, ctx.rng.choice([1, 28, 65]), ctx.rng)
        if ctx.resolve(name) is None:
            return
        link = http.client.HTTPSConnection(address, 443, timeout=8, context=dialect)
        with contextlib.suppress(OSError, http.client.HTTPException):
            if ctx.rng.random() < uploads:
                body = ctx.rng.randbytes(max(100, int(ctx.rng.randint(30_000, 1_500_000) * ctx.plan.volume)))
                link.request("POST", "/api/photo", body, {"User-Agent": agent, "Host": name})
                link.getresponse().read()
            for _ in range(ctx.rng.randint(1, 6)):
                path = f"/{ctx.rng.choice(['api', 'static', 'app'])}/{ctx.rng.randrange(500)}"
                link.request("GET", path, headers={"User-Agent": agent, "Host": name})
                link.getresponse().read()
        habits.part(ctx, link)

    left = used
    while ctx.pause(period, 0.9):
        for name, address in ctx.rng.sample(likes, min(len(likes), ctx.rng.randint(1, burst))):
            threading.Thread(target=visit, args=(name, address), daemon=True).start()
        left -= period
        if left <= 0:
            left = used
            if not ctx.pause(used * away / max(0.05, 1 - away), 0.6):
                return


def push_client(ctx: Context, period: float = 240) -> None:
    """A TLS connection that stays open for hours and says a few bytes every `period`; made anew when it breaks."""
    name, address = habits.outside(ctx)
    dialect, period = habits.tls_client(ctx), habits.around(ctx, period, 2)
    while True:
        ctx.resolve(name)
        if s := habits.tls_connect(ctx, dialect, address, PUSH, name):
            s.settimeout(10)
            with s, contextlib.suppress(OSError):
                while ctx.pause(period, 0.2):
                    s.sendall(ctx.rng.randbytes(ctx.rng.randint(20, 120)))
                    if not s.recv(4096):
                        break
                habits.part(ctx, s)
        if not ctx.pause(20, 0.5):
            return
