"""From scores on validation to decisions: a threshold per class and the novelty score's benign distribution."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyad.verdict import ATTACK_CLASSES

# The tail model takes over where this share of benign rows is left.
_TAIL_SHARE = 0.02
_FLOOR = 2e-3
_TAIL_ROWS = 10
_THRESHOLDS = (0.1, 0.3, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 0.98, 0.99, 0.995, 0.999)
_QUANTILES = (1.0, 0.9, 0.75, 0.5, 0.25, 0.1, 0.05, _TAIL_SHARE)


def thresholds(probs: NDArray[np.float32], label: NDArray[np.integer], false_positive_rate: float) -> dict[str, float]:
    """Per attack class the probability that a `false_positive_rate / classes` share of benign rows exceeds.

    Never under _FLOOR. It is low: a higher one would favour models that speak with large probabilities, which says
    nothing about what they know.
    """
    benign = probs[label == 0]
    level = 1.0 - false_positive_rate / len(ATTACK_CLASSES)
    found = {}
    for i, name in enumerate(ATTACK_CLASSES, start=1):
        # A class is decided at its threshold or above: where many benign rows have one and the same probability, as
        # trees give them, it lies just above that.
        limit = np.nextafter(np.quantile(benign[:, i], level, method="higher"), np.float32(2))
        found[name] = float(np.maximum(limit, _FLOOR))
    return found


def detection(probs: NDArray[np.float32], label: NDArray[np.int8]) -> dict[str, list[list[float]]]:
    """bundle.yaml's `detection`: per class with attack rows pairs of threshold and the share of them that reach it."""
    found = {}
    for i, name in enumerate(ATTACK_CLASSES, start=1):
        own = probs[label == i, i]
        if len(own):
            found[name] = [[t, round(float((own >= t).mean()), 4)] for t in _THRESHOLDS]
    return found


def novelty(score: NDArray[np.float32], level: float) -> dict[str, Any]:
    """bundle.yaml's `novelty`: quantiles of benign `score` (n,) and a generalised Pareto tail (Pickands 1975)."""
    from scipy.stats import genpareto

    s = np.sort(score.astype(np.float64))
    if not s.any():
        return {"level": 0.0, "rows": len(s), "quantiles": [[1.0, 0.0]]}  # a model without a novelty score
    quantiles = [[q, float(np.quantile(s, 1.0 - q))] for q in _QUANTILES]
    start = quantiles[-1][1]
    excess = s[s > start] - start
    if len(excess) < _TAIL_ROWS:
        raise ValueError(f"{len(s)} benign rows are too few to tell what is unusual; validation needs more")
    xi, _, beta = genpareto.fit(excess, floc=0.0)
    # A bounded tail would give p = 0 just past the worst benign row seen; an exponential one errs on the quiet side.
    if xi < 0:
        xi, beta = 0.0, float(excess.mean())
    tail = {"threshold": start, "xi": float(xi), "beta": float(beta), "p_tail": _TAIL_SHARE}
    return {"level": level, "rows": len(s), "quantiles": quantiles, "tail": tail}
