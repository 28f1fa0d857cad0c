"""The network in plain NumPy, one row at a time: the yardstick that the exported graphs are measured against."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnx_export.graph import CLIP, LEAST

Array = NDArray[np.float32]


def _sigmoid(x: Array) -> Array:
    y: Array = 1.0 / (1.0 + np.exp(-x))
    return y


def step(w: Mapping[str, NDArray[Any]], x: Array, state: Array) -> tuple[Array, Array, Array, Array]:
    """One row of each of N hosts: x (N, features), state (N, S) → (probs, novelty, residuals, next state)."""
    conv, hidden = w["conv_b"].size, w["lstm_wh"].shape[0]
    with np.errstate(invalid="ignore", over="ignore"):
        wide = (x - w["mean"]) * w["inverse_scale"]
    known = (wide > LEAST) & (w["inverse_scale"] > 0)
    scaled = np.clip(np.where(known, wide, 0), -CLIP, CLIP)
    owed, owed_later, pooled, h, c = np.split(state, np.cumsum([conv, conv, conv, hidden]), axis=1)
    feature = w["ramp_feature"]
    ramps = np.clip((scaled[:, feature] - w["low"]) * w["inverse_width"], 0, 1) * known[:, feature]
    now = np.maximum(np.concatenate([ramps, known], axis=1) @ w["embed_w"] + w["embed_b"], 0)
    convolved = np.maximum(now @ w["conv_w"][2] + w["conv_b"] + owed, 0)
    pool = np.maximum(convolved, pooled)
    i, f, g, o = np.split(pool @ w["lstm_wx"] + h @ w["lstm_wh"] + w["lstm_b"], 4, axis=1)
    c = _sigmoid(f) * c + _sigmoid(i) * np.tanh(g)
    h = _sigmoid(o) * np.tanh(c)
    latent = np.tanh(np.maximum(scaled @ w["encode1_w"] + w["encode1_b"], 0) @ w["encode2_w"] + w["encode2_b"])
    rebuilt = np.maximum(latent @ w["decode1_w"] + w["decode1_b"], 0) @ w["decode2_w"] + w["decode2_b"]
    residual = (rebuilt - scaled) ** 2 * known / w["residual_scale"]
    novelty = np.log1p(residual.sum(axis=1) / np.maximum(known.sum(axis=1), 1))
    parts = np.concatenate([h, pool, now, latent, np.log1p(residual)], axis=1)
    fused = np.maximum(parts @ w["fuse_w"] + w["fuse_b"], 0)
    logits = fused @ w["classify_w"] + w["classify_b"]
    exp = np.exp(logits - logits.max(axis=1, keepdims=True))
    probs = exp / exp.sum(axis=1, keepdims=True)
    owed, owed_later = now @ w["conv_w"][1] + owed_later, now @ w["conv_w"][0]
    return probs, novelty, residual, np.concatenate([owed, owed_later, convolved, h, c], axis=1)
