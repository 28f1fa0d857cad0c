"""Packets in, rows out: the fast path for what is common, the IP layer for everything else."""

from __future__ import annotations

from collections.abc import Sequence
from struct import Struct

from pyad.flow import service, tunnels
from pyad.flow.capture import Packet
from pyad.flow.decode import decode
from pyad.flow.flows import Encap
from pyad.flow.formats import ABSURD_TIME, MAX_TIME_S
from pyad.flow.ip import ESP, FRAGMENT, MOBILITY, NO_NEXT, header_chain
from pyad.flow.reassembly import MAX_UNACKED
from pyad.flow.transport import TCP_HEADER, Transport

_M32 = 0xFFFFFFFF

# From the EtherType on: EtherType, version and header length, total length, fragment field, protocol.
_FRAME = Struct(">HBxHxxHxB").unpack_from


class FlowEngine(Transport):
    """Feed it packets in capture order, take rows whenever it has some, flush it at the end."""

    def feed(self, link_type: int, packets: Sequence[Packet]) -> None:
        """Take packets of one link type in capture order; what they finish is in `rows`."""
        ethernet = link_type == 1
        too_late, too_far = self.options.max_lateness_s, MAX_TIME_S
        now = self.now
        self.packets += len(packets)
        if not self.timelines and packets:
            self.timelines = 1
        for ts, wire, data in packets:
            if ts > now:
                if ts >= too_far:
                    self.skipped[ABSURD_TIME] += 1
                    continue
                self.now = now = ts
            elif ts < 0.0:
                self.skipped[ABSURD_TIME] += 1
                continue
            elif ts < now - too_late:
                self.flush()
                self.timelines += 1
                self.now = now = ts
            if now >= self.next_due:
                self.advance(now)
            size = len(data)
            if ethernet and size >= 54:
                kind, version, total, fragment, proto = _FRAME(data, 12)
                if kind == 0x0800 and version == 0x45 and not fragment & 0x3FFF and wire >= total + 14:
                    key = data[26:38]
                    if proto == 6:
                        e = self.tcp.get(key)
                        if e is not None:
                            seq, ack, offset, flags, window = TCP_HEADER(data, 38)
                            length = total - 20 - ((offset >> 4) << 2)
                            if (
                                flags & 0x17 == 0x10
                                and seq == e.last
                                and window
                                and offset >= 0x50
                                and (
                                    (e.fast_data and size >= total + 14 and e.reass - e.trim < MAX_UNACKED)
                                    if length > 0
                                    else (e.fast_ack and length == 0)
                                )
                            ):
                                p = e.peer
                                delta = (ack - p.ack) & _M32
                                if not delta or (p.contig and delta <= (p.last - p.ack) & _M32):
                                    # In order, acknowledging what was seen: nothing but counters and marks move.
                                    if delta:
                                        if ack < p.ack:
                                            p.ack_wraps += 1
                                        p.ack = ack
                                        p.trim = ack + (p.ack_wraps << 32) - p.start
                                    if length:
                                        seq += length
                                        if seq > _M32:
                                            seq &= _M32
                                            e.wraps += 1
                                        e.last = seq
                                        e.reass += length
                                    e.pkts += 1
                                    e.ip_bytes += total
                                    e.flow.last = ts
                                    continue
                        elif (
                            data[47] & 0x3F == 2 and key not in self.syns and self.syn(ts, data, key, total, wire, size)
                        ):
                            continue
                    elif proto == 17 and total >= 28:
                        s = self.udp.get(key)
                        if s is not None and s.head > 1 and s.flow.watch < 1:
                            first = data[42]
                            if first and first >> 4 != 6 and data[43] != 0x52:
                                s.size += ((data[38] << 8) | data[39]) - 8
                                s.pkts += 1
                                s.ip_bytes += total
                                s.flow.last = ts
                                continue
            frame = decode(link_type, data)
            if isinstance(frame, str):
                self.skipped[frame] += 1
                continue
            off, end, macs, vlan, is_arp = frame
            if is_arp:
                self.arp_packet(ts, data, off, end, vlan)
            else:
                self.ip_packet(ts, data, off, end, wire, macs, vlan, ())

    def ip_packet(
        self, ts: float, data: bytes, off: int, end: int, wire_end: int, macs: bytes, vlan: int, encap: Encap
    ) -> None:
        """An IP packet at `data[off:end]`; on the wire its frame ends at `wire_end`; `encap`: the tunnels around."""
        have = end - off
        if have < 20:
            self.skipped["truncated IP header"] += 1
            return
        version = data[off] >> 4
        if version == 4:
            header = (data[off] & 15) << 2
            total = length = (data[off + 2] << 8) | data[off + 3]
            proto = data[off + 9]
            src, dst = data[off + 12 : off + 16], data[off + 16 : off + 20]
            body = off + header
            payload = total - header if total else 0
            fragment = ((data[off + 6] << 8) | data[off + 7]) & 0x3FFF
            last_header = -1
        elif version == 6:
            if have < 40:
                self.skipped["truncated IP header"] += 1
                return
            body, last_header, proto, src, dst = header_chain(data, off, end)
            header = body - off
            total = length = ((data[off + 4] << 8) | data[off + 5]) + 40
            payload = total - header
            fragment = 1 if last_header == FRAGMENT else 0
        else:
            self.skipped["unknown IP version"] += 1
            return
        if length == 0:
            length = end - off  # segmentation offload leaves the length to the card
        if wire_end < off + length:
            self.skipped["IP packet longer than its frame"] += 1
            return
        if header > length or header > have or header < 20:
            self.skipped["bad IP header length"] += 1
            return
        if fragment:
            if have < length:
                self.skipped["incompletely captured fragment"] += 1
                if self._fragment_offset(data, off, body, version):
                    return
            else:
                self._fragment(ts, data, off, body, length, version, proto, src, dst, macs, vlan, encap)
                return
        if last_header in (ESP, MOBILITY) or proto == NO_NEXT:
            self.skipped["IP without a transport header"] += 1
            return
        have -= header
        if payload:
            have = min(have, payload)
        self._transport(ts, data, body, have, payload, total, proto, src, dst, macs, vlan, encap, wire_end - end)

    @staticmethod
    def _fragment_offset(data: bytes, off: int, body: int, version: int) -> int:
        if version == 4:
            return (((data[off + 6] << 8) | data[off + 7]) & 0x1FFF) << 3
        return ((data[body - 6] << 8) | data[body - 5]) & 0xFFF8

    def _fragment(
        self,
        ts: float,
        data: bytes,
        off: int,
        body: int,
        length: int,
        version: int,
        proto: int,
        src: bytes,
        dst: bytes,
        macs: bytes,
        vlan: int,
        encap: Encap,
    ) -> None:
        at = self._fragment_offset(data, off, body, version)
        if version == 4:
            ident = (data[off + 4] << 8) | data[off + 5]
            more = bool(data[off + 6] & 0x20)
            header = data[off:body]
        else:
            ident = int.from_bytes(data[body - 4 : body], "big")
            more = bool(data[body - 5] & 1)
            header = data[off : body - 8]
        whole = self.fragments.add(self.now, (src, dst, ident), header, proto, at, data[body : off + length], more)
        if whole is None:
            return
        header, proto, payload = whole
        total = len(header) + len(payload)
        if total > 65535:
            self.skipped["reassembled packet too long"] += 1
            return
        have = len(payload)
        if version == 4:
            proto = header[9]
            self._transport(ts, payload, 0, have, have, total, proto, src, dst, macs, vlan, encap, 0)
            return
        # Chains may go on behind the fragment header: parse the rest as if it had never been there.
        joined = header[:6] + bytes([proto]) + header[7:40] + payload
        body, last_header, proto, _, dst2 = header_chain(joined, 0, len(joined))
        if body > 40:
            dst = dst2 if dst2 != joined[24:40] else dst
        if last_header in (ESP, MOBILITY, FRAGMENT) or proto == NO_NEXT:
            self.skipped["IP without a transport header"] += 1
            return
        have = len(joined) - body
        self._transport(ts, joined, body, have, have, total, proto, src, dst, macs, vlan, encap, 0)

    def _transport(
        self,
        ts: float,
        data: bytes,
        body: int,
        have: int,
        payload: int,
        total: int,
        proto: int,
        src: bytes,
        dst: bytes,
        macs: bytes,
        vlan: int,
        encap: Encap,
        missing: int,
    ) -> None:
        """`have` bytes at `body` of a payload that is `payload` bytes long (0: unknown); `total` as IP says."""
        if proto == 6:
            if have < 20:
                self.skipped["truncated TCP header"] += 1
                return
            self.tcp_packet(ts, data, body, have, payload or have, total, src, dst, macs, vlan, encap)
        elif proto == 17:
            if have < 8:
                self.skipped["truncated UDP header"] += 1
                return
            self.udp_packet(ts, data, body, have, total, src, dst, macs, vlan, encap, missing)
        elif proto in (1, 58):
            if have < 8:
                self.skipped["truncated ICMP header"] += 1
                return
            kind, code = data[body], data[body + 1]
            reply = service.icmp_counterpart(kind, code, proto)
            ports = (kind, code if reply is None else reply)
            length = (payload or have) - 8
            whole = have >= payload  # Zeek does not count an ICMP packet that was cut by the snapshot length
            self.datagram(
                ts, "icmp", proto, src, dst, ports, reply is None, length, total if whole else -1, macs, vlan, encap
            )
        elif proto in (4, 41, 47):
            hosts = (src, dst) if src < dst else (dst, src)
            reason = tunnels.ip_tunnel(self, ts, data, body, have, proto, hosts, encap)
            if reason:
                self.skipped[reason] += 1
        else:
            self.datagram(ts, "unknown_transport", proto, src, dst, (0, 0), False, -1, total, macs, vlan, encap)
