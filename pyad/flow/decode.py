"""Link layers: from captured bytes of any link type to where the IP header lies, who sent the frame, and its VLAN."""

from __future__ import annotations

# (offset of the network header, end of its bytes, destination+source MAC or b"", VLAN id or -1, is ARP)
Frame = tuple[int, int, bytes, int, bool]

_NO_MAC = b"\0\0\0\0\0\0"
_VLAN_TYPES = frozenset({0x8100, 0x88A8, 0x9100})
_MAX_LAYERS = 25


def decode(link_type: int, data: bytes, end: int | None = None, off: int = 0) -> Frame | str:
    """Where the IP (or ARP) packet of a frame lies in `data[off:end]`, or the reason why there is none."""
    if end is None:
        end = len(data)
    if link_type == 1:
        return _ethernet(data, off, end)
    if link_type in (101, 12, 14, 228, 229):
        return off, end, b"", -1, False
    if link_type == 113:
        if end - off <= 16:
            return "truncated Linux cooked header"
        macs = _NO_MAC + data[off + 6 : off + 12]
        return _ethertype((data[off + 14] << 8) | data[off + 15], data, off + 16, end, macs, cooked=True)
    if link_type == 276:
        if end - off <= 20:
            return "truncated Linux cooked header"
        macs = _NO_MAC + data[off + 12 : off + 18]
        return _ethertype((data[off] << 8) | data[off + 1], data, off + 20, end, macs, cooked=True)
    if link_type in (0, 108):
        if end - off <= 4:
            return "truncated loopback header"
        little = link_type == 0 and data[off] != 0
        family = int.from_bytes(data[off : off + 4], "little" if little else "big")
        return (off + 4, end, b"", -1, False) if family in (2, 10, 23, 24, 28, 30) else "not IP"
    if link_type == 9:
        return _ppp(data, off, end)
    if link_type == 50:
        return (
            _ppp_protocol((data[off + 2] << 8) | data[off + 3], data, off + 4, end)
            if end - off > 4
            else "truncated PPP"
        )
    if link_type == 104:
        if end - off <= 4:
            return "truncated HDLC header"
        return _ethertype((data[off + 2] << 8) | data[off + 3], data, off + 4, end, b"", cooked=True)
    if link_type == 127:
        if end - off <= 4:
            return "truncated radiotap header"
        size = data[off + 2] | (data[off + 3] << 8)
        return _wifi(data, off + size, end) if 0 < size < end - off else "truncated radiotap header"
    if link_type == 105:
        return _wifi(data, off, end)
    if link_type == 239:
        return _nflog(data, off, end)
    return "unknown link type"


def _ethernet(data: bytes, off: int, end: int) -> Frame | str:
    if end - off <= 16:
        return "truncated Ethernet frame"
    if data[off + 12] == 0x89 and data[off + 13] == 0x03:  # Cisco FabricPath in front of the frame
        if end - off <= 30:
            return "truncated Ethernet frame"
        off += 16
    kind = (data[off + 12] << 8) | data[off + 13]
    return _ethertype(kind, data, off + 14, end, data[off : off + 12])


def _ethertype(kind: int, data: bytes, off: int, end: int, macs: bytes, cooked: bool = False) -> Frame | str:
    """Follow EtherTypes (VLAN tags, MPLS, PPPoE, SNAP, …) to the network layer."""
    vlan = -1
    for _ in range(_MAX_LAYERS):
        if kind in (0x0800, 0x86DD):
            return off, end, macs, vlan, False
        if kind in (0x0806, 0x8035):
            return off, end, macs, vlan, True
        if cooked:
            # A VLAN tag inside a cooked header is kept by the kernel only in newer versions.
            if kind not in _VLAN_TYPES:
                return "not IP"
            cooked = False
        if kind in _VLAN_TYPES:
            if end - off <= 4:
                return "truncated VLAN tag"
            if vlan < 0:
                vlan = ((data[off] << 8) | data[off + 1]) & 0xFFF
            kind = (data[off + 2] << 8) | data[off + 3]
            off += 4
        elif kind == 0x8847:
            while True:
                if end - off <= 4:
                    return "truncated MPLS label"
                last = data[off + 2] & 1
                off += 4
                if last:
                    return off, end, macs, vlan, False
        elif kind == 0x8864:
            if end - off <= 8:
                return "truncated PPPoE header"
            size = (data[off + 4] << 8) | data[off + 5]
            protocol = (data[off + 6] << 8) | data[off + 7]
            if protocol not in (0x0021, 0x0057):
                return "not IP"
            return off + 8, min(end, off + 8 + max(size - 2, 0)), macs, vlan, False
        elif kind == 0x8926:  # VN-Tag
            if end - off <= 6:
                return "truncated VN-Tag"
            kind = (data[off + 4] << 8) | data[off + 5]
            if kind not in _VLAN_TYPES:
                return "not IP"
            off += 6
        elif kind == 0x88E7:  # provider backbone bridging: a whole frame follows
            if end - off <= 18:
                return "truncated PBB header"
            macs = data[off + 4 : off + 16]
            kind = (data[off + 16] << 8) | data[off + 17]
            off += 18
        elif kind <= 1500:
            end = min(end, off + kind)
            if end - off < 2:
                return "truncated 802.3 frame"
            if data[off] != 0xAA or data[off + 1] != 0xAA:
                return "not IP"
            return _snap(data, off, end, macs, vlan)
        else:
            return "not IP"
    return "too many link layers"


def _snap(data: bytes, off: int, end: int, macs: bytes, vlan: int) -> Frame | str:
    size = 3 if end - off >= 3 and data[off + 2] & 3 == 3 else 4
    if end - off < size + 5:
        return "truncated SNAP header"
    oui = data[off + size : off + size + 3]
    kind = (data[off + size + 3] << 8) | data[off + size + 4]
    if oui != b"\0\0\0" or kind not in (0x0800, 0x86DD, 0x0806, 0x8035):
        return "not IP"
    return off + size + 5, end, macs, vlan, kind in (0x0806, 0x8035)


def _ppp(data: bytes, off: int, end: int) -> Frame | str:
    if end - off <= 2:
        return "truncated PPP"
    if data[off] == 0xFF and data[off + 1] == 0x03:
        if end - off <= 4:
            return "truncated PPP"
        off += 2
    return _ppp_protocol((data[off] << 8) | data[off + 1], data, off + 2, end)


def _ppp_protocol(protocol: int, data: bytes, off: int, end: int) -> Frame | str:
    if protocol in (0x0021, 0x0057):
        return off, end, b"", -1, False
    if protocol == 0x0281:
        return _ethertype(0x8847, data, off, end, b"")
    return "not IP"


def _wifi(data: bytes, off: int, end: int) -> Frame | str:
    """IEEE 802.11 data frames that are not encrypted, without aggregation."""
    if end - off <= 24:
        return "truncated 802.11 header"
    control, flags = data[off], data[off + 1]
    if not (control >> 2) & 2 or (control >> 4) & 4:
        return "not IP"
    size = 30 if flags & 3 == 3 else 24
    if (control >> 4) & 8:
        if end - off <= size:
            return "truncated 802.11 header"
        if flags & 0x40 or data[off + size] & 0x80:
            return "not IP"
        size += 2
    if end - off < size + 8:
        return "truncated 802.11 header"
    source, target = {0: (10, 4), 1: (10, 16), 2: (16, 4), 3: (24, 16)}[flags & 3]
    macs = data[off + target : off + target + 6] + data[off + source : off + source + 6]
    at = off + size
    if data[at : at + 6] != b"\xaa\xaa\x03\0\0\0":
        return "not IP"
    kind = (data[at + 6] << 8) | data[at + 7]
    return _ethertype(kind, data, at + 8, end, macs, cooked=True)


def _nflog(data: bytes, off: int, end: int) -> Frame | str:
    if end - off <= 4:
        return "truncated NFLOG header"
    if data[off] not in (2, 10) or data[off + 1] != 0:
        return "not IP"
    off += 4
    while end - off > 4:
        size = data[off] | (data[off + 1] << 8)
        if data[off + 2] | (data[off + 3] << 8) == 9:
            return off + 4, end, b"", -1, False
        size += -size % 4
        if size < 4:
            break
        off += size
    return "truncated NFLOG header"
