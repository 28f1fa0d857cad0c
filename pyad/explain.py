"""Why a row was decided as it was: the features the model found hardest to explain, with their usual values."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from math import isnan
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

TOP_FEATURES = 3
# Residuals closer than this are taken as equal, so that rounding between batch sizes does not swap two features.
_RESOLUTION = 1e-3
# The model takes counts and sizes as log(1 + n), ages and gaps as log(s); a person is told n and s.
_LOG1P = re.compile(
    r"duration|(orig|resp)_(bytes|pkts)(_per_\w+)?|counter_\w+|mac_\w+"
    r"|(orig|resp|pair)_(conns|peers|ports|sources|orig_bytes|resp_bytes)_\d+s"
)
_LOG = re.compile(r"(orig|resp|pair)(_\w+)?_(gap|age)")


class Reason(NamedTuple):
    """One feature of a row: what was seen, and the median of benign rows (NaN where the bundle has none)."""

    feature: str
    observed: float
    usual: float

    def __str__(self) -> str:
        return f"{self.feature} {digits(self.observed)} (usual {digits(self.usual)})"


def top_features(
    x: NDArray[Any], residuals: NDArray[Any], usual: NDArray[Any], names: Sequence[str], k: int = TOP_FEATURES
) -> list[tuple[Reason, ...]]:
    """The k features of each row with the largest residual among those that are set, largest first.

    x, residuals: (rows, features), raw values with NaN unset, and how far the model's expectation was off.
    usual: (features,). Fewer than k where fewer are set and off at all. Values are given on their natural scale.
    """
    if not len(x):
        return []
    # Strength in steps of the resolution, relative to its size; equal steps go by the order of the features.
    size = np.abs(np.nan_to_num(residuals.astype(np.float64), posinf=np.inf, neginf=np.inf))
    with np.errstate(divide="ignore"):
        steps = np.round(np.log(size) / _RESOLUTION)
    # What reads the same as usual is no reason, however surprised the model is.
    steps[np.isnan(x) | np.isclose(x, usual, rtol=5e-3, atol=5e-3)] = -np.inf
    order = np.argsort(-steps, axis=1, kind="stable")[:, :k]
    rows = np.arange(len(x))[:, None]
    usable = ~np.isneginf(steps[rows, order])
    observed = natural(x[rows, order], order, names)
    expected = natural(usual[order], order, names)
    words = np.array(names, dtype=object)[order]
    triples = zip(words.ravel().tolist(), observed.ravel().tolist(), expected.ravel().tolist(), strict=True)
    reasons = list(map(Reason._make, triples))
    width = order.shape[1]
    by_row = [tuple(reasons[i : i + width]) for i in range(0, len(reasons), width)]
    for i in np.flatnonzero(~usable.all(axis=1)).tolist():
        by_row[i] = tuple(r for r, ok in zip(by_row[i], usable[i].tolist(), strict=True) if ok)
    return by_row


@lru_cache(8)
def _scales(names: tuple[str, ...]) -> NDArray[np.int8]:
    """Per feature 1 for log(1 + n), 2 for log, else 0."""
    return np.array([1 if _LOG1P.fullmatch(n) else 2 if _LOG.fullmatch(n) else 0 for n in names], dtype=np.int8)


def natural(values: NDArray[Any], feature: NDArray[Any], names: Sequence[str]) -> NDArray[np.float64]:
    """Values of the features with these indices in `names` as a person reads them: counts, bytes, seconds."""
    scale = _scales(tuple(names))[feature]
    v = values.astype(np.float64)
    with np.errstate(over="ignore"):
        shown: NDArray[np.float64] = np.where(scale == 1, np.expm1(v), np.where(scale == 2, np.exp(v), v))
    return shown


def digits(value: float) -> str:
    """A number to three significant digits; `-` where there is none."""
    return "-" if isnan(value) else f"{value:.3g}"
