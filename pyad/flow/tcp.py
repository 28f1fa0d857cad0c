"""TCP connections with Zeek's semantics: how each segment moves the states of both ends, and the history letters."""

from __future__ import annotations

from typing import Any

from pyad.flow import reassembly
from pyad.flow.endpoint import (
    ACK,
    CLOSED,
    ESTABLISHED,
    INACTIVE,
    PARTIAL,
    RESET,
    SYN_ACK_SENT,
    SYN_SENT,
    Endpoint,
)
from pyad.flow.flows import Flow

FIN, SYN, RST = 1, 2, 4
_M32 = 0xFFFFFFFF
_TOO_LARGE_DELTA = 1048576
_ORIG_SEEN, _RESP_SEEN = 1, 2

# Bits of Flow.hist_seen: a letter appears once per direction (the responder's bits are shifted by 16).
_H_SYN, _H_FIN, _H_RST, _H_FIN_RST, H_DATA, H_ACK, _H_MULTI = 1, 2, 4, 8, 16, 32, 64


class TcpFlow(Flow):
    """A TCP connection: two endpoints and what belongs to both."""

    __slots__ = (
        "a",
        "b",
        "close_deferred",
        "deferred_event",
        "delete_due",
        "engine",
        "first_seen",
        "has_expire",
        "is_active",
        "is_partial",
        "orig",
        "resp",
        "wants_inactivity",
    )

    def __init__(self, engine: Any, key: bytes, ts: float) -> None:
        super().__init__(key, "tcp", ts)
        self.engine = engine
        self.a = self.orig = Endpoint(self, True)
        self.b = self.resp = Endpoint(self, False)
        self.a.peer, self.b.peer = self.b, self.a
        self.close_deferred = self.deferred_event = self.is_partial = False
        self.is_active = True
        self.first_seen = 0
        self.has_expire = False
        self.delete_due = 0.0
        self.wants_inactivity = 0.0

    def unlink(self) -> None:
        """See Flow.unlink."""
        del self.a.peer, self.b.peer
        del self.a, self.b, self.orig, self.resp

    def flip(self) -> None:
        """Swap originator and responder."""
        self.orig, self.resp = self.resp, self.orig
        self.orig.is_orig, self.resp.is_orig = True, False
        self.flipped = not self.flipped
        self.first_seen = ((self.first_seen & 1) << 1) | (self.first_seen >> 1)
        self.is_partial = False
        self.history += "^"

    def is_reuse(self, flags: int, seq: int) -> bool:
        """Whether a SYN means that a new connection uses the old one's addresses and ports."""
        if not flags & SYN:
            return False
        starter = self.orig
        if flags & ACK:
            if starter.state != INACTIVE:
                return False
            starter = self.resp
        if not (self.orig.did_close or self.resp.did_close):
            if seq == starter.start & _M32:
                return False
            if (
                not flags & ACK
                and starter.state == SYN_ACK_SENT
                and self.resp.state == INACTIVE
                and seq == self.resp.start & _M32
            ):
                return False  # SYN and SYN-ACK were captured in the wrong order
        return True

    def packet(
        self, e: Endpoint, ts: float, flags: int, seq: int, ack: int, window: int, length: int, captured: bool
    ) -> None:
        """One segment of endpoint `e`: `length` payload bytes, all of them in the capture if `captured`."""
        p = e.peer
        is_orig = e.is_orig
        syn, fin, rst = flags & SYN, flags & FIN, flags & RST
        if is_orig:
            if not self.first_seen & _ORIG_SEEN:
                self.is_partial = not syn or bool(flags & ACK)
        elif not self.first_seen & _RESP_SEEN and not self.is_partial:
            self.is_partial = not syn

        seg = (0 if rst else length) + (1 if syn else 0) + (1 if fin else 0)
        past = (seq + seg) & _M32
        if e.state < PARTIAL or syn:
            _init_endpoint(e, syn, seq, past)
        rel, underflow = _relative(e, seq, e.last, e.wraps)
        self._history(e, flags, rel, length)
        if window == 0 and not rst and p.state != CLOSED and e.state != RESET:
            e.win0_cnt += 1
            if e.win0_cnt == e.win0_next:
                e.win0_next *= 10
                self.history += "W" if e.is_orig else "w"
        if not (e.did_close and p.did_close):
            self.last = ts
        if fin:
            e.fin_cnt += 1
            e.fin_seq = rel + seg

        rel_ack = 0
        if flags & ACK:
            if p.state == INACTIVE:
                rel_ack = 1
                p.start = p.ack = p.last = (ack - 1) & _M32
            else:
                rel_ack, ack_underflow = _relative(p, ack, p.ack, p.ack_wraps)
                if ack_underflow:
                    rel_ack = 0
                elif not rst:
                    delta = _delta(ack, p.ack)
                    if delta > 0 and not (ack == 0 and delta > _TOO_LARGE_DELTA):
                        if ack < p.ack:
                            p.ack_wraps += 1
                        p.ack = ack

        self._update_last(e, past, flags, length)
        # From here on Zeek goes by the direction that the packet had before a flip.
        do_close, event = self._update_state(e, p, is_orig, seq, length, flags)
        if flags & ACK and reassembly.ack_received(p, rel_ack):
            self._check_eof(p)
        self.first_seen |= _ORIG_SEEN if is_orig else _RESP_SEEN
        if length and captured and not rst and not underflow:
            reassembly.data_sent(e, rel + 1 if syn else rel, length)
        self._check_eof(e)
        if do_close:
            self._closed(e, p, event)
        self._set_fast_path(e, p)

    def _set_fast_path(self, e: Endpoint, p: Endpoint) -> None:
        """Say which of the coming packets change nothing but counters and marks (the engine does those itself)."""
        steady = e.state in (PARTIAL, ESTABLISHED) and p.state in (PARTIAL, ESTABLISHED) and self.history != "H"
        for x in (e, p):
            x.contig = (
                steady and not x.skip and not x.blocks and x.reass == x.last + (x.wraps << 32) - x.start >= x.trim
            )
            seen = self.hist_seen >> (0 if x.is_orig else 16)
            x.fast_ack = steady and bool(seen & H_ACK)
            x.fast_data = x.contig and bool(seen & H_DATA) and x.head > 3 and not x.no_data_acked()

    def _letter(self, e: Endpoint, mask: int, code: str) -> bool:
        """Add a history letter the first time it occurs in its direction; True where it had occurred."""
        if code in ("A", "D") and self.history == "H":
            # It began with a SYN-ACK and goes on productively: not a stealth scan, so its sender is the responder.
            self.flip()
            self.history = "^h"
            self.first_seen |= _ORIG_SEEN
        if not e.is_orig:
            mask <<= 16
            code = code.lower()
        if self.hist_seen & mask:
            return True
        self.hist_seen |= mask
        self.history += code
        return False

    def _history(self, e: Endpoint, flags: int, rel: int, length: int) -> None:
        control = flags & (SYN | FIN | RST)
        if control == 0:
            if length:
                self._letter(e, H_DATA, "D")
            elif flags & ACK:
                self._letter(e, H_ACK, "A")
        elif control == SYN:
            code = "H" if flags & ACK else "S"
            if self._letter(e, _H_SYN, code) and rel != e.hist_syn:
                self.history += code if e.is_orig else code.lower()
            e.hist_syn = rel
        elif control == FIN:
            if self._letter(e, _H_FIN, "F") and rel + length != e.hist_fin:
                self.history += "F" if e.is_orig else "f"
            e.hist_fin = rel + length
        elif control == RST:
            if self._letter(e, _H_RST, "R") and rel != e.hist_rst:
                self.history += "R" if e.is_orig else "r"
            e.hist_rst = rel
        elif control & FIN and control & RST:
            self._letter(e, _H_FIN_RST, "I")
        else:
            self._letter(e, _H_MULTI, "Q")

    def _update_last(self, e: Endpoint, past: int, flags: int, length: int) -> None:
        delta = _delta(past, e.last)
        if flags & (SYN | RST) and not -_TOO_LARGE_DELTA <= delta <= _TOO_LARGE_DELTA:
            return
        if (flags & FIN and e.last == (e.start + 1) & _M32) or (e.state != RESET and delta > 0):
            if past < e.last:
                e.wraps += 1
            e.last = past
        elif e.state != RESET and length:
            e.rxmt_cnt += 1
            if e.rxmt_cnt == e.rxmt_next:
                e.rxmt_next *= 10
                self.history += "T" if e.is_orig else "t"

    def _update_state(
        self, e: Endpoint, p: Endpoint, is_orig: bool, seq: int, length: int, flags: int
    ) -> tuple[bool, bool]:
        """(the endpoint closes now, the close is worth an event)."""
        state = e.state
        if state == INACTIVE:
            return self._from_inactive(e, p, is_orig, seq, length, flags)
        do_close = event = False
        if state in (SYN_SENT, SYN_ACK_SENT):
            if flags & FIN:
                e.set_state(CLOSED)
                do_close = event = True
            if flags & RST:
                e.set_state(RESET)
                self.is_active = False
                do_close = True
        elif state in (PARTIAL, ESTABLISHED):
            if flags & SYN and state == PARTIAL and p.state == INACTIVE and not flags & ACK:
                e.set_state(SYN_SENT)
            if flags & FIN and not flags & RST:
                e.set_state(CLOSED)
                if p.state == RESET and p.prev_state == CLOSED:
                    p.set_state(CLOSED)
                do_close = event = True
            if flags & RST:
                e.set_state(RESET)
                do_close = True
                if p.state != RESET or p.prev_state != ESTABLISHED:
                    self.is_active = False
        elif state == CLOSED and flags & RST and p.state != CLOSED:
            e.set_state(RESET)
            do_close = not e.did_close
        return do_close, event

    def _from_inactive(
        self, e: Endpoint, p: Endpoint, is_orig: bool, seq: int, length: int, flags: int
    ) -> tuple[bool, bool]:
        do_close = event = False
        if flags & SYN:
            if is_orig:
                e.set_state(SYN_ACK_SENT if flags & ACK else SYN_SENT)
                self.engine.start_attempt(self)
            else:
                if not flags & ACK and p.state == SYN_ACK_SENT and seq == e.start & _M32:
                    self.is_partial = False
                    self.flip()
                    p.set_state(ESTABLISHED)
                    self.first_seen |= _ORIG_SEEN
                if p.state == SYN_SENT:
                    p.set_state(ESTABLISHED)
                e.set_state(ESTABLISHED)
                if p.state != PARTIAL:
                    self.engine.established(self)
        if flags & FIN:
            e.set_state(CLOSED)
            do_close = event = True
        if flags & RST:
            e.set_state(RESET)
            rejected = p.state == ESTABLISHED if is_orig else p.state in (SYN_SENT, SYN_ACK_SENT)
            do_close, event = True, not rejected
        if e.state == INACTIVE:
            if not is_orig and length == 0 and self.orig.state == SYN_SENT:
                pass  # some stacks acknowledge the SYN before they answer it
            elif flags & ACK and p.state == ESTABLISHED:
                e.set_state(ESTABLISHED)
                self.is_partial = False
                self.first_seen |= _ORIG_SEEN if is_orig else _RESP_SEEN
            else:
                e.set_state(PARTIAL)
        return do_close, event

    def _check_eof(self, e: Endpoint) -> None:
        if not e.did_eof and (e.fin_cnt or e.state >= CLOSED) and not reassembly.data_pending(e):
            e.did_eof = True
            if self.close_deferred:
                self._closed(e, e.peer, self.deferred_event)
                self.close_deferred = False

    def _closed(self, e: Endpoint, p: Endpoint, event: bool) -> None:
        if reassembly.data_pending(e):
            self.close_deferred = True
            self.deferred_event = self.deferred_event or event
            return
        self.close_deferred = False
        if e.did_close:
            return
        e.did_close = True
        if e.state == RESET or p.did_close or p.state == INACTIVE:
            if e.prev_state != INACTIVE or p.state != INACTIVE:
                event = event or self.deferred_event
                self.deferred_event = False
                if event:
                    self.is_active = False
            self.engine.start_delete(self)
        else:
            self.engine.start_expire(self)


def _delta(a: int, b: int) -> int:
    d = (a - b) & _M32
    return d - 0x100000000 if d & 0x80000000 else d


def _relative(e: Endpoint, seq: int, last: int, wraps: int) -> tuple[int, bool]:
    """`seq` relative to the endpoint's start, and whether it lies before it."""
    delta = _delta(seq, last)
    if delta < 0:
        if wraps and seq > last:
            wraps -= 1
    elif delta > 0 and seq < last:
        wraps += 1
    if wraps == 0:
        delta = _delta(seq, e.start & _M32)
        return delta, delta < 0
    return seq + (wraps << 32) - e.start, False


def _init_endpoint(e: Endpoint, syn: int, seq: int, past: int) -> None:
    state = e.state
    if state == INACTIVE:
        if syn:
            e.start = e.ack = seq
            e.last = past
        else:
            # Seen from its middle: number the bytes as if a SYN had been seen.
            e.start = e.ack = (seq - 1) & _M32
            e.last = seq
    elif not syn:
        return
    elif state in (SYN_SENT, SYN_ACK_SENT):
        if seq != e.start & _M32:
            e.start = e.ack = seq
            e.last = past
    elif state in (PARTIAL, ESTABLISHED) or (state == RESET and e.prev_state == INACTIVE):
        e.start = e.ack = seq
        e.last = past
