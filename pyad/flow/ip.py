"""IP below the transport: IPv6 header chains and the reassembly of fragments, bounded in time and bytes."""

from __future__ import annotations

from collections import OrderedDict

_EXTENSIONS = frozenset({0, 43, 60, 44, 51, 50, 135})
HOP, ROUTING, FRAGMENT, ESP, AH, NO_NEXT, DEST, MOBILITY = 0, 43, 44, 50, 51, 59, 60, 135

# (offset of the payload, last header of the chain, what follows it, source, destination)
Chain = tuple[int, int, int, bytes, bytes]


def header_chain(data: bytes, off: int, end: int) -> Chain:
    """Follow the extension headers of the IPv6 header at `off`; stops as Zeek does at a fragment, ESP or mobility
    header and where one is cut short. Routing headers and the Mobile IPv6 home address change the addresses.
    """
    src, dst = data[off + 8 : off + 24], data[off + 24 : off + 40]
    current, following = 41, data[off + 6]
    at = off + 40
    routed = False
    while following in _EXTENSIONS and current not in (FRAGMENT, ESP, MOBILITY):
        if end - at < 2:
            break
        if following in (FRAGMENT, ESP):
            size = 8
        elif following == AH:
            size = 8 + 4 * data[at + 1]
        else:
            size = 8 + 8 * data[at + 1]
        if size > end - at:
            break
        current = following
        following = data[at] if current != ESP else 0
        if current == ROUTING and not routed:
            kind, units, left = data[at + 2], data[at + 1], data[at + 3]
            if left and ((kind == 0 and units >= 2 and units % 2 == 0) or (kind == 2 and units == 2)):
                dst = data[at + size - 16 : at + size]
                routed = True
        elif current == DEST:
            src = _home_address(data, at + 2, at + size) or src
        at += size
    return at, current, following, src, dst


def _home_address(data: bytes, at: int, end: int) -> bytes | None:
    while at < end:
        if data[at] == 0:
            at += 1
            continue
        if at + 2 > end or at + 2 + data[at + 1] > end:
            return None
        if data[at] == 201 and data[at + 1] == 16:
            return data[at + 2 : at + 18]
        at += 2 + data[at + 1]
    return None


class Datagram:
    """The fragments of one IP datagram seen so far; earlier bytes win over later ones."""

    __slots__ = ("blocks", "created", "header", "held", "protocol", "size")

    OVERHEAD = 512  # bytes of memory per datagram, and an eighth of it per piece, beside the payload

    def __init__(self, created: float, header: bytes, protocol: int) -> None:
        self.created = created
        self.header = header
        self.protocol = protocol
        self.size = 0  # 0: the last fragment was not seen yet
        self.blocks: dict[int, bytes] = {}
        self.held = self.OVERHEAD

    def add(self, offset: int, payload: bytes, more: bool) -> bytes | None:
        """The whole payload once nothing is missing, else None."""
        upper = offset + len(payload)
        if not more and self.size == 0:
            self.size = upper
        if self.size and upper > self.size:
            self.size = upper
        if not payload:
            return None
        self._insert(offset, payload)
        at, parts = 0, []
        for start in sorted(self.blocks):
            if start != at:
                break
            parts.append(self.blocks[start])
            at += len(parts[-1])
        if not self.size or at < self.size:
            return None
        return b"".join(parts)

    def _insert(self, offset: int, payload: bytes) -> None:
        upper = offset + len(payload)
        pieces = []
        at = offset
        for start in sorted(self.blocks):
            stop = start + len(self.blocks[start])
            if stop <= at or start >= upper:
                continue
            if start > at:
                pieces.append((at, start))
            at = max(at, stop)
        if at < upper:
            pieces.append((at, upper))
        for start, stop in pieces:
            self.blocks[start] = payload[start - offset : stop - offset]
            self.held += stop - start + self.OVERHEAD // 8


class Fragments:
    """All datagrams waiting for fragments; the oldest give way when `max_bytes` are held."""

    def __init__(self, timeout_s: float, max_bytes: int) -> None:
        self.timeout_s = timeout_s
        self.max_bytes = max_bytes
        self.held = 0
        self.dropped = 0
        self.waiting: OrderedDict[tuple[bytes, bytes, int], Datagram] = OrderedDict()

    def add(
        self,
        now: float,
        key: tuple[bytes, bytes, int],
        header: bytes,
        protocol: int,
        offset: int,
        payload: bytes,
        more: bool,
    ) -> tuple[bytes, int, bytes] | None:
        """(header, protocol, payload) of the datagram that this fragment completes, else None."""
        waiting = self.waiting
        while waiting and next(iter(waiting.values())).created + self.timeout_s <= now:
            self._forget(next(iter(waiting)))
        datagram = waiting.get(key)
        if datagram is None:
            datagram = waiting[key] = Datagram(now, header, protocol)
            self.held += datagram.held
        if offset == 0:
            datagram.protocol = protocol
        before = datagram.held
        whole = datagram.add(offset, payload, more)
        self.held += datagram.held - before
        if whole is not None:
            self._forget(key)
            return datagram.header, datagram.protocol, whole
        while self.held > self.max_bytes and waiting:
            self._forget(next(iter(waiting)))
            self.dropped += 1
        return None

    def _forget(self, key: tuple[bytes, bytes, int]) -> None:
        self.held -= self.waiting.pop(key).held
