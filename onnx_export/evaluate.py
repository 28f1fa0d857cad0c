"""What a bundle does on labelled captures, through the product's own features, graphs and decision rule."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from onnx_export.data import Capture
from pyad.bundle import Bundle
from pyad.features import Features
from pyad.model import Model
from pyad.verdict import CLASSES, NOVEL, Policy, decide

_BATCH = 2048


@dataclass(frozen=True)
class Tally:
    """Counts for one class of one set: rows, alarmed (any decision but benign), right (its own class), novel."""

    rows: int
    alarmed: int
    right: int
    novel: int


def decisions(bundle: Bundle, captures: Sequence[Capture]) -> list[NDArray[np.int8]]:
    """The decision on every row, per capture; each capture is a timeline of its own."""
    model = Model(
        bundle, provider="cpu", max_streams=max((int(c.stream.max(initial=0)) + 1 for c in captures), default=1)
    )
    policy = Policy.build(bundle.thresholds, bundle.novelty, {}, None)
    found = []
    for capture in captures:
        model.reset()
        parts = []
        for at in range(0, len(capture.x), _BATCH):
            x, stream = capture.x[at : at + _BATCH], capture.stream[at : at + _BATCH]
            # Streams are numbered per capture and the state was just reset: none begins anew.
            scores = model.score(Features(x, stream, np.zeros(len(x), dtype=np.bool_)))
            parts.append(decide(scores.probs, scores.novelty, policy).decision)
        found.append(np.concatenate(parts))
    return found


def tally(captures: Sequence[Capture], found: Sequence[NDArray[np.int8]]) -> dict[str, dict[str, Tally]]:
    """Set → class → counts; background rows are not scored."""
    table: dict[str, dict[str, Tally]] = {}
    for dataset in sorted({c.dataset for c in captures}):
        pairs = [(c.label, d) for c, d in zip(captures, found, strict=True) if c.dataset == dataset]
        label = np.concatenate([p[0] for p in pairs])
        decision = np.concatenate([p[1] for p in pairs])
        table[dataset] = {
            name: Tally(
                int((label == i).sum()),
                int((decision[label == i] != 0).sum()),
                int((decision[label == i] == i).sum()),
                int((decision[label == i] == NOVEL).sum()),
            )
            for i, name in enumerate(CLASSES)
            if (label == i).any()
        }
    return table


def total(table: dict[str, dict[str, Tally]], name: str) -> Tally:
    """The counts of one class over all sets."""
    parts = [classes[name] for classes in table.values() if name in classes]
    return Tally(*(sum(getattr(p, f) for p in parts) for f in ("rows", "alarmed", "right", "novel")))


def wilson(hits: int, n: int) -> tuple[float, float]:
    """95 % interval of a share (Wilson 1927)."""
    if n == 0:
        return 0.0, 1.0
    z = 1.96
    p = hits / n
    middle = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return max(middle - half, 0.0), min(middle + half, 1.0)


def markdown(table: dict[str, dict[str, Tally]]) -> str:
    """A table: set, class, connections, alarmed with interval, named right, novel."""
    lines = [
        "| set | class | connections | alarmed | 95 % interval | right class | of these novel |",
        "|---|---|---:|---:|---|---:|---:|",
    ]
    totals = {"all sets": {n: total(table, n) for n in CLASSES if total(table, n).rows}}
    for dataset, classes in {**table, **totals}.items():
        for name, t in classes.items():
            low, high = wilson(t.alarmed, t.rows)
            lines.append(
                f"| {dataset} | {name} | {t.rows} | {t.alarmed} ({t.alarmed / t.rows:.4f}) | {low:.4f} to {high:.4f} "
                f"| {t.right} | {t.novel} |"
            )
    return "\n".join(lines)
