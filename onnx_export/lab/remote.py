"""Remote administration with a screen: RDP-shaped sessions (TPKT, X.224, then TLS), and a vendor's remote support."""

from __future__ import annotations

import contextlib
import select
import socket
import struct
import time
from typing import TYPE_CHECKING

from . import habits
from .clients import SSH
from .plan import PASSWORD, USER
from .servers import serve, tls_context

if TYPE_CHECKING:
    import ssl

    from .context import Context

RDP, SUPPORT = 3389, 5938


def _x224(code: int, user: bytes, source: int) -> bytes:
    body = struct.pack(">BHHB", code, 0, source, 0) + user
    return struct.pack(">BBHB", 3, 0, len(body) + 5, len(body)) + body


def rdp_server(ctx: Context) -> None:
    """A desktop that may be looked at: negotiates TLS, then streams pictures while it is being used."""
    server, richness = tls_context(ctx), ctx.rng.uniform(0.3, 1.5)

    def talk(raw: socket.socket) -> None:
        head = raw.recv(4, socket.MSG_WAITALL)
        if len(head) < 4 or head[0] != 3:
            return
        asked = raw.recv(struct.unpack(">H", head[2:])[0] - 4, socket.MSG_WAITALL)
        wanted = struct.unpack("<I", asked[-4:])[0] if len(asked) > 12 and asked[-8:-7] == b"\x01" else 0
        raw.sendall(_x224(0xD0, struct.pack("<BBHI", 2, 0x1F, 8, 2 if wanted & 2 else 1), 0x1234))
        with server.wrap_socket(raw, server_side=True) as s:
            # the exchanges of CredSSP, MCS and licensing by their sizes only; one byte tells the login's luck
            s.settimeout(30)
            for size in (240, 350, 120, 400):
                said = s.recv(4096)
                if not said or said[:1] == b"\0":
                    return
                s.sendall(ctx.rng.randbytes(size))
            s.settimeout(300)
            while s.recv(4096):
                for _ in range(ctx.rng.choice([1, 1, 2, 6])):
                    s.sendall(ctx.rng.randbytes(int(ctx.rng.choice([120, 900, 4_000, 14_000]) * richness)))

    serve(ctx, RDP, talk)


def rdp_client(ctx: Context, period: float = 1800, session: float = 300, to: str = "") -> None:
    """The administrator on somebody's screen for `session` seconds; one login in eight fails first."""
    roles = [to] if to else ["workstation", "ehr", "pacs", "viewer", "hmi"]
    period, user = habits.around(ctx, period, 1.6), ctx.rng.choice([USER, "STMARY\\adm", "administrator"])
    wanted, pace = ctx.rng.choice([1, 3, 11]), habits.around(ctx, 3, 2)
    dialect = habits.tls_client(ctx)
    while ctx.pause(period, 0.7):
        target = habits.some(ctx, *ctx.rng.sample(roles, len(roles)))
        tries = [False, True] if ctx.rng.random() < 1 / 8 else [True]
        for good in tries:
            raw = ctx.connect(target.ip, RDP) if target else None
            if raw is None:
                break
            with contextlib.suppress(OSError):
                raw.sendall(
                    _x224(0xE0, f"Cookie: mstshash={user[:9]}\r\n".encode() + struct.pack("<BBHI", 1, 0, 8, wanted), 0)
                )
                raw.recv(19, socket.MSG_WAITALL)
                with dialect.wrap_socket(raw) as s:
                    _sit(ctx, s, good, habits.around(ctx, session, 2.5), pace)
                    habits.part(ctx, s)
            raw.close()
            ctx.pause(4)


def _sit(ctx: Context, s: ssl.SSLSocket, good: bool, session: float, pace: float) -> None:
    s.settimeout(10)
    for step, size in enumerate((160, 420, 300, 500)):
        s.sendall((b"\0" if step == 2 and not good else b"\1") + ctx.rng.randbytes(size))
        if not s.recv(4096):
            return
    left = session
    while left > 0 and ctx.pause(pace, 0.9):
        left -= pace
        s.sendall(ctx.rng.randbytes(ctx.rng.randint(20, 90)))
        _drain(s)


def _drain(s: ssl.SSLSocket, seconds: float = 0.3) -> None:
    """Read what has arrived; a connection that ended says so."""
    until = time.time() + seconds
    while time.time() < until and (s.pending() or select.select([s], [], [], 0.05)[0]):
        if not s.recv(65536):
            raise ConnectionError


def relay_server(ctx: Context, port: int = SUPPORT) -> None:
    """A TLS service on the internet that keeps connections: a vendor's support relay, a phone's push service."""

    def talk(s: socket.socket) -> None:
        s.settimeout(3600)
        while said := s.recv(8192):
            s.sendall(ctx.rng.randbytes(max(24, min(2 * len(said), int(len(said) * ctx.rng.uniform(0.2, 2))))))

    habits.serve_tls(ctx, port, talk)


def remote_support(ctx: Context, period: float = 14_400, session: float = 2400, at: float = 600) -> None:
    """A vendor helps from afar: a long connection to one address outside, TLS relay or SSH with somebody typing."""
    ssh, port = ctx.rng.random() < 0.4, SUPPORT
    name, address = habits.outside(ctx)
    dialect, wait, pace = habits.tls_client(ctx), habits.around(ctx, at, 1.5), habits.around(ctx, 4, 2)
    while ctx.pause(wait, 0.5):
        wait = period
        ctx.resolve(name)
        if ssh:
            _typed(ctx, address, habits.around(ctx, session), pace)
        elif s := habits.tls_connect(ctx, dialect, address, port, name):
            with s, contextlib.suppress(OSError):
                left = habits.around(ctx, session)
                while left > 0 and ctx.pause(pace, 0.9):
                    left -= pace
                    s.sendall(ctx.rng.randbytes(ctx.rng.choice([40, 80, 400, 3000])))
                    _drain(s)
                habits.part(ctx, s)


def _typed(ctx: Context, address: str, session: float, pace: float) -> None:
    """An SSH session in which lines are typed for so long."""
    args = ["sshpass", "-p", PASSWORD, "ssh", *SSH, f"{USER}@{address}", "sh"]
    lines = ["date", "ls -l /etc", "df -h", "ps aux", "head -c 3000 /etc/services"]
    count = max(1, int(session / (3 * pace)))
    habits.typed(ctx, args, (ctx.rng.choice(lines) for _ in range(count)), 3 * pace)


def ssh_console(ctx: Context, period: float = 5400, session: float = 1200) -> None:
    """The administrator's own long SSH session with a server of the house, mostly idle."""
    pace = habits.around(ctx, 15, 2)
    while ctx.pause(period, 0.6):
        if target := habits.some(ctx, *ctx.rng.sample(["pacs", "ris", "files", "broker", "monitor"], 5)):
            _typed(ctx, target.ip, habits.around(ctx, session, 2.5), pace)
