"""Rolling windows as arrays: exponentially decayed counters and distinct counts per key, exact in batches.

A counter with time constant tau holds sum(x_j * exp(-(t - t_j) / tau)), the damped window of Kitsune's AfterImage
(Mirsky et al., NDSS 2018). A batch is scanned per key with an associative operator, so the value a row sees does not
depend on where batches begin. A distinct count holds the time of the last touch of each of M hash cells, as a
linear-counting bitmap (Whang et al., 1990) with ages instead of bits; a touch adds 1 - exp(-age / tau), which makes the
decayed sum equal sum over cells of exp(-age / tau): a distinct count that every time scale reads from one bitmap.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
T = TypeVar("T", bound=np.generic)

# Cell ages are kept in 10 ms ticks since the timeline's start: 4 bytes last 497 days.
TICK_S = 0.01


@dataclass(frozen=True)
class Segments:
    """The rows of a batch grouped by state slot, in row order within a group.

    order: row index per sorted position. start: where a group begins (another slot, or a fresh state).
    slot: state slot per sorted position. carry: starts whose earlier state counts (not fresh).
    last: positions whose value is the slot's new state. longest: the largest group.
    """

    order: Ints
    slot: Ints
    start: Bools
    carry: Bools
    last: Bools
    group: Ints
    longest: int


def segments(slot: Ints, fresh: Bools) -> Segments:
    """Group rows by `slot` (n,); `fresh` (n,) marks rows at which a slot's state begins anew."""
    order = np.argsort(slot, kind="stable")
    s = slot[order]
    changed = np.empty(len(s), dtype=np.bool_)
    if len(s):
        changed[0] = True
        np.not_equal(s[1:], s[:-1], out=changed[1:])
    begins = fresh[order]
    start = changed | begins
    last = np.empty_like(start)
    if len(s):
        last[-1] = True
        last[:-1] = changed[1:]
    group = np.cumsum(start) - 1
    longest = int(np.bincount(group).max()) if len(s) else 0
    return Segments(order, s, start, changed & ~begins, last, group, longest)


def scan(seg: Segments, decay: Floats, add: Floats) -> None:
    """In place per group: add[i] = decay[i] * add[i-1] + add[i]; `decay` (n, K) is used up, `add` (n, K) is the result.

    The first row of a group must hold decay 0 (its carried state already added). Doubling steps (Hillis & Steele,
    1986): log2(longest group) passes over the batch, whatever the number of keys.
    """
    step = 1
    while step < seg.longest:
        add[step:] += decay[step:] * add[:-step]
        decay[step:] *= decay[:-step]
        step *= 2


def running_max(seg: Segments, value: Floats) -> Floats:
    """Largest `value` (n,) so far within each group."""
    if seg.longest <= 1 or bool(np.all((value[1:] >= value[:-1]) | seg.start[1:])):
        return value
    out = value.copy()
    step = 1
    while step < seg.longest:
        same = seg.group[step:] == seg.group[:-step]
        np.maximum(out[step:], np.where(same, out[:-step], -np.inf), out=out[step:])
        step *= 2
    return out


def previous(seg: Segments, value: NDArray[T], stored: NDArray[T]) -> NDArray[T]:
    """The value one row earlier in each group; at a group's start the `stored` value of its position."""
    out = np.empty_like(value)
    out[1:] = value[:-1]
    out[seg.start] = stored[seg.start]
    return out


class DecayedTable:
    """Per slot: `counters` decayed sums at every time constant of `taus_s`, and the time of the newest row."""

    def __init__(self, slots: int, counters: int, taus_s: tuple[float, ...]) -> None:
        self._taus = np.array(taus_s)
        self._counters = counters
        # Between batches single precision does: its rounding is far below what a feature shows.
        self._values = np.zeros((slots, len(taus_s) * counters), dtype=np.float32)
        self._newest = np.zeros(slots)

    def clock(self, seg: Segments, time: Floats) -> tuple[Floats, Floats]:
        """(newest time of the slot up to each sorted row, the same one row earlier; NaN where there is none).

        time: (n,) row times in sorted order. Late rows leave the slot's clock where it is.
        """
        stored = np.where(seg.carry, self._newest[seg.slot], -np.inf)
        now = running_max(seg, np.maximum(time, stored))
        before = previous(seg, now, stored)
        return now, np.where(np.isinf(before), np.nan, before)

    def update(self, seg: Segments, time: Floats, now: Floats, before: Floats, amounts: Floats) -> Floats:
        """Add `amounts` (n, scales, counters) at `time`; returns the sums each sorted row sees, itself included."""
        n, scales = len(now), len(self._taus)
        gap = np.where(np.isnan(before), 0.0, now - before)
        decay = np.exp(-gap[:, None] / self._taus)
        lateness = now - time
        if lateness.any():  # a late row counts at its own time: its share has decayed already
            amounts = amounts * np.exp(-lateness[:, None] / self._taus)[:, :, None]
        sums = amounts.reshape(n, -1).copy()
        decays = np.repeat(decay, self._counters, axis=1)
        at = np.flatnonzero(seg.carry)
        sums[at] += decays[at] * self._values[seg.slot[at]]
        decays[seg.start] = 0.0
        scan(seg, decays, sums)
        self._values[seg.slot[seg.last]] = sums[seg.last]
        self._newest[seg.slot[seg.last]] = now[seg.last]
        return sums.reshape(n, scales, self._counters)


class CellTable:
    """Per slot: the last touch of each of `cells` hash cells, and optionally a decayed count per cell."""

    def __init__(self, slots: int, cells: int, count_tau_s: float | None = None) -> None:
        self.cells = cells
        self._ticks = np.zeros((slots, cells), dtype=np.uint32)  # 0 = never
        self._tau = count_tau_s
        self._counts = np.zeros((slots, cells), dtype=np.float32) if count_tau_s else None

    def touch(self, seg: Segments, digest: NDArray[np.uint32], tick: Ints) -> tuple[Floats, Floats]:
        """Touch one cell per sorted row; `digest` (n,) chooses it, `tick` (n,) is the row's time in ticks (≥ 1).

        Returns, as they were before the touch, the age of the cell (s, inf where never touched) and its decayed count
        (zeros where this table keeps none).
        """
        # A slot that begins anew forgets its cells; rows of its earlier life in this batch are another group.
        cell = (mix(digest) % np.uint32(self.cells)).astype(np.int64)
        inner = segments(seg.group * self.cells + cell, np.zeros(len(tick), dtype=np.bool_))
        slot, column, carried = seg.slot[inner.order], cell[inner.order], self._carried(seg)[inner.order]
        stored = np.where(carried, self._ticks[slot, column], 0).astype(np.float64)
        now = running_max(inner, np.maximum(tick[inner.order], stored))
        before = previous(inner, now, stored)
        gap_s = np.where(before > 0, (now - before) * TICK_S, np.inf)
        age, count = np.empty(len(tick)), np.zeros(len(tick))
        age[inner.order] = gap_s
        after = None
        if self._counts is not None and self._tau is not None:
            decay = np.exp(-gap_s / self._tau)
            held = np.where(carried, self._counts[slot, column], 0.0)
            after = 1.0 + np.where(inner.start, decay * held, 0.0)
            scan(inner, np.where(inner.start, 0.0, decay)[:, None], after[:, None])
            count[inner.order] = previous(inner, after, held) * decay
        self._store(seg, inner, slot, column, now, after)
        return age, count

    def _carried(self, seg: Segments) -> Bools:
        return np.maximum.reduceat(seg.carry, np.flatnonzero(seg.start))[seg.group] if len(seg.group) else seg.carry

    def _store(
        self, seg: Segments, inner: Segments, slot: Ints, column: Ints, now: Floats, after: Floats | None
    ) -> None:
        # Slots whose last group in this batch began anew lose what their earlier life had touched.
        last_groups = seg.group[seg.last]
        renewed = ~self._carried(seg)[seg.last]
        self._ticks[seg.slot[seg.last][renewed]] = 0
        keep = inner.last & np.isin(seg.group[inner.order], last_groups)
        self._ticks[slot[keep], column[keep]] = now[keep].astype(np.uint32)
        if self._counts is not None and after is not None:
            self._counts[seg.slot[seg.last][renewed]] = 0.0
            self._counts[slot[keep], column[keep]] = after[keep]


def mix(x: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """Spread 32-bit hashes over all bits (the finalizer of MurmurHash3, Appleby, public domain)."""
    h = x.astype(np.uint32)
    h ^= h >> np.uint32(16)
    h *= np.uint32(0x85EBCA6B)
    h ^= h >> np.uint32(13)
    h *= np.uint32(0xC2B2AE35)
    h ^= h >> np.uint32(16)
    return h


def distinct(cells: int, decayed: Floats) -> Floats:
    """Linear-counting estimate of distinct items from the decayed number of touched cells (any shape)."""
    load = np.minimum(decayed / cells, 1.0 - 0.5 / cells)
    estimate: Floats = -cells * np.log1p(-load)
    return estimate
