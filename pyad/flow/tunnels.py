"""Packets inside packets, unwrapped where Zeek unwraps them: IP in IP, GRE, VXLAN, Teredo, GTPv1, AYIYA, Geneve.

Every function hands the inner packet back to the engine and returns "" or the reason why there was none.
`encap` are the tunnels around the packet already.
"""

from __future__ import annotations

from typing import Protocol

from pyad.flow.decode import decode
from pyad.flow.flows import DatagramFlow, Encap

VXLAN, TEREDO, GTP, AYIYA, GENEVE, GRE_UDP = range(1, 7)
PORTS: dict[int, int] = {4789: VXLAN, 3544: TEREDO, 2152: GTP, 2123: GTP, 5072: AYIYA, 6081: GENEVE, 4754: GRE_UDP}
NOT_A_TUNNEL = -1  # DatagramFlow.watch after a packet that broke the tunnel's protocol
MAX_DEPTH = 4

_TOO_DEEP = "too many tunnels around a packet"


class Engine(Protocol):
    """What a tunnel needs of the flow engine: somewhere to put the inner packet."""

    def ip_packet(
        self, ts: float, data: bytes, off: int, end: int, wire_end: int, macs: bytes, vlan: int, encap: Encap
    ) -> None:
        """Process an IP packet at `data[off:end]`."""


def ip_tunnel(
    engine: Engine, ts: float, data: bytes, off: int, have: int, proto: int, hosts: object, encap: Encap
) -> str:
    """IP in IP (protocol 4), IPv6 in IP (41) and GRE (47); `hosts` names the two ends."""
    if len(encap) >= MAX_DEPTH:
        return _TOO_DEEP
    encap = (*encap, hosts)
    if proto == 47:
        return _gre(engine, ts, data, off, have, encap)
    return _bare(engine, ts, data, off, have, 6 if proto == 41 else 4, encap)


def udp_tunnel(
    engine: Engine,
    ts: float,
    flow: DatagramFlow,
    data: bytes,
    off: int,
    end: int,
    encap: Encap,
    missing: int,
) -> str:
    """Tunnels over UDP, by the responder's port or (Teredo, AYIYA) by what the payload looks like."""
    kind = flow.watch
    if kind == 0:
        if _looks_like_teredo(data, off, end):
            kind = TEREDO
        elif end - off >= 3 and data[off + 1] == 0x52 and data[off + 2] == 0x11:
            kind = AYIYA
    if kind <= 0:
        return ""
    if len(encap) >= MAX_DEPTH:
        flow.limit_reached()
        return _TOO_DEEP
    encap = (*encap, flow.order)
    if kind == GRE_UDP:
        return _gre(engine, ts, data, off, end - off, encap)
    if kind == VXLAN:
        if end - off < 8 or not data[off] & 8:
            flow.watch = NOT_A_TUNNEL
            return "not VXLAN on a VXLAN port"
        return _frame(engine, ts, data, 1, off + 8, end, encap, missing) if end - off > 8 else ""
    if kind == TEREDO:
        return _teredo(engine, ts, flow, data, off, end, encap, missing)
    if kind == GTP:
        return _gtp(engine, ts, flow, data, off, end, encap, missing)
    if kind == AYIYA:
        return _ayiya(engine, ts, flow, data, off, end, encap, missing)
    return _geneve(engine, ts, flow, data, off, end, encap, missing)


def _frame(
    engine: Engine, ts: float, data: bytes, link_type: int, off: int, end: int, encap: Encap, missing: int
) -> str:
    frame = decode(link_type, data, end, off)
    if isinstance(frame, str):
        return f"{frame} in a tunnel"
    at, stop, macs, vlan, is_arp = frame
    if not is_arp:
        engine.ip_packet(ts, data, at, stop, end + missing, macs, vlan, encap)
    return ""


def _total_length(data: bytes, off: int, have: int, version: int) -> int:
    """What the IP header at `off` says of its packet's length; -1 where it is not one of that version."""
    if have < (40 if version == 6 else 20) or data[off] >> 4 != version:
        return -1
    if version == 6:
        return ((data[off + 4] << 8) | data[off + 5]) + 40
    return (data[off + 2] << 8) | data[off + 3]


def _bare(engine: Engine, ts: float, data: bytes, off: int, have: int, version: int, encap: Encap) -> str:
    total = _total_length(data, off, have, version)
    if total != have:
        return "truncated IP in a tunnel" if total > have else "bad IP in a tunnel"
    engine.ip_packet(ts, data, off, off + total, off + total, b"", -1, encap)
    return ""


def _gre(engine: Engine, ts: float, data: bytes, off: int, have: int, encap: Encap) -> str:
    if have < 4:
        return "truncated GRE header"
    flags = (data[off] << 8) | data[off + 1]
    kind = (data[off + 2] << 8) | data[off + 3]
    version = flags & 7
    size = 4 + sum(4 for bit in (0x8000, 0x2000, 0x1000, 0x0080) if flags & bit)
    link_type, extra, inside = 101, 0, 0
    if version > 1 or flags & 0x4078 or (version == 1 and kind != 0x880B):
        return "GRE of an unknown kind"
    if version == 1:
        extra = 4
    elif kind == 0x6558:
        link_type, inside = 1, 14
    elif kind == 0x88BE:  # ERSPAN types I and II
        link_type, inside = 1, 14
        extra = 8 if flags & 0x1000 else 0
    elif kind == 0x22EB:  # ERSPAN type III
        link_type, inside, extra = 1, 14, 12
        if have > size + 26 and data[off + size + 11] & 1:
            extra = 20
    elif kind & 0x0F == 0 and (kind & 0x8200 == 0x8200 or kind == 0x9000):
        link_type = 105  # Aruba wireless
    if have < size + extra + inside or (inside and have <= size + inside):
        return "truncated GRE header"
    at = off + size + extra
    left = have - size - extra
    if version == 1:
        ppp = (data[off + size + 2] << 8) | data[off + size + 3]
        if ppp not in (0x0021, 0x0057):
            return "not IP in a tunnel"
        return _bare(engine, ts, data, at, left, 4 if ppp == 0x0021 else 6, encap)
    return _frame(engine, ts, data, link_type, at, at + left, encap, 0)


def _looks_like_teredo(data: bytes, off: int, end: int) -> bool:
    have = end - off
    if have < 40:
        return False
    first, second = data[off], data[off + 1]
    if first >> 4 == 6:
        if data[off + 8 : off + 12] == b"\x20\x01\0\0" or data[off + 24 : off + 28] == b"\x20\x01\0\0":
            return True
    elif first or second > 1:
        return False
    if second == 1:
        size = 13 + data[off + 2] + data[off + 3]
        off += size
        have -= size
        if have < 40:
            return False
        second = (data[off] << 8) | data[off + 1]
    return second == 0 and have >= 48 and data[off + 8] >> 4 == 6


def _teredo(
    engine: Engine, ts: float, flow: DatagramFlow, data: bytes, off: int, end: int, encap: Encap, missing: int
) -> str:
    at = off
    origin = auth = False
    while True:
        have = end - at
        tag = (data[at] << 8) | data[at + 1] if have >= 2 else -1
        if tag == 0 and not origin and have >= 8:
            origin = True
            at += 8
        elif tag == 1 and not origin and not auth and have >= 4 and have >= 13 + data[at + 2] + data[at + 3]:
            auth = True
            at += 13 + data[at + 2] + data[at + 3]
        else:
            break
    total = _total_length(data, at, have, 6)
    bubble = 40 == total < have and data[at + 6] == 59
    if total != have and not bubble:
        flow.watch = NOT_A_TUNNEL
        return "not Teredo in a Teredo connection"
    engine.ip_packet(ts, data, at, end, end + missing, b"", -1, encap)
    return ""


def _gtp(
    engine: Engine, ts: float, flow: DatagramFlow, data: bytes, off: int, end: int, encap: Encap, missing: int
) -> str:
    have = end - off
    if have < 8 or data[off] >> 5 != 1 or not data[off] & 0x10 or data[off + 1] != 255:
        return ""  # signalling, or another protocol on this port
    at = off + 8
    if data[off] & 7:
        at += 4
    if data[off] & 4:
        while True:
            if at >= end or data[at] == 0 or at + 4 * data[at] > end:
                return "truncated GTP header"
            at += 4 * data[at]
            if data[at - 1] == 0:
                break
    if at >= end or _total_length(data, at, end - at, data[at] >> 4 if data[at] >> 4 == 6 else 4) != end - at:
        return "bad IP in a tunnel"
    engine.ip_packet(ts, data, at, end, end + missing, b"", -1, encap)
    return ""


def _ayiya(
    engine: Engine, ts: float, flow: DatagramFlow, data: bytes, off: int, end: int, encap: Encap, missing: int
) -> str:
    have = end - off
    size = 8 + (1 << (data[off] >> 4)) + (data[off + 1] >> 4) * 4 if have >= 8 else 8
    if size > have:
        flow.watch = NOT_A_TUNNEL
        return "truncated AYIYA header"
    if data[off + 2] & 15 != 1 or size == have or data[off + 3] not in (4, 41):
        return ""
    engine.ip_packet(ts, data, off + size, end, end + missing, b"", -1, encap)
    return ""


def _geneve(
    engine: Engine, ts: float, flow: DatagramFlow, data: bytes, off: int, end: int, encap: Encap, missing: int
) -> str:
    have = end - off
    size = 8 + (data[off] & 0x3F) * 4 if have >= 8 else 8
    if size > have:
        flow.watch = NOT_A_TUNNEL
        return "truncated Geneve header"
    if data[off] >> 6 or size == have:
        return ""
    kind = (data[off + 2] << 8) | data[off + 3]
    if kind == 0x6558:
        return _frame(engine, ts, data, 1, off + size, end, encap, missing)
    if kind in (0x0800, 0x86DD):
        engine.ip_packet(ts, data, off + size, end, end + missing, b"", -1, encap)
    return ""
