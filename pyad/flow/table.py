"""The table of open flows: Zeek's timers on capture time, removal, rows. Memory is bounded by what is open."""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from collections.abc import Iterator
from heapq import heapify, heappop, heappush

import numpy as np

from pyad.flow import rowbuild, watchers
from pyad.flow.endpoint import INACTIVE, RESET, SYN_ACK_SENT, SYN_SENT, Endpoint
from pyad.flow.flows import DatagramFlow, Encap, Flow, Side
from pyad.flow.ip import Fragments
from pyad.flow.options import PATIENT_PORTS, SERVER_PORTS_TCP, FlowOptions
from pyad.flow.tcp import TcpFlow
from pyad.row import Rows, from_tuples

# A connection of which only a plain SYN was seen (ts, key, frame, wire length, source): most of a flood, kept small.
Syn = tuple[float, bytes, bytes, int, str]

_MAX_TIMERS_PER_PACKET = 300  # Zeek's max_timer_expires
_NEVER = float("inf")
_INACTIVITY, _ATTEMPT, _EXPIRE, _DELETE, _PARTIAL, _DNS = range(6)
_COMPACT_AT = 20_000
_MAX_MACS = 4096

# About what an open flow takes in memory, with its timers and its places in the tables.
_TCP_BYTES, _DATAGRAM_BYTES, _SYN_BYTES = 2200, 850, 460


class FlowTable:
    """All open flows of one timeline; `rows` collects what was finished."""

    def __init__(self, options: FlowOptions, skipped: Counter[str] | None = None) -> None:
        self.options = options
        self.skipped: Counter[str] = Counter() if skipped is None else skipped
        self.timelines = 0
        self.packets = 0
        self.source = ""
        self.addresses = rowbuild.Addresses(options)
        self.rows: list[rowbuild.Row] = []
        self.row_sources: list[str] = []
        self.tcp_inactivity_s = options.timeouts.tcp_inactivity_s
        self._forget()

    def _forget(self) -> None:
        self.now = 0.0
        self.next_due = _NEVER
        self.tcp: dict[bytes, Endpoint] = {}
        self.udp: dict[bytes, Side] = {}
        self.other: dict[bytes, Side] = {}
        self.syns: dict[bytes, Syn] = {}
        self.syn_queue: deque[Syn] = deque()
        self.arp: OrderedDict[tuple[int, bytes], bytes] = OrderedDict()
        self.fragments = Fragments(self.options.timeouts.fragment_s, self.options.max_fragment_bytes)
        self._timers: list[tuple[float, int, Flow]] = []
        self._dead_timers = 0
        self._serial = 0
        self._held = 0  # bytes, about, of the full flows
        self._macs: dict[bytes, bytes] = {}  # one copy of each pair: most flows share it

    def open(self, flow: Flow, macs: bytes, vlan: int, encap: Encap, inactivity_s: float) -> None:
        """Start the life of a new flow."""
        self._held += _TCP_BYTES if flow.proto == "tcp" else _DATAGRAM_BYTES
        self.check_room()
        flow.encap = encap
        known = self._macs.get(macs)
        if known is None:
            if len(self._macs) >= _MAX_MACS:
                self._macs.clear()
            known = self._macs[macs] = macs
        flow.macs = known
        flow.vlan = vlan
        flow.source = self.source
        self._serial += 1
        flow.order = self._serial
        flow.inact_s = inactivity_s
        flow.inact_due = due = flow.ts + inactivity_s
        self._push(due, _INACTIVITY, flow)
        if self.options.partial_rows and self.options.long_conn_first_s < inactivity_s:
            self._push(flow.ts + self.options.long_conn_first_s, _PARTIAL, flow)

    def set_inactivity(self, flow: Flow, timeout_s: float) -> None:
        """Change how long a flow may be quiet, counted from its last packet."""
        if timeout_s != flow.inact_s:
            flow.inact_s = timeout_s
            flow.inact_due = flow.last + timeout_s
            self._push(flow.inact_due, _INACTIVITY, flow)

    def established(self, flow: TcpFlow) -> None:
        """A handshake was completed: interactive services get a longer inactivity timeout."""
        key = flow.key
        ports = (int.from_bytes(key[-4:-2], "big"), int.from_bytes(key[-2:], "big"))
        orig_p, resp_p = (ports[1], ports[0]) if flow.flipped else ports
        if flow.orig.state == INACTIVE and resp_p not in SERVER_PORTS_TCP and orig_p in SERVER_PORTS_TCP:
            resp_p = orig_p
        if resp_p in PATIENT_PORTS:
            flow.wants_inactivity = self.options.timeouts.patient_inactivity_s

    def start_dns(self, flow: DatagramFlow) -> None:
        """Connections to a DNS port over UDP end much sooner than others."""
        self._push(self.now + self.options.timeouts.dns_session_s, _DNS, flow)

    def start_attempt(self, flow: TcpFlow) -> None:
        """Give the responder some time to answer."""
        self._push(flow.last + self.options.timeouts.tcp_attempt_s, _ATTEMPT, flow)

    def start_delete(self, flow: TcpFlow) -> None:
        """The connection is closed: remove it soon."""
        flow.delete_due = flow.last + self.options.timeouts.tcp_close_s
        self._push(flow.delete_due, _DELETE, flow)

    def start_expire(self, flow: TcpFlow) -> None:
        """One side is closed (or nothing valid was seen): look from time to time whether the rest went quiet."""
        if not flow.has_expire:
            flow.has_expire = True
            self._push(flow.last + self.options.timeouts.tcp_session_timer_s, _EXPIRE, flow)

    def _push(self, due: float, kind: int, flow: Flow) -> None:
        heappush(self._timers, (due, kind, flow))
        self.next_due = min(self.next_due, due)

    def advance(self, now: float) -> None:
        """Let capture time reach `now`: run what is due, at most as many timers as Zeek does per packet."""
        timers, queue, syns = self._timers, self.syn_queue, self.syns
        wait = self.options.timeouts.tcp_attempt_s
        budget = _MAX_TIMERS_PER_PACKET
        while budget > 0:
            while queue and syns.get(queue[0][1]) is not queue[0]:
                queue.popleft()  # it has become a full flow
            syn_due = queue[0][0] + wait if queue else _NEVER
            timer_due = timers[0][0] if timers else _NEVER
            if min(syn_due, timer_due) > now:
                break
            if syn_due <= timer_due:
                syn = queue.popleft()
                del syns[syn[1]]
                self._emit_syn(syn)
                budget -= 2  # Zeek has two timers for it
            else:
                due, kind, flow = heappop(timers)
                if flow.dead:
                    self._dead_timers -= 1
                elif self._fire(due, kind, flow, now):
                    budget -= 1
        syn_due = queue[0][0] + wait if queue else _NEVER
        self.next_due = min(syn_due, timers[0][0] if timers else _NEVER)

    def check_room(self) -> None:
        """Keep the memory of all open flows under its limit."""
        if self._held + len(self.syns) * _SYN_BYTES > self.options.max_flow_bytes:
            self._make_room()

    def _make_room(self) -> None:
        """End flows before their time, those next that would time out first, until enough memory is free."""
        timers, queue, syns = self._timers, self.syn_queue, self.syns
        enough = self.options.max_flow_bytes * 15 // 16
        while self._held + len(syns) * _SYN_BYTES > enough and (timers or syns):
            while queue and syns.get(queue[0][1]) is not queue[0]:
                queue.popleft()
            if queue and (not timers or queue[0][0] + self.options.timeouts.tcp_attempt_s <= timers[0][0]):
                syn = queue.popleft()
                del syns[syn[1]]
                self._emit_syn(syn)
            else:
                _, kind, flow = heappop(timers)
                if flow.dead:
                    self._dead_timers -= 1
                    continue
                if kind == _PARTIAL:
                    continue
                self.remove(flow)
            self.skipped["connections ended early for lack of memory"] += 1

    def _fire(self, due: float, kind: int, flow: Flow, now: float) -> bool:
        """Run a timer; False where it was out of date."""
        if kind == _INACTIVITY:
            if due != flow.inact_due:
                self._partial(flow, now)
                return False
            if flow.last + flow.inact_s <= now:
                self.remove(flow)
                return True
            flow.inact_due = flow.last + flow.inact_s
            self._push(flow.inact_due, _INACTIVITY, flow)
            self._partial(flow, now)
            return True
        if kind == _PARTIAL:
            self._partial(flow, now, timer=True)
            return False
        if kind == _DNS and isinstance(flow, DatagramFlow):
            if flow.watch != watchers.DNS:
                return False
            wait = self.options.timeouts.dns_session_s
            if now - flow.last >= wait - 1.0:  # Zeek's slack: one timer is enough for one question and its answer
                self.remove(flow)
            else:
                self._push(now + wait, _DNS, flow)
            return True
        if not isinstance(flow, TcpFlow):
            return False
        if kind == _DELETE:
            if due != flow.delete_due:
                return False
            self.remove(flow)
        elif not flow.is_active or flow.delete_due:
            return False
        elif kind == _ATTEMPT:
            if flow.orig.state in (SYN_SENT, SYN_ACK_SENT) and flow.resp.state == INACTIVE:
                self.remove(flow)
        else:
            self._expire(flow, now)
        return True

    def _expire(self, flow: TcpFlow, now: float) -> None:
        orig, resp = flow.orig, flow.resp
        flow.has_expire = False
        closing = orig.did_close or resp.did_close
        if flow.last + self.options.timeouts.tcp_linger_s < now:
            over = (
                (orig.did_close and resp.did_close)
                or RESET in (orig.state, resp.state)
                or INACTIVE in (orig.state, resp.state)
            )
            if (closing and over) or orig.state == resp.state == INACTIVE:
                self.remove(flow)
                return
        if closing or orig.state == resp.state == INACTIVE:
            flow.has_expire = True
            self._push(now + self.options.timeouts.tcp_session_timer_s, _EXPIRE, flow)

    def _partial(self, flow: Flow, now: float, timer: bool = False) -> None:
        """Emit a row of a connection that is still open, when it is time and there is news."""
        options = self.options
        if not options.partial_rows or (flow.partial and not timer):
            return
        first_due = flow.ts + options.long_conn_first_s
        if now < first_due:
            self._push(first_due, _PARTIAL, flow)
            return
        if flow.last + flow.inact_s <= now:
            return  # about to end
        a, b = (flow.a, flow.b) if isinstance(flow, TcpFlow | DatagramFlow) else (None, None)
        packets = (a.pkts if a else 0) + (b.pkts if b else 0)
        if packets != flow.partial_pkts:
            flow.partial_pkts = packets
            flow.partial += 1
            self._emit(flow, flow.partial)
        self._push(now + options.long_conn_interval_s, _PARTIAL, flow)

    def remove(self, flow: Flow) -> None:
        """End a flow: its last row, and nothing of it stays in the table."""
        key = flow.key
        flow.dead = True
        if flow.proto in ("tcp", "udp"):
            table: dict[bytes, Endpoint] | dict[bytes, Side] = self.tcp if flow.proto == "tcp" else self.udp
            half = (len(key) - 4) >> 1
            table.pop(key, None)
            table.pop(key[half : 2 * half] + key[:half] + key[-2:] + key[-4:-2], None)
        else:
            tail = flow.tail if isinstance(flow, DatagramFlow) else b""
            half = (len(key) - 4) >> 1
            self.other.pop(key + tail, None)
            if tail[-1:] == b"\0":
                self.other.pop(key[half : 2 * half] + key[:half] + key[-2:] + key[-4:-2] + tail, None)
        self._emit(flow, 0)
        self._held -= _TCP_BYTES if flow.proto == "tcp" else _DATAGRAM_BYTES
        flow.unlink()
        self._dead_timers += 2
        if self._dead_timers > _COMPACT_AT and self._dead_timers > len(self._timers) // 3:
            self._timers[:] = [t for t in self._timers if not t[2].dead]
            heapify(self._timers)
            self._dead_timers = 0

    def _emit(self, flow: Flow, partial: int) -> None:
        if isinstance(flow, TcpFlow):
            self.rows.append(rowbuild.tcp_row(flow, self.addresses, partial))
        elif isinstance(flow, DatagramFlow):
            self.rows.append(rowbuild.datagram_row(flow, self.addresses, partial))
        self.row_sources.append(flow.source)

    def _emit_syn(self, syn: Syn) -> None:
        self.rows.append(rowbuild.syn_row(syn[0], syn[1], syn[2], self.addresses))
        self.row_sources.append(syn[4])

    def flush(self) -> None:
        """End all flows, as at the end of a capture."""
        for _ in self.drain():
            pass

    def drain(self) -> Iterator[None]:
        """End all flows, pausing when a chunk of rows is ready: first those whose timers Zeek runs at its end, in their
        order, then the rest by age (Zeek: by the order of its hash table).
        """
        wait = self.options.timeouts.tcp_attempt_s
        first: list[tuple[float, int, Flow | Syn]] = [(s[0] + wait, 0, s) for s in self.syns.values()]
        first += [(due, flow.order, flow) for due, kind, flow in self._timers if _runs_at_end(kind, flow)]
        flows: list[Flow] = [e.flow for e in self.tcp.values()]
        flows += [s.flow for s in self.udp.values()]
        flows += [s.flow for s in self.other.values()]
        rest: list[tuple[float, int, Flow | Syn]] = [(f.ts, f.order, f) for f in flows]
        del flows
        self._dead_timers = -(1 << 60)  # everything goes: no need to tidy the timers meanwhile
        for _, _, item in [*sorted(first, key=_age), *sorted(rest, key=_age)]:
            if not isinstance(item, Flow):
                self._emit_syn(item)
            elif not item.dead:
                self.remove(item)
            if len(self.rows) >= self.options.chunk_rows:
                yield
        if self.fragments.waiting:
            self.skipped["fragments never completed"] += len(self.fragments.waiting)
        self._forget()

    def take(self) -> Rows:
        """The rows finished since the last call."""
        rows, sources = self.rows, self.row_sources
        self.rows, self.row_sources = [], []
        made = from_tuples(rowbuild.NAMES, rows, "")
        column = np.empty(len(sources), dtype=object)
        column[:] = sources
        return Rows(made.columns, column)


def _runs_at_end(kind: int, flow: Flow) -> bool:
    """Whether Zeek runs this timer early when it stops."""
    if flow.dead:
        return False
    if kind == _DNS:
        return isinstance(flow, DatagramFlow) and flow.watch == watchers.DNS
    return (
        kind == _ATTEMPT
        and isinstance(flow, TcpFlow)
        and flow.is_active
        and flow.orig.state in (SYN_SENT, SYN_ACK_SENT)
        and flow.resp.state == INACTIVE
    )


def _age(item: tuple[float, int, Flow | Syn]) -> tuple[float, int]:
    return item[:2]
