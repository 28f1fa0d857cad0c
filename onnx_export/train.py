"""Training: the hybrid fitted statefully over whole host streams, its epoch chosen on validation."""

from __future__ import annotations

import copy
import logging
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from tqdm import tqdm

from onnx_export.data import Capture, capped, labels_of
from onnx_export.material import Material, batches, gather
from onnx_export.metrics import Scored, validation_value
from onnx_export.network import Hybrid, Shape
from onnx_export.scaling import class_weights, scaling
from onnx_export.settings import Settings
from pyad.features import FEATURE_GROUPS, FEATURES
from pyad.verdict import CLASSES

# What is fitted before the rest, and left as it is.
_FITTED_FIRST = ("residual_scale", "encode", "decode")
LOG = logging.getLogger(__name__)
Curve = list[dict[str, float]]
_SCORE_ROWS = 8192  # rows of one call when scoring
_SCORE_CHUNK = 512  # steps of a stream in one call when scoring


def device() -> torch.device:
    """The GPU where there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def fit(
    train: Sequence[Capture], validation: Sequence[Capture], settings: Settings, start: Hybrid | None = None
) -> tuple[Hybrid, Curve]:
    """The network of the best epoch, and the learning curve.

    start: a network to go on from, with its scaler and autoencoder (a site's own data added to a bundle). Without one,
    an autoencoder is trained on benign rows first, and then stays as it is.
    """
    base = start or fit_autoencoder(train, settings)
    torch.manual_seed(settings.seed)
    rng = np.random.default_rng(settings.seed)
    model = Hybrid(base.shape, base.scaling)
    fitted = {k: v for k, v in base.state_dict().items() if start is not None or k.split(".")[0] in _FITTED_FIRST}
    model.load_state_dict(fitted, strict=start is not None)
    model.encode.requires_grad_(False), model.decode.requires_grad_(False)
    model.to(device())
    average = copy.deepcopy(model)
    average.lstm.flatten_parameters()  # copied one by one, they would be put together again at every call on a GPU
    learned = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(learned, lr=settings.learning_rate, weight_decay=settings.weight_decay, fused=True)
    warm = max(settings.epochs // 10, 1)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda e: min((e + 1) / warm, 0.5 * (1 + math.cos(math.pi * e / settings.epochs)) + 0.01)
    )
    material = Material(train, settings.chunk)
    states = torch.zeros(len(material.chunks), model.shape.state, device=device())
    pasts = material.pasts(labels_of(train))
    best: tuple[float, int, Hybrid] = (-1.0, 0, average)
    if start is not None:  # what is gone on from may be the best there is
        best = (_value(average, validation, settings)[0], -1, copy.deepcopy(average))
    curve: Curve = []
    for epoch in tqdm(range(settings.epochs), desc="training", disable=None):
        if epoch % settings.refresh_epochs == 0 and epoch:
            _, states = _scored(model, material)
        label = labels_of([capped(c, settings.cap, settings.seed + epoch) for c in train])
        loss = _epoch(model, average, optimizer, material, label, states, pasts, settings, rng)
        schedule.step()
        value, macros = _value(average, validation, settings)
        curve.append({"seed": settings.seed, "epoch": epoch, "loss": loss, "value": value, **macros})
        LOG.info("seed %d, epoch %d: loss %.4f, validation %.4f", settings.seed, epoch, loss, value)
        if value > best[0]:
            best = (value, epoch, copy.deepcopy(average))
        elif epoch - best[1] >= settings.patience:
            break
    return best[2].cpu(), curve


def fit_autoencoder(train: Sequence[Capture], settings: Settings) -> Hybrid:
    """A network whose scaler and autoencoder are fitted and whose other parts are as initialised."""
    torch.manual_seed(settings.seed)
    rng = np.random.default_rng(settings.seed)
    shape = Shape(len(FEATURES), len(CLASSES), **settings.shape)
    x, label = np.concatenate([c.x for c in train]), labels_of(train)
    model = Hybrid(shape, scaling(x, label, shape.ramps, rng))
    benign = torch.as_tensor(x[label == 0])
    parameters = [*model.encode.parameters(), *model.decode.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=settings.learning_rate)
    for _ in tqdm(range(settings.autoencoder_epochs), desc="autoencoder", disable=None):
        drawn = torch.as_tensor(rng.permutation(len(benign))[: settings.autoencoder_rows])
        for rows in torch.split(drawn, settings.batch_rows):
            scaled, known = model.scale(_drop_groups(benign[rows, None], settings, rng)[:, 0])
            _, rebuilt = model.reconstruct(scaled + settings.feature_noise * torch.randn_like(scaled) * known)
            error = ((rebuilt - scaled) ** 2 * known).sum(dim=1) / known.sum(dim=1).clamp(min=1)
            optimizer.zero_grad()
            error.mean().backward()
            optimizer.step()
    _calibrate_residuals(model, benign)
    return model


def _value(model: Hybrid, validation: Sequence[Capture], settings: Settings) -> tuple[float, dict[str, float]]:
    """What the epoch is chosen by: validation as it is, and once more with a benign past before every stream."""
    material = Material(validation, _SCORE_CHUNK)
    scored, states = _scored(model, material)
    plain, macros = validation_value(scored.probs, validation, settings.false_positive_rate)
    pasts = material.pasts(labels_of(validation))
    if not settings.past_share or not len(pasts):
        return plain, macros
    later, _ = _scored(model, material, states[torch.as_tensor(pasts)])
    value, after = validation_value(later.probs, validation, settings.false_positive_rate)
    return (plain + value) / 2, {**macros, **{f"{k}_after_past": v for k, v in after.items()}}


def _epoch(
    model: Hybrid, average: Hybrid, optimizer: torch.optim.Optimizer, material: Material, label: NDArray[np.int64],
    states: Tensor, pasts: NDArray[np.int64], settings: Settings, rng: np.random.Generator,
) -> float:  # fmt: skip
    # Chunks come in random order, each from the state that its stream's last visit left: fresh enough after the first
    # epochs, and every batch is a mixture, which going through all streams side by side would not give.
    model.train()
    where = device()
    weight = torch.as_tensor(class_weights(label, settings.balance), dtype=torch.float32, device=where)
    total = rows = 0.0
    for batch in batches(material.labelled(label), settings.batch_rows, rng):
        x, index, lengths = gather(material, batch)
        own = torch.as_tensor([c.number for c in batch], device=where)
        following = torch.as_tensor([c.following for c in batch], device=where)
        kept = torch.as_tensor(rng.random((len(batch), 1)) >= settings.reset_share, device=where)
        begin = states[own]
        if len(pasts) and settings.past_share:
            # Recordings show attackers from their first row; in life whoever attacks has been at work for weeks.
            older = np.array([c.first for c in batch]) & (rng.random(len(batch)) < settings.past_share)
            begin[torch.as_tensor(older)] = states[torch.as_tensor(rng.choice(pasts, int(older.sum())), device=where)]
        scaled, known = model.scale(_drop_groups(x, settings, rng).to(where))
        noisy = (scaled + settings.feature_noise * torch.randn_like(scaled)) * known
        logits, _, after = model(noisy, known, lengths, begin * kept)
        states[following[following >= 0]] = after.detach()[following >= 0]
        at = index[(index >= 0) & (label[index] >= 0)]
        labelled = torch.as_tensor((index >= 0) & (label[index] >= 0), device=where)
        targets = torch.as_tensor(label[at], device=where)
        losses = nn.functional.cross_entropy(logits[labelled], targets, reduction="none")
        loss = (weight[targets] * losses).mean()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        with torch.no_grad():
            for mean, now in zip(average.parameters(), model.parameters(), strict=True):
                mean.lerp_(now, 1.0 - settings.average)
        total += loss.item() * len(batch)
        rows += len(batch)
    return total / max(rows, 1)


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


def score(model: Hybrid, captures: Sequence[Capture]) -> Scored:
    """Stateful scores of every row of `captures`, in their order."""
    return _scored(model, Material(captures, _SCORE_CHUNK))[0]


def _scored(model: Hybrid, material: Material, begin: Tensor | None = None) -> tuple[Scored, Tensor]:
    """(scores of every row, the state before each chunk). begin: as for `_walk`."""
    probs = np.zeros((len(material.x), len(CLASSES)), dtype=np.float32)
    novelty = np.zeros(len(material.x), dtype=np.float32)
    states = torch.zeros(len(material.chunks), model.shape.state, device=next(model.parameters()).device)
    for rows, logits, residual, known, before in _walk(model, material, begin):
        probs[rows] = torch.softmax(logits, dim=1).cpu().numpy()
        novelty[rows] = model.novelty(residual, known).cpu().numpy()
        states[before[0]] = before[1]
    return Scored(probs, novelty), states


def _walk(model: Hybrid, material: Material, begin: Tensor | None = None) -> Iterator[tuple[Any, ...]]:
    """(row indices, logits, residuals, mask of set features, (chunk numbers, states before)) in the streams' order.

    begin: states (n, state) that streams begin with by turns, zero where None.
    """
    model.eval()
    where = next(model.parameters()).device
    states = torch.zeros(len(material.chunks), model.shape.state, device=where)
    if begin is not None:
        first = torch.as_tensor([c.number for c in material.depths[0]], device=where)
        states[first] = begin.to(where)[torch.arange(len(first), device=where) % len(begin)]
    with torch.no_grad():
        for chunks in material.depths:
            for batch in batches(chunks, _SCORE_ROWS, None):
                x, _, lengths = gather(material, batch)
                own = torch.as_tensor([c.number for c in batch], device=where)
                following = torch.as_tensor([c.following for c in batch], device=where)
                scaled, known = model.scale(x.to(where))
                logits, residual, after = model(scaled, known, lengths, states[own])
                states[following[following >= 0]] = after[following >= 0]
                valid = torch.arange(x.shape[1]) < lengths[:, None]
                rows = np.concatenate([c.rows for c in batch])
                yield rows, logits[valid], residual[valid], known[valid], (own, states[own])
