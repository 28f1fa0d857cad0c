"""Any model behind one call: fitted by name, it scores captures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from onnx_export import baselines, views
from onnx_export.data import Capture
from onnx_export.experiment import PARTS, Experiment
from onnx_export.metrics import Scored
from onnx_export.network import Hybrid
from onnx_export.settings import Settings

Captures = Sequence[Capture]


@dataclass(frozen=True)
class Fitted:
    """score: captures → Scored, in order. curve: learning curve. network: where it is one that can be exported."""

    score: Callable[[Captures], Scored]
    curve: list[dict[str, float]]
    network: Hybrid | None = None


def prepared(captures: Captures, run: Experiment) -> list[Capture]:
    """Training or validation captures as the run is shown them."""
    found = list(captures)
    if run.left_out:
        found = views.without_class(found, run.left_out)
    if run.ablation in views.COLUMNS:
        found = views.without_columns(found, run.ablation)
    if run.ablation == "shuffled":
        found, _ = views.shuffled(found, run.settings.seed)
    return found


def fit(run: Experiment, train: Captures, validation: Captures, start: Hybrid | None = None) -> Fitted:
    """Train what the run describes."""
    train, validation = prepared(train, run), prepared(validation, run)
    fitted = _fit(run, train, validation, start)
    return replace(fitted, score=lambda captures: _score(fitted, captures, run))


def _fit(run: Experiment, train: Captures, validation: Captures, start: Hybrid | None) -> Fitted:
    settings = run.settings
    if run.model == "hybrid":
        from onnx_export.train import fit as fit_network
        from onnx_export.train import score

        if run.ablation in PARTS:
            settings = replace(settings, shape={**settings.shape, "without": PARTS[run.ablation]})
        network, curve = fit_network(train, validation, settings, start)
        return Fitted(lambda captures: score(network, captures), curve, network)
    if run.model == "autoencoder":
        return _autoencoder(train, settings)
    model = baselines.fit(run.model, train, validation, settings)

    def tabular(captures: Captures) -> Scored:
        probs = np.concatenate([model.probs(c.x) for c in captures])
        return Scored(probs, np.zeros(len(probs), dtype=np.float32))

    return Fitted(tabular, model.curve)


def _autoencoder(train: Captures, settings: Settings) -> Fitted:
    from onnx_export.train import fit_autoencoder, score

    network = fit_autoencoder(train, settings)

    def oddness(captures: Captures) -> Scored:
        novelty = score(network, captures).novelty
        return Scored(baselines.only_odd(novelty), novelty)

    return Fitted(oddness, [])


def _score(fitted: Fitted, captures: Captures, run: Experiment) -> Scored:
    """Scores at the places of the original rows, whatever the run's view of them is."""
    if run.ablation in views.COLUMNS:
        captures = views.without_columns(captures, run.ablation)
    if run.ablation == "shuffled":
        return score_shuffled(fitted, captures, run.settings.seed)
    return fitted.score(captures)


def score_shuffled(fitted: Fitted, captures: Captures, seed: int) -> Scored:
    """Scores of each row when the rows of its host come in random order."""
    mixed, index = views.shuffled(captures, seed)
    scored = fitted.score(mixed)
    return Scored(views.in_place(scored.probs, index), views.in_place(scored.novelty, index))
