"""The decayed windows against a plain per-row loop, and their independence of batch borders."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyad.windows import TICK_S, CellTable, DecayedTable, distinct, segments

TAU = 10.0


def _loop(slots, fresh, times, amounts):
    """The definition: one decayed sum per slot, late rows counted at their own time."""
    value, newest, out = {}, {}, []
    for s, f, t, x in zip(slots, fresh, times, amounts):
        if f:
            value.pop(s, None)
            newest.pop(s, None)
        now = max(t, newest.get(s, -math.inf))
        value[s] = value.get(s, 0.0) * math.exp(-(now - newest.get(s, now)) / TAU) + x * math.exp(-(now - t) / TAU)
        newest[s] = now
        out.append(value[s])
    return out


def _batched(slots, fresh, times, amounts, size):
    table = DecayedTable(8, 1, (TAU,))
    out = []
    for i in range(0, len(slots), size):
        part = slice(i, i + size)
        seg = segments(slots[part], fresh[part])
        now, before = table.clock(seg, times[part][seg.order])
        sums = table.update(seg, times[part][seg.order], now, before, amounts[part][seg.order][:, None, None])
        block = np.empty(len(seg.order))
        block[seg.order] = sums[:, 0, 0]
        out.extend(block)
    return out


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 4), st.booleans(), st.floats(0, 500), st.floats(0, 9)), min_size=1, max_size=60),
    st.integers(1, 61),
)
def test_decayed_sums_equal_the_definition_for_every_batch_size(events, size):
    slots, fresh, times, amounts = (np.array(c) for c in zip(*events))
    expected = _loop(slots, fresh, times, amounts)
    assert _batched(slots.astype(np.int64), fresh.astype(bool), times, amounts, size) == pytest.approx(expected)


def test_distinct_count_estimates_within_its_bitmap():
    table, seg_rows = CellTable(1, 64), 20
    slots = np.zeros(seg_rows, dtype=np.int64)
    seg = segments(slots, np.zeros(seg_rows, dtype=bool))
    age, _ = table.touch(seg, np.arange(seg_rows, dtype=np.uint32), np.full(seg_rows, 100, dtype=np.int64))
    new = -np.expm1(-age / TAU)
    assert new.sum() == pytest.approx(len(np.unique(np.flatnonzero(np.isinf(age)))))
    assert distinct(64, np.array(new.sum())) == pytest.approx(20, rel=0.25)


@pytest.mark.parametrize("size", [1, 3, 50])
def test_cell_ages_and_counts_follow_the_last_touch_whatever_the_batch(size):
    rng = np.random.default_rng(1)
    n = 50
    slots, items = rng.integers(0, 3, n), rng.integers(0, 6, n).astype(np.uint32)
    fresh = rng.random(n) < 0.1
    ticks = np.cumsum(rng.integers(0, 300, n)) + 1
    table = CellTable(3, 8, count_tau_s=TAU)
    ages, befores = np.empty(n), np.empty(n)
    for i in range(0, n, size):
        part = slice(i, i + size)
        seg = segments(slots[part], fresh[part])
        age, before = table.touch(seg, items[part][seg.order], ticks[part][seg.order])
        ages[part][seg.order], befores[part][seg.order] = age, before
    from pyad.windows import mix

    cells = mix(items) % 8
    last, count = {}, {}
    for i in range(n):
        if fresh[i]:
            for c in range(8):
                last.pop((slots[i], c), None)
                count.pop((slots[i], c), None)
        key = (slots[i], cells[i])
        gap = (ticks[i] - last[key]) * TICK_S if key in last else math.inf
        held = count.get(key, 0.0) * math.exp(-gap / TAU)
        assert ages[i] == pytest.approx(gap)
        assert befores[i] == pytest.approx(held, abs=1e-6)
        last[key], count[key] = ticks[i], held + 1
