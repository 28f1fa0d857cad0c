"""Management traffic: SNMP, ping and service checks of every host, an inventory of services."""

from __future__ import annotations

import os
import socket
import struct
import time
from typing import TYPE_CHECKING

from .clients import fetch
from .plan import ZONE

if TYPE_CHECKING:
    from .context import Context
    from .plan import Host

# TCP services a monitoring system knows of, by role
SERVICES: dict[str, list[int]] = {
    "pacs": [104, 443, 22], "ris": [2575, 80, 22], "ehr": [443, 80, 2575, 22], "broker": [1883, 8883, 22],
    "files": [21, 23, 10000, 22, 445, 873, 143, 587], "dns": [22], "plc": [502, 80, 23],
    "printer": [9100, 80, 631, 515],
    "fhir": [443, 22], "integration": [2575, 22], "camera": [554, 80], "nvr": [22], "updates": [80, 22], "monitor": [],
    "workstation": [3389], "viewer": [3389], "hmi": [3389],
}  # fmt: skip


def _tlv(tag: int, body: bytes) -> bytes:
    size = bytes([len(body)]) if len(body) < 128 else bytes([0x81, len(body)])
    return bytes([tag]) + size + body


def snmp_get(ctx: Context, address: str, last: int, community: bytes = b"public") -> bool:
    """One SNMPv2c GET of the system group; True when answered."""
    oid = _tlv(6, bytes([0x2B, 6, 1, 2, 1, 1, last, 0]))
    request = _tlv(2, struct.pack(">I", ctx.rng.randrange(2**31)))
    pdu = _tlv(0xA0, request + _tlv(2, b"\0") + _tlv(2, b"\0") + _tlv(0x30, _tlv(0x30, oid + _tlv(5, b""))))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.settimeout(1.0)
        try:
            s.sendto(_tlv(0x30, _tlv(2, b"\1") + _tlv(4, community) + pdu), (address, 161))
            return bool(s.recv(2000))
        except OSError:
            return False


def ping(address: str, count: int = 1) -> None:
    """ICMP echo, answers awaited for half a second each."""
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as s:
        s.settimeout(0.5)
        for number in range(count):
            body = struct.pack(">HH", os.getpid() & 0xFFFF, number) + b"abcdefghijklmnopqrstuvw" * 2
            total = sum(struct.unpack(f">{len(body) // 2}H", body)) + 0x0800
            total = (total & 0xFFFF) + (total >> 16)
            try:
                s.sendto(struct.pack(">BBH", 8, 0, ~(total + (total >> 16)) & 0xFFFF) + body, (address, 0))
                s.recv(200)
            except OSError:
                continue


def snmp_client(ctx: Context, period: float = 30) -> None:
    """Look at one device's system group at a time, several objects each."""
    while ctx.pause(period, 0.5):
        target = ctx.rng.choice(ctx.plan.role("printer", "plc", "pacs", "dns", "files"))
        ctx.resolve(f"{target.name}.{ZONE}")
        for last in range(1, ctx.rng.randint(2, 7)):
            snmp_get(ctx, target.ip, last)


def check(ctx: Context, host: Host) -> None:
    """All a monitoring system asks of one host."""
    ping(host.ip, ctx.rng.randint(1, 3))
    for port in SERVICES.get(host.role, []):
        if port == 80:
            fetch(ctx, host.ip, port, ["/app/health"])
        elif s := ctx.connect(host.ip, port, 3):
            s.close()
    if host.role in {"pacs", "printer", "plc", "dns", "files", "broker", "ris"}:
        for last in (1, 3, 5):
            snmp_get(ctx, host.ip, last)


def monitor(ctx: Context, period: float = 60) -> None:
    """Check every host in rounds of this period, the dead ones too."""
    others = [h for h in ctx.plan.hosts if h is not ctx.host and h.role != "attacker"]
    while ctx.pause(2):
        began = time.time()
        for host in others:
            check(ctx, host)
            if not ctx.pause(period / len(others) / 2):
                return
        if not ctx.pause(max(0.0, period - (time.time() - began)), 0.05):
            return


def inventory(ctx: Context, period: float = 90) -> None:
    """An asset inventory: asks every device for its name over SNMP and looks at its start page, gently."""
    while ctx.pause(period, 0.4):
        for host in ctx.plan.role("printer", "plc", "pacs", "ris", "dns", "files", "broker", "workstation"):
            snmp_get(ctx, host.ip, 5)
            if host.role in {"printer", "plc", "ris"}:
                fetch(ctx, host.ip, 80, ["/"])
            if not ctx.pause(1.0, 0.8):
                return
