"""Measures of scores against labels: pure functions on arrays, none of them knows where the scores came from."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from onnx_export.calibration import thresholds
from onnx_export.data import Capture
from pyad.verdict import CLASSES

SMALL_CLASS = 30  # a class with fewer rows says little; macro averages are given with and without such
_Z95 = 1.959964


@dataclass(frozen=True)
class Scored:
    """Model output for captures laid end to end: probs (rows, classes), novelty (rows,), all 0 where there is none."""

    probs: NDArray[np.float32]
    novelty: NDArray[np.float32]


def wilson(hits: int, n: int) -> tuple[float, float]:
    """95 % interval of a share (Wilson 1927)."""
    if n == 0:
        return 0.0, 1.0
    p = hits / n
    middle = (p + _Z95**2 / (2 * n)) / (1 + _Z95**2 / n)
    half = _Z95 * math.sqrt(p * (1 - p) / n + _Z95**2 / (4 * n * n)) / (1 + _Z95**2 / n)
    return max(middle - half, 0.0), min(middle + half, 1.0)


def poisson(count: int, exposure: float) -> tuple[float, float]:
    """Exact 95 % interval of a rate from `count` events in `exposure` (Garwood 1936)."""
    from scipy.stats import chi2

    low = chi2.ppf(0.025, 2 * count) / 2 if count else 0.0
    return float(low) / exposure, float(chi2.ppf(0.975, 2 * count + 2) / 2) / exposure


def threshold_at(benign: NDArray[np.floating], rate: float) -> float | None:
    """The score that a share `rate` of `benign` scores exceeds; None where ten such rows are not to be expected."""
    if len(benign) * rate < 10:
        return None
    return float(np.quantile(benign, 1.0 - rate))


def operating_recall(probs: NDArray[np.float32], captures: Sequence[Capture], rate: float) -> dict[str, float]:
    """Share of each attack class alarmed by the detector's own rule, thresholds set at that share of benign rows.

    "macro" averages classes of ≥ 20 rows.
    """
    label = np.concatenate([c.label for c in captures])
    limits = np.array(list(thresholds(probs, label, rate).values()))
    alarm = (probs[:, 1:] >= limits).any(axis=1)
    recalls = {
        name: float(alarm[label == i].mean()) for i, name in enumerate(CLASSES) if i and (label == i).sum() >= 20
    }
    return {"macro": float(np.mean(list(recalls.values()))) if recalls else 0.0, **recalls}


def validation_value(
    probs: NDArray[np.float32], validation: Sequence[Capture], rate: float
) -> tuple[float, dict[str, float]]:
    """What early stopping looks at, for every model: the mean of macro recall at `rate` and at a quarter of it."""
    macros = {f"recall_at_{r:g}": operating_recall(probs, validation, r)["macro"] for r in (rate, rate / 4)}
    return sum(macros.values()) / 2, macros


def auroc(negative: NDArray[np.floating], positive: NDArray[np.floating]) -> float | None:
    """Chance that a positive scores above a negative, ties by half; None where one of them is empty."""
    if not len(negative) or not len(positive):
        return None
    s = np.sort(negative)
    below, upto = np.searchsorted(s, positive, "left"), np.searchsorted(s, positive, "right")
    return float((below + upto).mean() / (2 * len(s)))


def distance_from_uniform(p: NDArray[np.floating]) -> float:
    """The largest distance of the distribution of `p` from the uniform one in [0, 1] (Kolmogorov and Smirnov's)."""
    s = np.sort(p)
    steps = np.arange(len(s) + 1) / len(s)
    return float(max(np.max(steps[1:] - s), np.max(s - steps[:-1])))


def precision_recall(
    score: NDArray[np.floating], truth: NDArray[np.bool_], points: int = 60
) -> tuple[float, list[tuple[float, float]]]:
    """(average precision, [(recall, precision), …] thinned to about `points`) of ranking by `score`."""
    if not truth.any():
        return 0.0, []
    order = np.argsort(-score, kind="stable")
    hits = np.cumsum(truth[order])
    # Rows of one score are told apart by nobody: only where the score changes is there a point.
    last = np.append(np.asarray(np.diff(score[order])) != 0, True)
    recall = hits[last] / hits[-1]
    precision = hits[last] / (np.flatnonzero(last) + 1)
    average = float(np.sum(np.diff(recall, prepend=0.0) * precision))
    at = np.unique(np.searchsorted(recall, np.linspace(0, 1, points)).clip(max=len(recall) - 1))
    return average, [(round(float(recall[i]), 4), round(float(precision[i]), 4)) for i in at]


def calibration_error(
    probs: NDArray[np.float32], label: NDArray[np.int64], bins: int = 15
) -> tuple[float, list[tuple[int, float, float]]]:
    """(expected calibration error, [(rows, mean confidence, accuracy), …] of bins) of the most probable class."""
    confidence, right = probs.max(axis=1), probs.argmax(axis=1) == label
    which = np.minimum((confidence * bins).astype(int), bins - 1)
    table, error = [], 0.0
    for b in range(bins):
        inside = which == b
        if inside.any():
            sure, accurate = float(confidence[inside].mean()), float(right[inside].mean())
            table.append((int(inside.sum()), round(sure, 4), round(accurate, 4)))
            error += inside.mean() * abs(sure - accurate)
    return float(error), table


def confusion(label: NDArray[np.integer], decision: NDArray[np.integer]) -> NDArray[np.int64]:
    """Counts (classes, decisions) over labelled rows; the last decision is novel."""
    table = np.zeros((len(CLASSES), len(CLASSES) + 1), dtype=np.int64)
    scored = label >= 0
    np.add.at(table, (label[scored], decision[scored]), 1)
    return table


def of_confusion(table: NDArray[np.integer]) -> dict[str, dict[str, float]]:
    """Class → rows, recall (its own class), alarmed (anything but benign), precision, f1; only classes with rows."""
    found = {}
    for i, name in enumerate(CLASSES):
        rows, right, said = int(table[i].sum()), int(table[i, i]), int(table[:, i].sum())
        if rows:
            alarmed = rows - int(table[i, 0])
            precision, recall = right / said if said else 0.0, right / rows
            f1 = 2 * precision * recall / (precision + recall) if right else 0.0
            found[name] = {
                "rows": rows, "recall": recall, "alarmed": alarmed / rows, "precision": precision, "f1": f1,
            }  # fmt: skip
    return found


def mcc(table: NDArray[np.integer]) -> float:
    """Matthews' correlation of `confusion` counts over all classes, novel a decision that is never right
    (Gorodkin 2004); NaN where all rows or all decisions are of one class.
    """
    t = np.zeros((table.shape[1],) * 2)
    t[: len(table)] = table
    truth, said, n = t.sum(axis=1), t.sum(axis=0), t.sum()
    spread = (n * n - truth @ truth) * (n * n - said @ said)
    return float((np.trace(t) * n - truth @ said) / math.sqrt(spread)) if spread > 0 else math.nan


def macro(classes: dict[str, dict[str, float]], what: str, least: int = 1, attacks: bool = True) -> float:
    """Mean of one measure of `of_confusion` over classes with at least `least` rows, NaN for none.

    attacks: without benign.
    """
    values = [c[what] for n, c in classes.items() if c["rows"] >= least and not (attacks and n == CLASSES[0])]
    return float(np.mean(values)) if values else math.nan
