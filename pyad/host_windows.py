"""What a host's rolling windows say at each row: rates, fan-out, fan-in, failures, entropy, gaps, novelty, MACs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pyad.hosts import Assignment
from pyad.windows import (
    TICK_S,
    Bools,
    CellTable,
    DecayedTable,
    Floats,
    Ints,
    Segments,
    distinct,
    mix,
    previous,
    running_max,
    scan,
    segments,
)

TAUS_S = (5.0, 60.0, 600.0)
_PEER_CELLS = 32
_PORT_CELLS = 16
_SOURCE_CELLS = 32
_MAC_CELLS = 16
_PAIR_TAUS_S = (60.0, 600.0)
_MAC_TAU_S = 600.0
# The collision entropy needs a count that decays with tau and a sum of squares that decays with tau / 2.
_ENTROPY_TAU_S = 60.0
# Ages and gaps are read on a log scale between these; "never" reads as the longest age.
_MIN_GAP_S = 1e-4
_NEVER_S = 1e6
# A pair's means follow at 1/k for their first k rows, then at this rate.
_PAIR_RATE = 0.1

_SCALES = tuple(f"{tau:g}s" for tau in TAUS_S)
_ORIG = (
    "conns",
    "failed_share",
    "peers",
    "ports",
    "peers_per_conn",
    "new_pair_share",
    "orig_bytes",
    "resp_bytes",
)
_ORIG_EXTRA = ("orig_port_entropy", "orig_gap", "orig_peer_age", "orig_service_age", "orig_age")
_RESP = ("conns", "failed_share", "sources", "ports", "orig_bytes")
_PAIR = ("conns_60s", "conns_600s", "gap", "gap_deviation", "size_deviation", "is_new")

_ORIG_NAMES = (*(f"orig_{name}_{scale}" for scale in _SCALES for name in _ORIG), *_ORIG_EXTRA)
_RESP_NAMES = (*(f"resp_{name}_{scale}" for scale in _SCALES for name in _RESP), "resp_age")
_PAIR_NAMES = tuple(f"pair_{name}" for name in _PAIR)
_MAC_NAMES = ("mac_changes_600s", "mac_addresses_600s")
NAMES: tuple[str, ...] = (*_ORIG_NAMES, *_RESP_NAMES, *_PAIR_NAMES, *_MAC_NAMES)


@dataclass(frozen=True)
class Events:
    """One batch as the windows need it, arrays of shape (rows,).

    time: s since epoch. conns: 1 for a connection's first row, else 0 (a later row of a long connection).
    failed, orig_bytes, resp_bytes: what is new since the connection's previous row (bytes ≥ 0).
    port_hash: 32-bit hash of (proto, responder port). mac_hash: hash of the originator's MAC, 0 where unset.
    """

    hosts: Assignment
    time: Floats
    conns: Floats
    failed: Floats
    orig_bytes: Floats
    resp_bytes: Floats
    port_hash: NDArray[np.uint32]
    mac_hash: NDArray[np.uint32]


class HostWindows:
    """All windows of one timeline; memory is bounded by `max_hosts` and touched only for hosts that exist."""

    def __init__(self, max_hosts: int) -> None:
        n = max_hosts
        self._origin: float | None = None
        self._orig = DecayedTable(n, 7, TAUS_S)
        self._orig_peers = CellTable(n, _PEER_CELLS)
        self._orig_ports = CellTable(n, _PORT_CELLS, count_tau_s=_ENTROPY_TAU_S)
        self._entropy = DecayedTable(n, 2, (_ENTROPY_TAU_S, _ENTROPY_TAU_S / 2))
        self._orig_since = np.zeros(n)
        self._resp = DecayedTable(n, 5, TAUS_S)
        self._resp_sources = CellTable(n, _SOURCE_CELLS)
        self._resp_ports = CellTable(n, _PORT_CELLS)
        self._resp_since = np.zeros(n)
        self._pairs = _Pairs(2 * n)
        self._macs = _Macs(n)

    def update(self, events: Events) -> Floats:
        """Take the batch in; what every row sees, itself included: float64 (rows, len(NAMES)), NaN unset."""
        n = len(events.time)
        out = np.full((n, len(NAMES)), np.nan)
        if n == 0:
            return out
        if self._origin is None:
            self._origin = float(events.time[0]) - 86400.0  # late rows keep positive ticks
        tick = np.clip((events.time - self._origin) / TICK_S, 1.0, 2.0**32 - 1).astype(np.int64)
        pair, new_pair = self._pairs.update(events)
        columns = np.split(out, np.cumsum([len(_ORIG_NAMES), len(_RESP_NAMES), len(_PAIR_NAMES)]), axis=1)
        at = np.flatnonzero(events.hosts.orig_slot >= 0)
        if len(at):
            seg = segments(events.hosts.orig_slot[at], events.hosts.orig_fresh[at])
            columns[0][at] = self._update_orig(events, at[seg.order], seg, tick, new_pair)
            columns[3][:] = self._macs.update(events, tick, at, seg)
        at = np.flatnonzero(events.hosts.resp_slot >= 0)
        if len(at):
            columns[1][at] = self._update_resp(events, at, tick)
        columns[2][:] = pair
        return out

    def _update_orig(self, e: Events, rows: Ints, seg: Segments, ticks: Ints, new_pair: Floats) -> Floats:
        time, tick = e.time[rows], ticks[rows]
        now, before = self._orig.clock(seg, time)
        peer_age, _ = self._orig_peers.touch(seg, e.hosts.resp_hash[rows], tick)
        port_age, held = self._orig_ports.touch(seg, e.port_hash[rows], tick)
        amounts = np.empty((len(rows), len(TAUS_S), 7))
        amounts[:, :, 0] = e.conns[rows, None]
        amounts[:, :, 1] = e.failed[rows, None]
        amounts[:, :, 2] = _refreshed(peer_age)
        amounts[:, :, 3] = _refreshed(port_age)
        amounts[:, :, 4] = new_pair[rows, None]
        amounts[:, :, 5] = e.orig_bytes[rows, None]
        amounts[:, :, 6] = e.resp_bytes[rows, None]
        sums = self._orig.update(seg, time, now, before, amounts)
        conns, failed, peer_cells, port_cells, new_pairs, orig_bytes, resp_bytes = np.moveaxis(sums, 2, 0)
        peers = distinct(_PEER_CELLS, peer_cells)
        block = np.stack(
            [
                np.log1p(conns),
                _share(failed, conns),
                np.log1p(peers),
                np.log1p(distinct(_PORT_CELLS, port_cells)),
                _share(peers, np.maximum(conns, peers)),
                _share(new_pairs, conns),
                np.log1p(orig_bytes),
                np.log1p(resp_bytes),
            ],
            axis=2,
        )
        squares = self._entropy.update(
            seg,
            time,
            now,
            before,
            np.stack([np.ones_like(held), 2.0 * held + 1.0], axis=1)[:, None].repeat(2, axis=1),
        )
        # Collision (Renyi order 2) entropy of the responder ports, in nats: -log of the sum of squared shares.
        entropy = np.maximum(2.0 * np.log(squares[:, 0, 0]) - np.log(squares[:, 1, 1]), 0.0)
        extra = np.stack(
            [
                entropy,
                _log_age(np.where(np.isnan(before), np.inf, now - before)),
                _log_age(peer_age),
                _log_age(port_age),
                _log_age(now - _since(seg, self._orig_since, now)),
            ],
            axis=1,
        )
        return _row_order(seg, np.concatenate([block.reshape(len(rows), -1), extra], axis=1))

    def _update_resp(self, e: Events, at: Ints, ticks: Ints) -> Floats:
        seg = segments(e.hosts.resp_slot[at], e.hosts.resp_fresh[at])
        rows = at[seg.order]
        time, tick = e.time[rows], ticks[rows]
        now, before = self._resp.clock(seg, time)
        source_age, _ = self._resp_sources.touch(seg, e.hosts.orig_hash[rows], tick)
        port_age, _ = self._resp_ports.touch(seg, e.port_hash[rows], tick)
        amounts = np.empty((len(rows), len(TAUS_S), 5))
        amounts[:, :, 0] = e.conns[rows, None]
        amounts[:, :, 1] = e.failed[rows, None]
        amounts[:, :, 2] = _refreshed(source_age)
        amounts[:, :, 3] = _refreshed(port_age)
        amounts[:, :, 4] = e.orig_bytes[rows, None]
        sums = self._resp.update(seg, time, now, before, amounts)
        conns, failed, sources, ports, orig_bytes = np.moveaxis(sums, 2, 0)
        block = np.stack(
            [
                np.log1p(conns),
                _share(failed, conns),
                np.log1p(distinct(_SOURCE_CELLS, sources)),
                np.log1p(distinct(_PORT_CELLS, ports)),
                np.log1p(orig_bytes),
            ],
            axis=2,
        )
        age = _log_age(now - _since(seg, self._resp_since, now))
        return _row_order(seg, np.concatenate([block.reshape(len(rows), -1), age[:, None]], axis=1))


class _Places:
    """Where hashed keys live in a bounded table: direct-mapped, the newest key stays.

    Three quarters are for keys of protected hosts, so that a spoofed flood pushes out its like only.
    """

    def __init__(self, slots: int) -> None:
        self._protected = slots * 3 // 4
        self._probation = slots - self._protected
        self._tag = np.zeros(slots, dtype=np.uint32)

    def take(self, key: NDArray[np.uint64], protected: Bools) -> Segments:
        """Group rows by the place of their `key` (n,); a place that held another key begins anew."""
        key = key.copy()
        for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):  # splitmix64 (Steele et al., 2014)
            key ^= key >> np.uint64(shift)
            key *= np.uint64(factor)
        key ^= key >> np.uint64(31)
        low, tag = key & np.uint64(0xFFFFFFFF), (key >> np.uint64(32)).astype(np.uint32) | np.uint32(1)
        probation = self._protected + low % np.uint64(self._probation)
        slot = np.where(protected, low % np.uint64(self._protected), probation).astype(np.int64)
        by_slot = segments(slot, np.zeros(len(slot), dtype=np.bool_))
        tags = tag[by_slot.order]
        fresh = np.empty(len(slot), dtype=np.bool_)
        fresh[by_slot.order] = previous(by_slot, tags, self._tag[by_slot.slot]) != tags
        self._tag[by_slot.slot[by_slot.last]] = tags[by_slot.last]
        return segments(slot, fresh)


class _Pairs:
    """Gaps and sizes per (originator, responder, proto, port)."""

    def __init__(self, slots: int) -> None:
        self._places = _Places(slots)
        self._counts = DecayedTable(slots, 1, _PAIR_TAUS_S)
        # mean log gap, mean deviation of the log gap, mean log size, rows so far
        self._means = np.zeros((slots, 4), dtype=np.float32)

    def update(self, e: Events) -> tuple[Floats, Floats]:
        """(features of `_PAIR_NAMES` (rows, 6), whether the row's pair is new (rows,)), in row order."""
        responder = mix(e.hosts.resp_hash ^ mix(e.port_hash)).astype(np.uint64)
        seg = self._places.take(
            e.hosts.orig_life.astype(np.uint64) << np.uint64(32) | responder, e.hosts.orig_protected
        )
        time = e.time[seg.order]
        now, before = self._counts.clock(seg, time)
        amounts = np.broadcast_to(e.conns[seg.order, None, None], (len(time), len(_PAIR_TAUS_S), 1))
        counts = self._counts.update(seg, time, now, before, amounts)[:, :, 0]
        gap = np.log(np.where(np.isnan(before), _NEVER_S, np.clip(now - before, _MIN_GAP_S, _NEVER_S)))
        size = np.log1p(e.orig_bytes[seg.order])
        held = np.where(seg.carry[:, None], self._means[seg.slot], 0.0)
        rank = np.arange(len(time)) - np.flatnonzero(seg.start)[seg.group]
        seen = rank + held[seg.start, 3][seg.group]  # rows of the pair before this one
        # The k-th gap (k = seen) enters the mean gap, the (k+1)-th size the mean size.
        mean_gap = _running_mean(seg, gap, held[:, 0], seen)
        mean_size = _running_mean(seg, size, held[:, 2], seen + 1)
        miss = np.where(seen >= 2, np.abs(gap - previous(seg, mean_gap, held[:, 0])), 0.0)
        deviation = _running_mean(seg, miss, held[:, 1], seen - 1)
        at = seg.last
        self._means[seg.slot[at]] = np.stack([mean_gap[at], deviation[at], mean_size[at], seen[at] + 1], axis=1)
        off = np.where(seen >= 1, np.abs(size - previous(seg, mean_size, held[:, 2])), np.nan)
        new = (seen == 0).astype(np.float64)
        features = np.stack(
            [
                np.log1p(counts[:, 0]),
                np.log1p(counts[:, 1]),
                gap,
                np.where(seen >= 2, deviation, np.nan),
                off,
                new,
            ],
            axis=1,
        )
        ordered = _row_order(seg, features)
        return ordered, ordered[:, 5]


class _Macs:
    """Changes of an address's MAC, and how many addresses a MAC claims; unset where a row has no MAC."""

    def __init__(self, max_hosts: int) -> None:
        slots = max(1024, max_hosts // 4)
        self._last = np.zeros(max_hosts, dtype=np.uint32)
        self._changes = DecayedTable(max_hosts, 1, (_MAC_TAU_S,))
        self._places = _Places(slots)
        self._cells = CellTable(slots, _MAC_CELLS)
        self._addresses = DecayedTable(slots, 1, (_MAC_TAU_S,))

    def update(self, e: Events, ticks: Ints, at: Ints, seg: Segments) -> Floats:
        """Features of `_MAC_NAMES`, (rows, 2). seg: the rows `at` grouped by originator."""
        out = np.full((len(ticks), 2), np.nan)
        out[at, 0] = self._update_changes(e, at[seg.order], seg)
        at = at[e.mac_hash[at] != 0]
        if len(at):
            out[at, 1] = self._update_addresses(e, at, ticks)
        out[e.mac_hash == 0] = np.nan
        return out

    def _update_changes(self, e: Events, rows: Ints, seg: Segments) -> Floats:
        mac = e.mac_hash[rows]
        # The MAC last known at each row: a row without one leaves it as it was.
        newest = running_max(seg, np.where(mac != 0, np.arange(len(rows), dtype=np.float64), -1.0)).astype(np.int64)
        held = np.where(seg.carry, self._last[seg.slot], 0)[seg.start][seg.group]
        known = np.where(newest >= 0, mac[np.maximum(newest, 0)], held).astype(np.uint32)
        earlier = previous(seg, known, held)
        changed = (mac != 0) & (earlier != 0) & (earlier != mac)
        self._last[seg.slot[seg.last]] = known[seg.last]
        time = e.time[rows]
        now, before = self._changes.clock(seg, time)
        amounts = changed.astype(np.float64)[:, None, None]
        return _row_order(seg, np.log1p(self._changes.update(seg, time, now, before, amounts)[:, 0]))[:, 0]

    def _update_addresses(self, e: Events, at: Ints, ticks: Ints) -> Floats:
        seg = self._places.take(e.mac_hash[at].astype(np.uint64), e.hosts.orig_protected[at])
        rows = at[seg.order]
        age, _ = self._cells.touch(seg, e.hosts.orig_hash[rows], ticks[rows])
        time = e.time[rows]
        now, before = self._addresses.clock(seg, time)
        amounts = -np.expm1(-age / _MAC_TAU_S)[:, None, None]
        cells = self._addresses.update(seg, time, now, before, amounts)[:, 0]
        return _row_order(seg, np.log1p(distinct(_MAC_CELLS, cells)))[:, 0]


def _refreshed(age_s: Floats) -> Floats:
    # What a touch adds to a decayed distinct count at each time constant: 1 for a new cell, 0 for one just touched.
    added: Floats = -np.expm1(-age_s[:, None] / np.array(TAUS_S))
    return added


def _running_mean(seg: Segments, value: Floats, held: Floats, count: Floats) -> Floats:
    # Mean per group at rate 1/count, at least _PAIR_RATE; rows with count < 1 leave it at what was held.
    rate = np.where(count >= 1, np.maximum(1.0 / np.maximum(count, 1.0), _PAIR_RATE), 0.0)
    decay = (1.0 - rate)[:, None]
    mean = (rate * value)[:, None]
    mean[seg.start] += decay[seg.start] * held[seg.start, None]
    decay[seg.start] = 0.0
    scan(seg, decay, mean)
    return mean[:, 0]


def _since(seg: Segments, stored: Floats, now: Floats) -> Floats:
    # When each row's host was first seen in this role; kept in `stored` per slot.
    first = np.where(seg.carry, stored[seg.slot], now)[seg.start][seg.group]
    stored[seg.slot[seg.last]] = first[seg.last]
    return first


def _log_age(seconds: Floats) -> Floats:
    return np.log(np.clip(seconds, _MIN_GAP_S, _NEVER_S))


def _share(part: Floats, whole: Floats) -> Floats:
    return part / np.maximum(whole, 1e-9)


def _row_order(seg: Segments, values: Floats) -> Floats:
    out = np.empty_like(values)
    out[seg.order] = values
    return out
