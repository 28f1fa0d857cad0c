"""Tails: how rare a score is beyond what was seen often. Pure.

Peaks over threshold: the excess over a high threshold is close to a generalised Pareto distribution (Pickands 1975),
and so a threshold for a wanted rate can be read off beyond the data (Siffer et al., Anomaly Detection in Streams with
Extreme Value Theory, KDD 2017). It is fitted with probability-weighted moments (Hosking and Wallis 1987), which are
steady on few excesses.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

TAIL_SHARE = 0.02  # the tail model takes over where this share of rows is left
MIN_ROWS = 2000  # fewer tell nothing of a tail: 40 excesses
_KEPT = 50_000  # largest scores kept exactly
_BINS = 4096
_LOG_RANGE = (-12.0, 12.0)  # of the other scores, natural logarithm
_XI_MAX = 0.5  # a heavier tail than this is more likely an attack in the logs
_SHARES = (1.0, 0.9, 0.75, 0.5, 0.25, 0.1, 0.05, TAIL_SHARE)


class Pareto(NamedTuple):
    """Shape and scale of a generalised Pareto distribution of excesses; xi in [0, 0.5], beta > 0."""

    xi: float
    beta: float

    def excess(self, share: float) -> float:
        """The excess that this share of excesses is over."""
        if self.xi < 1e-9:
            return -self.beta * float(np.log(share))
        return self.beta / self.xi * float(share**-self.xi - 1.0)


def fit_pareto(excess: NDArray[Any]) -> Pareto:
    """From excesses > 0 (n,), n ≥ 1.

    A bounded tail (xi < 0) would call the next larger value impossible; an exponential one errs on the quiet side.
    """
    x = np.sort(np.asarray(excess, dtype=np.float64))
    n = len(x)
    mean = float(x.mean())
    weighted = float((x * (1.0 - (np.arange(1, n + 1) - 0.35) / n)).mean())
    spread = mean - 2.0 * weighted
    if spread <= 0 or mean <= 0:
        return Pareto(0.0, max(mean, 1e-9))
    xi = 2.0 - mean / spread
    if xi < 0:
        return Pareto(0.0, mean)
    if xi > _XI_MAX:
        return Pareto(_XI_MAX, mean * (1.0 - _XI_MAX))  # keeps the mean of the excesses
    return Pareto(xi, 2.0 * mean * weighted / spread)


class Sketch:
    """Scores ≥ 0 of any number of rows in bounded memory: the largest exactly, the others to half a per cent."""

    def __init__(self) -> None:
        self.rows = 0
        self._counts = np.zeros(_BINS, dtype=np.int64)
        self._top = np.zeros(0)

    def add(self, scores: NDArray[Any]) -> None:
        """Take finite scores (n,)."""
        s = np.asarray(scores, dtype=np.float64)
        self.rows += len(s)
        self._top = np.concatenate([self._top, s])
        if len(self._top) > 2 * _KEPT:
            self._shorten()

    def _shorten(self) -> None:
        order = np.argsort(self._top)
        low = self._top[order[:-_KEPT]]
        self._top = self._top[order[-_KEPT:]]
        begin, end = _LOG_RANGE
        at = (np.log(np.maximum(low, np.exp(begin))) - begin) / (end - begin) * _BINS
        self._counts += np.bincount(np.clip(at.astype(np.int64), 0, _BINS - 1), minlength=_BINS)

    def above(self, share: float) -> float:
        """The score that this share of rows is at or above; rows ≥ 1."""
        if len(self._top) > _KEPT:
            self._shorten()
        top = np.sort(self._top)[::-1]
        place = min(int(share * self.rows), self.rows - 1)
        if place < len(top):
            return float(top[place])
        below = np.cumsum(self._counts[::-1])
        bin_at = _BINS - 1 - int(np.searchsorted(below, place - len(top), side="right"))
        begin, end = _LOG_RANGE
        middle = np.exp(begin + (max(bin_at, 0) + 0.5) / _BINS * (end - begin))
        return float(min(middle, top[-1]))

    def calibration(self) -> dict[str, Any]:
        """The distribution as `pyad.verdict.Calibration.from_bundle` takes it; at least MIN_ROWS rows."""
        # The tail begins where every excess is still known: of very many rows only the largest scores are.
        tail_share = min(TAIL_SHARE, 0.9 * _KEPT / self.rows)
        by_score: dict[float, float] = {}
        for share in (*(s for s in _SHARES if s > tail_share), tail_share):
            by_score.setdefault(self.above(share), share)
        quantiles = [[share, score] for score, share in by_score.items()]
        start = quantiles[-1][1]
        excess = self._top[self._top > start] - start
        tail = fit_pareto(excess) if len(excess) else Pareto(0.0, max(abs(start) * 0.05, 1e-6))
        fields = {"threshold": start, "xi": tail.xi, "beta": tail.beta, "p_tail": tail_share}
        return {"rows": self.rows, "quantiles": quantiles, "tail": fields}
