"""The model at work: onnxruntime sessions on the provider that is really there, and the state each host carries."""

from __future__ import annotations

import importlib.metadata
import os
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyad.bundle import Bundle
from pyad.errors import PyadError
from pyad.features import Features
from pyad.windows import Ints, segments

PROVIDERS = ("auto", "cpu", "cuda")
# Hosts with up to this many rows in a batch go through the step graph row by row, the others through the sequence
# graph, where a flood from one host costs one call instead of one per row.
_MAX_WAVES = 4
# Rows of one call of a graph, padding included: bounds memory, and on a CPU more gain nothing.
_MAX_CALL_ROWS = 4096
_CPU = "CPUExecutionProvider"
_CUDA = "CUDAExecutionProvider"
# Without TF32, whose 10 bits of mantissa move probabilities by more than the tolerance.
_CUDA_OPTIONS = {"use_tf32": "0"}
# What a warm-up batch on another provider may differ from the CPU's.
_PROVIDER_TOLERANCE = 1e-3

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Scores:
    """What the model says of a batch: probs float32 (rows, classes), novelty (rows,), residuals (rows, features)."""

    probs: Array
    novelty: Array
    residuals: Array


def check_distributions() -> None:
    """Raise PyadError unless exactly one distribution of onnxruntime is installed: both install the same module."""
    found = sorted(
        {
            name
            for d in importlib.metadata.distributions()
            if (name := (d.metadata["Name"] or "").lower().replace("_", "-")).startswith("onnxruntime")
            and name in ("onnxruntime", "onnxruntime-gpu")
        }
    )
    if len(found) > 1:
        raise PyadError(
            f"{' and '.join(found)} are both installed and overwrite each other; keep one. For the CPU:\n"
            "  pip uninstall -y onnxruntime onnxruntime-gpu && pip install --no-deps onnxruntime\n"
            "for CUDA:\n"
            "  pip uninstall -y onnxruntime onnxruntime-gpu && pip install --no-deps onnxruntime-gpu"
        )
    if not found:
        raise PyadError("onnxruntime is not installed; pip install onnxruntime (CPU) or onnxruntime-gpu (CUDA)")


def _onnxruntime() -> Any:
    """The module, with its telemetry off: a detector inside a hospital reports to nobody."""
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # read when the module is loaded
    import onnxruntime

    onnxruntime.disable_telemetry_events()
    return onnxruntime


def _session(graph: bytes, providers: list[Any]) -> Any:
    ort = _onnxruntime()
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1  # small matrices: threads cost more than they bring
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = 4
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    return ort.InferenceSession(graph, options, providers=providers)


class Model:
    """Scores batches in row order, carrying every stream's state from batch to batch.

    provider: "CUDAExecutionProvider" or "CPUExecutionProvider", the one the created sessions really use.
    warnings: what a person should know about that choice.
    """

    remembers = ("_state",)  # what a snapshot holds of it

    def __init__(self, bundle: Bundle, provider: str = "auto", max_streams: int = 50_000) -> None:
        """Raises PyadError where `provider` is "cuda" and the session does not use it, or a graph does not fit."""
        if provider not in PROVIDERS:
            raise PyadError(f"provider '{provider}' is none of {', '.join(PROVIDERS)}")
        check_distributions()
        ort = _onnxruntime()
        self.bundle = bundle
        self.warnings: list[str] = []
        self._max_streams = max_streams
        available = ort.get_available_providers()
        wanted = [_CPU] if provider == "cpu" or _CUDA not in available else [(_CUDA, _CUDA_OPTIONS), _CPU]
        if len(wanted) > 1 and hasattr(ort, "preload_dlls"):
            ort.preload_dlls()
        try:
            self._step = _session(bundle.graphs["step"], wanted)
            self._sequence = _session(bundle.graphs["sequence"], wanted)
        except Exception as error:  # onnxruntime raises its own classes, which derive from Exception alone
            first = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise PyadError(f"{bundle.path}: onnxruntime refuses the graph: {first}") from None
        self.provider: str = self._step.get_providers()[0]
        self._check_provider(provider, available)
        self._check_shapes()
        self.reset()
        if self.provider != _CPU:
            self._check_against_cpu()

    def reset(self) -> None:
        """Every stream begins anew."""
        self._state = np.zeros((self._max_streams, self.bundle.state_size), dtype=np.float32)

    def score(self, features: Features) -> Scores:
        """Scores of a batch in row order; several rows of one stream are taken one after the other."""
        n = len(features.x)
        scores = Scores(
            np.empty((n, len(self.bundle.classes)), dtype=np.float32),
            np.empty(n, dtype=np.float32),
            np.empty((n, len(self.bundle.features)), dtype=np.float32),
        )
        if n == 0:
            return scores
        seg = segments(features.stream, features.fresh | (features.stream < 0))
        starts = np.flatnonzero(seg.start)
        lengths = np.diff(starts, append=n)
        slots = seg.slot[starts]
        state = np.where(seg.carry[starts, None], self._state[slots], np.float32(0.0))
        self._run_waves(features.x, seg.order, starts, lengths, state, scores)
        self._run_sequences(features.x, seg.order, starts, lengths, state, scores)
        ends = starts + lengths - 1
        keep = seg.last[ends] & (slots >= 0)
        self._state[slots[keep]] = state[keep]
        return scores

    def _run_waves(self, x: Array, order: Ints, starts: Ints, lengths: Ints, state: Array, scores: Scores) -> None:
        for k in range(_MAX_WAVES):
            groups = np.flatnonzero((lengths > k) & (lengths <= _MAX_WAVES))
            for part in np.array_split(groups, -(-len(groups) // _MAX_CALL_ROWS) or 1):
                if len(part) == 0:
                    continue
                rows = order[starts[part] + k]
                probs, novelty, residuals, following = self._step.run(None, {"x": x[rows], "state": state[part]})
                scores.probs[rows], scores.novelty[rows], scores.residuals[rows] = probs, novelty, residuals
                state[part] = following

    def _run_sequences(self, x: Array, order: Ints, starts: Ints, lengths: Ints, state: Array, scores: Scores) -> None:
        many = np.flatnonzero(lengths > _MAX_WAVES)
        # Sequences of like length share a call, so that at most half of it is padding. onnxruntime's LSTM aborts the
        # process on an empty batch: no call is made without rows.
        size_class = np.ceil(np.log2(np.maximum(lengths[many], 1))).astype(np.int64)
        for size in np.unique(size_class):
            groups = many[size_class == size]
            per_call = max(_MAX_CALL_ROWS >> int(size), 1)
            for at in range(0, len(groups), per_call):
                self._run_sequence(x, order, starts, lengths, state, scores, groups[at : at + per_call])

    def _run_sequence(
        self, x: Array, order: Ints, starts: Ints, lengths: Ints, state: Array, scores: Scores, part: Ints
    ) -> None:
        size = lengths[part]
        steps = np.arange(size.max())
        valid = steps < size[:, None]
        rows = order[np.where(valid, starts[part, None] + steps, starts[part, None])]
        feed = {"x": x[rows], "length": size.astype(np.int32), "state": state[part]}
        probs, novelty, residuals, following = self._sequence.run(None, feed)
        real = rows[valid]
        scores.probs[real], scores.novelty[real], scores.residuals[real] = (
            probs[valid],
            novelty[valid],
            residuals[valid],
        )
        state[part] = following

    def _check_provider(self, provider: str, available: list[str]) -> None:
        if self.provider == _CUDA or provider == "cpu":
            return
        reason = (
            "the CUDA provider of onnxruntime did not start (driver, CUDA 13 and cuDNN 9 are needed)"
            if _CUDA in available
            else "this onnxruntime has no CUDA provider (it is in the distribution onnxruntime-gpu)"
        )
        if provider == "cuda":
            raise PyadError(f"provider cuda was asked for, but {reason}; use provider auto or cpu to run on the CPU")
        if _CUDA in available:
            self.warnings.append(f"running on the CPU: {reason}")

    def _check_shapes(self) -> None:
        b = self.bundle
        step = {i.name: i.shape for i in self._step.get_inputs()}
        sequence = {i.name: i.shape for i in self._sequence.get_inputs()}
        outputs = [o.name for o in self._step.get_outputs()]
        names = ["probs", "novelty", "residuals", "next_state"]
        fits = (
            outputs == names == [o.name for o in self._sequence.get_outputs()]
            and set(step) == {"x", "state"}
            and set(sequence) == {"x", "length", "state"}
            and step["x"][1:] == sequence["x"][2:] == [len(b.features)]
            and step["state"][1:] == sequence["state"][1:] == [b.state_size]
            and isinstance(step["x"][0], str)
            and isinstance(sequence["x"][0], str)
        )
        if not fits:
            raise PyadError(f"{b.path}: the graphs' inputs or outputs are not those of a pyad bundle")

    def _check_against_cpu(self) -> None:
        rng = np.random.default_rng(0)
        x = rng.normal(size=(64, len(self.bundle.features))).astype(np.float32)
        feed = {"x": x, "state": np.zeros((64, self.bundle.state_size), dtype=np.float32)}
        here = self._step.run(["probs"], feed)[0]
        cpu = _session(self.bundle.graphs["step"], [_CPU]).run(["probs"], feed)[0]
        worst = float(np.abs(here - cpu).max())
        if not worst <= _PROVIDER_TOLERANCE:
            raise PyadError(f"{self.provider} disagrees with the CPU by {worst:.2g}; use provider cpu")
