"""The operating point: thresholds chosen on validation so that benign captures there stay within the alert budget."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnx_export import calibration
from onnx_export.data import Capture, labels_of, spans
from onnx_export.incident_counts import Outcome, device_days, outcome, totals
from pyad.verdict import ATTACK_CLASSES, DECISION_NAMES, Policy, decide

# Shares of benign rows alarmed that are tried, largest first.
RATES = (4e-3, 2e-3, 1e-3, 5e-4, 2e-4, 1e-4)
# Decided connections it takes before an incident gives its first notice: one odd connection is not yet a scan.
MIN_CONNS = {
    "flood": 10,
    "recon": 8,
    "brute_force": 6,
    "web_attack": 5,
    "spoofing": 5,
    "c2": 5,
    "exfiltration": 3,
    "exploit": 3,
    "novel": 5,
}
# Benign captures that hold less say nothing about notices per day.
LEAST_DEVICE_DAYS = 0.1
# What a manifest says of a budget that validation kept.
WITHIN = "at most one new incident a day per 100 devices"
NOVEL_SHARE = 0.025  # of the benign rows alarmed, those decided novel


@dataclass(frozen=True)
class OperatingPoint:
    """rate: share of benign rows alarmed; within: whether it keeps the budget; tried: rate → false incidents."""

    rate: float
    thresholds: dict[str, float]
    novelty: dict[str, Any]
    within: bool
    tried: dict[str, int]
    device_days: float

    def policy(self) -> Policy:
        """As the detector applies it."""
        return Policy.build(self.thresholds, self.novelty, {}, None)


def choose(
    captures: Sequence[Capture], probs: NDArray[np.float32], novelty: NDArray[np.float32],
    min_conns: Mapping[str, int], per_day_per_100: float = 1.0, rates: Sequence[float] = RATES, lowest: float = 0.0,
) -> OperatingPoint:  # fmt: skip
    """Per class the largest rate tried at which its false incidents on validation stay within the budget.

    One host that looks like one class must not make the detector deaf to the others. Where all together exceed the
    budget, that class goes down to its next rate with fewer of them which loses the fewest alarms (macro over attack
    classes) for each incident saved, and so on. `rate` is what share of benign rows is alarmed in the end. lowest: no
    threshold is under it.
    """
    label = labels_of(captures)
    points, false = [], []
    days = 0.0
    for rate in rates:
        level = calibration.novelty(novelty[label == 0], NOVEL_SHARE * rate)
        limits = {k: max(v, lowest) for k, v in calibration.thresholds(probs, label, rate).items()}
        point = OperatingPoint(rate, limits, level, False, {}, days)
        found = outcomes(captures, probs, novelty, point.policy(), min_conns, benign_only=True)
        days = totals(found)["device_days"]
        points.append(point)
        false.append(sum((o.false for o in found), Counter[str]()))
    tried = {f"{rate:g}": n.total() for rate, n in zip(rates, false, strict=True)}
    budget, last = per_day_per_100 * days / 100, len(rates) - 1
    names = (*ATTACK_CLASSES, DECISION_NAMES[-1])
    at = {n: next((i for i in range(len(rates)) if all(f[n] <= budget for f in false[i:])), last) for n in names}
    attacks = label > 0

    def mixed(at: Mapping[str, int]) -> OperatingPoint:
        limits = {n: points[at[n]].thresholds[n] for n in ATTACK_CLASSES}
        return OperatingPoint(0.0, limits, points[at[DECISION_NAMES[-1]]].novelty, False, tried, days)

    def alarmed(at: Mapping[str, int]) -> float:
        if not attacks.any():
            return 0.0
        alarm = decide(probs[attacks], novelty[attacks], mixed(at).policy()).decision != 0
        return float(np.mean([alarm[label[attacks] == c].mean() for c in np.unique(label[attacks])]))

    while True:
        chosen = mixed(at)
        found = outcomes(captures, probs, novelty, chosen.policy(), min_conns, benign_only=True)
        now = sum((o.false for o in found), Counter[str]())
        within = days > 0 and now.total() <= budget
        lower = [(n, next((i for i in range(at[n] + 1, len(rates)) if false[i][n] < now[n]), None)) for n in names]
        steps = [({**at, n: i}, now[n] - false[i][n]) for n, i in lower if i is not None]
        if within or not steps:
            alarm = decide(probs[label == 0], novelty[label == 0], chosen.policy()).decision != 0
            return replace(chosen, rate=float(alarm.mean()), within=bool(within))
        before = alarmed(at)
        at, _ = min(steps, key=lambda step: (before - alarmed(step[0])) / step[1])


def outcomes(
    captures: Sequence[Capture], probs: NDArray[np.float32], novelty: NDArray[np.float32], policy: Policy,
    min_conns: Mapping[str, int], benign_only: bool = False,
) -> list[Outcome]:  # fmt: skip
    """What each capture gives; benign_only: of those without an attack that are long enough to speak of days."""
    found = []
    for capture, at in spans(captures):
        if not benign_only or ((capture.label <= 0).all() and device_days(capture) >= LEAST_DEVICE_DAYS):
            found.append(outcome(capture, probs[at], novelty[at], policy, min_conns))
    return found
