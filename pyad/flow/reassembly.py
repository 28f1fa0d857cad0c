"""Which bytes of a TCP direction have been seen in order: content gaps, pending data; intervals only, no content.

Sequence numbers here are relative: 1 is the first payload byte.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyad.flow.endpoint import Endpoint

MAX_INITIAL_WINDOW = 16384
MAX_ABOVE_HOLE_WITHOUT_ACKS = 16384
MAX_UNACKED = 10 * 1024 * 1024
MAX_BLOCKS = 1024  # intervals above a hole; more is an attack on our memory, treated like too much unacked data


def data_sent(e: Endpoint, seq: int, length: int) -> None:
    """Take the segment [seq, seq + length) of endpoint `e` into account."""
    if e.skip:
        return
    upper = seq + length
    if length and upper > e.trim:
        _insert(e, max(seq, e.trim), upper)
        blocks = e.blocks
        if not blocks:
            if e.reass - e.trim > MAX_UNACKED:
                _give_up(e)
        elif (
            (e.no_data_acked() and blocks[-1][1] - e.reass > MAX_ABOVE_HOLE_WITHOUT_ACKS)
            or len(blocks) > MAX_BLOCKS
            or (blocks[-1][1] - e.trim > MAX_UNACKED and _held(e) > MAX_UNACKED)
        ):
            _give_up(e)


def ack_received(e: Endpoint, seq: int) -> bool:
    """The peer acknowledged `e`'s stream up to `seq`; what was never seen below is a gap. True if it is news."""
    if e.fin_cnt and seq >= e.fin_seq:
        seq = e.fin_seq - 1
    if seq <= e.trim:
        return False
    trim_to(e, seq)
    return True


def trim_to(e: Endpoint, seq: int) -> None:
    """Forget everything below `seq`; undelivered parts of it become gaps."""
    if seq > e.reass:
        _undelivered(e, seq)
    if e.blocks:
        e.blocks = tuple(b for b in e.blocks if b[1] > seq)
        _deliver(e)
    e.trim = seq


def has_blocks(e: Endpoint) -> bool:
    """Whether data of `e` is held: above a hole, or delivered and not yet acknowledged."""
    return not e.skip and (bool(e.blocks) or e.reass > e.trim)


def data_pending(e: Endpoint) -> bool:
    """Whether something before the highest sequence number of `e` has still to come."""
    if e.skip:
        return False
    delivered = e.start + e.reass
    last = e.last + (e.wraps << 32)
    if last < delivered:
        return False
    if last - delivered > 1:  # one more may be the FIN's own octet
        return True
    return e.state != 6 and has_blocks(e.peer)


def _held(e: Endpoint) -> int:
    return max(e.reass - e.trim, 0) + sum(upper - seq for seq, upper in e.blocks)


def _give_up(e: Endpoint) -> None:
    e.blocks = ()
    e.skip = True


def _insert(e: Endpoint, seq: int, upper: int) -> None:
    if seq <= e.reass:
        if upper > e.reass:
            e.reass = upper
            if e.blocks:
                _deliver(e)
            if e.no_data_acked() and e.size() > MAX_INITIAL_WINDOW:
                trim_to(e, e.reass)  # we do not see the peer's acks: hold nothing for them
        return
    blocks = e.blocks
    if not blocks or seq > blocks[-1][1]:
        e.blocks = (*blocks, (seq, upper))
        return
    first = bisect_left(blocks, (seq,))
    if first and blocks[first - 1][1] >= seq:
        first -= 1
        seq = blocks[first][0]
    stop = first
    while stop < len(blocks) and blocks[stop][0] <= upper:
        upper = max(upper, blocks[stop][1])
        stop += 1
    e.blocks = (*blocks[:first], (seq, upper), *blocks[stop:])


def _deliver(e: Endpoint) -> None:
    """Move the delivered mark over all blocks that now follow it without a hole."""
    blocks = e.blocks
    n = 0
    while n < len(blocks) and blocks[n][0] <= e.reass:
        e.reass = max(e.reass, blocks[n][1])
        n += 1
    if n:
        e.blocks = blocks[n:]


def _undelivered(e: Endpoint, seq: int) -> None:
    if seq <= 2 and e.flow.is_partial:
        return  # the sequence numbers of a connection seen from its middle are a guess by one
    if not e.skip:
        while e.blocks and e.blocks[0][0] < seq:
            e.gap(e.blocks[0][0] - e.reass)
            e.reass = e.blocks[0][0]
            _deliver(e)
        if seq > e.reass:
            e.gap(seq - e.reass)
    e.reass = max(e.reass, seq)
