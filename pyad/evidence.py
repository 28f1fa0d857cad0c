"""What a site's logs say about thresholds: scores kept in bounded memory while the pipeline reads them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyad.allow_list import AllowList, Network
from pyad.errors import PyadError, UsageError
from pyad.groups import GROUPS, group_of
from pyad.hosts import address_traits
from pyad.incidents import IncidentRules, IncidentTracker
from pyad.pipeline import hits_of
from pyad.reference import Reference, make_reference
from pyad.row import Rows, concat
from pyad.tail import Sketch
from pyad.verdict import NOVEL, Policy, Verdicts, decide

LOOSE = 0.1  # a row is kept where an attack class has at least this probability
_NOVEL_SHARE = 0.03  # of each group, the oddest rows are kept
_LEAST_SHARE = 1e-6
_LOOK_EVERY = 65_536  # rows after which the border of those is looked up again
_MAX_KEPT = 1_000_000
_REFERENCE_ROWS = 2_000
_SAMPLE = 20_000  # rows that the reference is made from
_MAX_DEVICES = 1_000_000
_SILENCE_S = 3600.0
_HASH = np.uint64(0x9E3779B97F4A7C15)
_COLUMNS = (
    *("ts", "duration", "uid", "id.orig_h", "id.orig_p", "id.resp_h", "id.resp_p", "proto", "service"),
    *("vlan", "partial"),
)


@dataclass(frozen=True)
class Evidence:
    """The rows that a verdict might be about, in order: probs (rows, classes), the others (rows,).

    clock: s, the newest row time so far within the timeline.
    """

    rows: Rows
    probs: NDArray[np.float32]
    novelty: NDArray[np.float64]
    group: NDArray[np.int8]
    clock: NDArray[np.float64]
    timeline: NDArray[np.int32]

    def take(self, at: Any) -> Evidence:
        """The rows at `at`."""
        return Evidence(self.rows.take(at), *(v[at] for v in self._arrays()))

    def _arrays(self) -> tuple[NDArray[Any], ...]:
        return self.probs, self.novelty, self.group, self.clock, self.timeline

    @classmethod
    def joined(cls, parts: Sequence[Evidence]) -> Evidence:
        """One after another."""
        arrays = zip(*(p._arrays() for p in parts))
        return cls(concat([p.rows for p in parts]), *map(np.concatenate, arrays))


class Collector:
    """An observer of the pipeline that keeps what `pyad calibrate` needs; rows of excluded hosts count for nothing.

    lowest_threshold: of the policy in force; what reaches it is always kept. sketches: novelty scores per group.
    rows: all that counted; devices: local addresses; excluded: rows left out.
    """

    def __init__(self, excluded: Sequence[Network] = (), lowest_threshold: float = 0.3) -> None:
        self.sketches = [Sketch() for _ in GROUPS]
        self.rows = self.excluded = 0
        self.devices: set[str] = set()
        self.first_ts, self.last_ts = np.inf, -np.inf
        self._networks = AllowList.of_networks(excluded)
        self._parts: list[Evidence] = []
        self._kept = 0
        self._lowest_threshold = lowest_threshold
        self._loose = min(LOOSE, lowest_threshold)
        self._borders = np.full(len(GROUPS), -np.inf)
        self._looked_at = 0
        self._active_s = 0.0
        self._timeline = 0
        self._clock = -np.inf
        self._sample: list[NDArray[Any]] = []
        self._draws: list[NDArray[np.uint64]] = []
        self._sampled = 0
        self._draw_below = np.iinfo(np.uint64).max
        self._usual = 0

    @property
    def days(self) -> float:
        """How long the logs are, by their own time, over all timelines; see `active_s`."""
        return self._active_s / 86_400.0

    @property
    def loosest(self) -> float:
        """Probability under which rows were not kept: no lower threshold can be judged."""
        return self._loose

    def begin(self) -> None:
        """A new timeline."""
        self._timeline += 1
        self._clock = -np.inf

    def see(self, rows: Rows, x: NDArray[Any], novelty: NDArray[Any], verdicts: Verdicts) -> None:
        """Take scored rows in order."""
        clock = np.maximum.accumulate(np.maximum(np.nan_to_num(rows.end_time(), nan=-np.inf), self._clock))
        first = clock[0] if np.isneginf(self._clock) else self._clock
        self._active_s += active_s(np.concatenate([[first], clock]))
        self._clock = float(clock[-1])
        excluded = self._networks.match(rows, np.ones(len(rows), dtype=np.int8)) >= 0
        counted = np.flatnonzero(~excluded & ~verdicts.unscored)
        self.excluded += int(excluded.sum())
        self.rows += len(counted)
        ts = rows.number("ts")[counted]
        if len(counted) and not np.isnan(ts).all():
            self.first_ts, self.last_ts = min(self.first_ts, np.nanmin(ts)), max(self.last_ts, np.nanmax(ts))
        if len(self.devices) < _MAX_DEVICES:
            self.devices |= devices_of(rows.take(counted))
        group, score = group_of(rows), novelty.astype(np.float64)
        for index, sketch in enumerate(self.sketches):
            sketch.add(score[counted[group[counted] == index]])
        known = verdicts.probs[counted, 1:].max(axis=1) >= self._loose
        at = counted[known | (score[counted] >= self._borders[group[counted]])]
        part = Rows({n: rows.columns[n][at] for n in _COLUMNS if n in rows.columns}, rows.source[at])
        timeline = np.full(len(at), self._timeline, dtype=np.int32)
        self._parts.append(Evidence(part, verdicts.probs[at], score[at], group[at], clock[at], timeline))
        self._kept += len(at)
        if self.rows - self._looked_at >= _LOOK_EVERY or self._kept > _MAX_KEPT:
            self._thin_out()
        usual = counted[np.isin(verdicts.decision[counted], (0, NOVEL))]
        self._draw(np.column_stack([x[usual], verdicts.score[usual], score[usual]]).astype(np.float32))

    def evidence(self) -> Evidence:
        """What was kept. Raises PyadError where there was nothing."""
        if not self.rows:
            raise PyadError("no connection to calibrate on; name logs of a few ordinary days")
        self._thin_out()
        return self._parts[0]

    def reference(self, names: Sequence[str]) -> Reference | None:
        """What features and scores looked like on rows of no known attack; names: of the features and the scores.

        None where those are too few to tell drift from chance.
        """
        if self._usual < _REFERENCE_ROWS:
            return None
        self._shorten_sample()
        return make_reference(self._sample[0], names, self._usual, self.days * 24.0)

    def _thin_out(self) -> None:
        """Leave out what is not among the oddest of its group any more; where too much is left, raise the borders."""
        held = Evidence.joined(self._parts)
        share = _NOVEL_SHARE
        while True:
            self._borders = np.array([s.above(share) if s.rows else -np.inf for s in self.sketches])
            known = held.probs[:, 1:].max(axis=1, initial=0.0) >= self._loose
            held = held.take(np.flatnonzero(known | (held.novelty >= self._borders[held.group])))
            if len(held.rows) <= _MAX_KEPT // 2:
                break
            share /= 2
            if self._loose < self._lowest_threshold:  # what reaches a threshold stays: it has to be spoken for
                self._loose = min(self._lowest_threshold, self._loose + 0.1)
            elif share < _LEAST_SHARE:
                raise UsageError(
                    "more connections look like attacks than can be judged at once; name fewer days, or leave out the "
                    "host they come from with --exclude-host ADDRESS"
                )
        self._parts, self._kept, self._looked_at = [held], len(held.rows), self.rows

    def _draw(self, values: NDArray[np.float32]) -> None:
        """Keep a uniform sample, the same whatever the batches: rows draw numbers by their place, the lowest stay."""
        number = np.arange(self._usual, self._usual + len(values), dtype=np.uint64)
        self._usual += len(values)
        mixed = (number + np.uint64(1)) * _HASH
        mixed = (mixed ^ (mixed >> np.uint64(29))) * _HASH
        keep = mixed < self._draw_below
        self._sample.append(values[keep])
        self._draws.append(mixed[keep])
        self._sampled += int(keep.sum())
        if self._sampled > 2 * _SAMPLE:
            self._shorten_sample()

    def _shorten_sample(self) -> None:
        sample, draws = np.concatenate(self._sample), np.concatenate(self._draws)
        order = np.sort(np.argsort(draws, kind="stable")[:_SAMPLE])
        if len(draws) > _SAMPLE:
            self._draw_below = draws[order].max()
        self._sample, self._draws, self._sampled = [sample[order]], [draws[order]], len(order)


def devices_of(rows: Rows) -> set[str]:
    """The addresses of the monitored network that sent a packet: those the source calls local, or else private ones."""
    found: set[str] = set()
    everyone = np.ones(len(rows), dtype=np.bool_)  # who began a connection has sent something, counted or not
    answered = rows.number("resp_pkts") > 0
    for name, whose, sent in (("id.orig_h", "local_orig", everyone), ("id.resp_h", "local_resp", answered)):
        local = rows.number(whose)
        at = np.flatnonzero(sent & ~(local == 0))
        said = (local[at] > 0).tolist()
        for address, is_local in set(zip(rows.text(name)[at].tolist(), said)):
            _, holds_state, private = address_traits(address)
            if holds_state and (is_local or private):
                found.add(address)
    return found


def active_s(times: NDArray[np.float64]) -> float:
    """How long it was that rows came at these rising times (s): a silence counts for an hour at most.

    Logs of several days apart, or a capture put together of others', are no longer than what is in them.
    """
    return float(np.minimum(np.diff(times), _SILENCE_S).sum()) if len(times) else 0.0


def incidents_at(
    evidence: Evidence, policy: Policy, rules: IncidentRules, allow_list: AllowList
) -> tuple[IncidentTracker, Verdicts]:
    """What would have been told under `policy`, any number an hour; and the verdicts on the evidence."""
    tracker = IncidentTracker(replace(rules, max_new_per_hour=0))
    verdicts = decide(evidence.probs, evidence.novelty, policy, evidence.group)
    allowed = allow_list.match(evidence.rows, verdicts.decision)
    hits = np.flatnonzero((verdicts.decision > 0) & (allowed < 0))
    reasons: list[tuple[Any, ...]] = [()] * len(verdicts)
    for timeline in np.unique(evidence.timeline[hits]).tolist():
        tracker.add(
            hits_of(evidence.rows, verdicts, evidence.clock, reasons, hits[evidence.timeline[hits] == timeline])
        )
        tracker.close_all()
    return tracker, verdicts
