"""The hybrid network: causal 1D convolution and LSTM over a host's rows beside an autoencoder of the row, fused.

It runs on rows in order with carried state per host, the way it is used; `graph.py` exports the same arithmetic.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from onnx_export.graph import CLIP, KERNEL, LEAST


@dataclass(frozen=True)
class Shape:
    """Widths of the network's layers. without: "lstm", "conv" or "autoencoder", a part left out to see what for."""

    features: int
    classes: int
    embed: int = 48
    conv: int = 32
    hidden: int = 32
    ae_hidden: int = 48
    latent: int = 16
    fused: int = 64
    ramps: int = 6  # of each feature, at most
    without: str = ""

    @property
    def state(self) -> int:
        """Floats of carried state per host: two embedded rows, one convolution output, LSTM h and c.

        The exported graphs carry what the two rows add to the convolution instead (`graph.state_size`).
        """
        return (KERNEL - 1) * self.embed + self.conv + 2 * self.hidden


@dataclass(frozen=True)
class Scaling:
    """How raw features become the network's input, fitted on training rows once.

    mean, inverse_scale: (features,), 0 for features not used. ramp_feature, low, inverse_width: (ramps,), the ramp of
    a scaled feature that rises from 0 at `low` to 1.
    """

    mean: NDArray[np.float32]
    inverse_scale: NDArray[np.float32]
    ramp_feature: NDArray[np.int64]
    low: NDArray[np.float32]
    inverse_width: NDArray[np.float32]


class Hybrid(nn.Module):
    """x (batch, steps, features) raw with NaN unset, lengths (batch,), state (batch, shape.state) → logits and more."""

    mean: Tensor
    inverse_scale: Tensor
    ramp_feature: Tensor
    low: Tensor
    inverse_width: Tensor
    residual_scale: Tensor

    def __init__(self, shape: Shape, scaling: Scaling) -> None:
        super().__init__()
        self.shape = shape
        self.scaling = scaling
        # Each feature enters as ramps from one quantile of training to the next (Gorishniy et al., NeurIPS 2022), which
        # gives a linear layer the thresholds that trees have; and whether it is set, which says something too.
        for f in fields(scaling):
            self.register_buffer(f.name, torch.as_tensor(getattr(scaling, f.name)))
        self.register_buffer("residual_scale", torch.ones(shape.features))
        self.embed = nn.Linear(len(scaling.low) + shape.features, shape.embed)
        self.conv = nn.Conv1d(shape.embed, shape.conv, KERNEL)
        self.lstm = nn.LSTM(shape.conv, shape.hidden, batch_first=True)
        self.encode = nn.Sequential(
            nn.Linear(shape.features, shape.ae_hidden),
            nn.ReLU(),
            nn.Linear(shape.ae_hidden, shape.latent),
            nn.Tanh(),
        )
        self.decode = nn.Sequential(
            nn.Linear(shape.latent, shape.ae_hidden), nn.ReLU(), nn.Linear(shape.ae_hidden, shape.features)
        )
        # Row and convolution also go around the LSTM: what one row shows need not pass through memory.
        self.fuse = nn.Linear(sum(self.fused_inputs), shape.fused)
        self.classify = nn.Linear(shape.fused, shape.classes)

    @property
    def fused_inputs(self) -> list[int]:
        """Widths of what the fused layer reads: LSTM, convolution, embedded row, latent code, residuals."""
        s = self.shape
        return [s.hidden, s.conv, s.embed, s.latent, s.features]

    def scale(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(scaled and clipped input with 0 for unset, mask of set features)."""
        wide = (x - self.mean) * self.inverse_scale
        known = (wide > LEAST) & (self.inverse_scale > 0)
        return torch.where(known, wide, 0.0).clamp(-CLIP, CLIP), known.to(x.dtype)

    def encode_rows(self, scaled: Tensor, known: Tensor) -> Tensor:
        """What the embedding reads of scaled rows (rows, features): ramps, then the mask."""
        # On their side, since whole rows of memory are picked several times as fast as columns are.
        picked, set_ = (part.T.contiguous().index_select(0, self.ramp_feature) for part in (scaled, known))
        ramps = ((picked - self.low[:, None]) * self.inverse_width[:, None]).clamp(0.0, 1.0) * set_
        return torch.cat([ramps, known.T]).T

    @staticmethod
    def novelty(residual: Tensor, known: Tensor) -> Tensor:
        """(…,) log of 1 + the mean squared residual of the features (…, features) that are set."""
        return torch.log1p(residual.sum(dim=-1) / known.sum(dim=-1).clamp(min=1))

    def reconstruct(self, scaled: Tensor) -> tuple[Tensor, Tensor]:
        """(latent code, reconstruction) of scaled rows."""
        latent = self.encode(scaled)
        return latent, self.decode(latent)

    def forward(self, scaled: Tensor, known: Tensor, lengths: Tensor, state: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(logits (batch, steps, classes), squared residuals (batch, steps, features), next state).

        Gradients of the classes do not reach the autoencoder: it must stay a model of benign rows alone.
        """
        s = self.shape
        past, pooled, h, c = torch.split(state, [(KERNEL - 1) * s.embed, s.conv, s.hidden, s.hidden], dim=1)
        rows = self.encode_rows(scaled.flatten(0, 1), known.flatten(0, 1))
        embedded = torch.relu(self.embed(rows)).unflatten(0, scaled.shape[:2])
        if s.without == "conv":
            past, pooled = past * 0, pooled * 0
        window = torch.cat([past.reshape(-1, KERNEL - 1, s.embed), embedded], dim=1)
        convolved = torch.relu(self._convolve(window)).transpose(1, 2)
        earlier = torch.cat([pooled[:, None], convolved], dim=1)
        pool = convolved if s.without == "conv" else torch.maximum(earlier[:, 1:], earlier[:, :-1])
        carried = (h[None].contiguous(), c[None].contiguous())
        if bool(
            (lengths == scaled.shape[1]).all()
        ):  # as in most batches: nothing to pack, which costs as much as the LSTM
            steps, (h_next, c_next) = self.lstm(pool, carried)
        else:
            packed = pack_padded_sequence(pool, lengths, batch_first=True, enforce_sorted=False)
            run, (h_next, c_next) = self.lstm(packed, carried)
            steps, _ = pad_packed_sequence(run, batch_first=True, total_length=scaled.shape[1])
        with torch.no_grad():
            latent, rebuilt = self.reconstruct(scaled)
            residual = (rebuilt - scaled) ** 2 * known / self.residual_scale
        surprise = torch.log1p(residual)
        if s.without == "lstm":
            steps = steps * 0
        if s.without == "autoencoder":
            latent, surprise = latent * 0, surprise * 0
        fused = torch.relu(self.fuse(torch.cat([steps, pool, embedded, latent, surprise], dim=2)))
        at, last = torch.arange(len(lengths), device=scaled.device), lengths.to(scaled.device)
        ring = [window[at, last + k] for k in range(KERNEL - 1)]
        following = torch.cat([*ring, earlier[at, last], h_next[0], c_next[0]], dim=1)
        return self.classify(fused), residual, following

    def _convolve(self, window: Tensor) -> Tensor:
        if self.shape.without != "conv":
            return self.conv(window.transpose(1, 2))
        # Of the kernel only the current row's weights are left.
        current = window[:, KERNEL - 1 :].transpose(1, 2)
        return nn.functional.conv1d(current, self.conv.weight[:, :, -1:], self.conv.bias)


def weights(model: Hybrid) -> dict[str, NDArray[Any]]:
    """All parameters as arrays in the orientation input @ weight, under the names graph.py and reference.py use."""
    assert not model.shape.without, "a network with a part left out is for study, not for export"

    def array(t: Tensor) -> NDArray[np.float32]:
        return np.ascontiguousarray(t.detach().numpy().astype(np.float32))

    def linear(name: str, layer: nn.Module) -> dict[str, NDArray[np.float32]]:
        assert isinstance(layer, nn.Linear)
        return {f"{name}_w": array(layer.weight.T), f"{name}_b": array(layer.bias)}

    return {
        "mean": array(model.mean),
        "inverse_scale": array(model.inverse_scale),
        "residual_scale": array(model.residual_scale),
        "ramp_feature": model.ramp_feature.numpy(),
        "low": array(model.low),
        "inverse_width": array(model.inverse_width),
        **linear("embed", model.embed),
        "conv_w": array(model.conv.weight.permute(2, 1, 0)),  # (kernel, embed, conv)
        "conv_b": array(model.conv.bias),
        "lstm_wx": array(model.lstm.weight_ih_l0.T),  # gates in the order i, f, g, o
        "lstm_wh": array(model.lstm.weight_hh_l0.T),
        "lstm_b": array(model.lstm.bias_ih_l0 + model.lstm.bias_hh_l0),
        **linear("encode1", model.encode[0]),
        **linear("encode2", model.encode[2]),
        **linear("decode1", model.decode[0]),
        **linear("decode2", model.decode[2]),
        **linear("fuse", model.fuse),
        **linear("classify", model.classify),
    }
