"""What Zeek's DNS and NTP analyzers do to a UDP connection itself: swap its roles, mark it X, end it early."""

from __future__ import annotations

from pyad.flow.flows import DatagramFlow, Side

DNS, NTP = 20, 21  # values of DatagramFlow.watch beside those of the tunnels
STOPPED = -1
PORTS: dict[int, int] = {53: DNS, 137: DNS, 5353: DNS, 5355: DNS, 123: NTP}

_NETBIOS_PORT = 137
_MAX_QUERIES = 25
_FIRST_SEEN = 1


def watch(flow: DatagramFlow, s: Side, payload: bytes) -> Side:
    """Look at a payload of `s`, before the packet is counted; the side it counts for."""
    return _dns(flow, s, payload) if flow.watch == DNS else _ntp(flow, s, payload)


def _dns(flow: DatagramFlow, s: Side, payload: bytes) -> Side:
    if len(payload) < 12:
        return s
    opcode = (payload[2] >> 3) & 15
    if opcode not in (0, 4, 5):
        key = flow.key
        if _NETBIOS_PORT not in ((key[-4] << 8) | key[-3], (key[-2] << 8) | key[-1]):
            flow.limit_reached()
            return s
    if not flow.seen:
        flow.seen = _FIRST_SEEN
        if payload[2] & 0x80 and s.is_orig and not _to_multicast(flow):
            s = flow.flip()
    if (payload[4] << 8) | payload[5] > _MAX_QUERIES:
        flow.limit_reached()
        flow.watch = STOPPED
    return s


def _ntp(flow: DatagramFlow, s: Side, payload: bytes) -> Side:
    mode = payload[0] & 7 if payload else 0
    if len(payload) < (48 if 1 <= mode <= 5 else 12):
        flow.watch = STOPPED
        return s
    role = 1 if s.is_orig else 2
    if mode == (4 if s.is_orig else 3) and not flow.seen & role:
        flow.seen |= role
        return flow.flip()
    return s


def _to_multicast(flow: DatagramFlow) -> bool:
    half = (len(flow.key) - 4) // 2
    first = flow.key[0] if flow.flipped else flow.key[half]
    return first == 0xFF if half == 16 else 224 <= first <= 239
