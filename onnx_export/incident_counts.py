"""What a model's scores become for a person: incidents by the product's own pipeline, false ones and attacks found."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnx_export.data import Capture
from pyad.allow_list import AllowList
from pyad.evidence import active_s, devices_of
from pyad.incidents import IncidentRules
from pyad.pipeline import Batch, Detector, Pipeline
from pyad.row import Rows
from pyad.verdict import CLASSES, Policy

_DAY_S, _HOUR_S = 86_400.0, 3_600.0
_NOT_TOLD = ("min-conns", "budget")
Key = tuple[str | None, float]


@dataclass(frozen=True)
class Attack:
    """One attack of a capture. seconds, connections: from its first row to the first notice; None where not found."""

    label: str
    detail: str
    rows: int
    seconds: float | None = None
    connections: int | None = None


@dataclass
class Outcome:
    """What one capture gave. false: new incidents told because of a benign row, by class of the notice.

    worst_hour: the most of them whose connections began within an hour.
    """

    device_days: float = 0.0
    false: Counter[str] = field(default_factory=Counter)
    attacks: list[Attack] = field(default_factory=list)
    worst_hour: int = 0

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        attacks = [asdict(a) for a in self.attacks]
        days, false = round(self.device_days, 4), dict(self.false)
        return {"device_days": days, "false": false, "worst_hour": self.worst_hour, "attacks": attacks}


@dataclass(frozen=True)
class _Scored:
    """A batch with scores already given: what the pipeline asks of features and of scores."""

    probs: NDArray[np.float32]
    novelty: NDArray[np.float32]
    x: NDArray[np.float32]
    residuals: NDArray[np.float32]


class _Given:
    """Extractor and scorer in one: hands out scores made before, batch after batch."""

    def __init__(self, probs: NDArray[np.float32], novelty: NDArray[np.float32]) -> None:
        self._probs, self._novelty, self._at = probs, novelty, 0

    def extract(self, rows: Rows) -> _Scored:
        at = slice(self._at, self._at + len(rows))
        self._at = at.stop
        nothing = np.zeros((len(rows), 1), dtype=np.float32)
        return _Scored(self._probs[at], self._novelty[at], nothing, nothing)

    def score(self, features: _Scored) -> _Scored:
        return features

    def reset(self) -> None:
        """Scores know nothing of timelines."""


def outcome(
    capture: Capture, probs: NDArray[np.float32], novelty: NDArray[np.float32], policy: Policy,
    min_conns: Mapping[str, int],
) -> Outcome:  # fmt: skip
    """Run the pipeline over one capture with its scores (rows, classes) and (rows,)."""
    assert capture.rows is not None
    rows = capture.rows
    given = _Given(probs, novelty)
    detector = Detector(
        given, given, policy, AllowList(()), IncidentRules(min_conns=min_conns), ("-",), np.zeros(1)
    )  # fmt: skip
    found = _Watch(capture)
    Pipeline(detector).run([rows], found.sink)
    return Outcome(device_days(capture), found.false, found.attacks(), most_within(found.began, _HOUR_S))


class _Watch:
    """Reads along what the pipeline tells, against the truth."""

    def __init__(self, capture: Capture) -> None:
        assert capture.rows is not None
        self.false: Counter[str] = Counter()
        self.began: list[float] = []  # when the connections were that false ones were told of
        self._capture = capture
        self._at = 0
        self._label: dict[Key, int] = dict(zip(_keys(capture.rows), capture.label.tolist(), strict=True))
        self._begin, self._end = capture.rows.number("ts"), capture.rows.end_time()
        self._first: dict[tuple[int, str], int] = {}  # attack → index of the row that was told of

    def sink(self, batch: Batch) -> None:
        for notice in batch.notices:
            if notice.state == "new" and self._label.get((notice.uid, notice.ts), -1) == 0:
                self.false[notice.sub.split(" class=")[1].split()[0]] += 1
                self.began.append(notice.ts)
        for i, why_not in enumerate(batch.suppressed_by):
            at = self._at + i
            label = int(self._capture.label[at])
            if label > 0 and batch.verdicts.decision[i] and why_not not in _NOT_TOLD:
                self._first.setdefault((label, self._capture.detail[at]), at)
        self._at += len(batch.rows)

    def attacks(self) -> list[Attack]:
        capture, found = self._capture, []
        detail = np.array(capture.detail, dtype=object)
        for label, what in sorted({(int(k), w) for k, w in zip(capture.label, capture.detail, strict=True) if k > 0}):
            at = np.flatnonzero((capture.label == label) & (detail == what))
            told = self._first.get((label, what))
            if told is None:
                found.append(Attack(CLASSES[label], what, len(at)))
                continue
            begin = float(self._begin[at].min())
            conns = int((at <= told).sum())
            found.append(Attack(CLASSES[label], what, len(at), round(float(self._end[told]) - begin, 1), conns))
        return found


def most_within(times: Sequence[float], span: float) -> int:
    """The most of `times` that any half-open stretch of `span` holds."""
    s = np.sort(times)
    return int((np.searchsorted(s, s + span) - np.arange(len(s))).max(initial=0))


def _keys(rows: Rows) -> list[Key]:
    return list(zip(rows.text("uid").tolist(), rows.number("ts").tolist(), strict=True))


def device_days(capture: Capture) -> float:
    """Devices × the days of the capture's benign rows, without its silences (see pyad.evidence).

    A device is an address of the monitored network that sent a packet in a benign row and attacked nobody.
    """
    assert capture.rows is not None
    rows, label = capture.rows, capture.label
    benign = rows.take((label == 0) & (rows.text("proto") != "arp"))
    # Of a rerouted connection the originator is a victim.
    attackers = set(rows.text("id.orig_h")[(label > 0) & (label != CLASSES.index("spoofing"))].tolist())
    times = np.sort(np.concatenate([benign.number("ts"), benign.end_time()]))
    return len(devices_of(benign) - attackers) * active_s(times) / _DAY_S


def totals(outcomes: Sequence[Outcome]) -> dict[str, float]:
    """Sums over captures: device_days, false (new incidents told of benign rows), attacks, found."""
    attacks = [a for o in outcomes for a in o.attacks]
    return {
        "device_days": sum(o.device_days for o in outcomes),
        "false": sum(o.false.total() for o in outcomes),
        "attacks": len(attacks),
        "found": sum(a.seconds is not None for a in attacks),
    }
