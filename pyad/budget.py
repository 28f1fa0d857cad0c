"""Thresholds from a budget: so many new incidents a day, spread over the classes, bounded both ways. Pure.

A row's strength is the log odds of a class's probability, for `novel` -ln p. An incident needs `min_conns` decided
rows, so what it would take to silence one is the strength of its min_conns-th strongest row. Counting those gives the
incidents at every threshold at once; where a budget allows fewer than were seen, a tail model goes beyond the data.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pyad.allow_list import AllowList
from pyad.evidence import LOOSE, Evidence, incidents_at
from pyad.incidents import IncidentRules
from pyad.notices import Incident
from pyad.tail import Pareto, fit_pareto
from pyad.verdict import ATTACK_CLASSES, DECISION_NAMES, NOVEL, Policy, decide

KINDS = DECISION_NAMES[1:]  # the attack classes and novel, each with a threshold
LOWEST, HIGHEST = 0.3, 0.999  # probabilities between which a class's threshold stays
LOOSEST_P, STRICTEST_P = 1e-3, 1e-9  # the same for novel
_LOOSER_BY = 2.0  # nats of log odds that a threshold may go under the bundle's
_LOOSER_FROM_DAYS, _LOOSER_FROM_ROWS = 1.0, 10_000  # fewer say nothing about what a lower threshold would cost
_MARGIN = 0.5  # nats, the least scale of a tail where there are too few for a model
_TAIL_MIN, _TAIL_ROWS = 10, 40  # the strongest incidents that a tail is fitted to: at least, and usually
_LEAST_NATS = 3.0  # -ln p under which a row is nothing novel
_MIN_TOLD = 3
_MIN_COUNTED = 5  # incidents that may be told, from which counting alone is good enough
# What the kinds' tails together expect is a little more than what then opens, as kinds overlap: tries, in order.
_FACTORS = (3.0, 2.0, 1.4, *(0.7**i for i in range(12)))


@dataclass(frozen=True)
class Limits:
    """Between what a kind's strength may be set, and what it is now; a pinned kind has all equal."""

    low: float
    now: float
    high: float

    @property
    def pinned(self) -> bool:
        """Whether there is no choice."""
        return self.low == self.high


@dataclass(frozen=True)
class Choice:
    """A policy with what it gives on the evidence. per_day: new incidents."""

    policy: Policy
    per_day: float
    incidents: Sequence[Incident]

    @property
    def by_kind(self) -> dict[str, int]:
        """How many incidents of each kind."""
        counts = Counter(i.cls for i in self.incidents)
        return {name: counts[name] for name in KINDS}


def strength(probability: float) -> float:
    """Of a class's probability: the log odds."""
    p = min(max(probability, 1e-7), 1 - 1e-7)
    return float(np.log(p / (1 - p)))


def probability(at: float) -> float:
    """The reverse of `strength`."""
    return float(1 / (1 + np.exp(-at)))


def limits(policy: Policy, loosest: float, pinned: frozenset[str], days: float, rows: int) -> dict[str, Limits]:
    """Per kind how far its threshold may go from `policy`'s, looser only on logs long enough to tell what that costs.

    pinned: kinds that the site's configuration has set. loosest: probability under which no evidence was kept.
    """
    may_loosen = days >= _LOOSER_FROM_DAYS and rows >= _LOOSER_FROM_ROWS
    found = {}
    for name, value in zip(ATTACK_CLASSES, policy.thresholds.tolist()):
        now = strength(value)
        loose = max(now - _LOOSER_BY, strength(max(LOWEST, loosest)))
        found[name] = _between(loose, now, strength(HIGHEST), name in pinned or value > 1, may_loosen)
    level = policy.novel_p
    loose, now, high = _nats(max(level, min(10 * level, LOOSEST_P))), _nats(level), _nats(STRICTEST_P)
    found["novel"] = _between(loose, now, high, "novel" in pinned or level <= 0, may_loosen)
    return found


def _between(loose: float, now: float, high: float, pinned: bool, may_loosen: bool) -> Limits:
    if pinned:
        return Limits(now, now, now)
    return Limits(min(now, loose) if may_loosen else now, now, max(now, high))


def _nats(p: float) -> float:
    return float(-np.log(max(p, 1e-300)))


def strengths(
    evidence: Evidence, policy: Policy, rules: IncidentRules, allow_list: AllowList
) -> dict[str, NDArray[np.float64]]:
    """Per kind what it would take to silence each incident there might be, strongest first."""
    verdicts = decide(evidence.probs, evidence.novelty, policy, evidence.group)
    odds = np.clip(evidence.probs.astype(np.float64), 1e-7, 1 - 1e-7)
    odds = np.log(odds / (1 - odds))
    once = np.nan_to_num(evidence.rows.number("partial")) <= 1  # a long connection counts once
    known = (verdicts.decision > 0) & (verdicts.decision != NOVEL)
    attacks = evidence.probs[:, 1:]
    decided = np.where(attacks >= policy.thresholds, attacks, 0.0).max(axis=1, initial=0.0)
    found = {}
    for index, name in enumerate(KINDS, start=1):
        novel = name == "novel"
        value = -np.log(verdicts.novelty_p) if novel else odds[:, index]
        might = ~known & (value >= _LEAST_NATS) if novel else evidence.probs[:, index] >= np.maximum(decided, LOOSE)
        at = np.flatnonzero(once & might)
        allowed = allow_list.match(evidence.rows, np.full(len(evidence.rows), index, dtype=np.int8))
        at = at[allowed[at] < 0]
        found[name] = _peaks(evidence, value, at, rules.min_conns.get(name, 1), rules.idle_s)
    return found


def _peaks(
    evidence: Evidence, value: NDArray[np.float64], at: NDArray[np.int64], k: int, idle_s: float
) -> NDArray[np.float64]:
    """The k-th largest value of each episode: rows of one originator without a gap of more than idle_s."""
    hosts: dict[tuple[object, object, object], int] = {}
    keys = zip(
        evidence.rows.text("id.orig_h")[at].tolist(),
        np.nan_to_num(evidence.rows.number("vlan")[at], nan=-1.0).tolist(),
        evidence.timeline[at].tolist(),
    )
    host = np.array([hosts.setdefault(key, len(hosts)) for key in keys], dtype=np.int64)
    order = np.lexsort((evidence.clock[at], host))
    host, clock, value = host[order], evidence.clock[at][order], value[at][order]
    if not len(host):
        return np.zeros(0)
    new = np.concatenate([[True], (host[1:] != host[:-1]) | (np.diff(clock) > idle_s)])
    episode = np.cumsum(new)
    by_value = np.lexsort((-value, episode))
    first = np.flatnonzero(new)
    place = np.arange(len(value)) - first[episode[by_value] - 1]
    return np.sort(value[by_value][place == k - 1])[::-1]


def border(found: NDArray[np.float64], allowed: float) -> float:
    """The strength over which `allowed` (> 0, also below 1) of the incidents `found` (strongest first) are expected."""
    n = len(found)
    if allowed >= n:
        return -np.inf
    if allowed >= _MIN_COUNTED:
        k = int(allowed)
        return max(float(found[k] + found[k - 1]) / 2, float(np.nextafter(found[k], np.inf)))
    m = min(n, max(_TAIL_ROWS, n // 5))
    excess = found[:m] - found[m - 1]
    if m >= _TAIL_MIN and (excess > 0).any():
        tail = fit_pareto(excess[excess > 0])
    else:
        tail = Pareto(0.0, max(float(excess.mean()), _MARGIN))
    return float(found[m - 1]) + tail.excess(min(max(allowed, 1e-3) / m, 1.0))


def allot(demand: Mapping[str, float], total: float) -> dict[str, float]:
    """`total` shared out so that who wants little gets it, and the others the same each."""
    shares: dict[str, float] = {}
    left, waiting = total, sorted(demand, key=lambda name: demand[name])
    for i, name in enumerate(waiting):
        shares[name] = min(demand[name], max(left, 0.0) / (len(waiting) - i))
        left -= shares[name]
    return shares


def choose(
    evidence: Evidence, found: Mapping[str, NDArray[np.float64]], bounds: Mapping[str, Limits], policy: Policy,
    rules: IncidentRules, allow_list: AllowList, per_day: float, days: float,
) -> Choice:  # fmt: skip
    """Thresholds at which the evidence gives at most `per_day` new incidents a day, as far as the bounds allow."""
    if sum(float((found[name] >= bounds[name].now).sum()) for name in KINDS) > per_day * days:
        # Nothing is looser than it was while something has to be stricter.
        bounds = {name: replace(b, low=b.now) for name, b in bounds.items()}
    demand = {name: float((found[name] >= bounds[name].low).sum()) / days for name in KINDS}
    for factor in _FACTORS:
        if factor > 1 and per_day * days < _MIN_TOLD:
            continue  # so few that their number on these logs is chance
        shares = allot(demand, per_day * factor)
        at = {
            name: bounds[name].low
            if shares[name] >= demand[name]  # also where there is nothing to silence
            else float(np.clip(border(found[name], shares[name] * days), bounds[name].low, bounds[name].high))
            for name in KINDS
        }
        choice = evaluate(evidence, with_strengths(policy, at, bounds), rules, allow_list, days)
        if choice.per_day <= per_day or all(at[n] >= bounds[n].high for n in KINDS):
            break
    return choice


def evaluate(evidence: Evidence, policy: Policy, rules: IncidentRules, allow_list: AllowList, days: float) -> Choice:
    """What a policy gives on the evidence."""
    tracker, _ = incidents_at(evidence, policy, rules, allow_list)
    return Choice(policy, tracker.opened / days, tracker.finished)


def with_strengths(policy: Policy, at: Mapping[str, float], bounds: Mapping[str, Limits]) -> Policy:
    """`policy` with these strengths as its thresholds; pinned ones stay as they are, to the digit."""
    thresholds = policy.thresholds.copy()
    for i, name in enumerate(ATTACK_CLASSES):
        if not bounds[name].pinned:
            thresholds[i] = round(probability(at[name]), 6)
    level = policy.novel_p if bounds["novel"].pinned else float(f"{np.exp(-at['novel']):.3g}")
    return replace(policy, thresholds=thresholds, novel_p=level)
