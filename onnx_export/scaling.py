"""What is fitted on training rows before any training: scaler, ramps between quantiles, weights of the classes."""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import NDArray

from onnx_export.graph import CLIP
from onnx_export.network import Scaling
from pyad.verdict import CLASSES

Floats = NDArray[np.float32]
_RAMP_ROWS = 4000  # rows of each class that the ramps' quantiles are taken from
_LEAST_RAMP = 1e-3


def scaler(x: Floats, benign: Floats) -> tuple[Floats, Floats]:
    """(mean, 1 / scale) per feature of labelled rows and the benign among them; 0 for features hardly ever set."""
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of features that are never set
        mean = np.nan_to_num(np.nanmean(benign, axis=0))
        scale = np.maximum(np.nan_to_num(np.nanstd(benign, axis=0)), 0.25 * np.nan_to_num(np.nanstd(x, axis=0)))
    seen = (~np.isnan(x)).mean(axis=0)
    alive = (seen > 1e-3) & (scale > 1e-4)
    inverse = np.where(alive, 1.0 / np.maximum(scale, 1e-4), 0.0)
    return mean.astype(np.float32), inverse.astype(np.float32)


def scaling(x: Floats, label: NDArray[np.int64], ramps: int, rng: np.random.Generator) -> Scaling:
    """Scaler and at most `ramps` ramps a feature from rows x (rows, features), NaN unset; all classes weigh alike."""
    mean, inverse_scale = scaler(x[label >= 0], x[label == 0])
    drawn = [rng.permutation(np.flatnonzero(label == c))[:_RAMP_ROWS] for c in np.unique(label[label >= 0])]
    some = np.clip((x[np.concatenate(drawn)] - mean) * inverse_scale, -CLIP, CLIP)
    feature: list[int] = []
    low: list[float] = []
    inverse: list[float] = []
    for f in np.flatnonzero(inverse_scale > 0).tolist():
        known = some[~np.isnan(some[:, f]), f]
        if not len(known):
            continue
        edges = np.unique(np.quantile(known, np.linspace(0, 1, ramps + 1)))
        edges = edges[np.append(True, np.diff(edges) > _LEAST_RAMP)]
        feature += [f] * (len(edges) - 1)
        low += edges[:-1].tolist()
        inverse += (1.0 / np.diff(edges)).tolist()
    return Scaling(
        mean, inverse_scale, np.array(feature, dtype=np.int64), np.array(low, np.float32), np.array(inverse, np.float32)
    )


def class_weights(label: NDArray[np.int64], balance: float) -> NDArray[np.float64]:
    """1 / frequency ** `balance` of each class, mean 1 over classes present; absent classes weigh nothing."""
    counts = np.bincount(label[label >= 0], minlength=len(CLASSES)).astype(np.float64)
    present = counts > 0
    weight = np.where(present, np.maximum(counts, 20.0) ** -balance, 0.0)
    weight[0] *= 3.0  # a false alarm costs more than a missed row of an attack, which comes in many
    return np.asarray(weight / weight[present].mean())
