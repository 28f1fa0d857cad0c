"""Capture files (pcap or pcapng, plain, gzip or zstd) to batches of packets, by our own readers: the hot path."""

from __future__ import annotations

import struct
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from pathlib import Path

from pyad.errors import InputError
from pyad.flow.formats import PCAP_MAGICS, PCAPNG_MAGIC
from pyad.sources.base import ReadReport
from pyad.sources.stored import read_blocks

# (timestamp s, length on the wire, captured bytes)
Packet = tuple[float, int, bytes]
# (link type, packets of that link type in file order)
Batch = tuple[int, list[Packet]]

MAX_RECORD = 262144  # libpcap's own limit; a longer record means that the file is damaged
MAX_BLOCK = 16 << 20  # pcapng blocks other than packets (names, statistics) may be long

LINK_TYPES: dict[int, str] = {
    0: "NULL",
    1: "Ethernet",
    9: "PPP",
    12: "raw IP",
    14: "raw IP",
    50: "PPP serial",
    101: "raw IP",
    104: "Cisco HDLC",
    105: "IEEE 802.11",
    108: "LOOP",
    113: "Linux cooked v1",
    127: "IEEE 802.11 radiotap",
    228: "raw IPv4",
    229: "raw IPv6",
    239: "NFLOG",
    276: "Linux cooked v2",
}


class _Bytes:
    """Decompressed bytes of one file, with the position in them; reads ahead, never the whole file."""

    def __init__(self, path: Path, on_bytes: Callable[[int], object]) -> None:
        self.name = str(path)
        self.blocks = read_blocks(path, ReadReport(on_bytes=on_bytes))
        self.buf = b""
        self.pos = 0  # next unread byte in buf
        self.fault: InputError | None = None  # why nothing more comes, where that is not the end of the file
        self._base = 0  # offset of buf[0] in the decompressed file
        self._ended = False

    def offset(self) -> int:
        return self._base + self.pos

    def fill(self, n: int) -> bool:
        """Have `n` unread bytes at hand; False where the file ends before."""
        while len(self.buf) - self.pos < n and not self._ended:
            try:
                more = next(self.blocks, b"")
            except InputError as error:
                self.fault, more = error, b""
            self._ended = not more
            if more:
                self._base += self.pos
                self.buf = self.buf[self.pos :] + more
                self.pos = 0
        return len(self.buf) - self.pos >= n


def read_packets(path: Path, on_bytes: Callable[[int], object] = lambda n: None) -> Generator[Batch]:
    """Batches of packets of one capture, in file order.

    `on_bytes` is called with the number of stored bytes read since the last call.
    Raises InputError (after yielding everything before the fault) for: unreadable or empty file, not a capture,
    truncated header, record or compressed data, absurd record length, unknown link type.
    """
    data = _Bytes(path, on_bytes)
    with closing(data.blocks):
        yield from _read(data)


def _read(data: _Bytes) -> Iterator[Batch]:
    if not data.fill(4):
        if data.fault:
            raise data.fault
        size = len(data.buf)
        what = (
            "no packets: the file is empty" if size == 0 else f"no packets: only {size} bytes, too short for a capture"
        )
        raise InputError(data.name, "byte 0", what, "record it again")
    magic = data.buf[:4]
    if magic in PCAP_MAGICS:
        yield from _read_pcap(data, *PCAP_MAGICS[magic])
    elif magic == PCAPNG_MAGIC:
        yield from _read_pcapng(data)
    else:
        raise InputError(
            data.name,
            "byte 0",
            f"not a capture (starts with {magic.hex(' ')})",
            "pyad reads pcap and pcapng, plain, .gz or .zst; convert others with `editcap -F pcap`",
        )


def _cut(data: _Bytes, what: str) -> InputError:
    if data.fault:
        return data.fault
    return InputError(
        data.name,
        f"byte {data.offset()}",
        f"{what} is cut short",
        "the packets before it were used; `editcap` can repair the file",
    )


def _check_link_type(data: _Bytes, link_type: int) -> None:
    if link_type not in LINK_TYPES:
        raise InputError(
            data.name,
            f"byte {data.offset()}",
            f"unknown link type {link_type}",
            "pyad reads Ethernet, Linux cooked, raw IP, loopback, PPP and 802.11 captures",
        )


def _absurd(data: _Bytes, length: int) -> InputError:
    return InputError(
        data.name,
        f"byte {data.offset()}",
        f"a record says it is {length} bytes long (limit {MAX_RECORD}): the file is damaged",
        "the packets before it were used; `editcap` can repair the file",
    )


def _read_pcap(data: _Bytes, order: str, per_second: float, header: int) -> Iterator[Batch]:
    if not data.fill(24):
        raise _cut(data, "the file header")
    link_type = struct.unpack_from(order + "I", data.buf, 20)[0] & 0xFFFF
    _check_link_type(data, link_type)
    data.pos = 24
    unpack = struct.Struct(order + "IIII").unpack_from
    while data.fill(header):
        buf, pos, size = data.buf, data.pos, len(data.buf)
        packets: list[Packet] = []
        fault = None
        while pos + header <= size:
            seconds, fraction, captured, wire = unpack(buf, pos)
            if captured > MAX_RECORD:
                fault = "absurd"
                break
            end = pos + header + captured
            if end > size:
                break
            packets.append((seconds + fraction / per_second, wire, buf[pos + header : end]))
            pos = end
        data.pos = pos
        if packets:
            yield link_type, packets
        if fault:
            raise _absurd(data, captured)
        if not packets and not data.fill(header + captured):
            raise _cut(data, "a packet record")
    if data.fault:
        raise data.fault
    if data.pos < len(data.buf):
        raise _cut(data, "a record header")


def _read_pcapng(data: _Bytes) -> Iterator[Batch]:
    order = "<"
    interfaces: list[tuple[int, float, float]] = []  # link type, units per second, offset s
    packets: list[Packet] = []
    current = -1
    while data.fill(12):
        buf, pos = data.buf, data.pos
        kind, length = struct.unpack_from(order + "II", buf, pos)
        if kind == 0x0A0D0D0A:
            mark = buf[pos + 8 : pos + 12]
            if mark not in (b"\x4d\x3c\x2b\x1a", b"\x1a\x2b\x3c\x4d"):
                raise InputError(data.name, f"byte {data.offset()}", "damaged pcapng section header")
            order = "<" if mark[0] == 0x4D else ">"
            length = struct.unpack_from(order + "I", buf, pos + 4)[0]
            interfaces = []
        limit = MAX_RECORD + 1024 if kind in (2, 3, 6) else MAX_BLOCK
        if length < 12 or length > limit or length % 4:
            if packets:
                yield current, packets
            raise _absurd(data, length)
        if not data.fill(length):
            if packets:
                yield current, packets
            raise _cut(data, "a pcapng block")
        buf, pos = data.buf, data.pos
        if kind == 6 and length >= 32:
            parsed = _enhanced(buf, pos, length, order, interfaces)
        elif kind in (2, 3) and length >= 16:
            parsed = _old_packet(buf, pos, length, order, interfaces, kind)
        else:
            parsed = None
            if kind == 1 and length >= 20:
                interfaces.append(_interface(buf, pos, length, order))
        if parsed is not None:
            link_type, packet = parsed
            if link_type != current or len(packets) >= 4096:
                if packets:
                    yield current, packets
                packets = []
                if link_type != current:
                    _check_link_type(data, link_type)
                    current = link_type
            packets.append(packet)
        data.pos += length
    if packets:
        yield current, packets
    if data.fault:
        raise data.fault
    if data.pos < len(data.buf):
        raise _cut(data, "a pcapng block header")


def _interface(buf: bytes, pos: int, length: int, order: str) -> tuple[int, float, float]:
    """Link type, timestamp units per second and offset (s) from an interface description block."""
    link_type = struct.unpack_from(order + "H", buf, pos + 8)[0]
    units, offset = 1e6, 0.0
    at, end = pos + 16, pos + length - 4
    while at + 4 <= end:
        code, size = struct.unpack_from(order + "HH", buf, at)
        if code == 0 or at + 4 + size > end:
            break
        if code == 9 and size >= 1:
            resolution = buf[at + 4]
            units = 2.0 ** (resolution & 0x7F) if resolution & 0x80 else 10.0 ** min(resolution, 30)
        elif code == 14 and size >= 8:
            offset = float(struct.unpack_from(order + "q", buf, at + 4)[0])
        at += 4 + size + (-size % 4)
    return link_type, units, offset


def _enhanced(
    buf: bytes, pos: int, length: int, order: str, interfaces: list[tuple[int, float, float]]
) -> tuple[int, Packet] | None:
    index, high, low, captured, wire = struct.unpack_from(order + "IIIII", buf, pos + 8)
    if index >= len(interfaces):
        return None
    link_type, units, offset = interfaces[index]
    captured = min(captured, length - 32)
    start = pos + 28
    return link_type, (((high << 32) | low) / units + offset, wire, buf[start : start + captured])


def _old_packet(
    buf: bytes, pos: int, length: int, order: str, interfaces: list[tuple[int, float, float]], kind: int
) -> tuple[int, Packet] | None:
    """The obsolete packet block (2) and the simple packet block (3, which has no time)."""
    if kind == 2:
        if length < 32:
            return None
        index, _, high, low, captured, wire = struct.unpack_from(order + "HHIIII", buf, pos + 8)
        start = pos + 28
    else:
        index, high, low = 0, 0, 0
        wire = struct.unpack_from(order + "I", buf, pos + 8)[0]
        start = pos + 12
        captured = wire
    if index >= len(interfaces):
        return None
    link_type, units, offset = interfaces[index]
    captured = min(captured, pos + length - 4 - start)
    return link_type, (((high << 32) | low) / units + offset, wire, buf[start : start + captured])
