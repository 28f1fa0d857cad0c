"""From a finished flow to a row: Zeek's conn_state, address text, local networks, deterministic uids."""

from __future__ import annotations

import re
from collections.abc import Iterable
from hashlib import blake2b
from ipaddress import ip_network
from socket import AF_INET, AF_INET6, inet_ntop
from struct import Struct
from typing import Any

from pyad.flow.endpoint import CLOSED, ESTABLISHED, INACTIVE, PARTIAL, RESET, SYN_ACK_SENT, SYN_SENT
from pyad.flow.flows import DatagramFlow
from pyad.flow.options import FlowOptions
from pyad.flow.tcp import TcpFlow
from pyad.networks import PRIVATE_NETS

NAMES: tuple[str, ...] = (
    *("ts", "uid", "id.orig_h", "id.orig_p", "id.resp_h", "id.resp_p", "proto", "service", "duration"),
    *("orig_bytes", "resp_bytes", "conn_state", "history", "orig_pkts", "orig_ip_bytes", "resp_pkts"),
    *("resp_ip_bytes", "missed_bytes", "local_orig", "local_resp", "orig_l2_addr", "resp_l2_addr", "vlan"),
    "partial",
)
Row = tuple[Any, ...]

_CACHE = 1 << 16
_NO_MAC = b"\0\0\0\0\0\0"
_RESET_ATTEMPT = re.compile(r"\^?S[^HAFGIQ]*R.*")
_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_TRIPLES = [a + b + c for a in _DIGITS for b in _DIGITS for c in _DIGITS]
_DOUBLE = Struct(">dI").pack


def tcp_state(flow: TcpFlow) -> str:
    """Zeek's conn_state of a TCP connection."""
    o, r = flow.orig.state, flow.resp.state
    o_inactive, r_inactive = o in (INACTIVE, PARTIAL), r in (INACTIVE, PARTIAL)
    if r == RESET:
        if o in (SYN_SENT, SYN_ACK_SENT) or (o == RESET and flow.orig.size() == 0 and flow.resp.size() == 0):
            return "REJ"
        return "RSTRH" if o_inactive else "RSTR"
    if o == RESET:
        if not r_inactive:
            return "RSTO"
        return "RSTOS0" if _RESET_ATTEMPT.fullmatch(flow.history) else "OTH"
    if r == CLOSED and o == CLOSED:
        return "SF"
    if o == CLOSED:
        return "SH" if r_inactive else "S2"
    if r == CLOSED:
        return "SHR" if o_inactive else "S3"
    if o == SYN_SENT and r == INACTIVE:
        return "S0"
    return "S1" if o == r == ESTABLISHED else "OTH"


def make_uid(key: bytes, ts: float, n: int) -> str:
    """A uid that depends only on the connection's first packet (and `n`, where several began in it)."""
    value = int.from_bytes(blake2b(key + _DOUBLE(ts, n), digest_size=12).digest(), "big")
    parts = ["C"]
    for _ in range(5):
        value, rest = divmod(value, 238328)
        parts.append(_TRIPLES[rest])
    return "".join(parts)


def format_mac(mac: bytes) -> str | None:
    """The usual text of a link-layer address; None where there is none."""
    return mac.hex(":") if mac and mac != _NO_MAC else None


class Addresses:
    """Address bytes → (canonical text, whether it is local), remembered for the most recent ones."""

    def __init__(self, options: FlowOptions) -> None:
        nets: Iterable[str] = (*(PRIVATE_NETS if options.private_nets_are_local else ()), *options.local_nets)
        self._nets: dict[int, list[tuple[int, int]]] = {4: [], 16: []}
        for text in nets:
            net = ip_network(text, strict=False)
            bits = net.max_prefixlen
            self._nets[bits // 8].append((bits - net.prefixlen, int(net.network_address) >> (bits - net.prefixlen)))
        self._known: dict[bytes, tuple[str, int | None]] = {}

    def __call__(self, raw: bytes) -> tuple[str, int | None]:
        """Text of the 4 or 16 bytes, and 1 where the address is local, else 0."""
        known = self._known.get(raw)
        if known is None:
            if len(self._known) >= _CACHE:
                self._known.clear()
            known = self._known[raw] = self._look_up(raw)
        return known

    def _look_up(self, raw: bytes) -> tuple[str, int | None]:
        nets = self._nets[len(raw)]
        value = int.from_bytes(raw, "big")
        local = 1 if any(value >> shift == prefix for shift, prefix in nets) else 0
        mapped = len(raw) == 16 and raw[:12] == b"\0\0\0\0\0\0\0\0\0\0\xff\xff"
        if len(raw) == 4 or mapped:
            return inet_ntop(AF_INET, raw[-4:]), local
        return inet_ntop(AF_INET6, raw), local


def tcp_row(flow: TcpFlow, addresses: Addresses, partial: int) -> Row:
    """The row of a TCP connection as it stands."""
    return _row(flow, addresses, partial, flow.orig.size(), flow.resp.size(), flow.orig, flow.resp, tcp_state(flow))


def datagram_row(flow: DatagramFlow, addresses: Addresses, partial: int) -> Row:
    """The row of a UDP, ICMP or other flow as it stands."""
    orig, resp = (flow.b, flow.a) if flow.flipped else (flow.a, flow.b)
    o = orig.size if orig is not None else -1
    r = resp.size if resp is not None else -1
    state = "OTH"
    if flow.proto == "udp":
        if o >= 0:
            state = "SF" if r >= 0 else "S0"
        elif r >= 0:
            state = "SHR"
    return _row(flow, addresses, partial, max(o, 0), max(r, 0), orig, resp, state)


def _row(
    flow: TcpFlow | DatagramFlow,
    addresses: Addresses,
    partial: int,
    orig_bytes: int,
    resp_bytes: int,
    orig: Any,
    resp: Any,
    state: str,
) -> Row:
    key, macs = flow.key, flow.macs
    size = 4 if len(key) < 30 else 16
    src, dst = key[:size], key[size : 2 * size]
    ports = (
        int.from_bytes(key[2 * size : 2 * size + 2], "big"),
        int.from_bytes(key[2 * size + 2 : 2 * size + 4], "big"),
    )
    uid = make_uid(key + flow.proto.encode(), flow.ts, flow.n)
    src_mac, dst_mac = format_mac(macs[6:12]), format_mac(macs[:6])
    if flow.flipped:
        src, dst, ports, src_mac, dst_mac = dst, src, (ports[1], ports[0]), dst_mac, src_mac
    orig_h, local_orig = addresses(src)
    resp_h, local_resp = addresses(dst)
    duration: float | None = flow.last - flow.ts
    bytes_of: tuple[int | None, int | None] = (max(orig_bytes, 0), max(resp_bytes, 0))
    if duration is not None and duration <= 0:
        duration, bytes_of = None, (None, None)
    return (
        *(flow.ts, uid, orig_h, ports[0], resp_h, ports[1], flow.proto, flow.service or None, duration),
        *(bytes_of[0], bytes_of[1], state, flow.history or None),
        *(orig.pkts if orig is not None else 0, orig.ip_bytes if orig is not None else 0),
        *(resp.pkts if resp is not None else 0, resp.ip_bytes if resp is not None else 0),
        *(flow.missed, local_orig, local_resp, src_mac, dst_mac, flow.vlan if flow.vlan >= 0 else None, partial),
    )


def syn_row(ts: float, key: bytes, frame: bytes, addresses: Addresses) -> Row:
    """The row of an Ethernet/IPv4 connection of which nothing but its plain SYN was seen."""
    orig_h, local_orig = addresses(key[:4])
    resp_h, local_resp = addresses(key[4:8])
    ports = ((key[8] << 8) | key[9], (key[10] << 8) | key[11])
    uid = make_uid(key + b"tcp", ts, 0)
    return (
        *(ts, uid, orig_h, ports[0], resp_h, ports[1], "tcp", None, None, None, None, "S0", "S"),
        *(1, (frame[16] << 8) | frame[17], 0, 0, 0, local_orig, local_resp),
        *(format_mac(frame[6:12]), format_mac(frame[:6]), None, 0),
    )


def arp_row(ts: float, address: bytes, new: bytes, old: bytes, vlan: int, addresses: Addresses) -> Row:
    """The row of a change of an address's link-layer address."""
    text, local = addresses(address)
    uid = make_uid(address + new + old + b"arp", ts, 0)
    return (
        *(ts, uid, text, 0, text, 0, "arp", None, None, None, None, None, None, None, None, None, None, None),
        *(local, local, format_mac(new), format_mac(old), vlan if vlan >= 0 else None, 0),
    )


__all__ = ["NAMES", "Addresses", "Row", "arp_row", "datagram_row", "make_uid", "syn_row", "tcp_row"]
