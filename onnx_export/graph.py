"""Builds `step.onnx` and `sequence.onnx` from the network's arrays with onnx.helper: no torch, no tracing.

Both take raw features (NaN unset) and state, and return class probabilities, novelty score, residuals per feature
and the next state. The same input gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

OPSET = 18
IR_VERSION = 8  # read by onnxruntime 1.17 and newer
# Scaled inputs are clipped here: one wild value must not drown the rest.
CLIP = 8.0
LEAST = float(np.finfo(np.float32).min)  # a scaled input that is not above this is unset, as NaN is
KERNEL = 3  # rows the convolution reads

Weights = Mapping[str, NDArray[Any]]


class _Builder:
    """Collects nodes and constants; every helper returns the name of its output."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, onnx.TensorProto] = {}
        self._count = 0

    def constant(self, name: str, value: NDArray[np.generic]) -> str:
        self.constants.setdefault(name, numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def op(self, kind: str, *inputs: str, out: str | None = None, **attributes: object) -> str:
        self._count += 1
        name = out or f"{kind.lower()}_{self._count}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], name=f"n{self._count}_{name}", **attributes))
        return name

    def multi(self, kind: str, inputs: Sequence[str], outputs: Sequence[str], **attributes: object) -> list[str]:
        self._count += 1
        node = helper.make_node(kind, list(inputs), list(outputs), name=f"n{self._count}_{kind}", **attributes)
        self.nodes.append(node)
        return list(outputs)

    def scalar(self, value: float) -> str:
        return self.constant(f"c_{value:g}", np.array(value, dtype=np.float32))

    def ints(self, *values: int) -> str:
        return self.constant("i_" + "_".join(map(str, values)), np.array(values, dtype=np.int64))

    def dense(self, x: str, w: Weights, name: str, relu: bool = False) -> str:
        weight, bias = self.constant(f"{name}_w", w[f"{name}_w"]), self.constant(f"{name}_b", w[f"{name}_b"])
        y = self.op("Add", self.op("MatMul", x, weight), bias)
        return self.op("Relu", y) if relu else y


def _scaled(b: _Builder, w: Weights, x: str) -> tuple[str, str]:
    """Of rows x (rows, features): (scaled input with 0 for unset, mask of set features)."""
    # Unset, infinite and absurd values end here; nothing after these lines can become NaN. A feature that training
    # hardly ever saw is unset whatever it says. Comparisons with NaN are false, which takes less time than to choose.
    scale = np.where(w["inverse_scale"] > 0, w["inverse_scale"], np.float32(np.nan))
    wide = b.op("Mul", b.op("Sub", x, b.constant("mean", w["mean"])), b.constant("inverse_scale", scale))
    known = b.op("Cast", b.op("Greater", wide, b.scalar(LEAST)), to=TensorProto.FLOAT)
    return b.op("Clip", b.op("ThresholdedRelu", wide, alpha=LEAST), b.scalar(-CLIP), b.scalar(CLIP)), known


def _autoencoder(b: _Builder, w: Weights, scaled: str, known: str, prefix: str = "") -> tuple[str, str]:
    axis = b.ints(-1)
    latent = b.op("Tanh", b.dense(b.dense(scaled, w, "encode1", relu=True), w, "encode2"))
    rebuilt = b.dense(b.dense(latent, w, "decode1", relu=True), w, "decode2")
    error = b.op("Mul", b.op("Sub", rebuilt, scaled), known)
    weight = b.constant("residual_weight", 1 / w["residual_scale"])
    residual = b.op("Mul", b.op("Mul", error, error), weight, out=f"{prefix}residuals")
    total = b.op("ReduceSum", residual, axis, keepdims=0)
    count = b.op("Max", b.op("ReduceSum", known, axis, keepdims=0), b.scalar(1.0))
    b.op("Log", b.op("Add", b.op("Div", total, count), b.scalar(1.0)), out=f"{prefix}novelty")
    return latent, residual


def ramps_of_unset(w: Weights) -> NDArray[np.float32]:
    """(features, embed) what the ramps of a feature add to the embedding where its scaled value is 0."""
    ramps = np.clip(-w["low"] * w["inverse_width"], 0, 1)
    found = np.zeros((w["mean"].size, w["embed_b"].size), np.float32)
    np.add.at(found, w["ramp_feature"], ramps[:, None] * w["embed_w"][: ramps.size])
    return found


def _embed(b: _Builder, w: Weights, scaled: str, known: str) -> str:
    """The embedded rows (rows, embed) of scaled rows and their masks.

    On their side, since whole rows of memory are picked several times as fast as columns are. Unset features have no
    ramps, but they come here as 0: what the ramps make of that is taken off by the mask's weights, at no cost.
    """
    feature, n_ramps = b.constant("ramp_feature", w["ramp_feature"]), w["low"].size
    picked = b.op("Gather", b.op("Transpose", scaled, perm=[1, 0]), feature, axis=0)
    above = b.op("Sub", picked, b.constant("low", w["low"][:, None]))
    width = b.constant("inverse_width", w["inverse_width"][:, None])
    ramps = b.op("Clip", b.op("Mul", above, width), b.scalar(0), b.scalar(1))
    unset = ramps_of_unset(w)
    of_mask = b.constant("embed_mask_w", w["embed_w"][n_ramps:] + unset)
    of_ramps = b.constant("embed_w", w["embed_w"][:n_ramps])
    mask = b.op("Gemm", known, of_mask, b.constant("embed_b", w["embed_b"] - unset.sum(axis=0)))
    return b.op("Relu", b.op("Gemm", ramps, of_ramps, mask, transA=1))


def _head(
    b: _Builder, w: Weights, hidden: str, pool: str, now: str, latent: str, residual: str, prefix: str = ""
) -> None:
    surprise = b.op("Log", b.op("Add", residual, b.scalar(1.0)))
    fused = b.dense(b.op("Concat", hidden, pool, now, latent, surprise, axis=-1), w, "fuse", relu=True)
    b.op("Softmax", b.dense(fused, w, "classify"), out=f"{prefix}probs", axis=-1)


def _split_state(b: _Builder, w: Weights) -> list[str]:
    conv, hidden = w["conv_b"].size, w["lstm_wh"].shape[0]
    sizes = b.ints(*[conv] * KERNEL, hidden, hidden)
    return b.multi("Split", ["state", sizes], ["owed", "owed_later", "pooled", "h", "c"], axis=1)


def _convolution(b: _Builder, w: Weights, now: str) -> list[str]:
    """What each embedded row adds to the convolution of the second row after it, of the next and of its own.

    A host's state keeps the sums that earlier rows owe to later ones instead of those rows: less to keep, and one
    product a row.
    """
    conv = w["conv_b"].size
    kernel = np.concatenate(list(w["conv_w"]), axis=1)  # (embed, 3 × conv), the oldest row's weights first
    bias = np.concatenate([np.zeros((KERNEL - 1) * conv, np.float32), w["conv_b"]])
    sums = b.op("Gemm", now, b.constant("conv_w", kernel), b.constant("conv_b", bias))
    return b.multi("Split", [sums, b.ints(*[conv] * KERNEL)], ["to_second", "to_next", "own"], axis=1)


def _model(b: _Builder, name: str, inputs: list[onnx.ValueInfoProto], lead: list[str], w: Weights,
           metadata: Mapping[str, str]) -> onnx.ModelProto:  # fmt: skip
    features, classes = w["mean"].size, w["classify_b"].size

    def value(label: str, *dims: str | int) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(label, TensorProto.FLOAT, list(dims))

    outputs = [
        value("probs", *lead, classes),
        value("novelty", *lead),
        value("residuals", *lead, features),
        value("next_state", lead[0], state_size(w)),
    ]
    graph = helper.make_graph(b.nodes, name, inputs, outputs, list(b.constants.values()))
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="pyad")
    model.ir_version = IR_VERSION
    helper.set_model_props(model, dict(metadata))
    onnx.checker.check_model(model, full_check=True)
    return model


def state_size(w: Weights) -> int:
    """Floats of carried state per host."""
    return KERNEL * w["conv_b"].size + 2 * w["lstm_wh"].shape[0]


def build_step(w: Weights, metadata: Mapping[str, str]) -> onnx.ModelProto:
    """One row of many hosts: x (rows, features), state (rows, S)."""
    b = _Builder()
    scaled, known = _scaled(b, w, "x")
    owed, owed_later, pooled, h, c = _split_state(b, w)
    now = _embed(b, w, scaled, known)
    to_second, to_next, own = _convolution(b, w, now)
    convolved = b.op("Relu", b.op("Add", own, owed))
    owed_next = b.op("Add", to_next, owed_later)
    pool = b.op("Max", convolved, pooled)
    both = np.concatenate([w["lstm_wx"], w["lstm_wh"]])
    gates = b.op("Gemm", b.op("Concat", pool, h, axis=1), b.constant("lstm_w", both), b.constant("lstm_b", w["lstm_b"]))
    hidden = w["lstm_wh"].shape[0]
    i, f, g, o = b.multi("Split", [gates, b.ints(*[hidden] * 4)], ["gate_i", "gate_f", "gate_g", "gate_o"], axis=1)
    kept = b.op("Mul", b.op("Sigmoid", f), c)
    c_next = b.op("Add", kept, b.op("Mul", b.op("Sigmoid", i), b.op("Tanh", g)))
    h_next = b.op("Mul", b.op("Sigmoid", o), b.op("Tanh", c_next))
    latent, residual = _autoencoder(b, w, scaled, known)
    _head(b, w, h_next, pool, now, latent, residual)
    b.op("Concat", owed_next, to_second, convolved, h_next, c_next, out="next_state", axis=1)
    inputs = [
        helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", w["mean"].size]),
        helper.make_tensor_value_info("state", TensorProto.FLOAT, ["rows", state_size(w)]),
    ]
    return _model(b, "pyad_step", inputs, ["rows"], w, metadata)


def build_sequence(w: Weights, metadata: Mapping[str, str]) -> onnx.ModelProto:
    """Many rows of few hosts: x (hosts, steps, features), length int32 (hosts,) ≥ 1, state (hosts, S).

    Outputs past a host's length are meaningless. Never run it with zero hosts or steps: onnxruntime's LSTM aborts the
    process on an empty batch.
    """
    b = _Builder()
    # What looks at one row alone reads all rows of all hosts as one matrix, whose products onnxruntime fuses.
    scaled, known = _scaled(b, w, b.op("Reshape", "x", b.ints(-1, w["mean"].size)))
    owed, owed_later, pooled, h, c = _split_state(b, w)
    one, lead, conv = b.ints(1), b.op("Shape", "x", end=2), w["conv_b"].size

    def by_host(flat: str, *width: int, out: str | None = None) -> str:
        return b.op("Reshape", flat, b.op("Concat", lead, b.ints(*width), axis=0) if width else lead, out=out)

    def until(part: str, end: int) -> str:
        return b.op("Slice", part, b.ints(0), b.ints(end), one)

    embedded = _embed(b, w, scaled, known)
    to_second, to_next, own = (by_host(part, conv) for part in _convolution(b, w, embedded))
    # Place t: what rows before t add to the convolution of row t; the last is for the row after all of these.
    later = b.op("Unsqueeze", owed_later, one)
    nothing = b.op("Sub", later, later)  # what `owed` has in it already
    by_older = b.op("Concat", nothing, later, to_second, axis=1)
    by_earlier = b.op("Add", b.op("Concat", b.op("Unsqueeze", owed, one), to_next, axis=1), until(by_older, -1))
    convolved = b.op("Relu", b.op("Add", own, until(by_earlier, -1)))
    earlier = b.op("Concat", b.op("Unsqueeze", pooled, one), convolved, axis=1)
    last = b.constant("i_max", np.array([np.iinfo(np.int64).max], dtype=np.int64))
    pool = b.op("Max", until(earlier, -1), b.op("Slice", earlier, one, last, one))
    hidden = w["lstm_wh"].shape[0]
    # torch's gates are i, f, g, o; ONNX wants i, o, f, c and two biases.
    order = np.concatenate([np.arange(hidden) + k * hidden for k in (0, 3, 1, 2)])
    weight = b.constant("lstm_w", w["lstm_wx"].T[order][None])
    recur = b.constant("lstm_r", w["lstm_wh"].T[order][None])
    bias = b.constant("lstm_b", np.concatenate([w["lstm_b"][order], np.zeros(4 * hidden, np.float32)])[None])
    zero = b.ints(0)
    steps, h_next, c_next = b.multi(
        "LSTM",
        [b.op("Transpose", pool, perm=[1, 0, 2]), weight, recur, bias, "length",
         b.op("Unsqueeze", h, zero), b.op("Unsqueeze", c, zero)],
        ["lstm_y", "lstm_h", "lstm_c"],
        hidden_size=hidden,
    )  # fmt: skip
    run = b.op("Transpose", b.op("Squeeze", steps, one), perm=[1, 0, 2])
    latent, residual = _autoencoder(b, w, scaled, known, "flat_")
    flat = [b.op("Reshape", part, b.ints(-1, width)) for part, width in ((run, hidden), (pool, conv))]
    _head(b, w, *flat, embedded, latent, residual, "flat_")
    by_host("flat_probs", w["classify_b"].size, out="probs")
    by_host("flat_novelty", out="novelty")
    by_host("flat_residuals", w["mean"].size, out="residuals")
    length = b.op("Unsqueeze", b.op("Cast", "length", to=TensorProto.INT64), one)

    def at(source: str, offset: int) -> str:
        index = b.op("Add", length, b.ints(offset)) if offset else length
        return b.op("GatherND", source, index, batch_dims=1)

    b.op(
        "Concat",
        at(by_earlier, 0), at(by_older, 1), at(earlier, 0),
        b.op("Squeeze", h_next, zero), b.op("Squeeze", c_next, zero),
        out="next_state", axis=1,
    )  # fmt: skip
    inputs = [
        helper.make_tensor_value_info("x", TensorProto.FLOAT, ["hosts", "steps", w["mean"].size]),
        helper.make_tensor_value_info("length", TensorProto.INT32, ["hosts"]),
        helper.make_tensor_value_info("state", TensorProto.FLOAT, ["hosts", state_size(w)]),
    ]
    return _model(b, "pyad_sequence", inputs, ["hosts", "steps"], w, metadata)


def save(model: onnx.ModelProto, path: Path) -> None:
    """Write one self-contained file."""
    path.write_bytes(model.SerializeToString(deterministic=True))
