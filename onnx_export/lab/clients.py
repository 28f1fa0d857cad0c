"""What the hospital's machines do all day: web, files, print, admin, names, time, logs."""

from __future__ import annotations

import contextlib
import ftplib
import http.client
import io
import os
import socket
import ssl
import struct
import threading
import time
from typing import TYPE_CHECKING

from . import habits
from .context import ask
from .plan import PASSWORD, TLS_PORTS, USER, ZONE

if TYPE_CHECKING:
    from .context import Context

SSH = ["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR",
       "-o", "ConnectTimeout=5", "-o", "NumberOfPasswordPrompts=1"]  # fmt: skip


def fetch(ctx: Context, address: str, port: int, paths: list[str], headers: dict[str, str] | None = None) -> None:
    """GET some paths over one connection (TLS on 443); failures are silent, as in a browser tab."""
    made: http.client.HTTPConnection
    if port in TLS_PORTS:
        made = http.client.HTTPSConnection(address, port, timeout=6, context=ssl._create_unverified_context())
    else:
        made = http.client.HTTPConnection(address, port, timeout=6)
    try:
        for path in paths:
            made.request("GET", path, headers={"User-Agent": "Mozilla/5.0", **(headers or {})})
            made.getresponse().read()
    except (OSError, http.client.HTTPException):
        pass
    finally:
        habits.part(ctx, made)


def boot(ctx: Context) -> None:
    """Come up some time, perhaps again later: DHCP from nothing, a gratuitous ARP."""
    if not ctx.pause(ctx.rng.uniform(1, 40), 0):
        return
    for _ in range(1 + (ctx.rng.random() < 0.15)):
        ctx.command(["busybox", "udhcpc", "-i", "eth0", "-f", "-n", "-q", "-s", "/bin/true", "-t", "2", "-T", "2"], 15)
        ctx.command(["arping", "-q", "-c", "2", "-U", "-S", ctx.host.ip, "-i", "eth0", ctx.host.ip], 5)
        if not ctx.pause(ctx.rng.uniform(60, 200), 0):
            return


def ntp_client(ctx: Context, period: float = 64) -> None:
    """Ask for the time, mostly of the hospital's server."""
    own = ctx.rng.random() < 0.75
    while ctx.pause(period * ctx.rng.uniform(0.3, 1)):
        server = ctx.resolve(f"dns.{ZONE}") if own else ctx.plan.internet[0]
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            s.settimeout(1)
            try:
                s.sendto(struct.pack(">B47x", 0x23), (server or ctx.plan.internet[0], 123))
                s.recv(100)
            except OSError:
                continue


def syslog_client(ctx: Context, period: float = 20) -> None:
    """Lines of log in little bursts."""
    server = ctx.plan.one("monitor").ip
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        while ctx.pause(period, 0.9):
            for _ in range(ctx.rng.randint(1, 5)):
                text = b"<30>" + ctx.host.name.encode() + b" service: " + b"x" * ctx.rng.randint(20, 160)
                habits.send(s, text, (server, 514))


def announcer(ctx: Context, period: float = 45) -> None:
    """mDNS and SSDP, as desktops and printers shout them."""
    body = b'M-SEARCH * HTTP/1.1\r\nHOST: 239.255.255.250:1900\r\nMAN: "ssdp:discover"\r\nMX: 2\r\nST: ssdp:all\r\n\r\n'
    asked = struct.pack(">HHHHHH", 0, 0, 1, 0, 0, 0) + b"\x04_ipp\x04_tcp\x05local\0\0\x0c\0\x01"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(ctx.host.ip))
        s.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 255)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        s.bind(("", 5353))
        while ctx.pause(period, 0.8):
            habits.send(s, asked, ("224.0.0.251", 5353))
            if ctx.rng.random() < 0.5:
                with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
                    for _ in range(3):
                        habits.send(other, body, ("239.255.255.250", 1900))


def dns_noise(ctx: Context, period: float = 12) -> None:
    """Names asked for no visible reason: typos, search suffixes, reverse look-ups, AAAA."""
    sites = list(ctx.plan.sites)
    while ctx.pause(period, 0.9):
        name = ctx.rng.choice(sites)
        draw = ctx.rng.random()
        if draw < 0.15:
            name = name.replace(name[1], "", 1)
        elif draw < 0.3:
            name = f"{name}.{ZONE}"
        elif draw < 0.4:
            name = ".".join(reversed(ctx.rng.choice(ctx.plan.hosts).ip.split("."))) + ".in-addr.arpa"
        ask(ctx.plan.one("dns").ip, name, 12 if name.endswith("arpa") else ctx.rng.choice([1, 1, 28]), ctx.rng)


def dns_heavy(ctx: Context, per_minute: int = 400, nxdomain: float = 0.15) -> None:
    """A resolver or mail filter: hundreds of names a minute asked of servers on the internet."""
    sites = list(ctx.plan.sites)
    while ctx.pause(60 / per_minute, 0.9):
        name = ctx.rng.choice(sites)
        if ctx.rng.random() < nxdomain:
            name = f"{ctx.rng.randrange(10**8):x}.{name}"
        server = ctx.rng.choice(ctx.plan.internet[:4])
        threading.Thread(target=ask, args=(server, name, 1, ctx.rng), daemon=True).start()


def web_client(ctx: Context, inside: float = 0.5, period: float = 25, burst: int = 6) -> None:
    """A person: a page every so often, each with several parallel connections; sometimes a wrong password."""
    while ctx.pause(period, 0.9):
        if ctx.rng.random() < inside:
            name, port = f"{ctx.rng.choice(['ehr', 'ehr', 'ris', 'pacs'])}.{ZONE}", 443
            port = 80 if name.startswith("ris") else port
        else:
            name, port = ctx.rng.choice(list(ctx.plan.sites)), ctx.rng.choice([443, 443, 80])
        address = ctx.resolve(name)
        if ctx.rng.random() < 0.4:
            ask(ctx.plan.one("dns").ip, name, 28, ctx.rng)
        if address is None:
            continue
        for _ in range(ctx.rng.randint(1, burst)):
            kind = ctx.rng.choice(["app", "static", "static", "api"])
            paths = [f"/{kind}/{ctx.rng.randrange(400)}" for _ in range(ctx.rng.randint(1, 5))]
            if ctx.rng.random() < 0.02:
                paths.append(ctx.rng.choice(["/favicon.ico", "/robots.txt", "/admin/"]))
            threading.Thread(target=fetch, args=(ctx, address, port, paths), daemon=True).start()


def web_poll(ctx: Context, to: str = "ehr", period: float = 5) -> None:
    """A dashboard: the same little request over a new connection, again and again."""
    while ctx.pause(period, 0.1):
        fetch(ctx, ctx.plan.one(to).ip, 443 if to == "ehr" else 80, ["/api/board"])


def print_client(ctx: Context, period: float = 90) -> None:
    """A print job now and then."""
    while ctx.pause(period, 0.9):
        printer = ctx.rng.choice(ctx.plan.role("printer"))
        if s := ctx.connect(printer.ip, 9100):
            with s:
                s.sendall(os.urandom(int(ctx.rng.randint(2_000, 60_000) * ctx.plan.volume)))
                s.shutdown(socket.SHUT_WR)
                s.settimeout(5)
                try:
                    s.recv(10)
                except OSError:
                    continue


def file_client(ctx: Context, period: float = 110) -> None:
    """FTP up and down; one try in twelve mistypes the password first."""
    while ctx.pause(period, 0.9):
        tries = ["wrong-" + PASSWORD[:4], PASSWORD] if ctx.rng.random() < 1 / 12 else [PASSWORD]
        for password in tries:
            try:
                with ftplib.FTP(timeout=8) as ftp:
                    ftp.connect(ctx.plan.one("files").ip)
                    ftp.login(USER, password)
                    ftp.retrlines("LIST", lambda _: None)
                    size = int(ctx.rng.randint(1_000, 80_000) * ctx.plan.volume)
                    ftp.storbinary(f"STOR {ctx.host.name}.dat", io.BytesIO(os.urandom(size)))
            except (OSError, EOFError, ftplib.Error):
                ctx.pause(3)


def telnet_client(ctx: Context, period: float = 1800) -> None:
    """An administrator at a controller's console; one in six mistypes the password first."""
    while ctx.pause(period, 0.8):
        target = ctx.rng.choice(ctx.plan.role("plc", "files"))
        tries = ["typo", PASSWORD] if ctx.rng.random() < 1 / 6 else [PASSWORD]
        if (s := ctx.connect(target.ip, 23)) is None:
            continue
        with s, contextlib.suppress(OSError):
            s.settimeout(5)
            for line in [part for password in tries for part in (USER, password)] + ["show status", "show io", ""]:
                s.recv(4096)
                if not ctx.pause(ctx.rng.uniform(1, 6)):
                    return
                s.sendall(line.encode() + b"\r\n")


def backup_client(ctx: Context, connections: int = 150, size: int = 40_000, at: float = 60, gap: float = 0.2) -> None:
    """A backup agent: one connection per file, many files in a row."""
    if not ctx.pause(at):
        return
    server = ctx.plan.one("files").ip
    for _ in range(connections):
        if s := ctx.connect(server, 10000):
            with s:
                s.settimeout(8)
                s.sendall(os.urandom(int(size * ctx.rng.uniform(0.05, 1))))
                s.shutdown(socket.SHUT_WR)
                with contextlib.suppress(OSError):
                    s.recv(10)
        if not ctx.pause(gap, 0.9):
            return


def ssh_client(ctx: Context, period: float = 45) -> None:
    """The administrator at work; sometimes the password is wrong once."""
    servers = ctx.plan.role("pacs", "ris", "ehr", "broker", "files", "dns")
    while ctx.pause(period, 0.8):
        target = ctx.rng.choice(servers)
        ctx.resolve(f"{target.name}.{ZONE}")
        line = ctx.rng.choice(["uptime", "ps aux; sleep 3", "ls -laR /usr/share/doc | head -300", "sleep 8; df -h"])
        if ctx.rng.random() < 0.15:
            ctx.command(["sshpass", "-p", "typo" + PASSWORD, "ssh", *SSH, f"{USER}@{target.ip}", line], 20)
            ctx.pause(3)
        ctx.command(["sshpass", "-p", PASSWORD, "ssh", *SSH, f"{USER}@{target.ip}", line], 20)


def ssh_jobs(ctx: Context, period: float = 3) -> None:
    """Configuration management: short SSH sessions to every server in turn."""
    servers = ctx.plan.role("pacs", "ris", "ehr", "broker", "files", "dns", "monitor")
    while True:
        for target in servers:
            if not ctx.pause(period):
                return
            ctx.command(["sshpass", "-p", PASSWORD, "ssh", *SSH, f"{USER}@{target.ip}", "uptime"], 10)


def dead_client(ctx: Context, period: float = 15) -> None:
    """Software that still believes in servers long gone: refused, dropped, or no such address."""
    plan = ctx.plan
    used = {h.ip for h in plan.hosts}
    prefix = ctx.host.ip.rsplit(".", 1)[0]
    gone = next(a for a in (f"{prefix}.{n}" for n in range(250, 2, -1)) if a not in used)
    dead = [(plan.one("ris").ip, 8443), (plan.one("ehr").ip, 1433), (gone, 445), ("192.0.2.251", 443)]
    address, port = ctx.rng.choice(dead)
    while ctx.pause(period, 0.2):
        for _ in range(ctx.rng.randint(1, 3)):
            if s := ctx.connect(address, port, 3):
                s.close()
            time.sleep(0.5)
