"""Honest business on every port that attacks use: other houses, vendors, device pages, checks of open and closed ports.

So a port tells little: what makes an attack one is what is done there, how often and to whom.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import threading
from typing import TYPE_CHECKING

from . import dicom_wire, habits, management, mqtt_wire
from .clients import SSH, fetch
from .context import ask
from .plan import PASSWORD, TLS_PORTS, USER

if TYPE_CHECKING:
    from collections.abc import Callable

    from .context import Context
    from .plan import Host

_NOBODY = "192.0.2.251"  # a documentation address that nothing answers on
WEB = (80, 443, 8000, 8080, 8443, 8888, 9443, 5000)
# What other houses and vendors offer on the internet, see roles.py; by kind of exchange.
FAR: dict[str, tuple[int, ...]] = {
    "web": (8080, 8000, 8888, 8443, 9443, 5000, 80, 443),
    "line": (4444, 9001, 5555),
    "chat": (6667, 6697, 7000),
    "datagram": (16464, 34567, 49001),
    "telemetry": (1883, 1884, 18830),
    "mail": (25, 587),
    "image": (11112, 104, 4242),
    "message": (6661, 2576),
    "shell": (22, 2222, 22022, 8022),
    "log": (4445, 5556),
    "file": (21,),
    "name": (53,),
    "echo": (0,),
}
_OFTEN = {"web": 6, "line": 2, "chat": 2, "datagram": 3, "name": 4, "telemetry": 2, "echo": 2}
# Ports that inventories and checks look at beside those a device is known for.
LOOKED_AT = (21, 22, 23, 25, 80, 102, 104, 110, 135, 139, 143, 389, 443, 445, 502, 515, 554, 631, 1433, 1883, 2323,
             2575, 3306, 3389, 4242, 4840, 5000, 5555, 5900, 8000, 8022, 8080, 8089, 8443, 8883, 8888, 9100, 9443,
             11112)  # fmt: skip
_LOOKED_AT_UDP = (9, 53, 68, 69, 111, 123, 137, 161, 162, 500, 514, 1900, 5060, 5353, 47808)


def partner(ctx: Context, period: float = 240) -> None:
    """A device that works with others outside: a few of these exchanges, each with its own partner and beat.

    One in eight goes wrong: to an address where nobody is, or broken off.
    """
    kinds = ctx.rng.choices(list(FAR), [_OFTEN.get(kind, 1) for kind in FAR], k=4)
    # the last addresses are the attackers': what goes there from a host that was taken over is labelled as theirs
    honest = ctx.plan.internet[:-5]
    known = [(kind, ctx.rng.choice(FAR[kind]), ctx.rng.choice(honest)) for kind in kinds]
    period, jitter = habits.around(ctx, habits.rarer(ctx, period), 1.5), ctx.rng.choice([0.05, 0.3, 0.8])
    while ctx.pause(period, jitter):
        kind, port, address = ctx.rng.choice(known)
        if ctx.rng.random() < 0.12:
            address = _NOBODY
        threading.Thread(target=_exchange, args=(ctx, kind, port, address), daemon=True).start()


def _exchange(ctx: Context, kind: str, port: int, address: str) -> None:
    done: dict[str, Callable[[Context, str, int], None]] = {
        "web": _web, "line": _line, "chat": _chat, "datagram": _datagrams, "telemetry": _telemetry, "mail": _mail,
        "image": _image, "message": _message, "shell": _shell, "log": _log, "file": _file, "name": _name, "echo": _echo,
    }  # fmt: skip
    with contextlib.suppress(OSError):
        done[kind](ctx, address, port)


def _web(ctx: Context, address: str, port: int) -> None:
    for _ in range(ctx.rng.randint(1, 3)):
        fetch(ctx, address, port, [f"/api/{ctx.rng.randrange(99)}" for _ in range(ctx.rng.randint(1, 3))])


def _line(ctx: Context, address: str, port: int) -> None:
    """A vendor's service line: it asks for values, the device answers."""
    if s := ctx.connect(address, port, 3):
        with s:
            s.settimeout(8)
            for _ in range(ctx.rng.randint(1, 6)):
                if not s.recv(4096):
                    return
                s.sendall(os.urandom(ctx.rng.randint(10, 900)))


def _chat(ctx: Context, address: str, port: int) -> None:
    """The on-call team's messages: join, a line or two, wait for others, leave."""
    if s := ctx.connect(address, port, 3):
        with s:
            s.settimeout(6)
            s.sendall(f"NICK {ctx.host.name}\r\nUSER {ctx.host.name} 0 * :{ctx.host.role}\r\nJOIN #oncall\r\n".encode())
            for _ in range(ctx.rng.randint(1, 5)):
                if not s.recv(4096):
                    return
                s.sendall(b"PRIVMSG #oncall :" + os.urandom(ctx.rng.randint(5, 50)).hex().encode() + b"\r\n")


def _datagrams(ctx: Context, address: str, port: int) -> None:
    """Calls and updates from other peers: some datagrams each way."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.settimeout(0.7)
        for _ in range(ctx.rng.choice([1, 1, 3, 12])):
            s.sendto(os.urandom(ctx.rng.randint(20, 400)), (address, port))
            with contextlib.suppress(TimeoutError):
                s.recv(2000)


def _telemetry(ctx: Context, address: str, port: int) -> None:
    with mqtt_wire.connect(ctx, address, port, login=False) as s:
        for n in range(ctx.rng.randint(1, 8)):
            mqtt_wire.publish(s, f"device/{ctx.host.name}/{n}", os.urandom(ctx.rng.randint(8, 200)))
        mqtt_wire.leave(s)


def _mail(ctx: Context, address: str, port: int) -> None:
    if s := ctx.connect(address, port, 3):
        with s:
            s.settimeout(4)
            text = os.urandom(ctx.rng.randint(100, 6000)).hex().encode()
            for line in (b"", b"EHLO ward", b"MAIL FROM:<a@stmary.example>", b"RCPT TO:<b@relay.example>", b"DATA",
                         text + b"\r\n.", b"QUIT"):  # fmt: skip
                if line:
                    s.sendall(line + b"\r\n")
                s.recv(500)


def _image(ctx: Context, address: str, port: int) -> None:
    """Is the other house's archive there? An association and an echo."""
    if s := ctx.connect(address, port, 3):
        with s:
            s.settimeout(4)
            if dicom_wire.associate(s, "ARCHIVE", "STMARY"):
                dicom_wire.echo(s)
                dicom_wire.release(s)


def _message(ctx: Context, address: str, port: int) -> None:
    if s := ctx.connect(address, port, 3):
        with s:
            s.settimeout(4)
            for n in range(ctx.rng.randint(1, 4)):
                text = f"MSH|^~\\&|LAB|STM|REF|EXT|20260101||ORM^O01|{n}|P|2.5\rOBR|1||{ctx.rng.randrange(10**6)}"
                s.sendall(b"\x0b" + text.encode() + b"\r\x1c\r")
                s.recv(500)


def _shell(ctx: Context, address: str, port: int) -> None:
    """A vendor's account on a far host: is the delivery there?"""
    ctx.command(["sshpass", "-p", PASSWORD, "ssh", "-p", str(port), *SSH, f"{USER}@{address}", "true"], 12)


def _log(ctx: Context, address: str, port: int) -> None:
    if s := ctx.connect(address, port, 3):
        with s:
            s.sendall(os.urandom(int(ctx.rng.randint(500, 60_000) * (0.3 + ctx.plan.volume))))
            s.shutdown(socket.SHUT_WR)
            s.settimeout(3)
            s.recv(10)


def _file(ctx: Context, address: str, port: int) -> None:
    """A partner's FTP: greeting, a login that may be refused, goodbye."""
    if s := ctx.connect(address, port, 3):
        with s:
            s.settimeout(4)
            for line in (f"USER {USER}", f"PASS {PASSWORD}", "PWD", "QUIT"):
                s.recv(500)
                s.sendall(line.encode() + b"\r\n")


def _long(ctx: Context) -> str:
    """A name as content networks, mail filters and virus scanners ask for: long, and mostly new."""
    digits = f"{ctx.rng.randrange(16**40):x}"
    return ctx.rng.choice([f"{digits[:32]}.avqs.example", f"e{digits[:5]}.a.{digits[5:17]}.cdn.example",
                            f"{digits[:2]}.{digits[2:4]}.{digits[4:7]}.bl.example", f"{digits}.s.example"])  # fmt: skip


def _name(ctx: Context, address: str, port: int) -> None:
    for _ in range(ctx.rng.choice([1, 2, 6])):
        ask(address, _long(ctx), ctx.rng.choice([1, 16, 28]), ctx.rng, 1.0)


def _echo(ctx: Context, address: str, port: int) -> None:
    """Is the line all right? Pings of several sizes, as path-MTU probes and monitors send them."""
    size = ctx.rng.choice([56, 400, 900, 1300, 1400])
    times = str(ctx.rng.randint(1, 3))
    ctx.command(["ping", "-q", "-n", "-c", times, "-i", "0.3", "-W", "1", "-s", str(size), address], 6)


def long_names(ctx: Context, period: float = 600) -> None:
    """A virus scanner or mail filter asks the resolver for signatures of what it sees, TXT and A, in bursts."""
    server = ctx.plan.one("dns").ip
    period, kinds = habits.around(ctx, habits.rarer(ctx, period), 1.6), ctx.rng.choice([[16], [1], [1, 28], [16, 1]])
    while ctx.pause(period, 0.9):
        for _ in range(ctx.rng.randint(1, 14)):
            ask(server, _long(ctx), ctx.rng.choice(kinds), ctx.rng, 1.0)
            if not ctx.pause(ctx.rng.choice([0.2, 2]), 0.9):
                return


def pages(ctx: Context) -> list[tuple[Host, int]]:
    """Every page a device of the house has: host and port."""
    return [(h, task["port"]) for h in ctx.plan.hosts if h.role != "internet" and h is not ctx.host
            for name, task in h.tasks if name == "http_server"]  # fmt: skip


def device_pages(ctx: Context, period: float = 120) -> None:
    """Someone, or a program, who looks at devices' own pages: a page or a burst of them, on whatever port it is."""
    known = pages(ctx)
    likes, period = ctx.rng.sample(known, min(len(known), ctx.rng.randint(8, 20))), habits.rarer(ctx, period)
    while ctx.pause(period, 0.8):
        host, port = ctx.rng.choice(likes)
        for _ in range(ctx.rng.choice([1, 1, 2, 4])):
            paths = [ctx.rng.choice(["/", "/login", f"/app/{ctx.rng.randrange(60)}", "/static/logo", "/config",
                                     f"/search?q=ward{ctx.rng.randrange(60)}"])
                     for _ in range(ctx.rng.randint(1, 3))]  # fmt: skip
            if ctx.rng.random() < 0.08 and port in TLS_PORTS:  # a browser that does not like the certificate
                if s := ctx.connect(host.ip, port, 2):
                    s.close()
                continue
            threading.Thread(target=fetch, args=(ctx, host.ip, port, paths), daemon=True).start()


def port_checks(ctx: Context, period: float = 5, closed: float = 0.3) -> None:
    """A monitoring server or the devices' inventory: is this port open on that host? One question at a time.

    A share `closed` of the questions is for ports nobody said are open: what is left of old configurations, and
    inventories that want to know.
    """
    hosts = [h for h in ctx.plan.hosts if h.role not in ("attacker", "internet") and h is not ctx.host]
    period = habits.rarer(ctx, period)
    while ctx.pause(period, 0.5):
        host = ctx.rng.choice(hosts)
        open_ = [*management.SERVICES.get(host.role, []), *(p for h, p in pages(ctx) if h is host)]
        if ctx.rng.random() < 0.25:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s, contextlib.suppress(OSError):
                s.settimeout(0.5)
                s.sendto(struct.pack(">B47x", 0x23), (host.ip, ctx.rng.choice(_LOOKED_AT_UDP)))
                s.recv(500)
        elif ctx.rng.random() < closed or not open_:
            for port in ctx.rng.sample(LOOKED_AT, ctx.rng.randint(1, 3)):
                if s2 := ctx.connect(host.ip, port, 1.0):
                    s2.close()
        elif s3 := ctx.connect(host.ip, ctx.rng.choice(open_), 2.0):
            with s3, contextlib.suppress(OSError):
                if ctx.rng.random() < 0.4:
                    s3.settimeout(0.5)
                    s3.recv(200)
