"""Plain models on the same features, rows and split as the hybrid, stopped early by the same measure where they can."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
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
_HST_TREES, _HST_DEPTH, _HST_ROWS, _HST_LEAST = 25, 15, 4000, 25
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
    best_booster = lightgbm.Booster(model_str=text)
    return Baseline(lambda x: np.asarray(best_booster.predict(x, num_threads=1), dtype=np.float32), curve)


def _booster(rows: Table, settings: Settings) -> Any:
    import lightgbm

    options = lightgbm_options(len(CLASSES), settings.seed) | settings.lightgbm
    return lightgbm.Booster(options, lightgbm.Dataset(rows.x, rows.y, weight=rows.weight))


def lightgbm_options(classes: int, seed: int) -> dict[str, Any]:
    """What LightGBM is asked for wherever it is measured against."""
    return {
        "objective": "multiclass", "num_class": classes, "num_leaves": 63, "learning_rate": 0.05,
        "min_data_in_leaf": 100, "feature_fraction": 0.7, "bagging_fraction": 0.8, "bagging_freq": 1,
        "seed": seed, "verbose": -1, "num_threads": 1, "deterministic": True,
    }  # fmt: skip


def _random_forest(rows: Table, _: Sequence[Capture], settings: Settings) -> Baseline:
    from sklearn.ensemble import RandomForestClassifier

    forest = RandomForestClassifier(
        n_estimators=100, min_samples_leaf=1, max_features="sqrt", n_jobs=1, random_state=settings.seed
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


# The next two learn from benign rows alone and know no classes.
def _isolation_forest(rows: Table, _: Sequence[Capture], settings: Settings) -> Baseline:
    from sklearn.ensemble import IsolationForest

    scale = _standard(rows)
    benign = scale(rows.x[rows.y == 0])
    forest = IsolationForest(n_estimators=100, max_samples=min(4096, len(benign)), n_jobs=1, random_state=settings.seed)
    forest.fit(benign)
    return Baseline(lambda x: only_odd(-forest.score_samples(scale(x))), [])


def _half_space_trees(rows: Table, _: Sequence[Capture], settings: Settings) -> Baseline:
    # Trees of random half-spaces, whose nodes know how many ordinary rows they hold: mass × 2^depth where a row ends
    # says how crowded its surroundings are (Tan, Ting and Liu, IJCAI 2011; trees, depth and least mass are theirs).
    # Theirs count the last 250 rows of a stream and go on; these count a sample of benign training rows, sixteen times
    # as many, and stay as they are: trees that went on would learn a long attack.
    rng = np.random.default_rng(settings.seed)
    scale = _standard(rows)
    sample = rng.permutation(scale(rows.x[rows.y == 0]))[:_HST_ROWS]
    trees = [_HalfSpaceTree.grow(sample, rng) for _ in range(_HST_TREES)]
    most = np.log1p(len(sample) * 2.0**_HST_DEPTH)

    def odd(x: Floats) -> Floats:
        scaled = scale(x)
        return only_odd(1 - np.log1p(np.mean([t.crowd(scaled) for t in trees], axis=0)) / most)

    return Baseline(odd, [])


@dataclass(frozen=True)
class _HalfSpaceTree:
    """A complete binary tree, its nodes level by level. feature, border: of inner nodes; mass: rows in each node."""

    feature: NDArray[np.int64]
    border: Floats
    mass: NDArray[np.int64]

    @classmethod
    def grow(cls, x: Floats, rng: np.random.Generator) -> _HalfSpaceTree:
        # The space of a tree is wider than the data and lies askew, so that trees cut in different places.
        middle = rng.uniform(x.min(axis=0), x.max(axis=0))
        reach = 2 * np.maximum(middle - x.min(axis=0), x.max(axis=0) - middle)
        low, high = (middle - reach)[None], (middle + reach)[None]
        features, borders = [], []
        for _ in range(_HST_DEPTH):
            f = rng.integers(0, x.shape[1], len(low))
            at = np.arange(len(low))
            cut = (low[at, f] + high[at, f]) / 2
            features.append(f), borders.append(cut)
            low, high = np.repeat(low, 2, axis=0), np.repeat(high, 2, axis=0)
            high[2 * at, f], low[2 * at + 1, f] = cut, cut
        empty = cls(np.concatenate(features), np.concatenate(borders).astype(np.float32), np.zeros(0, dtype=np.int64))
        nodes = np.concatenate(list(empty._path(x)))
        return replace(empty, mass=np.bincount(nodes, minlength=2 ** (_HST_DEPTH + 1) - 1))

    def crowd(self, x: Floats) -> NDArray[np.float64]:
        """mass × 2^depth of the first node on each row's way down that holds hardly any rows, or of its leaf."""
        found = np.full(len(x), -1.0)
        for depth, node in enumerate(self._path(x)):
            mass = self.mass[node]
            ends = (found < 0) & ((mass <= _HST_LEAST) | (depth == _HST_DEPTH))
            found[ends] = mass[ends] * 2.0**depth
        return found

    def _path(self, x: Floats) -> Iterator[NDArray[np.int64]]:
        node, rows = np.zeros(len(x), dtype=np.int64), np.arange(len(x))
        yield node
        for _ in range(_HST_DEPTH):
            node = 2 * node + 1 + (x[rows, self.feature[node]] >= self.border[node])
            yield node


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
    "half_space_trees": _half_space_trees,
}
