"""Result files to Markdown tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnx_export.measure import dense
from onnx_export.metrics import wilson
from pyad.verdict import CLASSES

Captures = Sequence[dict[str, Any]]


def markdown(head: Sequence[str], lines: Sequence[Sequence[object]]) -> str:
    """A table; columns whose cells begin with a digit are set right."""
    numeric = [bool(lines) and str(lines[0][i])[:1].isdigit() for i in range(len(head))]
    rule = ["---:" if n else "---" for n in numeric]
    return "\n".join("| " + " | ".join(map(str, cells)) + " |" for cells in (head, rule, *lines))


def share(hits: int, n: int) -> str:
    """A share with its Wilson interval."""
    low, high = wilson(hits, n)
    return f"{hits / n:.3f} ({low:.3f} to {high:.3f})" if n else "-"


def total(captures: Captures) -> NDArray[np.int64]:
    """The confusion counts of captures together."""
    found = np.zeros((len(CLASSES), len(CLASSES) + 1), dtype=np.int64)
    for c in captures:
        found += dense(c["confusion"])
    return found


def by_set(captures: Captures) -> str:
    """Set and class: connections, alarmed (anything but benign) with its interval, right class, novel."""
    lines: list[list[object]] = []
    sets = sorted({c["set"] for c in captures})
    for name, some in [*((s, [c for c in captures if c["set"] == s]) for s in sets), ("all sets", captures)]:
        table = total(some)
        for i, cls in enumerate(CLASSES):
            rows = int(table[i].sum())
            if rows:
                alarmed = rows - int(table[i, 0])
                lines.append([name, cls, rows, alarmed, share(alarmed, rows), int(table[i, i]), int(table[i, -1])])
    return markdown(["set", "class", "connections", "alarmed", "share (95 %)", "right class", "of these novel"], lines)
