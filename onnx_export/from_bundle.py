"""A bundle's weights back into a network, to go on training it with data of a site's own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import Tensor

from onnx_export.graph import KERNEL, ramps_of_unset
from onnx_export.network import Hybrid, Scaling, Shape
from pyad.bundle import load_bundle


def read_network(path: Path) -> Hybrid:
    """The network of a bundle folder. Raises PyadError for a bundle that this pyad would not load, ValueError for one
    whose network is of an older kind."""
    bundle = load_bundle(path)
    graph = onnx.load_model_from_string(bundle.graphs["step"]).graph
    w = {t.name: numpy_helper.to_array(t).copy() for t in graph.initializer}
    if "residual_weight" not in w:
        raise ValueError(f"{path}: its graph was made by an older trainer; train anew")
    w |= {name: w[name][:, 0] for name in ("low", "inverse_width")}
    unset = ramps_of_unset(w)
    w["embed_w"] = np.concatenate([w["embed_w"], w["embed_mask_w"] - unset])
    w["embed_b"] = w["embed_b"] + unset.sum(axis=0)
    inverse_scale = np.nan_to_num(w["inverse_scale"])
    scaling = Scaling(w["mean"], inverse_scale, w["ramp_feature"], w["low"], w["inverse_width"])
    conv, features = w["conv_b"].size // KERNEL, w["mean"].size
    shape = Shape(
        features,
        w["classify_b"].size,
        embed=w["embed_b"].size,
        conv=conv,
        hidden=w["lstm_b"].size // 4,
        ae_hidden=w["encode1_b"].size,
        latent=w["encode2_b"].size,
        fused=w["fuse_b"].size,
    )
    model = Hybrid(shape, scaling)
    both = w["lstm_w"].T
    kernel = w["conv_w"].reshape(shape.embed, KERNEL, conv)
    values = {
        "residual_scale": 1 / w["residual_weight"],
        "conv.weight": kernel.transpose(2, 0, 1),
        "conv.bias": w["conv_b"][-conv:],
        "lstm.weight_ih_l0": both[:, :conv],
        "lstm.weight_hh_l0": both[:, conv:],
        "lstm.bias_ih_l0": w["lstm_b"],
        "lstm.bias_hh_l0": np.zeros_like(w["lstm_b"]),
    }
    for layer, name in (
        ("embed", "embed"), ("fuse", "fuse"), ("classify", "classify"), ("encode.0", "encode1"),
        ("encode.2", "encode2"), ("decode.0", "decode1"), ("decode.2", "decode2"),
    ):  # fmt: skip
        values[f"{layer}.weight"], values[f"{layer}.bias"] = w[f"{name}_w"].T, w[f"{name}_b"]
    tensors: dict[str, Tensor] = {k: torch.as_tensor(np.ascontiguousarray(v)) for k, v in values.items()}
    model.load_state_dict(tensors, strict=False)
    return model
