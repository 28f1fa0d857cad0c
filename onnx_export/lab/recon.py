"""Looking around: enumeration of the hospital's own protocols, names and banners, fast and slow."""

from __future__ import annotations

import contextlib
import socket
import struct
from typing import TYPE_CHECKING

from .bounds import addresses, spread, tool
from .context import ask, question
from .management import ping, snmp_get
from .plan import ZONE

if TYPE_CHECKING:
    from collections.abc import Callable

    from .context import Context

_HOSTS = """mail www intranet vpn pacs ris ehr lab print backup db test dev dc file nas cam ward icu xray ct mri pump
 broker citrix wsus sip""".split()
_ASKED: dict[str, tuple[int, bytes]] = {
    "bacnet": (47808, bytes.fromhex("810a000801001008")),  # Who-Is
    "coap": (5683, bytes.fromhex("400106a1bb") + b".well-known\x04core"),
    "mdns": (5353, bytes([0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0]) + b"\x04_ipp\x04_tcp\x05local\0\0\x0c\0\x01"),
    "ssdp": (1900, b'M-SEARCH * HTTP/1.1\r\nHOST: 239.255.255.250:1900\r\nMAN: "ssdp:discover"\r\nST: upnp\r\n\r\n'),
    "ntp": (123, b"\xe3" + bytes(47)),
    "netbios": (137, bytes.fromhex("80f00010000100000000000020434b") + b"A" * 30 + bytes.fromhex("0000210001")),
    "sip": (5060, b"OPTIONS sip:nm SIP/2.0\r\nVia: SIP/2.0/UDP nm;branch=foo\r\nCSeq: 42 OPTIONS\r\n\r\n"),
}  # fmt: skip
_SPOKEN = {"silent": b"", "http": b"HEAD / HTTP/1.0\r\n\r\n",
           "rtsp": b"OPTIONS rtsp://cam/ RTSP/1.0\r\nCSeq: 1\r\n\r\n",
           "ipp": b"GET /ipp/print HTTP/1.0\r\n\r\n", "help": b"HELP\r\n"}  # fmt: skip


def banner_grab(
    ctx: Context,
    targets: list[str],
    ports: list[int],
    say: str = "silent",
    rate: float = 10,
    threads: int = 1,
    patience: float = 2,
    seconds: float = 100,
) -> None:
    """Connect to every port of every address in random order, say one line (or nothing), read the banner."""

    def grab(address: str, port: int) -> None:
        if s := ctx.connect(address, port, patience):
            with s:
                s.settimeout(patience)
                s.sendall(_SPOKEN[say])
                s.recv(600)

    pairs = [(a, p) for a in addresses(targets) for p in ports]
    ctx.rng.shuffle(pairs)
    spread(ctx, (lambda a=a, p=p: grab(a, p) for a, p in pairs), rate, threads, seconds)


def udp_ask(
    ctx: Context,
    targets: list[str],
    kinds: list[str],
    rate: float = 10,
    threads: int = 1,
    patience: float = 0.5,
    seconds: float = 100,
) -> None:
    """Ask every address who it is, by unicast: BACnet Who-Is, CoAP resources, mDNS, SSDP, NTP, NetBIOS, SIP."""

    def one(address: str, kind: str) -> None:
        port, body = _ASKED[kind]
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            s.settimeout(patience)
            s.sendto(body, (address, port))
            s.recv(2000)

    pairs = [(a, k) for a in addresses(targets) for k in kinds]
    ctx.rng.shuffle(pairs)
    spread(ctx, (lambda a=a, k=k: one(a, k) for a, k in pairs), rate, threads, seconds)


def ping_sweep(ctx: Context, targets: list[str], rate: float = 5, rounds: int = 1, seconds: float = 100) -> None:
    """ICMP echo to every address in random order, without a scanner's other marks."""
    found = addresses(targets) * rounds
    ctx.rng.shuffle(found)
    spread(ctx, (lambda a=a: ping(a) for a in found), rate, 4, seconds)


def dicom_enumerate(
    ctx: Context,
    targets: list[str],
    titles: int = 60,
    port: int = 104,
    rate: float = 4,
    threads: int = 1,
    echo: bool = True,
    seconds: float = 100,
) -> None:
    """Associations under one application entity title after another; C-ECHO where one is accepted."""
    from . import dicom_wire

    stems = ("PACS", "CT", "MR", "STORE", "ARCHIVE", "XA", "US", "WORKLIST", "VIEWER", "DCM4CHEE", "ORTHANC", "ANY-SCP")

    def one(address: str, number: int) -> None:
        calling = ctx.rng.choice(["ECHOSCU", "FINDSCU", f"WS{number}"])
        called = f"{stems[number % len(stems)]}{number // len(stems) or ''}"
        if s := ctx.connect(address, port, 4):
            with s:
                s.settimeout(4)
                if dicom_wire.associate(s, called, calling):
                    if echo:
                        dicom_wire.echo(s)
                    dicom_wire.release(s)

    pairs = [(a, n) for n in range(titles) for a in addresses(targets)]
    spread(ctx, (lambda a=a, n=n: one(a, n) for a, n in pairs), rate, threads, seconds)


def mqtt_enumerate(
    ctx: Context,
    targets: list[str],
    count: int = 60,
    port: int = 1883,
    rate: float = 2,
    threads: int = 1,
    listen: float = 1.0,
    login: bool = False,
    seconds: float = 100,
) -> None:
    """MQTT connects, without or with the account found, that subscribe to `#` and `$SYS/#` and listen a while."""
    from .mqtt_wire import connect, listen_for, subscribe

    def one(address: str) -> None:
        with contextlib.suppress(OSError), connect(ctx, address, port, login) as s:
            for topic in ctx.rng.sample(["#", "$SYS/#", "ward/#", "+/+/command", "pump/+/set"], 2):
                subscribe(s, topic)
            listen_for(s, listen)

    found = addresses(targets) * count
    spread(ctx, (lambda a=a: one(a) for a in found[:count]), rate, threads, seconds)


def snmp_guess(
    ctx: Context,
    targets: list[str],
    communities: int = 30,
    rate: float = 8,
    threads: int = 4,
    seconds: float = 100,
) -> None:
    """One SNMP community after another, from a new port each."""
    known = ["private", "community", "manager", "admin", "cisco", "monitor", "write", "snmp", "secret", "public"]
    names = (known + [f"{w}{n}" for w in known for n in range(communities)])[:communities]
    pairs = [(a, n) for n in names for a in addresses(targets)]
    spread(ctx, (lambda a=a, n=n: _snmp(ctx, a, n) for a, n in pairs), rate, threads, seconds)


def _snmp(ctx: Context, address: str, community: str) -> None:
    snmp_get(ctx, address, 1, community.encode())


def onesixtyone(
    ctx: Context, targets: list[str], communities: int = 20, wait_ms: int = 10, rounds: int = 1, seconds: float = 90
) -> None:
    """onesixtyone over whole networks: all addresses from one port, a round for each list of communities."""
    hosts, names = ctx.work / f"161.{ctx.host.name}.hosts", ctx.work / f"161.{ctx.host.name}.names"
    hosts.write_text("\n".join(addresses(targets)) + "\n")
    for number in range(rounds):
        names.write_text("\n".join(f"net{number}x{n}" for n in range(communities)) + "\n")
        tool(ctx, ["onesixtyone", "-c", str(names), "-i", str(hosts), "-w", str(wait_ms)], seconds / rounds)


def smb_enumerate(ctx: Context, targets: list[str], users: int = 20, pause: float = 1.0, seconds: float = 90) -> None:
    """Shares, users by number and NetBIOS names, asked for without a password (smbclient, rpcclient, nmblookup)."""

    def jobs() -> list[Callable[[], None]]:
        found: list[Callable[[], None]] = []
        for address in addresses(targets):
            found.append(lambda a=address: _run(ctx, ["nmblookup", "-A", a]))
            found.append(lambda a=address: _run(ctx, ["smbclient", "-N", "-g", "-L", f"//{a}"]))
            for n in range(users):
                line = ctx.rng.choice(
                    [f"queryuser {1000 + n}", f"lookupsids S-1-5-32-{500 + n}", "srvinfo", "enumdomusers"]
                )
                found.append(lambda a=address, c=line: _run(ctx, ["rpcclient", "-U", "%", "-N", "-c", c, a]))
        return found

    spread(ctx, jobs(), 1 / pause, 1, seconds)


def _run(ctx: Context, args: list[str]) -> None:
    tool(ctx, args, 8)


def dns_reverse(ctx: Context, targets: list[str], rate: float = 20, networks: int = 9, seconds: float = 90) -> None:
    """Ask the hospital's resolver for the name of every address of the networks it serves."""
    nets = sorted({h.ip.rsplit(".", 1)[0] for h in ctx.plan.hosts if h.role != "internet"})[:networks]
    names = [".".join(reversed(f"{net}.{n}".split("."))) + ".in-addr.arpa" for net in nets for n in range(1, 255)]
    spread(ctx, (lambda n=n: _ask(ctx, targets[0], n, 12) for n in names), rate, 2, seconds)


def dns_names(
    ctx: Context, targets: list[str], count: int = 400, rate: float = 20, transfer: bool = False, seconds: float = 90
) -> None:
    """Guess names of the hospital's zone; `transfer` asks for the whole zone over TCP now and then."""

    def one(number: int) -> None:
        stem = _HOSTS[number % len(_HOSTS)]
        name = f"{stem}{number // len(_HOSTS) or ''}.{ZONE}"
        _ask(ctx, targets[0], name, ctx.rng.choice([1, 1, 28, 33]))
        if transfer and number % 10 == 0 and (s := ctx.connect(targets[0], 53, 2)):
            with s:
                s.settimeout(2)
                body = question(ZONE, 252, ctx.rng)
                s.sendall(struct.pack(">H", len(body)) + body)
                s.recv(2000)

    spread(ctx, (lambda n=n: one(n) for n in range(count)), rate, 2, seconds)


def _ask(ctx: Context, server: str, name: str, kind: int) -> None:
    ask(server, name, kind, ctx.rng)


def modbus_units(
    ctx: Context,
    targets: list[str],
    units: int = 60,
    per_connection: int = 1,
    rate: float = 5,
    threads: int = 1,
    seconds: float = 100,
) -> None:
    """Which unit answers behind a Modbus gateway: device identification and one register of every unit id."""

    def one(address: str, first: int) -> None:
        if s := ctx.connect(address, 502, 3):
            with s:
                s.settimeout(2)
                for unit in range(first, first + per_connection):
                    for pdu in (b"\x2b\x0e\x01\x00", b"\x11", b"\x03\0\0\0\1")[: ctx.rng.randint(1, 3)]:
                        s.sendall(struct.pack(">HHHB", unit, 0, len(pdu) + 1, unit % 248) + pdu)
                        s.recv(300)

    pairs = [(a, n) for n in range(1, units, per_connection) for a in addresses(targets)]
    spread(ctx, (lambda a=a, n=n: one(a, n) for a, n in pairs), rate, threads, seconds)


def trace(
    ctx: Context,
    targets: list[str],
    hops: int = 6,
    probes: int = 3,
    rate: float = 10,
    limit: int = 60,
    seconds: float = 90,
) -> None:
    """The classic route trace: UDP to rising ports with a rising time to live, to some of the addresses."""

    def one(address: str, number: int) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            s.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, number // probes + 1)
            s.sendto(bytes(32), (address, 33434 + number))

    some = addresses(targets)
    some = ctx.rng.sample(some, min(limit, len(some)))
    pairs = [(a, n) for a in some for n in range(hops * probes)]
    spread(ctx, (lambda a=a, n=n: one(a, n) for a, n in pairs), rate, 1, seconds)
