"""One end of a TCP connection: its state, its sequence numbers and the payload sizes they tell."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyad.flow.reassembly import MAX_UNACKED

if TYPE_CHECKING:
    from pyad.flow.tcp import TcpFlow

INACTIVE, SYN_SENT, SYN_ACK_SENT, PARTIAL, ESTABLISHED, CLOSED, RESET = range(7)
ACK = 16

_M32 = 0xFFFFFFFF


class Endpoint:
    """One direction's state. Sequence numbers: `start`, `last`, `ack` are on the wire, `reass`, `trim` relative."""

    __slots__ = (
        "ack",
        "ack_wraps",
        "blocks",
        "contig",
        "did_close",
        "did_eof",
        "fast_ack",
        "fast_data",
        "fin_cnt",
        "fin_seq",
        "flow",
        "gap_cnt",
        "gap_next",
        "head",
        "hist_fin",
        "hist_rst",
        "hist_syn",
        "ip_bytes",
        "is_orig",
        "last",
        "peer",
        "pkts",
        "prev_state",
        "reass",
        "rxmt_cnt",
        "rxmt_next",
        "skip",
        "start",
        "state",
        "trim",
        "win0_cnt",
        "win0_next",
        "wraps",
    )

    peer: Endpoint
    blocks: tuple[tuple[int, int], ...]  # intervals above a hole, in order

    def __init__(self, flow: TcpFlow, is_orig: bool) -> None:
        self.flow = flow
        self.is_orig = is_orig
        self.state = self.prev_state = INACTIVE
        self.start = self.last = self.ack = self.wraps = self.ack_wraps = 0
        self.fin_cnt = self.fin_seq = 0
        self.did_close = self.did_eof = self.skip = False
        self.hist_syn = self.hist_fin = self.hist_rst = 0
        self.rxmt_cnt = self.win0_cnt = self.gap_cnt = 0
        self.rxmt_next = self.win0_next = self.gap_next = 1
        self.reass = self.trim = 1
        self.blocks = ()
        self.pkts = self.ip_bytes = 0
        self.contig = self.fast_ack = self.fast_data = False
        self.head = 0  # payload packets looked at for the service

    def no_data_acked(self) -> bool:
        """Whether at most the SYN of this endpoint was acknowledged."""
        return 0 <= self.ack + (self.ack_wraps << 32) - self.start <= 1

    def size(self) -> int:
        """Payload bytes sent, as the sequence numbers tell."""
        if (
            self.state == RESET
            and self.prev_state == SYN_SENT
            and self.peer.state == INACTIVE
            and not self.no_data_acked()
        ):
            return 0  # a half-open connection found and aborted; it never could send data
        size = max(self.last + (self.wraps << 32), self.ack + (self.ack_wraps << 32)) - self.start
        if size:
            size -= 1  # the SYN
        if self.fin_cnt and size:
            size -= 1
        return size

    def steady(self, seq: int, ack: int, flags: int, window: int, length: int, whole: bool) -> bool:
        """Take a segment that is in order and acknowledges only what was seen: nothing but marks move.

        False: it is not such a segment, and nothing was done. The engine has the same steps inline for plain frames.
        """
        p = self.peer
        if flags & 0x17 != ACK or seq != self.last or not window:
            return False
        if length:
            if not (self.fast_data and whole and self.reass - self.trim < MAX_UNACKED):
                return False
        elif not self.fast_ack:
            return False
        delta = (ack - p.ack) & _M32
        if delta:
            if not p.contig or delta > (p.last - p.ack) & _M32:
                return False
            if ack < p.ack:
                p.ack_wraps += 1
            p.ack = ack
            p.trim = ack + (p.ack_wraps << 32) - p.start
        if length:
            past = seq + length
            if past > _M32:
                past &= _M32
                self.wraps += 1
            self.last = past
            self.reass += length
        return True

    def gap(self, length: int) -> None:
        """`length` bytes of this endpoint were acknowledged but never seen."""
        flow = self.flow
        if _is_clean(self) and _is_clean(self.peer):
            flow.missed += length
            self.gap_cnt += 1
            if self.gap_cnt == self.gap_next:
                self.gap_next *= 10
                flow.history += "G" if self.is_orig else "g"

    def set_state(self, state: int) -> None:
        """Enter `state`; leaving the handshake starts the long inactivity timeout."""
        if state != self.state:
            if self.state < PARTIAL <= state and self.peer.state < PARTIAL:
                self.flow.wants_inactivity = self.flow.engine.tcp_inactivity_s
            self.prev_state = self.state
            self.state = state


def _is_clean(e: Endpoint) -> bool:
    return e.state == ESTABLISHED or (e.state == CLOSED and e.prev_state == ESTABLISHED)
