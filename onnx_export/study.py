"""Many experiments one after the other, each leaving a result file; what is there already is not done again."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from onnx_export.data import Split
from onnx_export.experiment import Experiment
from onnx_export.run import run, write

LOG = logging.getLogger(__name__)
_LOOK_S = 5.0


def run_all(
    experiments: Sequence[Experiment], load: Callable[[str], Split], folder: Path, pause: Path | None = None
) -> None:
    """Run what has no result in `folder` yet. load: choice of training data → captures.

    pause: a file while which exists no run begins (the machine is wanted for something else). Raises ValueError for a
    result that other settings gave.
    """
    left = [e for e in experiments if not _done(e, folder / f"{e.name}.json")]
    LOG.info("%d of %d runs are left", len(left), len(experiments))
    splits: dict[str, Split] = {}
    for i, experiment in enumerate(left, start=1):
        while pause is not None and pause.exists():
            time.sleep(_LOOK_S)
        if experiment.data not in splits:
            splits = {experiment.data: load(experiment.data)}  # one at a time: each is large
        start = time.perf_counter()
        result, _ = run(experiment, splits[experiment.data])
        path = write(result, folder)
        LOG.info("%d/%d %s: %.0f s", i, len(left), path, time.perf_counter() - start)


def _done(experiment: Experiment, path: Path) -> bool:
    if not path.exists():
        return False
    if json.loads(path.read_text(encoding="utf-8"))["experiment"] != experiment.as_dict():
        raise ValueError(f"{path}: is of other settings than the study's: remove it, or name another folder")
    return True
