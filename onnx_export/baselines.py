"""Plain models on the same features, rows and split as the hybrid, stopped early by the same measure where they can."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnx_export.data import Capture
from onnx_export.metrics import validation_value
from onnx_export.settings import Settings
from pyad.verdict import CLASSES

Floats = NDArray[np.float32]
Scorer = Callable[[Floats], Floats]
_EPOCHS = 5  # epochs of the hybrid whose rows a baseline gets at once
_LIGHTGBM_ROUNDS, _LIGHTGBM_STEP, _LIGHTGBM_PATIENCE = 300, 20, 80


@dataclass(frozen=True)
class Table:
    """Rows as the baselines read them. x: (rows, features), NaN unset; y: class indices; weight: (rows,)."""

    x: Floats
    y: NDArray[np.int64]
    weight: NDArray[np.float64]


@dataclass(frozen=True)
class Baseline:
    """probs: features (rows, F) → class probabilities (rows, classes). curve: what its early stopping saw."""

    probs: Scorer
    curve: list[dict[str, float]]


def table(train: Sequence[Capture], settings: Settings) -> Table:
    """Labelled rows with the hybrid's class weights: of each class of a capture as many as it sees in some epochs.

    They are drawn at random, where the hybrid needs neighbours: so they come from all of a capture.
    """
    from onnx_export.scaling import class_weights

    rng = np.random.default_rng(settings.seed)
    xs, ys = [], []
    for capture in train:
        for c in np.unique(capture.label[capture.label >= 0]):
            at = rng.permutation(np.flatnonzero(capture.label == c))[: _EPOCHS * settings.cap]
            xs.append(capture.x[at])
            ys.append(np.full(len(at), c, dtype=np.int64))
    y = np.concatenate(ys)
    return Table(np.concatenate(xs), y, class_weights(y, settings.balance)[y])


def fit(kind: str, train: Sequence[Capture], validation: Sequence[Capture], settings: Settings) -> Baseline:
    """Train the baseline of that name. Raises ValueError for a name that is none of KINDS."""
    if kind not in KINDS:
        raise ValueError(f"no such model: {kind}; there are hybrid, {', '.join(KINDS)}")
    return KINDS[kind](table(train, settings), validation, settings)


def _lightgbm(rows: Table, validation: Sequence[Capture], settings: Settings) -> Baseline:
    import lightgbm

    held_out = np.concatenate([c.x for c in validation])
    curve: list[dict[str, float]] = []
    booster = _booster(rows, settings)
    best, text = (-1.0, 0), ""
    for rounds in range(1, _LIGHTGBM_ROUNDS + 1):
        booster.update()
        if rounds % _LIGHTGBM_STEP:
            continue
        probs = np.asarray(booster.predict(held_out, num_threads=1), dtype=np.float32)
        value, macros = validation_value(probs, validation, settings.false_positive_rate)
        curve.append({"rounds": rounds, "value": value, **macros})
        if value > best[0]:
            best, text = (value, rounds), booster.model_to_string()
        elif rounds - best[1] >= _LIGHTGBM_PATIENCE:
            break
    return Baseline(_predict(lightgbm.Booster(model_str=text)), curve)


def boosted(rows: Table, settings: Settings, rounds: int) -> Scorer:
    """Boosted trees of a fixed number of rounds."""
    booster = _booster(rows, settings)
    for _ in range(rounds):
        booster.update()
    return _predict(booster)


def _booster(rows: Table, settings: Settings) -> Any:
    import lightgbm

    options = lightgbm_options(len(CLASSES), settings.seed)
    return lightgbm.Booster(options, lightgbm.Dataset(rows.x, rows.y, weight=rows.weight))


def lightgbm_options(classes: int, seed: int) -> dict[str, Any]:
    """What LightGBM is asked for wherever it is measured against."""
    return {
        "objective": "multiclass", "num_class": classes, "num_leaves": 31, "learning_rate": 0.1,
        "min_data_in_leaf": 20, "feature_fraction": 0.7, "bagging_fraction": 0.8, "bagging_freq": 1,
        "seed": seed, "verbose": -1, "num_threads": 1, "deterministic": True,
    }  # fmt: skip


def _predict(booster: Any) -> Scorer:
    return lambda x: np.asarray(booster.predict(x, num_threads=1), dtype=np.float32)


def _random_forest(rows: Table, _: Sequence[Capture], settings: Settings) -> Baseline:
    from sklearn.ensemble import RandomForestClassifier

    forest = RandomForestClassifier(
        n_estimators=100, min_samples_leaf=3, max_features="sqrt", n_jobs=1, random_state=settings.seed
    )
    forest.fit(rows.x, rows.y, sample_weight=rows.weight)
    return Baseline(lambda x: _whole(forest.predict_proba(x), forest.classes_), [])


def _logistic(rows: Table, _: Sequence[Capture], settings: Settings) -> Baseline:
    from sklearn.linear_model import LogisticRegression

    scale = _standard(rows)
    model = LogisticRegression(C=1.0, max_iter=200, random_state=settings.seed)
    model.fit(scale(rows.x), rows.y, sample_weight=rows.weight)
    return Baseline(lambda x: _whole(model.predict_proba(scale(x)), model.classes_), [])


def _one_rule(rows: Table, _: Sequence[Capture], settings: Settings) -> Baseline:
    # One feature in at most eight intervals, the one that serves best on the training rows (Holte 1993).
    from sklearn.tree import DecisionTreeClassifier

    best: tuple[float, int, Any] = (-1.0, 0, None)
    for f in range(rows.x.shape[1]):
        column = np.nan_to_num(rows.x[:, [f]], nan=-1e6)
        tree = DecisionTreeClassifier(max_leaf_nodes=8, random_state=settings.seed)
        tree.fit(column, rows.y, sample_weight=rows.weight)
        value = float(tree.score(column, rows.y, sample_weight=rows.weight))
        if value > best[0]:
            best = (value, f, tree)
    feature, rule = best[1:]
    return Baseline(lambda x: _whole(rule.predict_proba(np.nan_to_num(x[:, [feature]], nan=-1e6)), rule.classes_), [])


def _isolation_forest(rows: Table, _: Sequence[Capture], settings: Settings) -> Baseline:
    # Stands for the tree-based detectors of the unusual, half-space trees among them: benign rows alone, no classes.
    from sklearn.ensemble import IsolationForest

    scale = _standard(rows)
    forest = IsolationForest(n_estimators=100, max_samples=4096, n_jobs=1, random_state=settings.seed)
    forest.fit(scale(rows.x[rows.y == 0]))
    return Baseline(lambda x: only_odd(-forest.score_samples(scale(x))), [])


def _standard(rows: Table) -> Scorer:
    from onnx_export.scaling import scaler

    mean, inverse = scaler(rows.x, rows.x[rows.y == 0])
    return lambda x: np.clip(np.nan_to_num((x - mean) * inverse), -8, 8).astype(np.float32)


def only_odd(score: NDArray[np.floating]) -> Floats:
    """A score of oddness as probabilities: the odder, the less benign; every attack class gets the same of the rest."""
    odd = np.clip(score, 0, None) / (1 + np.clip(score, 0, None))
    rest = np.repeat(odd[:, None] / (len(CLASSES) - 1), len(CLASSES) - 1, axis=1)
    return np.concatenate([1 - odd[:, None], rest], axis=1).astype(np.float32)


def _whole(probs: NDArray[Any], classes: NDArray[Any]) -> Floats:
    found = np.zeros((len(probs), len(CLASSES)), dtype=np.float32)
    found[:, classes] = probs
    return found


KINDS: dict[str, Callable[[Table, Sequence[Capture], Settings], Baseline]] = {
    "one_rule": _one_rule,
    "logistic": _logistic,
    "random_forest": _random_forest,
    "lightgbm": _lightgbm,
    "isolation_forest": _isolation_forest,
}
