"""Result files compared: means over seeds, intervals by drawing captures anew, paired differences of two models."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnx_export.measure import dense
from onnx_export.metrics import SMALL_CLASS, macro, of_confusion
from pyad.verdict import CLASSES

Results = Sequence[dict[str, Any]]
_DRAWS = 1000


def key(result: dict[str, Any]) -> tuple[str, str, str, str]:
    """(model, data, ablation, left_out): what the seeds of one experiment have in common."""
    about = result["experiment"]
    return about["model"], about.get("data", ""), about.get("ablation", ""), about.get("left_out", "")


def of(results: Results, model: str, data: str, ablation: str = "", left_out: str = "") -> list[dict[str, Any]]:
    """The results of one experiment, by seed."""
    found = [r for r in results if key(r) == (model, data, ablation, left_out)]
    return sorted(found, key=lambda r: r["experiment"].get("settings", {}).get("seed", 0))


def stack(captures: Sequence[dict[str, Any]]) -> NDArray[np.int64]:
    """Confusion counts (captures, classes, decisions)."""
    return np.stack([dense(c["confusion"]) for c in captures])


def macro_of(
    table: NDArray[np.integer], what: str = "alarmed", classes: Sequence[str] = CLASSES[1:], least: int = 1
) -> float:
    """Mean over attack classes with rows of `alarmed`, `recall` or `f1` of one confusion table."""
    return macro({k: v for k, v in of_confusion(table).items() if k in classes}, what, least)


def macro_f1(table: NDArray[np.integer], small: bool = True) -> float:
    """Mean F1 over all classes with rows, benign among them; small: those under SMALL_CLASS rows too."""
    return macro(of_confusion(table), "f1", 1 if small else SMALL_CLASS, attacks=False)


def interval(counts: NDArray[np.int64], what: str = "alarmed", seed: int = 0) -> tuple[float, float]:
    """95 % interval of the macro measure from counts (captures, classes, decisions), drawing captures anew."""
    draws = _draws(counts, CLASSES[1:], np.random.default_rng(seed))
    values = [macro_of(counts[drawn].sum(axis=0), what) for drawn in islice(draws, _DRAWS)]
    low, high = np.nanquantile(values, [0.025, 0.975])
    return float(low), float(high)


def difference(
    ours: Results, theirs: Results, dataset: str, what: str, classes: Sequence[str] = CLASSES[1:], part: str = "test",
    view: str = "",
) -> tuple[list[float], tuple[float, float]] | None:  # fmt: skip
    """(ours - theirs per seed, 95 % interval of their mean); captures and seeds are drawn anew, the same for both.

    what: `alarmed` or `recall` (macro over `classes`), or `macro_f1`. view: of theirs, in place of its test part.
    None where no seed is in both.
    """
    by_seed = [{_seed(r): r for r in results} for results in (ours, theirs)]
    seeds = sorted(by_seed[0].keys() & by_seed[1].keys())
    if not seeds:
        return None
    pairs = [
        (_counts(by_seed[0][s]["parts"][part], dataset), _counts(_part(by_seed[1][s], part, view), dataset))
        for s in seeds
    ]
    per_seed = [_value(a.sum(axis=0), what, classes) - _value(b.sum(axis=0), what, classes) for a, b in pairs]
    rng = np.random.default_rng(0)
    means = []
    for drawn in islice(_draws(pairs[0][0], classes, rng), _DRAWS):
        chosen = [pairs[i] for i in rng.integers(0, len(pairs), len(pairs))]
        means.append(
            np.mean([
                _value(a[drawn].sum(axis=0), what, classes) - _value(b[drawn].sum(axis=0), what, classes)
                for a, b in chosen
            ])
        )  # fmt: skip
    low, high = np.nanquantile(means, [0.025, 0.975])
    return per_seed, (float(low), float(high))


def _draws(counts: NDArray[np.int64], classes: Sequence[str], rng: np.random.Generator) -> Iterator[NDArray[np.int64]]:
    """Captures drawn with replacement, for ever; only draws that have every class that there is.

    A mean over the classes that happen to be drawn would be another measure each time.
    """
    has = counts.sum(axis=2)[:, [CLASSES.index(name) for name in classes]] > 0
    wanted = has.any(axis=0)
    while True:
        drawn = rng.integers(0, len(counts), len(counts))
        if (has[drawn].any(axis=0) == wanted).all():
            yield drawn


def _part(result: dict[str, Any], part: str, view: str) -> dict[str, Any]:
    found: dict[str, Any] = result["views"][view] if view else result["parts"][part]
    return found


def _seed(result: dict[str, Any]) -> int:
    return int(result["experiment"].get("settings", {}).get("seed", 0))


def _counts(part: dict[str, Any], dataset: str) -> NDArray[np.int64]:
    return stack([c for c in part["captures"] if not dataset or c["set"] == dataset])


def _value(table: NDArray[np.integer], what: str, classes: Sequence[str]) -> float:
    return macro_f1(table) if what == "macro_f1" else macro_of(table, what, classes)
