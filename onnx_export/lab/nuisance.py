"""What goes wrong in a house where nobody attacks: stale passwords, outages, typos, reboots, lost addresses."""

from __future__ import annotations

import base64
import contextlib
import ftplib
import http.client
import socket
import ssl
import struct
import threading
from typing import TYPE_CHECKING

from . import habits, management, sandbox
from .clients import SSH
from .context import ask
from .plan import USER, ZONE
from .servers import _Server
from .shares import _smb

if TYPE_CHECKING:
    from .context import Context

_NOBODY = "192.0.2.251"  # a documentation address that nothing answers on
_OLD = ("Kreuzgang-76", "kreuzgang-77", "Sommer2025", "imaging")


def stale_password(ctx: Context, period: float = 60, at: float = 600, lasts: float = 3600, kind: str = "") -> None:
    """An agent that was not told of the new password tries the old one every `period` until somebody notices.

    `kind` is mqtt, ftp, smb, http, imap, ssh or snmp; drawn where not given. It starts after `at`, ends after `lasts`.
    """
    kind = kind or ctx.rng.choice(["mqtt", "ftp", "smb", "http", "imap", "ssh", "snmp"])
    period, password = habits.around(ctx, period, 1.6), ctx.rng.choice(_OLD)
    jitter, twice = ctx.rng.choice([0.01, 0.1, 0.4]), ctx.rng.random() < 0.2
    if not ctx.pause(habits.around(ctx, at)):
        return
    left = habits.around(ctx, lasts)
    while left > 0 and ctx.pause(period, jitter):
        left -= period
        for _ in range(1 + twice):
            with contextlib.suppress(OSError, EOFError, ftplib.Error, http.client.HTTPException):
                _try(ctx, kind, password)


def _try(ctx: Context, kind: str, password: str) -> None:
    plan, host = ctx.plan, ctx.host.name.encode()
    files = plan.one("files").ip
    if kind == "ftp":
        with ftplib.FTP(timeout=8) as ftp:
            ftp.connect(files)
            ftp.login(USER, password)
    elif kind == "smb":
        _smb(ctx, [], ["ls"], password)
    elif kind == "http":
        proof = base64.b64encode(f"{USER}:{password}".encode()).decode()
        link = http.client.HTTPConnection(plan.one("ris").ip, 80, timeout=6)
        link.request("GET", "/admin/export", headers={"Authorization": f"Basic {proof}", "User-Agent": "agent/2"})
        link.getresponse().read()
        link.close()
    elif kind == "snmp":
        management.snmp_get(ctx, plan.one("printer").ip, 1, password.encode())
    elif kind == "ssh":
        ctx.command(["sshpass", "-p", password, "ssh", *SSH, f"{USER}@{files}", "true"], 15)
    elif kind == "imap":
        with socket.create_connection((files, 143), 6) as s:
            for line in (b"", b'a LOGIN %s "%s"\r\n' % (USER.encode(), password.encode()), b"b LOGOUT\r\n"):
                s.sendall(line)
                s.recv(500)
    else:
        text = [b"MQTT", host + b"-a", USER.encode(), password.encode()]
        body = (
            struct.pack(">H", 4)
            + text[0]
            + b"\x04\xc2\0\x3c"
            + b"".join(struct.pack(">H", len(t)) + t for t in text[1:])
        )
        with socket.create_connection((plan.one("broker").ip, 1883), 6) as s:
            s.sendall(b"\x10" + bytes([len(body)]) + body)
            s.recv(100)


def outage_server(ctx: Context, port: int = 8080, up: float = 1800, down: float = 300) -> None:
    """A service that is there for a while and away for minutes, again and again: it answers, then refuses."""

    def talk(s: socket.socket) -> None:
        s.settimeout(20)
        while said := s.recv(4096):
            s.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfine\n" if said[:4] == b"GET " else b"OK\n")

    class Handler:
        def __init__(self, request: socket.socket, *_: object) -> None:
            talk(request)

    while True:
        with _Server(("", port), Handler) as server:  # type: ignore[arg-type]
            threading.Thread(target=server.serve_forever, daemon=True).start()
            alive = ctx.pause(habits.around(ctx, up), 0.3)
            server.shutdown()
        if not alive or not ctx.pause(habits.around(ctx, down), 0.3):
            return


def retry_client(ctx: Context, to: str = "monitor", port: int = 8080, period: float = 60) -> None:
    """Works with a service that is sometimes away: then retries at once, later and later, or stubbornly."""
    style, period = ctx.rng.choice(["backoff", "stubborn", "burst"]), habits.around(ctx, period, 1.8)
    wait, server = period, ctx.plan.one(to).ip
    while ctx.pause(wait, 0.2):
        if s := ctx.connect(server, port, 4):
            wait = period
            with s, contextlib.suppress(OSError):
                s.settimeout(5)
                s.sendall(b"GET /status HTTP/1.1\r\nHost: status\r\n\r\n")
                s.recv(500)
        elif style == "backoff":
            wait = min(max(period / 8, wait * 2 if wait != period else period / 8), period * 4)
        else:
            wait = period / (10 if style == "burst" else 3)


def dns_storm(ctx: Context, period: float = 600, burst: int = 30) -> None:
    """A program that cannot find its server: mistyped or suffixed names, asked again and again within a minute."""
    suffixes = [f".{ZONE}", ".lan", ".local", f".ad.{ZONE}", ".corp", ""]
    period, kinds = habits.around(ctx, period, 2), ctx.rng.choice([[1], [1, 28], [1, 28, 33], [12]])
    wrong = ctx.rng.choice(["ehr-new", "wpad", "_ldap._tcp.dc", "licence01", "db.old", "isatap", "sql-prod", "prnt2"])
    server = ctx.plan.one("dns").ip
    while ctx.pause(period, 0.9):
        name = wrong if ctx.rng.random() < 0.7 else ctx.rng.choice(sorted(ctx.plan.sites)).replace("e", "", 1)
        for number in range(ctx.rng.randint(3, burst)):
            kind = kinds[number % len(kinds)]
            asked = name + suffixes[number % len(suffixes)]
            threading.Thread(target=ask, args=(server, asked, kind, ctx.rng), daemon=True).start()
            if not ctx.pause(ctx.rng.choice([0.05, 0.5, 3])):
                return


def _away(ctx: Context, seconds: float) -> bool:
    """Take the interface down for so long and bring it, with its routes, back."""
    routes = [r for r in sandbox.sh("ip -4 route show", check=False).splitlines() if r and "proto kernel" not in r]
    sandbox.sh("ip link set eth0 down", check=False)
    going = ctx.pause(seconds, 0.3)
    sandbox.sh("ip link set eth0 up", check=False)
    for route in routes:
        sandbox.sh(f"ip route replace {route.replace(' linkdown', '')}", check=False)
    return going


def reboot(ctx: Context, period: float = 28_800, down: float = 40) -> None:
    """A device that restarts: gone for 20 to 60 s, then DHCP and a gratuitous ARP."""
    while ctx.pause(period, 0.9):
        if not _away(ctx, down * ctx.rng.uniform(0.5, 1.5)):
            return
        ctx.command(["busybox", "udhcpc", "-i", "eth0", "-f", "-n", "-q", "-s", "/bin/true", "-t", "2", "-T", "2"], 15)
        ctx.command(["arping", "-q", "-c", "2", "-U", "-S", ctx.host.ip, "-i", "eth0", ctx.host.ip], 5)


def flap(ctx: Context, period: float = 3600, down: float = 3) -> None:
    """A loose plug: the link is away for 1 to 5 s, once or several times in a row."""
    while ctx.pause(period, 0.9):
        for _ in range(ctx.rng.choice([1, 1, 2, 4])):
            if not _away(ctx, down * ctx.rng.uniform(0.3, 1.7)) or not ctx.pause(4, 0.8):
                return


def lost_poll(ctx: Context, period: float = 60) -> None:
    """A device set up for an address that is not there: TCP or UDP, in its own segment, another, or outside."""
    used = {h.ip for h in ctx.plan.hosts} | set(ctx.plan.internet)
    near, far = ctx.host.ip, ctx.rng.choice(ctx.plan.hosts).ip
    base = ctx.rng.choice([near, near, far]).rsplit(".", 1)[0]
    gone = ctx.rng.choice([a for a in (f"{base}.{n}" for n in range(2, 251)) if a not in used] + [_NOBODY] * 60)
    port = ctx.rng.choice([104, 2575, 1883, 502, 443, 8443, 1433, 445, 161, 514, 123, 47808, 5683])
    udp, period = port in {161, 514, 123, 47808, 5683}, habits.around(ctx, period, 2.5)
    retries, jitter, wait = ctx.rng.choice([0, 1, 2]), ctx.rng.choice([0.0, 0.1, 0.6]), ctx.rng.choice([1.0, 3.0, 8.0])
    while ctx.pause(period, jitter):
        for _ in range(1 + retries):
            if udp:
                with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
                    s.sendto(ctx.rng.randbytes(ctx.rng.randint(30, 90)), (gone, port))
            elif s2 := ctx.connect(gone, port, wait):
                s2.close()


def double_poll(ctx: Context, period: float = 60) -> None:
    """Two copies of one program: each status page asked for, each SNMP value read, twice at the same moment."""
    style, period = ctx.rng.choice(["http", "snmp", "connect", "ping"]), habits.around(ctx, period, 2)
    roles = {"http": ["ris", "monitor"], "snmp": ["printer", "plc", "pacs"], "connect": ["pacs", "ris", "broker"],
             "ping": ["files", "ehr", "gateway"]}[style]  # fmt: skip
    target = habits.some(ctx, *ctx.rng.sample(roles, len(roles)))

    def one() -> None:
        with contextlib.suppress(OSError, http.client.HTTPException):
            if style == "http":
                link = http.client.HTTPConnection(target.ip, 80, timeout=5)  # type: ignore[union-attr]
                link.request("GET", "/api/state")
                link.getresponse().read()
                link.close()
            elif style == "snmp":
                management.snmp_get(ctx, target.ip, ctx.rng.randint(1, 6))  # type: ignore[union-attr]
            elif style == "ping":
                management.ping(target.ip)  # type: ignore[union-attr]
            elif s := ctx.connect(target.ip, {"pacs": 104, "ris": 2575}.get(target.role, 1883)):  # type: ignore[union-attr]
                s.close()

    while target is not None and ctx.pause(period, 0.05):
        for _ in range(2):
            threading.Thread(target=one, daemon=True).start()


def ntp_unreachable(ctx: Context, period: float = 128) -> None:
    """A device whose time server is gone: it asks on, in bursts or steadily, and hears nothing."""
    used, period, burst = {h.ip for h in ctx.plan.hosts}, habits.around(ctx, period, 2), ctx.rng.choice([1, 1, 4, 8])
    base = ctx.host.ip.rsplit(".", 1)[0]
    server = ctx.rng.choice([_NOBODY, next(a for a in (f"{base}.{n}" for n in range(3, 250)) if a not in used)])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        while ctx.pause(period, 0.1):
            for _ in range(burst):
                with contextlib.suppress(OSError):
                    s.sendto(struct.pack(">B47x", 0xE3), (server, 123))
                ctx.pause(2)


def picky_client(ctx: Context, period: float = 300) -> None:
    """A program that does not know the server's certificate: it ends each TLS handshake with an alert."""
    dialect, server = ssl.create_default_context(), habits.some(ctx, *ctx.rng.sample(["ehr", "fhir", "pacs"], 3))
    period = habits.around(ctx, period, 2)
    while server is not None and ctx.pause(period, 0.2):
        if s := ctx.connect(server.ip, 443):
            with contextlib.suppress(OSError), s, dialect.wrap_socket(s, server_hostname=f"{server.name}.{ZONE}"):
                pass


def discovery(ctx: Context, at: float = 1800, period: float = 86_400, gap: float = 1.0) -> None:
    """The asset inventory looks at one segment, gently and once a day: ping, SNMP, a few well-known ports."""
    ports = ctx.rng.sample([22, 23, 80, 443, 445, 515, 631, 3389, 9100, 104, 502], ctx.rng.randint(2, 4))
    step, community = ctx.rng.choice([1, 1, 4]), ctx.rng.choice([b"public", b"private"])
    wait = habits.around(ctx, at, 1.5)
    while ctx.pause(wait, 0.1):
        wait = period
        base = ctx.rng.choice(list(ctx.plan.subnets.values())).rsplit(".", 1)[0]
        for number in range(ctx.rng.randint(1, step), 255, step):
            address, known = f"{base}.{number}", any(h.ip == f"{base}.{number}" for h in ctx.plan.hosts)
            management.ping(address)
            for port in ports if known or ctx.rng.random() < 0.05 else []:
                if s := ctx.connect(address, port, 1.0):
                    s.close()
            if known:
                management.snmp_get(ctx, address, 1, community)
            if not ctx.pause(gap, 0.8):
                return


def captive_check(ctx: Context, period: float = 300) -> None:
    """What phones and laptops ask to learn whether they are online: one small page over HTTP, one site for ever."""
    name, address = habits.outside(ctx)
    path, period = (
        ctx.rng.choice(["/static/success.txt", "/api/generate_204", "/api/connecttest.txt"]),
        habits.around(ctx, period),
    )
    while ctx.pause(period, 0.3):
        ctx.resolve(name)
        with contextlib.suppress(OSError, http.client.HTTPException):
            link = http.client.HTTPConnection(address, 80, timeout=5)
            link.request(
                "GET", path, headers={"Host": name, "User-Agent": "CaptiveNetworkSupport-428", "Connection": "close"}
            )
            link.getresponse().read()
            link.close()
