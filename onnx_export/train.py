"""Training: the hybrid fitted statefully over whole host streams, chosen on validation at the operating point."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from multiprocessing import get_context

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from tqdm import tqdm

from onnx_export.data import Capture, capped
from onnx_export.network import Hybrid, Shape, merge
from pyad.features import FEATURE_GROUPS, FEATURES
from pyad.verdict import CLASSES

DROP_SHARE = {
    "counters": 0.5,
    "mac": 0.4,
    "service": 0.3,
    "history": 0.15,
    "ports": 0.3,
    "sizes": 0.15,
    "short": 0.2,
    "middle": 0.2,
    "long": 0.3,
    "ages": 0.3,
}


@dataclass(frozen=True)
class Settings:
    """Everything a run depends on besides its data."""

    seed: int = 1
    members: int = 3  # networks in the fused ensemble, each of this shape
    autoencoder_epochs: int = 8
    epochs: int = 16
    chunk: int = 64  # steps of truncated backpropagation; the state is carried on, without gradient
    batch_rows: int = 1024
    learning_rate: float = 3e-3
    weight_decay: float = 1e-4
    focal_gamma: float = 1.0
    reset_share: float = 0.1  # chunks that start from a zero state, as after a restart
    feature_noise: float = 0.1  # standard deviation on scaled inputs
    # Feature groups dropped whole, per chunk: logs lack counters, MACs and service, and ports are a shortcut.
    drop_share: dict[str, float] = field(default_factory=lambda: dict(DROP_SHARE))
    false_positive_rate: float = 4e-3  # the operating point on validation
    shape: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Chunk:
    """A run of one stream's rows: indices into the material, and the stream's number there."""

    rows: NDArray[np.int64]
    stream: int


class Material:
    """Captures laid end to end, and their streams cut into chunks by depth (first chunks, second chunks, …).

    labelled_only: leave out chunks without a label, as training does where a flood goes on beyond its cap; the stream
    goes on from the state it had.
    """

    def __init__(self, captures: Sequence[Capture], chunk: int, labelled_only: bool = False) -> None:
        self.x = np.concatenate([c.x for c in captures])
        self.label = np.concatenate([c.label for c in captures]).astype(np.int64)
        self.depths: list[list[Chunk]] = []
        base = streams = 0
        for capture in captures:
            for rows in _stream_rows(capture.stream):
                pieces = [rows[i : i + chunk] for i in range(0, len(rows), chunk)]
                for depth, piece in enumerate(pieces):
                    if labelled_only and (capture.label[piece] < 0).all():
                        continue
                    while len(self.depths) <= depth:
                        self.depths.append([])
                    self.depths[depth].append(Chunk(piece + base, streams))
                streams += 1
            base += len(capture.x)
        self.streams = streams


def _stream_rows(stream: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    order = np.argsort(stream, kind="stable")
    s = stream[order]
    # Rows whose originator holds no state (-1) are streams of their own.
    bounds = np.flatnonzero((s[1:] != s[:-1]) | (s[1:] < 0)) + 1
    return [part for part in np.split(order, bounds) if len(part)]


def batches(chunks: list[Chunk], batch_rows: int, rng: np.random.Generator | None) -> Iterator[list[Chunk]]:
    """Chunks of like length together, at most `batch_rows` rows a batch with padding; shuffled where `rng` is given."""
    key = np.array([len(c.rows) for c in chunks], dtype=np.float64)
    if rng is not None:
        key = key + rng.random(len(key)) * 4
    order = np.argsort(key, kind="stable")
    groups: list[list[Chunk]] = []
    current: list[Chunk] = []
    for i in order:
        longest = len(chunks[i].rows)
        if current and (len(current) + 1) * max(longest, len(current[-1].rows)) > batch_rows:
            groups.append(current)
            current = []
        current.append(chunks[i])
    if current:
        groups.append(current)
    for i in rng.permutation(len(groups)) if rng is not None else range(len(groups)):
        yield groups[int(i)]


def gather(material: Material, batch: list[Chunk]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(x (B, T, F) raw, labels (B, T) with -1 on padding, lengths (B,), streams (B,))."""
    lengths = np.array([len(c.rows) for c in batch])
    index = np.zeros((len(batch), lengths.max()), dtype=np.int64)
    valid = np.arange(lengths.max()) < lengths[:, None]
    index[valid] = np.concatenate([c.rows for c in batch])
    labels = np.where(valid, material.label[index], -1)
    streams = torch.as_tensor([c.stream for c in batch])
    return torch.as_tensor(material.x[index]), torch.as_tensor(labels), torch.as_tensor(lengths), streams


def scaler(captures: Sequence[Capture]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """(mean, 1 / scale) per feature from training rows; 0 for features that training hardly ever sets."""
    x = np.concatenate([c.x[c.label >= 0] for c in captures])
    benign = np.concatenate([c.x[c.label == 0] for c in captures])
    with np.errstate(all="ignore"):
        mean = np.nan_to_num(np.nanmean(benign, axis=0))
        scale = np.maximum(np.nan_to_num(np.nanstd(benign, axis=0)), 0.25 * np.nan_to_num(np.nanstd(x, axis=0)))
    seen = (~np.isnan(x)).mean(axis=0)
    alive = (seen > 1e-3) & (scale > 1e-4)
    inverse = np.where(alive, 1.0 / np.maximum(scale, 1e-4), 0.0)
    return mean.astype(np.float32), inverse.astype(np.float32)


def class_weights(label: NDArray[np.int64]) -> Tensor:
    """Inverse square root of class frequency, mean 1 over classes present; absent classes weigh nothing."""
    counts = np.bincount(label[label >= 0], minlength=len(CLASSES)).astype(np.float64)
    present = counts > 0
    weight = np.where(present, 1.0 / np.sqrt(np.maximum(counts, 20.0)), 0.0)
    weight[0] *= 3.0  # a false alarm costs more than a missed row of an attack, which comes in many
    return torch.as_tensor(weight / weight[present].mean(), dtype=torch.float32)


def fit(
    train: Sequence[Capture], validation: Sequence[Capture], cap: int, settings: Settings
) -> tuple[Hybrid, list[dict[str, float]]]:
    """The fused ensemble, and the learning curves of its members.

    One autoencoder is trained on benign rows and then stays as it is; the members see it, each with a seed of its own.
    Networks of one seed agree on data like their training's and disagree elsewhere: their mean is the better guess
    there (Lakshminarayanan et al., NeurIPS 2017), and as one block-diagonal network it costs no more than one of them.
    """
    base = fit_autoencoder(train, settings)
    seeds = [replace(settings, seed=settings.seed + 100 * i) for i in range(settings.members)]
    workers = min(settings.members, os.cpu_count() or 1)
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        jobs = [pool.submit(_fit_member, base, train, validation, cap, s) for s in seeds]
        fitted = [job.result() for job in jobs]
    return merge([model for model, _ in fitted]), [point for _, curve in fitted for point in curve]


def fit_autoencoder(train: Sequence[Capture], settings: Settings) -> Hybrid:
    """A network whose scaler and autoencoder are fitted and whose other parts are as initialised."""
    torch.manual_seed(settings.seed)
    rng = np.random.default_rng(settings.seed)
    model = Hybrid(Shape(len(FEATURES), len(CLASSES), **settings.shape), *scaler(train))
    benign = torch.as_tensor(np.concatenate([c.x[c.label == 0] for c in train]))
    parameters = [*model.encode.parameters(), *model.decode.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=settings.learning_rate)
    for _ in tqdm(range(settings.autoencoder_epochs), desc="autoencoder", disable=None):
        for rows in torch.as_tensor(rng.permutation(len(benign))).split(settings.batch_rows):
            scaled, known = model.scale(_drop_groups(benign[rows, None], settings, rng)[:, 0])
            _, rebuilt = model.reconstruct(scaled + settings.feature_noise * torch.randn_like(scaled) * known)
            error = ((rebuilt - scaled) ** 2 * known).sum(dim=1) / known.sum(dim=1).clamp(min=1)
            optimizer.zero_grad()
            error.mean().backward()
            optimizer.step()
    _calibrate_residuals(model, benign)
    return model


def _fit_member(
    base: Hybrid, train: Sequence[Capture], validation: Sequence[Capture], cap: int, settings: Settings
) -> tuple[Hybrid, list[dict[str, float]]]:
    torch.set_num_threads(1)
    torch.manual_seed(settings.seed)
    rng = np.random.default_rng(settings.seed)
    model = Hybrid(base.shape, base.mean.numpy(), base.inverse_scale.numpy())
    model.encode, model.decode = base.encode.requires_grad_(False), base.decode.requires_grad_(False)
    model.residual_scale.copy_(base.residual_scale)
    learned = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(learned, lr=settings.learning_rate, weight_decay=settings.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, settings.learning_rate, total_steps=settings.epochs, pct_start=0.15
    )
    best: tuple[float, dict[str, Tensor]] = (-1.0, {})
    curve = []
    checked = [capped(c, cap, settings.seed) for c in validation]
    for epoch in tqdm(range(settings.epochs), desc=f"member {settings.seed}", disable=None):
        material = Material([capped(c, cap, settings.seed + epoch) for c in train], settings.chunk, labelled_only=True)
        loss = _epoch(model, optimizer, material, settings, rng)
        schedule.step()
        recall = operating_recall(score(model, checked), checked, settings.false_positive_rate)
        curve.append({"seed": settings.seed, "epoch": epoch, "loss": loss, **recall})
        if recall["macro"] > best[0] and epoch >= settings.epochs // 3:
            best = (recall["macro"], {k: v.clone() for k, v in model.state_dict().items()})
    model.load_state_dict(best[1])
    return model, curve


def _epoch(
    model: Hybrid,
    optimizer: torch.optim.Optimizer,
    material: Material,
    settings: Settings,
    rng: np.random.Generator,
) -> float:
    model.train()
    weight = class_weights(material.label)
    state = torch.zeros(material.streams, model.shape.state)
    total = rows = 0.0
    for chunks in material.depths:
        for batch in batches(chunks, settings.batch_rows, rng):
            x, labels, lengths, streams = gather(material, batch)
            before = state[streams] * torch.as_tensor(rng.random((len(batch), 1)) >= settings.reset_share)
            scaled, known = model.scale(_drop_groups(x, settings, rng))
            noisy = (scaled + settings.feature_noise * torch.randn_like(scaled)) * known
            logits, _, following = model(noisy, known, lengths, before)
            state[streams] = following.detach()
            loss = _loss(logits, labels, weight, settings)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            total += loss.item() * len(batch)
            rows += len(batch)
    return total / max(rows, 1)


def _loss(logits: Tensor, labels: Tensor, weight: Tensor, s: Settings) -> Tensor:
    """Class-weighted focal loss (Lin et al., ICCV 2017) over the labelled rows of a batch."""
    labelled = labels >= 0
    if not labelled.any():
        return logits.sum() * 0.0
    log_p = torch.log_softmax(logits[labelled], dim=1).gather(1, labels[labelled][:, None])[:, 0]
    focal = (1 - log_p.exp()) ** s.focal_gamma
    return -(weight[labels[labelled]] * focal * log_p).mean()


def _drop_groups(x: Tensor, settings: Settings, rng: np.random.Generator) -> Tensor:
    x = x.clone()
    for group, share in settings.drop_share.items():
        dropped = torch.as_tensor(rng.random(len(x)) < share)
        columns = torch.as_tensor(FEATURE_GROUPS[group])
        x[dropped.nonzero(), :, columns[None]] = float("nan")
    return x


def _calibrate_residuals(model: Hybrid, benign: Tensor) -> None:
    # Residuals are divided by their benign mean, so that an ordinary row reads about 1 in every feature.
    with torch.no_grad():
        scaled, known = model.scale(benign)
        _, rebuilt = model.reconstruct(scaled)
        mean = ((rebuilt - scaled) ** 2 * known).sum(dim=0) / known.sum(dim=0).clamp(min=1)
        model.residual_scale.copy_(mean.clamp(min=1e-3))


@dataclass(frozen=True)
class Scored:
    """Model output for captures laid end to end: probs (rows, classes), novelty (rows,)."""

    probs: NDArray[np.float32]
    novelty: NDArray[np.float32]


def score(model: Hybrid, captures: Sequence[Capture], chunk: int = 512) -> Scored:
    """Stateful scores of every row of `captures`, in their order."""
    model.eval()
    material = Material(captures, chunk)
    probs = np.zeros((len(material.x), len(CLASSES)), dtype=np.float32)
    novelty = np.zeros(len(material.x), dtype=np.float32)
    state = torch.zeros(material.streams, model.shape.state)
    with torch.no_grad():
        for chunks in material.depths:
            for batch in batches(chunks, 16384, None):
                x, _, lengths, streams = gather(material, batch)
                scaled, known = model.scale(x)
                logits, residual, following = model(scaled, known, lengths, state[streams])
                state[streams] = following
                valid = torch.arange(x.shape[1]) < lengths[:, None]
                rows = np.concatenate([c.rows for c in batch])
                probs[rows] = torch.softmax(logits, dim=2)[valid].numpy()
                odd = torch.log1p(residual.sum(dim=2) / known.sum(dim=2).clamp(min=1))
                novelty[rows] = odd[valid].numpy()
    return Scored(probs, novelty)


def operating_recall(scored: Scored, captures: Sequence[Capture], false_positive_rate: float) -> dict[str, float]:
    """Share of each attack class alarmed where that share of benign rows is; "macro" averages classes of ≥ 20 rows."""
    label = np.concatenate([c.label for c in captures])
    alarm = 1.0 - scored.probs[:, 0]
    threshold = float(np.quantile(alarm[label == 0], 1.0 - false_positive_rate)) if (label == 0).any() else 0.5
    recalls = {
        name: float((alarm[label == i] > threshold).mean())
        for i, name in enumerate(CLASSES)
        if i and (label == i).sum() >= 20
    }
    return {"macro": float(np.mean(list(recalls.values()))) if recalls else 0.0, "threshold": threshold, **recalls}
