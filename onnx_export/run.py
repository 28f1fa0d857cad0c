"""One experiment from captures to a small result file."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from onnx_export import measure, models, views
from onnx_export.baselines import KINDS
from onnx_export.data import Capture, Split
from onnx_export.experiment import Experiment
from onnx_export.operating import MIN_CONNS, OperatingPoint, choose
from pyad.verdict import CLASSES

_VIEWS = ("no_counters", "no_mac", "no_service")


def run(experiment: Experiment, split: Split) -> tuple[dict[str, Any], models.Fitted]:
    """Train, choose the operating point on validation, measure on validation and test."""
    start = time.perf_counter()
    fitted = models.fit(experiment, split.train, split.validation)
    trained = time.perf_counter() - start
    return {**measured(experiment.as_dict(), fitted, split), "training_seconds": round(trained, 1)}, fitted


def measured(
    about: Mapping[str, Any], fitted: models.Fitted, split: Split, point: OperatingPoint | None = None,
    min_conns: Mapping[str, int] = MIN_CONNS, disturbed: bool = False,
) -> dict[str, Any]:  # fmt: skip
    """The result of a fitted model. about: the experiment's values, with its name. point: chosen here where None.

    disturbed: also of the test captures under jitter, other sizes, loss and a slower pace.
    """
    scored = fitted.score(split.validation)
    point = point or choose(split.validation, scored.probs, scored.novelty, min_conns)
    result: dict[str, Any] = {
        "experiment": dict(about),
        "rows": {"train": counts(split.train), "validation": counts(split.validation), "test": counts(split.test)},
        "digest": digest((*split.train, *split.validation)),
        "operating": {
            "rate": point.rate, "within_budget": point.within, "device_days": round(point.device_days, 2),
            "false_incidents_tried": point.tried, "thresholds": point.thresholds,
        },
        "curve": fitted.curve,
        "parts": {"validation": measure.part(split.validation, scored, point, min_conns)},
    }  # fmt: skip
    if not split.test:
        return result
    scored = fitted.score(split.test)
    result["parts"]["test"] = measure.part(split.test, scored, point, min_conns)
    ablation, seed = about.get("ablation"), int(about.get("settings", {}).get("seed", 1))
    if about.get("left_out") or (ablation and ablation not in views.COLUMNS):
        return result
    if not ablation:
        result["recalibrated"] = measure.recalibrated(split.test, scored, point)
    if about.get("model") in KINDS:  # the views are to see what the network makes of order and of missing columns
        return result
    mixed = models.score_shuffled(fitted, split.test, seed)
    result["views"] = {"shuffled": measure.brief(split.test, mixed, point)}
    if not ablation:
        for view in _VIEWS:
            scored = fitted.score(views.without_columns(split.test, view))
            result["views"][view] = measure.brief(split.test, scored, point)
        for view, other in (
            ("no_memory", views.without_memory(split.test)),
            ("after_past", views.after_past(split.test)),
            ("reordered", views.reordered(split.test, seed)),
        ):
            result["views"][view] = measure.brief(other, fitted.score(other), point)
    for view in (views.jittered, views.resized, views.lossy, views.slowed) if disturbed else ():
        other = view(split.test, seed)
        result["views"][view.__name__] = measure.brief(other, fitted.score(other), point)
    return result


def counts(captures: tuple[Capture, ...]) -> dict[str, int]:
    """Labelled rows by class."""
    if not captures:
        return {}
    label = np.concatenate([c.label for c in captures])
    return {name: int((label == i).sum()) for i, name in enumerate(CLASSES) if (label == i).any()}


def digest(captures: tuple[Capture, ...]) -> str:
    """What tells one set of labelled feature rows from another."""
    found = hashlib.blake2b(digest_size=8)
    for c in captures:
        for part in (f"{c.dataset}/{c.name}".encode(), c.label.tobytes(), np.ascontiguousarray(c.x).data):
            found.update(part)
    return found.hexdigest()


def write(result: Mapping[str, Any], folder: Path) -> Path:
    """The result as NAME.json in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{result['experiment']['name']}.json"
    part = path.with_suffix(".part")
    part.write_text(json.dumps(result) + "\n", encoding="utf-8")
    part.replace(path)
    return path


def read_all(folder: Path) -> list[dict[str, Any]]:
    """Every result in `folder`, by name."""
    return [json.loads(p.read_text(encoding="utf-8")) for p in sorted(folder.glob("*.json"))]
