"""The paper's task: CICIoT2023's feature tables, its classes told apart by the hybrid, random forest and LightGBM.

Rows there are statistics of windows of packets, not connections. All rows of a file are of one class and in the order
of its capture, so a row's neighbours tell its class: a model with memory would score by that alone. Here each row is
judged by itself, from an empty state; what the order would have been worth is reported beside it, and is no result.
"""

from __future__ import annotations

import csv
import gzip
import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from tqdm import tqdm

from onnx_export.baselines import lightgbm_options
from onnx_export.network import Hybrid, Shape
from onnx_export.scaling import scaling
from onnx_export.tables import markdown

Floats = NDArray[np.float32]
BENIGN = "BenignTraffic"
# Packets to a window differ by class in the official files: the column is the label by another name.
LEFT_OUT = frozenset({"number", "label"})
# Recall of these classes in the paper's table; it gives macro-F1 0.55 over 35 labels, on rows drawn at random.
PAPER_RECALL = {
    "Backdoor_Malware": 0.0, "BrowserHijacking": 0.0, "Recon-PingSweep": 0.0, "SqlInjection": 0.0,
    "Uploading_Attack": 0.0, "XSS": 0.0, "CommandInjection": 0.08, "DoS-TCP_Flood": 0.10,
    "Recon-OSScan": 0.12, "Recon-PortScan": 0.19, "DNS_Spoofing": 0.25, "DictionaryBruteForce": 0.25,
    "DoS-SYN_Flood": 0.49, BENIGN: 0.97,
}  # fmt: skip
_BLOCKS, _TRAIN, _VALIDATION = 20, 0.6, 0.2  # blocks a file is cut into, in its order; shares of them
_ROWS = 20_000  # of one class at most, so that two cores do
_EPOCHS, _BATCH, _PATIENCE = 60, 512, 8


@dataclass(frozen=True)
class Tables:
    """x: (rows, features), NaN unset. y: (rows,) indices into `classes`. part: 0 training, 1 validation, 2 test."""

    x: Floats
    y: NDArray[np.int64]
    part: NDArray[np.int64]
    classes: tuple[str, ...]
    features: tuple[str, ...]


@dataclass(frozen=True)
class Result:
    """One model's answers on the test rows. f1, recall: per class."""

    f1: NDArray[np.float64]
    recall: NDArray[np.float64]

    @property
    def macro_f1(self) -> float:
        """The mean of the classes' F1."""
        return float(self.f1.mean())


@dataclass(frozen=True)
class Rows:
    """classes: class → its rows (rows, features) in the order of their files, NaN unset."""

    classes: dict[str, Floats]
    features: tuple[str, ...]


@dataclass
class _Thinned:
    """Rows of one class, every n-th of them so that two of a model's share at most are kept, whatever comes."""

    rows: list[Floats] = field(default_factory=list)
    seen: int = 0
    step: int = 1

    def wants(self) -> bool:
        """Whether the next row is to be kept."""
        self.seen += 1
        return (self.seen - 1) % self.step == 0

    def add(self, row: Floats) -> None:
        self.rows.append(row)
        if len(self.rows) > 2 * _ROWS:
            self.rows, self.step = self.rows[::2], 2 * self.step


def read(folder: Path) -> Rows:
    """The tables CLASS*.csv(.gz) of a folder, or some with a column Label; large classes thinned out evenly.

    Raises ValueError for a folder without tables, tables of different columns and a value that is no number.
    """
    paths = sorted([*folder.glob("*.csv"), *folder.glob("*.csv.gz")])
    if not paths:
        raise ValueError(
            f"{folder}: no *.csv or *.csv.gz here; the tables are published by the Canadian Institute for Cybersecurity"
        )
    features: tuple[str, ...] = ()
    found: dict[str, _Thinned] = defaultdict(_Thinned)
    for path in tqdm(paths, desc="tables", disable=None):
        with _text(path) as f:
            rows = csv.DictReader(f)
            names = tuple(n for n in rows.fieldnames or () if n.lower() not in LEFT_OUT)
            if features and names != features:
                raise ValueError(f"{path}: its columns are not those of {paths[0]}; keep one set to a folder")
            features = names
            label_key = next((n for n in rows.fieldnames or () if n.lower() == "label"), None)
            of_file = re.sub(r"\d*(\.pcap)?\.csv(\.gz)?$", "", path.name)
            for line, row in enumerate(rows, start=2):
                of_class = found[row[label_key] if label_key else of_file]
                if not of_class.wants():
                    continue
                try:
                    values = [float("nan" if row[n] == "" else row[n]) for n in names]
                except (TypeError, ValueError):
                    raise ValueError(f"{path}: line {line}: a value is no number, or one is missing") from None
                of_class.add(np.array(values, dtype=np.float32))
    return Rows({c: np.stack(found[c].rows) for c in sorted(found)}, features)


def split(rows: Rows, seed: int) -> Tables:
    """Each class cut into blocks of neighbours, and these dealt to training, validation and test."""
    parts = [_blocks(x, seed) for x in rows.classes.values()]
    y = np.concatenate([np.full(len(x), i) for i, (x, _) in enumerate(parts)])
    x, part = (np.concatenate(both) for both in zip(*parts, strict=True))
    return Tables(x, y, part, tuple(rows.classes), rows.features)


def _text(path: Path) -> TextIO:
    return cast(TextIO, gzip.open(path, "rt", newline="")) if path.suffix == ".gz" else path.open(newline="")


def _blocks(x: Floats, seed: int) -> tuple[Floats, NDArray[np.int64]]:
    # Neighbours come from one burst: whole blocks go to one part; a row that several hold stays in the first.
    x = x[:: max(1, -(-len(x) // _ROWS))]
    x = np.where(np.isfinite(x), x, np.nan).astype(np.float32)
    block = np.arange(len(x)) * _BLOCKS // max(1, len(x))
    order = np.random.default_rng(seed).permutation(_BLOCKS)
    part_of = np.full(_BLOCKS, 2)
    part_of[order[: int(_BLOCKS * _TRAIN)]] = 0
    part_of[order[int(_BLOCKS * _TRAIN) : int(_BLOCKS * (_TRAIN + _VALIDATION))]] = 1
    part = part_of[block]
    seen: dict[bytes, int] = {}
    keep = np.zeros(len(x), dtype=bool)
    for p in (0, 1, 2):
        for i in np.flatnonzero(part == p).tolist():
            keep[i] = seen.setdefault(x[i].tobytes(), p) == p
    return x[keep], part[keep].astype(np.int64)


def judge(predicted: NDArray[np.int64], y: NDArray[np.int64], classes: int) -> Result:
    """F1 and recall per class; 0 where a class was never right."""
    confusion = np.zeros((classes, classes))
    np.add.at(confusion, (y, predicted), 1)
    right = np.diag(confusion)
    recall = right / np.maximum(confusion.sum(axis=1), 1)
    f1 = 2 * right / np.maximum(confusion.sum(axis=0) + confusion.sum(axis=1), 1)
    return Result(f1, recall)


def _weights(y: NDArray[np.int64], classes: int) -> NDArray[np.float64]:
    counts = np.maximum(np.bincount(y, minlength=classes), 1.0)
    weight = counts**-0.5
    return np.asarray(weight / weight.mean())


def hybrid(t: Tables, seed: int, ordered: bool = False) -> NDArray[np.int64]:
    """The hybrid's answers for all rows. ordered: 32 neighbours of a file at a time, which leaks the class."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    steps = 32 if ordered else 1
    shape = Shape(len(t.features), len(t.classes), ramps=16)
    # Scaler and autoencoder take class 0 as the ordinary one; where there are no benign rows it is all of them.
    ordinary = t.y == t.classes.index(BENIGN) if BENIGN in t.classes else np.ones(len(t.y), dtype=bool)
    label = np.where(t.part == 0, np.where(ordinary, 0, t.y + 1), -1)
    model = Hybrid(shape, scaling(t.x, label, shape.ramps, rng))
    _autoencoder(model, torch.as_tensor(t.x[label == 0]), rng)
    weight = torch.as_tensor(_weights(t.y[t.part == 0], len(t.classes)), dtype=torch.float32)
    trained = [p for n, p in model.named_parameters() if not n.startswith(("encode", "decode"))]
    optimizer = torch.optim.AdamW(trained, lr=2e-3, weight_decay=1e-3)
    runs = {p: _runs(np.flatnonzero(t.part == p), steps) for p in (0, 1)}
    best, state, since = -1.0, model.state_dict(), 0
    for _ in range(_EPOCHS):
        model.train()
        order = rng.permutation(len(runs[0]))
        for some in np.array_split(order, max(1, len(order) * steps // _BATCH)):
            rows = runs[0][some]
            logits = _logits(model, t.x[rows])
            loss = nn.functional.cross_entropy(
                logits.reshape(-1, len(t.classes)), torch.as_tensor(t.y[rows]).reshape(-1), weight
            )
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        value = judge(_answers(model, t.x, runs[1]), t.y[runs[1]].reshape(-1), len(t.classes)).macro_f1
        since += 1
        if value > best:
            best, since = value, 0
            state = {k: v.clone() for k, v in model.state_dict().items()}
        elif since >= _PATIENCE:
            break
    model.load_state_dict(state)
    found = np.zeros(len(t.x), dtype=np.int64)
    test = _runs(np.flatnonzero(t.part == 2), steps)
    found[test.reshape(-1)] = _answers(model, t.x, test)
    return found


def _runs(rows: NDArray[np.int64], steps: int) -> NDArray[np.int64]:
    """Row numbers as (runs, steps); a last run that is too short begins earlier."""
    if steps == 1:
        return rows[:, None]
    starts = [*range(0, len(rows) - steps + 1, steps)]
    if len(rows) % steps:
        starts.append(len(rows) - steps)
    return np.stack([rows[s : s + steps] for s in starts])


def _logits(model: Hybrid, x: Floats) -> torch.Tensor:
    scaled, known = model.scale(torch.as_tensor(x))
    logits, _, _ = model(scaled, known, torch.full((len(x),), x.shape[1]), torch.zeros(len(x), model.shape.state))
    return torch.as_tensor(logits)


def _answers(model: Hybrid, x: Floats, runs: NDArray[np.int64]) -> NDArray[np.int64]:
    model.eval()
    with torch.no_grad():
        parts = [_logits(model, x[rows]).argmax(dim=2) for rows in np.array_split(runs, max(1, runs.size // 8192))]
    return np.asarray(torch.cat(parts).reshape(-1).numpy(), dtype=np.int64)


def _autoencoder(model: Hybrid, ordinary: torch.Tensor, rng: np.random.Generator) -> None:
    optimizer = torch.optim.AdamW([*model.encode.parameters(), *model.decode.parameters()], lr=2e-3)
    for _ in range(8):
        for rows in torch.split(torch.as_tensor(rng.permutation(len(ordinary))), _BATCH):
            scaled, known = model.scale(ordinary[rows])
            _, rebuilt = model.reconstruct(scaled + 0.1 * torch.randn_like(scaled) * known)
            error = ((rebuilt - scaled) ** 2 * known).mean()
            optimizer.zero_grad()
            error.backward()  # type: ignore[no-untyped-call]
            optimizer.step()


def forest(t: Tables, seed: int) -> NDArray[np.int64]:
    """A random forest's answers for all rows."""
    from sklearn.ensemble import RandomForestClassifier

    train = t.part == 0
    model = RandomForestClassifier(
        200, min_samples_leaf=2, class_weight="balanced_subsample", n_jobs=1, random_state=seed
    )
    model.fit(t.x[train], t.y[train])
    return np.asarray(model.predict(t.x), dtype=np.int64)


def boosted(t: Tables, seed: int) -> NDArray[np.int64]:
    """LightGBM's answers for all rows, stopped early on validation."""
    import lightgbm

    train, held_out = t.part == 0, t.part == 1
    weight = _weights(t.y[train], len(t.classes))
    options = lightgbm_options(len(t.classes), seed)
    data = lightgbm.Dataset(t.x[train], t.y[train], weight=weight[t.y[train]])
    stop: list[Callable[..., Any]] = [lightgbm.early_stopping(20, verbose=False)]
    booster = lightgbm.train(options, data, 300, [data.create_valid(t.x[held_out], t.y[held_out])], callbacks=stop)
    return np.asarray(np.argmax(np.asarray(booster.predict(t.x, num_threads=1)), axis=1), dtype=np.int64)


MODELS: dict[str, Callable[[Tables, int], NDArray[np.int64]]] = {
    "hybrid": hybrid,
    "random forest": forest,
    "LightGBM": boosted,
    "hybrid, in file order (leaks)": lambda t, seed: hybrid(t, seed, ordered=True),
}


def report(folder: Path, seeds: Sequence[int]) -> str:
    """Markdown: F1 per class of every model, mean of the seeds, beside the paper's recall."""
    rows, results = read(folder), defaultdict[str, list[Result]](list)
    with tqdm(total=len(seeds) * len(MODELS), disable=None) as bar:
        for seed in seeds:
            t = split(rows, seed)
            test = t.part == 2
            for name, answer in MODELS.items():
                results[name].append(judge(answer(t, seed)[test], t.y[test], len(t.classes)))
                bar.update()
    f1 = {m: np.array([r.f1 for r in found]) for m, found in results.items()}  # (seeds, classes)
    recall = np.mean([r.recall for r in results["hybrid"]], axis=0)
    counts = np.bincount(t.y[test], minlength=len(t.classes))
    lines = [
        [name, str(counts[i]), *(f"{f1[m][:, i].mean():.3f}" for m in MODELS), f"{recall[i]:.3f}",
         f"{PAPER_RECALL[name]:.2f}" if name in PAPER_RECALL else "-"]
        for i, name in enumerate(t.classes)
    ]  # fmt: skip
    of_seeds = {m: f1[m].mean(axis=1) for m in MODELS}
    macro = [f"{of_seeds[m].mean():.3f} ± {of_seeds[m].std():.3f}" for m in MODELS]
    lines.append(["macro", str(counts.sum()), *macro, f"{recall.mean():.3f}", ""])
    head = ["class", "test rows", *(f"{m}: F1" for m in MODELS), "hybrid: recall", "paper: recall"]
    said = (
        f"{len(t.y):,} rows of {len(t.classes)} of CICIoT2023's 34 classes, {len(t.features)} columns; seeds "
        f"{', '.join(map(str, seeds))}, each with its own split of blocks of neighbours (60/20/20).\n\n"
    )
    return said + markdown(head, lines) + "\n"
