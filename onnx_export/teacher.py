"""Soft labels for the hybrid: what boosted trees say of captures they were not trained on (Hinton et al., 2015)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from onnx_export import baselines
from onnx_export.data import Capture
from onnx_export.settings import Settings

_FOLDS = 2
_ROUNDS = 80


def soft_labels(train: Sequence[Capture], settings: Settings) -> NDArray[np.float32]:
    """Class probabilities (rows, classes) of captures laid end to end, each by trees that saw only the other captures.

    A capture and its variants are in one fold: what trees say of rows they know by heart teaches nothing.
    """
    fold = {name: i % _FOLDS for i, name in enumerate(sorted({c.name for c in train}))}
    found: list[NDArray[np.float32]] = [np.zeros((0, 0), np.float32)] * len(train)
    for k in range(_FOLDS):
        rows = baselines.table([c for c in train if fold[c.name] != k], replace(settings, seed=settings.seed + k))
        probs = baselines.boosted(rows, settings, _ROUNDS)
        for i, capture in enumerate(train):
            if fold[capture.name] == k:
                found[i] = probs(capture.x)
    return np.concatenate(found)
