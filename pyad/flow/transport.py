"""TCP, UDP, ICMP, ARP and other packets find their flow here, or begin one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from struct import Struct

from pyad.flow import rowbuild, service, tunnels, watchers
from pyad.flow.endpoint import Endpoint
from pyad.flow.flows import DatagramFlow, Encap, Side
from pyad.flow.options import PATIENT_SERVICES, SERVER_PORTS_TCP, SERVER_PORTS_UDP
from pyad.flow.table import FlowTable, Syn
from pyad.flow.tcp import TcpFlow

# A TCP header from its sequence number on: seq, ack, header length, flags, window.
TCP_HEADER = Struct(">IIBBH").unpack_from

_BROADCAST = b"\xff\xff\xff\xff"


class Transport(FlowTable, ABC):
    """The transport layer on top of the table of flows; the layer below is the engine's."""

    @abstractmethod
    def ip_packet(
        self, ts: float, data: bytes, off: int, end: int, wire_end: int, macs: bytes, vlan: int, encap: Encap
    ) -> None:
        """Process the IP packet inside a tunnel."""

    def syn(self, ts: float, data: bytes, key: bytes, total: int, wire: int, size: int) -> bool:
        """Remember a connection's first plain SYN in the small form. False: it is no such packet."""
        offset = data[46] >> 4
        if total != 20 + (offset << 2) or offset < 5 or size < 14 + total or data[48:50] == b"\0\0":
            return False
        back = key[4:8] + key[:4] + key[10:] + key[8:10]
        if back in self.tcp or back in self.syns or back == key:
            return False
        syn = (ts, key, data, wire, self.source)
        self.check_room()
        self.syns[key] = syn
        self.syn_queue.append(syn)
        due = ts + self.options.timeouts.tcp_attempt_s
        self.next_due = min(self.next_due, due)
        return True

    def _inflate(self, syn: Syn) -> None:
        """Turn a connection held in the small form into a full one."""
        ts, key, data, _, source = syn
        del self.syns[key]
        source, self.source = self.source, source
        size = ((data[16] << 8) | data[17]) - 20
        self.tcp_packet(ts, data, 34, size, size, size + 20, key[:4], key[4:8], data[:12], -1, ())
        self.source = source

    def tcp_packet(
        self,
        ts: float,
        data: bytes,
        body: int,
        have: int,
        payload: int,
        total: int,
        src: bytes,
        dst: bytes,
        macs: bytes,
        vlan: int,
        encap: Encap,
    ) -> None:
        """A TCP segment of `payload` bytes (header included), `have` of them captured, at `body`."""
        ports = data[body : body + 4]
        key = src + dst + ports
        seq, ack, offset, flags, window = TCP_HEADER(data, body + 4)
        e = self.tcp.get(key)
        n = 0
        if e is None:
            e = self._tcp_known(key, dst + src + ports[2:] + ports[:2])
        if e is not None:
            flow = e.flow
            if flags & 2 and offset >= 0x50 and flow.is_reuse(flags, seq):
                n = flow.n + 1 if flow.ts == ts else 0
                self.remove(flow)
                e = None
        if e is None:
            e = self._new_tcp(ts, key, flags, macs, vlan, encap)
            e.flow.n = n
        elif e.flow.encap != encap:
            e.flow.change_encap(encap)
        header = (offset >> 4) << 2
        if header < 20 or header > payload or header > have:
            self.skipped["bad TCP header length"] += 1
            self.start_expire(e.flow)
            return
        flow = e.flow
        length = payload - header
        have -= header
        if e.steady(seq, ack, flags, window, length, have >= length):
            flow.last = ts
            e.pkts += 1
            e.ip_bytes += total
            return
        if length > 0 and have > 0 and e.head <= 3:
            self._sniff_tcp(flow, e, data[body + header : body + header + have])
        flow.packet(e, ts, flags, seq, ack, window, length, have >= length)
        e.pkts += 1
        e.ip_bytes += total
        if flow.wants_inactivity:
            self.set_inactivity(flow, flow.wants_inactivity)
            flow.wants_inactivity = 0.0

    def _tcp_known(self, key: bytes, back: bytes) -> Endpoint | None:
        """The sender's endpoint of a known connection that was not seen in this direction yet."""
        syn = self.syns.get(key) or self.syns.get(back)
        if syn is not None:
            self._inflate(syn)
            e = self.tcp.get(key)
            if e is not None:
                return e
        there = self.tcp.get(back)
        if there is None:
            return None
        self.tcp[key] = there.peer
        return there.peer

    def _new_tcp(self, ts: float, key: bytes, flags: int, macs: bytes, vlan: int, encap: Encap) -> Endpoint:
        flow = TcpFlow(self, key, ts)
        e = self.tcp[key] = flow.a
        half = (len(key) - 4) // 2
        if flags & 0x12 != 2:  # no SYN, or a SYN-ACK: guess by the ports who is the server
            sport = (key[-4] << 8) | key[-3]
            dport = (key[-2] << 8) | key[-1]
            if sport in SERVER_PORTS_TCP:
                flip = not flags & 2 and sport < dport if dport in SERVER_PORTS_TCP else True
                if flip and key[half : 2 * half] != _BROADCAST:
                    flow.flip()
        self.open(flow, macs, vlan, encap, self.options.timeouts.udp_inactivity_s)
        return e

    def _sniff_tcp(self, flow: TcpFlow, e: Endpoint, payload: bytes) -> None:
        e.head += 1
        if flow.service:
            e.head = 4
            return
        orig = flow.orig
        key = flow.key
        ports = ((key[-4] << 8) | key[-3], (key[-2] << 8) | key[-1])
        resp_p = ports[0] if flow.flipped else ports[1]
        found = service.tcp_service(payload, e is orig, resp_p)
        if found:
            flow.service = found
            if found in PATIENT_SERVICES:
                flow.wants_inactivity = self.options.timeouts.patient_inactivity_s

    def udp_packet(
        self,
        ts: float,
        data: bytes,
        body: int,
        have: int,
        total: int,
        src: bytes,
        dst: bytes,
        macs: bytes,
        vlan: int,
        encap: Encap,
        missing: int,
    ) -> None:
        """A UDP datagram at `body`, `have` bytes of it captured; the frame lacks `missing` bytes at its end."""
        ports = data[body : body + 4]
        key = src + dst + ports
        s = self.udp.get(key)
        if s is None:
            s = self._answer(self.udp, key, dst + src + ports[2:] + ports[:2])
        if s is None:
            flow = DatagramFlow(key, "udp", ts)
            sport = (ports[0] << 8) | ports[1]
            dport = (ports[2] << 8) | ports[3]
            if sport in SERVER_PORTS_UDP and dport not in SERVER_PORTS_UDP and dst != _BROADCAST:
                flow.flipped = True
                flow.history = "^"
                flow.a.is_orig = False
            s = self.udp[key] = flow.a
            resp_p = sport if flow.flipped else dport
            flow.watch = tunnels.PORTS.get(resp_p, 0) or watchers.PORTS.get(resp_p, 0)
            self.open(flow, macs, vlan, encap, self.options.timeouts.udp_inactivity_s)
            if flow.watch == watchers.DNS:
                self.start_dns(flow)
        elif s.flow.encap != encap:
            s.flow.change_encap(encap)
        flow = s.flow
        flow.last = ts
        size = ((data[body + 4] << 8) | data[body + 5]) - 8
        if s.size < 0:
            s.size = size
            letter = 1 if s.is_orig else 2
            if not flow.hist_seen & letter:
                flow.hist_seen |= letter
                flow.history += "D" if s.is_orig else "d"
        else:
            s.size += size
        counted = s
        if flow.watch >= watchers.DNS:
            counted = watchers.watch(flow, s, data[body + 8 : body + have])
        counted.pkts += 1
        counted.ip_bytes += total
        if s.head <= 1:
            s.head += 1
            if not flow.service:
                resp_p = int.from_bytes(flow.key[-4:-2] if flow.flipped else flow.key[-2:], "big")
                flow.service = service.udp_service(data[body + 8 : body + have], s.is_orig, resp_p)
        if have > 8 and 0 <= flow.watch < watchers.DNS:
            reason = tunnels.udp_tunnel(self, ts, flow, data, body + 8, body + have, encap, missing)
            if reason:
                self.skipped[reason] += 1

    def datagram(
        self,
        ts: float,
        name: str,
        proto: int,
        src: bytes,
        dst: bytes,
        ports: tuple[int, int],
        one_way: bool,
        length: int,
        total: int,
        macs: bytes,
        vlan: int,
        encap: Encap,
    ) -> None:
        """A packet of a flow without ports of its own: ICMP (type, code or type of the answer) or another protocol."""
        there, back = bytes((0, ports[0], 0, ports[1])), bytes((0, ports[1], 0, ports[0]))
        tail = bytes((proto, one_way))
        key = src + dst + there + tail
        s = self.other.get(key)
        if s is None and not one_way:
            s = self._answer(self.other, key, dst + src + back + tail)
        if s is None:
            flow = DatagramFlow(key[:-2], name, ts)
            flow.tail = tail
            s = self.other[key] = flow.a
            timeouts = self.options.timeouts
            wait = timeouts.icmp_inactivity_s if name == "icmp" else timeouts.unknown_inactivity_s
            self.open(flow, macs, vlan, encap, wait)
        elif s.flow.encap != encap:
            s.flow.change_encap(encap)
        s.flow.last = ts
        if length >= 0:
            s.size = length if s.size < 0 else s.size + length
        if total >= 0:
            s.pkts += 1
            s.ip_bytes += total

    @staticmethod
    def _answer(table: dict[bytes, Side], key: bytes, back: bytes) -> Side | None:
        there = table.get(back)
        if there is None:
            return None
        flow = there.flow
        if flow.b is None:
            flow.b = Side(flow, not there.is_orig)
        table[key] = flow.b
        return flow.b

    def arp_packet(self, ts: float, data: bytes, off: int, end: int, vlan: int) -> None:
        """Watch who claims which address; a change of the link-layer address is a row."""
        if (
            end - off < 28
            or data[off : off + 6] != b"\0\x01\x08\0\x06\x04"
            or data[off + 6 : off + 8]
            not in (
                b"\0\1",
                b"\0\2",
            )
        ):
            self.skipped["ARP that is not IPv4 over Ethernet"] += 1
            return
        mac, address = data[off + 8 : off + 14], data[off + 14 : off + 18]
        if address == b"\0\0\0\0" or mac == b"\0\0\0\0\0\0":
            return  # a probe claims nothing
        known = self.arp.pop((vlan, address), None)
        self.arp[(vlan, address)] = mac
        if known is None:
            if len(self.arp) > self.options.max_arp_hosts:
                self.arp.popitem(last=False)
        elif known != mac:
            self.rows.append(rowbuild.arp_row(ts, address, mac, known, vlan, self.addresses))
            self.row_sources.append(self.source)
