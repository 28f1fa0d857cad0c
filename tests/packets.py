"""Frames built byte by byte, whole TCP conversations, and a short way to run them through the flow engine."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from ipaddress import ip_address
from typing import Any

from pyad.flow.engine import FlowEngine
from pyad.flow.options import FlowOptions

A, B = "10.0.0.1", "10.0.0.2"
A6, B6 = "fd00::1", "fd00::2"
MAC_A, MAC_B = bytes.fromhex("020000000001"), bytes.fromhex("020000000002")
START = 1_700_000_000.0

_FLAGS = {"F": 1, "S": 2, "R": 4, "P": 8, "A": 16}


def packed(address: str) -> bytes:
    return ip_address(address).packed


def ipv4(
    src: str, dst: str, proto: int, payload: bytes, ident: int = 1, frag: int = 0, length: int | None = None
) -> bytes:
    total = 20 + len(payload) if length is None else length
    return struct.pack(">BBHHHBBH4s4s", 0x45, 0, total, ident, frag, 64, proto, 0, packed(src), packed(dst)) + payload


def ipv6(src: str, dst: str, proto: int, payload: bytes, extensions: bytes = b"", first: int | None = None) -> bytes:
    body = extensions + payload
    following = proto if first is None else first
    return struct.pack(">IHBB16s16s", 6 << 28, len(body), following, 64, packed(src), packed(dst)) + body


def ip(src: str, dst: str, proto: int, payload: bytes) -> bytes:
    return (ipv6 if ":" in src else ipv4)(src, dst, proto, payload)


def ether(payload: bytes, kind: int = 0, dst: bytes = MAC_B, src: bytes = MAC_A) -> bytes:
    kind = kind or (0x86DD if payload[0] >> 4 == 6 else 0x0800)
    return dst + src + struct.pack(">H", kind) + payload


def tcp_segment(
    sport: int,
    dport: int,
    flags: str,
    seq: int,
    ack: int,
    payload: bytes = b"",
    window: int = 8192,
    options: bytes = b"",
) -> bytes:
    bits = sum(_FLAGS[f] for f in flags)
    offset = (5 + len(options) // 4) << 4
    head = struct.pack(">HHIIBBHHH", sport, dport, seq & 0xFFFFFFFF, ack & 0xFFFFFFFF, offset, bits, window, 0, 0)
    return head + options + payload


def udp_datagram(sport: int, dport: int, payload: bytes = b"") -> bytes:
    return struct.pack(">HHHH", sport, dport, 8 + len(payload), 0) + payload


def udp(src: str, sport: int, dst: str, dport: int, payload: bytes = b"") -> bytes:
    return ether(ip(src, dst, 17, udp_datagram(sport, dport, payload)))


def icmp(src: str, dst: str, kind: int, code: int = 0, payload: bytes = b"x" * 32) -> bytes:
    proto = 58 if ":" in src else 1
    return ether(ip(src, dst, proto, struct.pack(">BBHI", kind, code, 0, 1) + payload))


def arp(sender: str, mac: bytes, target: str = B, op: int = 2) -> bytes:
    body = struct.pack(">HHBBH", 1, 0x0800, 6, 4, op) + mac + packed(sender) + b"\0" * 6 + packed(target)
    return ether(body, 0x0806, src=mac)


class Talk:
    """A TCP conversation: `>` and `<` send a segment, keeping sequence and acknowledgement numbers."""

    def __init__(
        self, sport: int = 40000, dport: int = 8001, seq: int = 1000, ack: int = 90000, src: str = A, dst: str = B
    ):
        self.ends = ((src, sport), (dst, dport))
        self.next = [seq, ack]
        self.seen = [0, 0]  # what each side has acknowledged to the other: next of the peer
        self.now = START
        self.packets: list[tuple[float, bytes]] = []

    def send(self, side: int, flags: str, payload: int | bytes = 0, *, seq: int | None = None, ack: int | None = None,
             after: float = 0.01, window: int = 8192, lost: bool = False) -> Talk:  # fmt: skip
        data = bytes(payload) if isinstance(payload, int) else payload
        (src, sport), (dst, dport) = self.ends[side], self.ends[1 - side]
        number = self.next[side] if seq is None else seq
        acked = self.next[1 - side] if ack is None else ack
        segment = tcp_segment(sport, dport, flags, number, acked if "A" in flags else 0, data, window)
        self.now += after
        if not lost:
            self.packets.append((self.now, ether(ip(src, dst, 6, segment))))
        if seq is None:
            self.next[side] += len(data) + ("S" in flags) + ("F" in flags)
        return self

    def o(self, flags: str, payload: int | bytes = 0, **more: Any) -> Talk:
        """The originator sends."""
        return self.send(0, flags, payload, **more)

    def r(self, flags: str, payload: int | bytes = 0, **more: Any) -> Talk:
        """The responder sends."""
        return self.send(1, flags, payload, **more)

    def open(self) -> Talk:
        return self.o("S").r("SA").o("A")

    def close(self) -> Talk:
        return self.o("FA").r("FA").o("A")


def run(
    packets: Iterable[tuple[float, bytes]],
    link_type: int = 1,
    options: FlowOptions | None = None,
    partial: bool = False,
) -> list[dict[str, Any]]:
    """The rows of these packets; those of open connections only if `partial`."""
    engine = FlowEngine(options or FlowOptions(partial_rows=partial))
    engine.feed(link_type, [(ts, len(data), data) for ts, data in packets])
    engine.flush()
    return list(engine.take().records())


def one(packets: Iterable[tuple[float, bytes]], link_type: int = 1) -> dict[str, Any]:
    rows = run(packets, link_type)
    assert len(rows) == 1, rows
    return rows[0]


def pcap(packets: Iterable[tuple[float, bytes]], link_type: int = 1, order: str = "<", nano: bool = False) -> bytes:
    unit = 1e9 if nano else 1e6
    out = [struct.pack(order + "IHHiIII", 0xA1B23C4D if nano else 0xA1B2C3D4, 2, 4, 0, 0, 262144, link_type)]
    for ts, data in packets:
        out.append(struct.pack(order + "IIII", int(ts), round(ts % 1 * unit), len(data), len(data)) + data)
    return b"".join(out)


def pcapng(packets: Iterable[tuple[float, bytes]], link_type: int = 1, order: str = "<") -> bytes:
    def block(kind: int, body: bytes) -> bytes:
        body += bytes(-len(body) % 4)
        size = struct.pack(order + "I", len(body) + 12)
        return struct.pack(order + "I", kind) + size + body + size

    out = [block(0x0A0D0D0A, struct.pack(order + "IHHq", 0x1A2B3C4D, 1, 0, -1))]
    out.append(
        block(1, struct.pack(order + "HHI", link_type, 0, 262144) + struct.pack(order + "HHB3xHH", 9, 1, 9, 0, 0))
    )
    for ts, data in packets:
        stamp = round(ts * 1e9)
        body = struct.pack(order + "IIIII", 0, stamp >> 32, stamp & 0xFFFFFFFF, len(data), len(data)) + data
        out.append(block(6, body))
    return b"".join(out)
