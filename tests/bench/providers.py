"""The model on the CPU and on CUDA: how far their numbers differ, connections per second and what each costs.

    python -m tests.bench.providers [--bundle NAME] [LOG ...]

Everything that pyad pays for a provider is in the times: rows go to it from the process's memory and come back there.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pyad.bundle import Bundle, load_bundle
from pyad.config import InputSettings
from pyad.features import FeatureExtractor, Features
from pyad.model import Model, Scores
from pyad.paths import find_bundle
from pyad.reading import open_rows
from pyad.sources.base import ReadReport
from pyad.verdict import Policy, decide

DEFAULT_LOG = Path(__file__).parents[1] / "data" / "hospital.conn.log.gz"
BATCHES = (1, 8, 32, 128, 512, 2048, 8192, 32768)
_SECONDS = 0.8  # of each measurement
_SEQUENCE = 512  # rows of one host


def features_of(paths: list[Path], batch_rows: int) -> list[Features]:
    """The features of whole logs, in batches as a replay makes them."""
    extractor = FeatureExtractor()
    rows = open_rows(paths, InputSettings(), ReadReport())
    return [
        extractor.extract(part.take(slice(i, i + batch_rows)))
        for part in rows
        for i in range(0, len(part), batch_rows)
    ]  # fmt: skip


def score_all(model: Model, batches: list[Features]) -> Scores:
    """Scores of all batches from an empty state."""
    model.reset()
    found = [model.score(b) for b in batches]
    return Scores(*(np.concatenate([getattr(s, name) for s in found]) for name in ("probs", "novelty", "residuals")))


def difference(models: list[Model], batches: list[Features], bundle: Bundle) -> str:
    """The largest differences between two models' scores, and how many decisions are others."""
    a, b = (score_all(m, batches) for m in models)
    policy = Policy.build(bundle.thresholds, bundle.novelty, {}, None)
    decisions = [decide(s.probs, s.novelty, policy).decision for s in (a, b)]
    worst = {
        "probabilities": np.abs(a.probs - b.probs).max(),
        "novelty": np.abs(a.novelty - b.novelty).max(),
        "residuals, of their size": (np.abs(a.residuals - b.residuals) / np.maximum(np.abs(a.residuals), 1.0)).max(),
    }
    text = ", ".join(f"{name} {value:.1e}" for name, value in worst.items())
    other = int((decisions[0] != decisions[1]).sum())
    return f"{len(a.probs):,} rows: largest difference of {text}; {other} decisions differ"


@dataclass(frozen=True)
class Rate:
    """Of a call: rows per second, the median of what fits into a while; us: microseconds a row of the best."""

    per_second: float
    us: float


def rate(run: Any, rows: int) -> Rate:
    """How fast a call is that takes `rows`."""
    for _ in range(3):
        run()
    times: list[float] = []
    until = time.perf_counter() + _SECONDS
    while time.perf_counter() < until or len(times) < 5:
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return Rate(rows / float(np.median(times)), min(times) / rows * 1e6)


def rates(model: Model, x: np.ndarray[Any, np.dtype[np.float32]]) -> dict[str, Rate]:
    """Rates of connections through the step graph by batch size, and through the sequence graph for one host."""
    found: dict[str, Rate] = {}
    size = model.bundle.state_size
    for n in BATCHES:
        rows = np.resize(x, (n, x.shape[1]))
        feed = {"x": rows, "state": np.zeros((n, size), dtype=np.float32)}
        found[f"step, {n:,}"] = rate(lambda f=feed: model._step.run(None, f), n)
    for hosts in (1, 16):
        rows = np.resize(x, (hosts, _SEQUENCE, x.shape[1]))
        length = np.full(hosts, _SEQUENCE, dtype=np.int32)
        feed = {"x": rows, "length": length, "state": np.zeros((hosts, size), dtype=np.float32)}
        name = f"sequence, {hosts} x {_SEQUENCE}"
        found[name] = rate(lambda f=feed: model._sequence.run(None, f), hosts * _SEQUENCE)
    return found


def main() -> None:
    """Print the comparison; without CUDA the CPU's rates alone."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.providers")
    parser.add_argument("--bundle", default="default")
    parser.add_argument("--batch-rows", type=int, default=4096)
    parser.add_argument("log", type=Path, nargs="*", default=[DEFAULT_LOG])
    args = parser.parse_args()
    bundle = load_bundle(find_bundle(args.bundle))
    batches = features_of(args.log, args.batch_rows)
    models = [Model(bundle, "cpu")]
    best = Model(bundle, "auto")
    if best.provider != models[0].provider:
        models.append(best)
        sys.stdout.write(difference(models, batches, bundle) + "\n")
    else:
        sys.stdout.write("no CUDA provider here: " + "; ".join(best.warnings or ["onnxruntime has none"]) + "\n")
    x = np.concatenate([b.x for b in batches])
    whole = f"all, batches of {args.batch_rows}"
    found = [{**rates(m, x), whole: rate(lambda m=m: score_all(m, batches), len(x))} for m in models]
    for name in found[0]:
        each = [f[name] for f in found]
        texts = [f"{r.per_second:12,.0f}/s (best {r.us:6.2f} us a row)" for r in each]
        sys.stdout.write(f"{name:22} {' '.join(texts)}{_ratio(each)}\n")


def _ratio(values: list[Rate]) -> str:
    return f"  CUDA x {values[1].per_second / values[0].per_second:.2f}" if len(values) > 1 else ""


if __name__ == "__main__":
    main()
