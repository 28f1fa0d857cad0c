"""A recording made with a compressed clock back to the schedule's own pace: packet times are rewritten, nothing else.

Only the pauses between exchanges were shortened while recording; what happens inside an exchange (a login, a page, an
image) ran at its real speed. So a pause is made long again, and an exchange keeps its pace.
"""

from __future__ import annotations

import mmap
import shutil
import struct
from array import array
from pathlib import Path
from typing import Any

import numpy as np

from pyad.flow.formats import PCAP_MAGICS

# Ports of protocols whose connections stay open between messages; a silence in another's is the machine's, not a pause.
STEADY = frozenset((502, 514, 1883, 1900, 2575, 5223, 5353, 5683, 5938, 8883, 47808))
# s as recorded; longer silences of a responder, and of those who send datagrams, are pauses and not answers
_PAUSE_S = 1.0
_FIN, _SYN, _RST, _ACK = 1, 2, 4, 16
_TCP, _UDP, _ICMP, _ICMP6 = 6, 17, 1, 58
_ICMP_ERRORS = frozenset((3, 4, 5, 11, 12))
_DHCP = frozenset((b"\0\x44\0\x43", b"\0\x43\0\x44", b"\0\x43\0\x43"))  # ports 68 and 67
_REPEAT_S = 1.5  # the same datagram once more within this time is a repeat even where nobody can answer (ARP)
_ETHERNET = 1
_CHUNK = 4096  # packets written at once


class _Flow:
    """One conversation: who began it, when its last packet was and is now, and what each side has said."""

    __slots__ = ("asked", "ends", "last", "now", "orig", "said", "steady", "syn")

    def __init__(self, orig: Any, syn: int | None, steady: bool) -> None:
        self.orig = orig
        self.steady = steady
        self.syn = syn  # sequence number of the SYN that began it
        self.last = self.now = 0  # ticks
        self.ends: list[int | None] = [None, None]  # TCP: sequence number after what each side has sent
        self.asked = False  # the originator waits for an answer
        self.said: bytes | None = None  # datagrams: the originator's last


def stretch(pcap_in: Path, pcap_out: Path, factor: float, hold_s: float = 0.2, exchange_hold_s: float = 3.0) -> int:
    """Rewrite packet times `factor` times as slow; returns the number of packets.

    A flow (5-tuple; else a pair of MAC addresses) begins at t0 + factor · (t − t0). In it a gap of at most `hold_s`
    stays as it is, or of at most `exchange_hold_s` where the protocol is not one of long sessions (STEADY): a busy
    recorder makes a server slow to answer, and that must not become minutes. So does a longer one that is no pause:
    retransmissions, repeated SYNs, acknowledgements, and answers to what was asked. A gap that new payload, FIN or RST
    of the originator ends is a pause, and one over 1 s that the responder ends unasked, or that the next datagram ends:
    that packet goes to its own t0 + factor · (t − t0), so that all flows stay in step with each other. ICMP errors go
    with the packet that they quote.

    Raises ValueError for what is no Ethernet pcap. Memory: 24 bytes a packet, and the flows.
    """
    if factor == 1:
        shutil.copyfile(pcap_in, pcap_out)
    with pcap_in.open("rb") as file:
        head = file.read(24)
        if head[:4] not in PCAP_MAGICS or len(head) < 24:
            raise ValueError(f"{pcap_in}: not a pcap")
        order, per_second, header = PCAP_MAGICS[head[:4]]
        if header != 16 or struct.unpack_from(order + "I", head, 20)[0] & 0xFFFF != _ETHERNET:
            raise ValueError(f"{pcap_in}: not an Ethernet capture")
        if file.seek(0, 2) == 24:
            shutil.copyfile(pcap_in, pcap_out)
            return 0
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            offsets, times = _new_times(data, order, int(per_second), factor, (hold_s, exchange_hold_s))
            if factor != 1:
                _write(data, head, offsets, times, pcap_out, order, int(per_second))
    return len(offsets)


def _new_times(
    data: mmap.mmap, order: str, per_second: int, factor: float, holds_s: tuple[float, float]
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """(offset of each packet record, its new time in ticks), in file order."""
    record = struct.Struct(order + "IIII").unpack_from
    steady_hold, hold, pause, repeat = (round(s * per_second) for s in (*holds_s, _PAUSE_S, _REPEAT_S))
    flows: dict[Any, _Flow] = {}  # one that is opened anew replaces the one before
    fragments: dict[bytes, Any] = {}
    offsets, times = array("q"), array("q")
    at, size, start = 24, len(data), None
    while at + 16 <= size:
        seconds, fraction, captured, _ = record(data, at)
        if at + 16 + captured > size:
            break  # tcpdump was cut off in the midst of a packet
        tick = seconds * per_second + fraction
        if start is None:
            start = tick
        on_time = start + round(factor * (tick - start))
        key, sender, proto, body, length = _identify(data, at + 16, at + 16 + captured, fragments)
        flow = flows.get(key)
        if proto == _TCP and body + 14 <= at + 16 + captured:
            sequence, flags = struct.unpack_from(">I5xB", data, body + 4)
            length -= (data[body + 12] >> 4) * 4
            opens = flags & (_SYN | _ACK) == _SYN
            known = flow is not None and not (opens and sequence != flow.syn)
            if not known:
                flow = flows[key] = _Flow(sender, sequence if opens else None, _is_steady(key))
            side = int(flow.orig != sender)
            speaks = _advance(flow, side, sequence, length, flags)
        else:
            proto, known, speaks = -1, flow is not None, True
            if not known:
                flow = flows[key] = _Flow(sender, None, _is_steady(key))
            side = int(flow.orig != sender)
        gap = tick - flow.last
        new = flow.now + gap if known else on_time
        if known and speaks and gap > (steady_hold if flow.steady else hold):
            if side == 1:
                is_pause = gap > pause and not flow.asked
            elif proto == _TCP:
                is_pause = True
            else:
                same = flow.said == data[body : body + length]
                is_pause = gap > pause and not (same and (gap < repeat or (flow.asked and not data[at + 16] & 1)))
            if is_pause:
                new = max(new, on_time)
        if speaks and (proto != _TCP or length > 0):
            flow.asked = side == 0
            if proto != _TCP and side == 0:
                flow.said = data[body : body + length]
        flow.last, flow.now = tick, new
        offsets.append(at)
        times.append(new)
        at += 16 + captured
    return np.frombuffer(offsets, np.int64), np.frombuffer(times, np.int64)


def _is_steady(key: Any) -> bool:
    """Whether one end of the flow has a port of STEADY; flows without ports have pauses of any length."""
    if not isinstance(key, tuple) or len(key) != 3 or key[2] not in (_TCP, _UDP):
        return True
    return any(int.from_bytes(end[-2:]) in STEADY for end in key[:2])


def _advance(flow: _Flow, side: int, sequence: int, length: int, flags: int) -> bool:
    """Whether a TCP packet says something new (payload, FIN, RST, a SYN's answer), and remember that it was said."""
    if flags & _RST:
        return True
    end = (sequence + length + bool(flags & _SYN) + bool(flags & _FIN)) & 0xFFFFFFFF
    before = flow.ends[side]
    if before is None or 0 < (end - before) & 0xFFFFFFFF < 1 << 31:
        flow.ends[side] = end
        return length > 0 or bool(flags & _FIN)
    return False


def _identify(
    data: mmap.mmap, frame: int, end: int, fragments: dict[bytes, Any], quoted: int = 0
) -> tuple[Any, Any, int, int, int]:
    """(flow key, who sends, IP protocol or -1, where its header is, bytes from there on by the IP header).

    quoted: where the IP header is that an ICMP error carries.
    """
    at = frame + 12
    kind = data[at : at + 2]
    while kind == b"\x81\x00" and at + 6 < end:
        at += 4
        kind = data[at : at + 2]
    at = quoted or at + 2
    version = data[at] >> 4 if at < end else 0
    if version == 4 and (quoted or kind == b"\x08\x00") and at + 20 <= end:
        size = (data[at] & 15) * 4
        proto, src, dst = data[at + 9], data[at + 12 : at + 16], data[at + 16 : at + 20]
        body, length = at + size, int.from_bytes(data[at + 2 : at + 4]) - size
        piece = int.from_bytes(data[at + 6 : at + 8])
        if piece & 0x3FFF:  # a fragment: goes where the first of them went
            name = data[at + 4 : at + 6] + bytes([proto]) + src + dst
            if piece & 0x1FFF:
                key, sender = fragments.get(name, ((src, dst, proto), src))
                return key, sender, -1, body, length
            fragments[name] = _ports(data, src, dst, proto, body, end)
    elif version == 6 and (quoted or kind == b"\x86\xdd") and at + 40 <= end:
        proto, src, dst = data[at + 6], data[at + 8 : at + 24], data[at + 24 : at + 40]
        body, length = at + 40, int.from_bytes(data[at + 4 : at + 6])
    else:
        src, dst = data[frame + 6 : frame + 12], data[frame : frame + 6]
        return ((src, dst) if src < dst else (dst, src)), src, -1, frame + 14, end - frame - 14
    if proto == _ICMP and not quoted and body + 28 <= end and data[body] in _ICMP_ERRORS:
        key, _, _, _, _ = _identify(data, frame, end, fragments, body + 8)
        return key, None, _ICMP, body, length
    if proto == _UDP and body + 42 <= end and data[body : body + 4] in _DHCP:  # one conversation per client's MAC
        return data[body + 36 : body + 42], data[body : body + 2] == b"\0\x44", proto, body, length
    key, sender = _ports(data, src, dst, proto, body, end)
    return key, sender, proto, body, length


def _ports(data: mmap.mmap, src: bytes, dst: bytes, proto: int, body: int, end: int) -> tuple[Any, Any]:
    if proto in (_TCP, _UDP) and body + 4 <= end:
        src, dst = src + data[body : body + 2], dst + data[body + 2 : body + 4]
    elif proto in (_ICMP, _ICMP6) and body + 6 <= end and data[body] in (0, 8, 128, 129):
        proto = (proto << 16) + int.from_bytes(data[body + 4 : body + 6])  # an echo's identifier
    return ((src, dst, proto) if src < dst else (dst, src, proto)), src


def _write(
    data: mmap.mmap,
    head: bytes,
    offsets: np.ndarray[Any, Any],
    times: np.ndarray[Any, Any],
    path: Path,
    order: str,
    per_second: int,
) -> None:
    when = struct.Struct(order + "II").pack
    length = struct.Struct(order + "I").unpack_from
    sequence = np.argsort(times, kind="stable")
    with path.open("wb") as out:
        out.write(head)
        for first in range(0, len(sequence), _CHUNK):
            part = sequence[first : first + _CHUNK]
            pieces = []
            for at, tick in zip(offsets[part].tolist(), times[part].tolist(), strict=True):
                pieces.append(when(*divmod(tick, per_second)))
                pieces.append(data[at + 8 : at + 16 + length(data, at + 8)[0]])
            out.write(b"".join(pieces))
