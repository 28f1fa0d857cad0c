"""Stand-ins for features and model, so that tests of the road do not depend on a trained bundle.

The fake model reads the verdict from the row itself: `orig_bytes` is 100 * class + probability in percent, and
`resp_bytes` is the novelty score.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pyad.allow_list import AllowList
from pyad.incidents import IncidentRules
from pyad.pipeline import Detector
from pyad.row import Rows, from_tuples
from pyad.verdict import CLASSES, Policy

NAMES = ("conns_10s", "fan_out", "bytes")
NOVELTY = {
    "quantiles": [[0.5, 1.0], [0.1, 2.0], [0.01, 3.0]],
    "tail": {"threshold": 3.0, "xi": 0.0, "beta": 1.0, "p_tail": 0.01},
    "level": 1e-3,
}
COLUMNS = (
    "ts", "uid", "id.orig_h", "id.orig_p", "id.resp_h", "id.resp_p", "proto", "service", "duration",
    "orig_bytes", "resp_bytes", "partial", "orig_pkts", "resp_pkts", "orig_ip_bytes", "resp_ip_bytes",
)  # fmt: skip


@dataclass
class FakeFeatures:
    x: np.ndarray
    cls: np.ndarray
    prob: np.ndarray
    novelty: np.ndarray


@dataclass
class FakeScores:
    probs: np.ndarray
    novelty: np.ndarray
    residuals: np.ndarray


class FakeExtractor:
    """Counts its rows since the last reset: state that a batch border must not disturb."""

    def __init__(self) -> None:
        self.resets = 0
        self.seen = 0

    def reset(self) -> None:
        self.resets += 1
        self.seen = 0

    def extract(self, rows: Rows) -> FakeFeatures:
        code = np.nan_to_num(rows.number("orig_bytes"))
        order = self.seen + np.arange(1, len(rows) + 1)
        self.seen += len(rows)
        x = np.column_stack([order, rows.number("id.orig_p"), code]).astype(np.float32)
        return FakeFeatures(x, (code // 100).astype(int), code % 100 / 100, rows.number("resp_bytes"))


class FakeScorer:
    def __init__(self) -> None:
        self.resets = 0

    def reset(self) -> None:
        self.resets += 1

    def score(self, features: FakeFeatures) -> FakeScores:
        n = len(features.x)
        probs = np.zeros((n, len(CLASSES)), dtype=np.float32)
        probs[:, 0] = 1.0
        rows = np.flatnonzero(features.cls > 0)
        probs[rows, 0] = 1 - features.prob[rows]
        probs[rows, features.cls[rows]] = features.prob[rows]
        residuals = np.tile(np.array([3.0, 2.0, 1.0], dtype=np.float32), (n, 1))
        return FakeScores(probs, np.nan_to_num(features.novelty, nan=0.0).astype(np.float32), residuals)


def fake_detector(min_conns=None, allow=(), novel_p=None, **rules) -> Detector:
    return Detector(
        extractor=FakeExtractor(),
        scorer=FakeScorer(),
        policy=Policy.build(dict.fromkeys(CLASSES[1:], 0.5), NOVELTY, {}, novel_p),
        allow_list=AllowList(allow),
        rules=IncidentRules(min_conns=min_conns or {}, model="fake-1", **rules),
        names=NAMES,
        usual=np.array([0.5, 2.0, 3.0]),
    )


def code(cls: str, prob: float = 0.99) -> float:
    """The `orig_bytes` that makes the fake model say `cls` with this probability."""
    return CLASSES.index(cls) * 100 + round(prob * 100) if cls != "benign" else 0.0


def row(
    ts, cls="benign", orig="10.0.0.1", resp="10.0.0.2", port=80, prob=0.99, novelty=0.0, uid=None, orig_p=40000,
    proto="tcp", service=None, duration=0.0, partial=0,
):  # fmt: skip
    return (
        ts, uid or f"C{ts:.3f}{orig}{orig_p}", orig, orig_p, resp, port, proto, service, duration,
        code(cls, prob), novelty, partial, 1, 1, 40, 40,
    )  # fmt: skip


def rows_of(*tuples, source="test.log") -> Rows:
    return from_tuples(COLUMNS, tuples, source)
