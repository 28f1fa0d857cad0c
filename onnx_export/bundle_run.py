"""A bundle measured like any other model, through the product's own graphs and with its own thresholds."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from onnx_export.data import Capture, Split
from onnx_export.metrics import Scored
from onnx_export.models import Fitted
from onnx_export.operating import WITHIN, OperatingPoint
from onnx_export.run import measured
from pyad.bundle import Bundle, load_bundle
from pyad.features import Features
from pyad.model import Model

_BATCH = 2048


def score(bundle: Bundle, captures: Sequence[Capture]) -> Scored:
    """Scores of every row; each capture is a timeline of its own."""
    streams = max((int(c.stream.max(initial=0)) + 1 for c in captures), default=1)
    model = Model(bundle, provider="cpu", max_streams=streams)
    probs, novelty = [], []
    for capture in captures:
        model.reset()
        for at in range(0, len(capture.x), _BATCH):
            x, stream = capture.x[at : at + _BATCH], capture.stream[at : at + _BATCH]
            # Streams are numbered per capture and the state was just reset: none begins anew.
            scores = model.score(Features(x, stream, np.zeros(len(x), dtype=np.bool_)))
            probs.append(scores.probs)
            novelty.append(scores.novelty)
    return Scored(np.concatenate(probs), np.concatenate(novelty))


def measure_bundle(path: Path, split: Split) -> dict[str, Any]:
    """The result of the bundle in a folder, at its own operating point."""
    bundle = load_bundle(path)
    budget = bundle.yaml.get("budget", {})
    rate, within = float(budget.get("false_positive_rate", 0.0)), budget.get("within") == WITHIN
    point = OperatingPoint(rate, dict(bundle.thresholds), dict(bundle.novelty), within, {}, 0.0)
    about = {"name": f"bundle-{bundle.label}", "model": f"bundle {bundle.label}", "data": "as its card says"}
    result = measured(
        about, Fitted(lambda captures: score(bundle, captures), []), split, point, bundle.min_conns, disturbed=True
    )
    with suppress(ValueError):  # the network of an older trainer cannot be rebuilt
        result["agreement"] = agreement(path, bundle, [*split.validation, *split.test])
    return result


def agreement(path: Path, bundle: Bundle, captures: Sequence[Capture]) -> dict[str, float]:
    """How far onnxruntime and PyTorch are apart on all rows: largest difference of a probability and of novelty."""
    from onnx_export.from_bundle import read_network
    from onnx_export.train import score as score_network

    ours, theirs = score(bundle, captures), score_network(read_network(path), captures)
    return {
        "rows": len(ours.probs),
        "probs": float(np.abs(ours.probs - theirs.probs).max()),
        "novelty": float(np.abs(ours.novelty - theirs.novelty).max()),
    }
