"""All that is said of one model on one part of the data, as plain values for a result file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnx_export import calibration, metrics
from onnx_export.data import Capture, labels_of, spans
from onnx_export.metrics import Scored
from onnx_export.operating import NOVEL_SHARE, OperatingPoint, outcomes
from pyad.verdict import CLASSES, decide

RATES = (1e-3, 1e-4, 1e-5)
_NOVEL_RATE = 1e-3
_LEAST_HOURS, _LEAST_A_HOUR = 6, 20  # hours and connections in each that show how alarms come over time
_SITE_ROWS = 500  # benign rows that say something about a site
P_VALUES = (0.1, 0.01, 0.001)


def part(
    captures: Sequence[Capture], scored: Scored, point: OperatingPoint, min_conns: Mapping[str, int]
) -> dict[str, Any]:
    """Counts per capture at the operating point, rankings, calibration, novelty and incidents."""
    label = labels_of(captures)
    decision = decide(scored.probs, scored.novelty, point.policy()).decision
    found = outcomes(captures, scored.probs, scored.novelty, point.policy(), min_conns)
    per_capture = []
    for (capture, at), outcome in zip(spans(captures), found, strict=True):
        table = metrics.confusion(capture.label, decision[at])
        entry = {"set": capture.dataset, "name": capture.name, "confusion": sparse(table), **outcome.as_dict()}
        per_capture.append(entry)
    known = label >= 0
    error, bins = metrics.calibration_error(scored.probs[known], label[known])
    return {
        "captures": per_capture,
        "distinct": sparse(metrics.confusion(*distinct(captures, label, decision))),
        "ranking": ranking(label, 1.0 - scored.probs[:, 0], scored.probs),
        "calibration_error": error,
        "reliability": bins,
        "novelty": novelty(label, scored.novelty, 1.0 - scored.probs[:, 0]),
        "hours": hours(captures, decision),
        "p_values": p_values(scored.novelty[label == 0], point),
    }


def brief(captures: Sequence[Capture], scored: Scored, point: OperatingPoint) -> dict[str, Any]:
    """Counts per capture alone, for views of the data."""
    decision = decide(scored.probs, scored.novelty, point.policy()).decision
    found = []
    for capture, at in spans(captures):
        table = metrics.confusion(capture.label, decision[at])
        found.append({"set": capture.dataset, "name": capture.name, "confusion": sparse(table)})
    return {"captures": found}


def hours(captures: Sequence[Capture], decision: NDArray[np.int8]) -> dict[str, list[list[int]]]:
    """Of long captures without an attack by name: [hour, benign connections that began in it, of these alarmed], …"""
    found = {}
    for capture, at in spans(captures):
        if (capture.label > 0).any() or not len(capture.x):
            continue
        assert capture.rows is not None, f"{capture.name} kept no rows"
        alarmed, benign, ts = decision[at] != 0, capture.label == 0, capture.rows.number("ts")
        hour = ((ts - ts.min()) // 3600).astype(np.int64)
        n = int(hour.max()) + 1
        if n >= _LEAST_HOURS and benign.sum() >= _LEAST_A_HOUR * n:
            rows, alarms = (np.bincount(hour[benign & mask], minlength=n).tolist() for mask in (True, alarmed))
            name = f"{capture.dataset}/{capture.name}"
            found[name] = [[h, *counts] for h, counts in enumerate(zip(rows, alarms, strict=True)) if counts[0]]
    return found


def recalibrated(captures: Sequence[Capture], scored: Scored, point: OperatingPoint) -> dict[str, Any]:
    """Counts of each set before and after its own benign traffic had a say in the thresholds: `brief` twice.

    Every second of a set's captures without an attack is read for it: there no more than the operating point's share
    of rows may be alarmed, no class's threshold gets looser, and novelty has the set's own distribution. What was read
    is not counted, nor are sets of which it has fewer than `_SITE_ROWS` rows.
    """
    label, capture_of = labels_of(captures), np.repeat(np.arange(len(captures)), [len(c.x) for c in captures])
    calm = [i for i, c in enumerate(captures) if (c.label <= 0).all() and (c.label == 0).any()]
    found: dict[str, list[dict[str, Any]]] = {"before": [], "after": []}
    for name in sorted({captures[i].dataset for i in calm}):
        read = [i for i in calm if captures[i].dataset == name][::2]
        rows = np.flatnonzero(np.isin(capture_of, read) & (label == 0))
        if len(rows) < _SITE_ROWS:
            continue
        own = calibration.thresholds(scored.probs[rows], label[rows], point.rate)
        site = replace(
            point,
            thresholds={k: max(v, own[k]) for k, v in point.thresholds.items()},
            novelty=calibration.novelty(scored.novelty[rows], NOVEL_SHARE * point.rate),
        )
        rest = [i for i, c in enumerate(captures) if c.dataset == name and i not in read]
        at = np.isin(capture_of, rest)
        left = Scored(scored.probs[at], scored.novelty[at])
        for when, used in (("before", point), ("after", site)):
            found[when] += brief([captures[i] for i in rest], left, used)["captures"]
    return found


def sparse(table: NDArray[np.int64]) -> list[list[int]]:
    """[[class, decision, count], …] of the cells that are not 0."""
    rows, columns = np.nonzero(table)
    return [[int(i), int(j), int(table[i, j])] for i, j in zip(rows, columns, strict=True)]


def dense(cells: Sequence[Sequence[int]]) -> NDArray[np.int64]:
    """The table that `sparse` was given."""
    table = np.zeros((len(CLASSES), len(CLASSES) + 1), dtype=np.int64)
    for i, j, count in cells:
        table[i, j] += count
    return table


def distinct(
    captures: Sequence[Capture], label: NDArray[np.int64], decision: NDArray[np.int8]
) -> tuple[NDArray[np.int64], NDArray[np.int8]]:
    """Labels and decisions of the first of each set of identical feature rows of one class."""
    x = np.concatenate([c.x for c in captures])
    _, first = np.unique(
        [hash((row.tobytes(), k)) for row, k in zip(x, label.tolist(), strict=True)], return_index=True
    )
    return label[first], decision[first]


def ranking(label: NDArray[np.int64], alarm: NDArray[np.float32], probs: NDArray[np.float32]) -> dict[str, Any]:
    """Per attack class: recall of any alarm at false-positive rates (None: too few benign rows), and its PR curve.

    The curve is of the class's own probability, its rows against all others.
    """
    benign = alarm[label == 0]
    limits = {rate: metrics.threshold_at(benign, rate) for rate in RATES}
    found: dict[str, Any] = {}
    for i, name in enumerate(CLASSES):
        mine = label == i
        if not i or not mine.any():
            continue
        known = label >= 0
        average, curve = metrics.precision_recall(probs[known, i], mine[known])
        recalls = {
            f"{rate:g}": None if limit is None else float((alarm[mine] > limit).mean())
            for rate, limit in limits.items()
        }
        found[name] = {"rows": int(mine.sum()), "recall_at": recalls, "average_precision": average, "curve": curve}
    return {"benign_rows": len(benign), "classes": found}


def novelty(label: NDArray[np.int64], score: NDArray[np.float32], alarm: NDArray[np.float32]) -> dict[str, Any]:
    """Per attack class, of the novelty score alone: AUROC against benign rows, recall at one in a thousand of them.

    fused, fused_recall: the same of the rarer of the two, novelty score and alarm (1 - P(benign)), among benign rows:
    "known or novel".
    """
    if not score.any():
        return {}
    benign = score[label == 0]
    fused = np.maximum(_rank(score, label), _rank(alarm, label))
    limit = metrics.threshold_at(benign, _NOVEL_RATE)
    limit_fused = metrics.threshold_at(fused[label == 0], _NOVEL_RATE)
    return {
        name: {
            "rows": int((label == i).sum()),
            "auroc": metrics.auroc(benign, score[label == i]),
            "fused": metrics.auroc(fused[label == 0], fused[label == i]),
            "recall": None if limit is None else float((score[label == i] > limit).mean()),
            "fused_recall": None if limit_fused is None else float((fused[label == i] > limit_fused).mean()),
        }
        for i, name in enumerate(CLASSES)
        if i and (label == i).any()
    }


def p_values(score: NDArray[np.float32], point: OperatingPoint) -> dict[str, Any]:
    """Whether novelty p-values of benign rows are shares: how far from uniform they are, and how many are so small."""
    if not score.any():
        return {}
    p = point.policy().novelty_p(score, None)
    under = {f"{r:g}": float((p < r).mean()) for r in P_VALUES}
    return {"rows": len(p), "distance": metrics.distance_from_uniform(p), "under": under}


def _rank(score: NDArray[np.float32], label: NDArray[np.int64]) -> NDArray[np.float64]:
    """The share of benign rows whose score is lower; half of those whose score is the same."""
    benign = np.sort(score[label == 0])
    return (np.searchsorted(benign, score, "left") + np.searchsorted(benign, score, "right")) / (2 * len(benign))
