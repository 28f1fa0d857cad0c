"""The one road, synchronous: rows in, cut into batches of one size, through features, model and verdict, to a sink."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from math import isnan
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from pyad.allow_list import AllowList
from pyad.errors import printable
from pyad.explain import Reason, top_features
from pyad.flow.options import PATIENT_PORTS, PATIENT_SERVICES, Timeouts
from pyad.groups import group_of
from pyad.incidents import Hit, IncidentRules, IncidentTracker
from pyad.notices import Notice
from pyad.prefetch import prefetch
from pyad.row import Rows, concat
from pyad.verdict import DECISION_NAMES, Policy, Verdicts, decide

# Columns without which a log says little; a run in which no row has one of them is told so.
ESSENTIAL = ("duration", "orig_bytes", "resp_bytes", "orig_pkts", "resp_pkts", "orig_ip_bytes", "resp_ip_bytes")
STAGES = ("parse", "features", "model", "decide", "output")


class Extractor(Protocol):
    """Rows to the model's input (pyad.features)."""

    def extract(self, rows: Rows) -> Any:
        """Features of a batch, with `x` (rows, features)."""

    def reset(self) -> None:
        """Forget all hosts."""


class Scorer(Protocol):
    """Features to scores (pyad.model)."""

    def score(self, features: Any) -> Any:
        """`probs` (rows, classes), `novelty` (rows,), `residuals` (rows, features)."""

    def reset(self) -> None:
        """Forget all state."""


class Observer(Protocol):
    """Looks on (pyad.drift, pyad.evidence)."""

    def begin(self) -> None:
        """A new timeline begins."""

    def see(self, rows: Rows, x: NDArray[Any], novelty: NDArray[Any], verdicts: Verdicts) -> None:
        """Scored rows in order: x (rows, features), novelty (rows,)."""


@dataclass(frozen=True)
class Detector:
    """What turns rows into verdicts: features, model, and the rules around them.

    usual: (features,), the benign median of each feature; names: of the features.
    """

    extractor: Extractor
    scorer: Scorer
    policy: Policy
    allow_list: AllowList
    rules: IncidentRules
    names: Sequence[str]
    usual: NDArray[Any]


@dataclass(frozen=True)
class Batch:
    """What a sink gets. suppressed_by and reasons have one entry per row; rows not explained have none."""

    rows: Rows
    verdicts: Verdicts
    suppressed_by: list[str | None]
    reasons: list[tuple[Reason, ...]]
    notices: list[Notice]


@dataclass
class Counts:
    """What went through. decisions: connections per decision (last rows only); allowed: rows per allow-list entry."""

    rows: int = 0
    partial_rows: int = 0
    timelines: int = 0
    unscored: int = 0
    notices: int = 0
    first_ts: float = np.inf
    last_ts: float = -np.inf
    decisions: Counter[str] = field(default_factory=Counter)
    allowed: Counter[str] = field(default_factory=Counter)


Sink = Callable[[Batch], None]


class Pipeline:
    """One run over one input. `run` once; then `counts`, `timings`, `incidents` and `warnings` say what happened.

    timings: seconds per stage; parse is the time spent in the source (with read_ahead, beside the others).
    explain_all: give reasons for every row, not only for decided ones. observers: see all that is scored.
    """

    remembers = ("_clock", "counts")  # what a snapshot holds of it

    def __init__(
        self, detector: Detector, batch_rows: int = 4096, max_lateness_s: float = 600.0, explain_all: bool = False,
        observers: Sequence[Observer] = (),
    ) -> None:  # fmt: skip
        self.counts = Counts()
        self.timings: dict[str, float] = dict.fromkeys(STAGES, 0.0)
        self.warnings: list[str] = []
        self.incidents = IncidentTracker(detector.rules)
        self._detector = detector
        self._batch_rows = batch_rows
        self._max_lateness_s = max_lateness_s
        self._explain_all = explain_all
        self._observers = observers
        self._clock = -np.inf
        self._missing = set(ESSENTIAL)

    def run(self, source: Iterable[Rows], sink: Sink, read_ahead: int = 0) -> None:
        """Take the source to its end; whatever it raises passes through, after the sink got all rows before it.

        read_ahead: chunks of the source that a thread may have read before they are wanted; 0 for no thread.
        """
        chunks = self._timed(iter(source))
        batches = self._cut(prefetch(chunks, read_ahead) if read_ahead else chunks)
        while True:
            try:
                item = next(batches, _END)
            except BaseException:
                # The rows read so far are whole: they are finished before the error goes on.
                self._end_timeline(sink)
                raise
            if item is _END:
                break
            if item is None:
                self._end_timeline(sink)
                self._begin_timeline()
                continue
            try:
                self._process(item, sink)
            except (KeyboardInterrupt, SystemExit):
                self._end_timeline(sink)
                raise
        self._end_timeline(sink)
        if self._missing and self.counts.rows:
            self.warnings.append(
                f"no connection has {', '.join(n for n in ESSENTIAL if n in self._missing)}: the detector sees less "
                "and errs more; let Zeek log these columns"
            )

    def push(self, parts: Sequence[Rows]) -> list[Batch]:
        """Score batches as they come, one result per part, in order; together they cost less than one by one.

        The rows are those of one timeline without end: a live sensor's backlog may be late, and a late row counts at
        its own time. What comes out is what `run` gives for the same rows, however they are cut.
        """
        filled = [part for part in parts if len(part)]
        if not filled:
            return [_EMPTY for _ in parts]
        self.counts.timelines = max(self.counts.timelines, 1)
        rows = concat(filled)
        times = [time.perf_counter()]
        features, scores, verdicts = self._score(rows, times)
        batches, end = [], 0
        for part in parts:
            if not len(part):
                batches.append(_EMPTY)
                continue
            at = slice(end, end + len(part))
            end = at.stop
            own = rows.take(at)
            batch = self._follow(own, verdicts.take(at), features.x[at], scores.residuals[at])
            self._count(own, batch.verdicts, batch)
            batches.append(batch)
        times.append(time.perf_counter())
        self._time(times)
        return batches

    def memory(self) -> dict[str, Any]:
        """What is remembered from one batch to the next, by name: the objects themselves, for pyad.snapshot."""
        return {
            "extractor": self._detector.extractor,
            "scorer": self._detector.scorer,
            "incidents": self.incidents,
            "pipeline": self,
        }

    def begin_if_back(self, rows: Rows) -> None:
        """Begin a new timeline where the first of the next rows lies more than the lateness before the last ones."""
        step_s = self._clock - float(rows.end_time()[0])
        if step_s > self._max_lateness_s + float(_patience_s(rows.take(slice(0, 1)))[0]):
            self._warn_step_back(rows, 0, step_s)
            self._begin_timeline()

    def finish(self) -> list[Notice]:
        """Close all incidents, as at the end of a capture; the notices of that."""
        notices = self.incidents.close_all()
        self.counts.notices += len(notices)
        return notices

    def _timed(self, source: Iterator[Rows]) -> Iterator[Rows]:
        while True:
            start = time.perf_counter()
            rows = next(source, None)
            self.timings["parse"] += time.perf_counter() - start
            if rows is None:
                return
            if len(rows):
                yield rows

    def _cut(self, source: Iterator[Rows]) -> Iterator[Rows | None]:
        """Batches of `batch_rows` rows, the last of a timeline shorter; None where a new timeline begins."""
        held: list[Rows] = []
        newest = -np.inf
        try:
            for rows in source:
                self.counts.timelines = max(self.counts.timelines, 1)
                steps, newest = self._steps_back(rows, newest)
                start = 0
                for at, step_s in steps:
                    held.append(rows.take(slice(start, at)))
                    yield from self._full(held)
                    yield from _rest(held)
                    self._warn_step_back(rows, at, step_s)
                    yield None
                    start = at
                held.append(rows.take(slice(start, None)))
                yield from self._full(held)
        except GeneratorExit:
            raise
        except BaseException:
            yield from _rest(held)
            raise
        yield from _rest(held)

    def _steps_back(self, rows: Rows, newest: float) -> tuple[list[tuple[int, float]], float]:
        """Where time steps back and by how many s, after rows up to `newest` (s); and the newest time at the end."""
        end = np.nan_to_num(rows.end_time(), nan=-np.inf, neginf=-np.inf)
        so_far = np.maximum.accumulate(np.concatenate([[newest], end]))
        if not ((end < so_far[:-1] - self._max_lateness_s) & np.isfinite(end)).any():
            return [], float(so_far[-1])
        steps: list[tuple[int, float]] = []
        tolerated = self._max_lateness_s + _patience_s(rows)
        for at, (time_s, lateness_s) in enumerate(zip(end.tolist(), tolerated.tolist())):
            if -np.inf < time_s < newest - lateness_s:
                steps.append((at, newest - time_s))
                newest = time_s
            elif time_s > newest:
                newest = time_s
        return steps, newest

    def _full(self, held: list[Rows]) -> Iterator[Rows]:
        size = self._batch_rows
        if sum(map(len, held)) < size:
            return
        rows = concat(held)
        whole = len(rows) // size * size
        held[:] = [rows.take(slice(whole, None))]
        for start in range(0, whole, size):
            yield rows.take(slice(start, start + size))

    def _warn_step_back(self, rows: Rows, at: int, step_s: float) -> None:
        if self.counts.timelines == 1:
            where = printable(str(rows.source[at]))
            self.warnings.append(
                f"{where}: time steps back by {step_s:.0f} s: a new timeline begins, what was remembered of hosts is "
                "forgotten; further ones are only counted"
            )
        self.counts.timelines += 1

    def _begin_timeline(self) -> None:
        self._clock = -np.inf
        self._detector.extractor.reset()
        self._detector.scorer.reset()
        for observer in self._observers:
            observer.begin()

    def _end_timeline(self, sink: Sink) -> None:
        notices = self.finish()
        if notices:
            sink(Batch(_NO_ROWS, _NO_VERDICTS, [], [], notices))

    def _process(self, rows: Rows, sink: Sink) -> None:
        times = [time.perf_counter()]
        features, scores, verdicts = self._score(rows, times)
        batch = self._follow(rows, verdicts, features.x, scores.residuals)
        self._count(rows, verdicts, batch)
        times.append(time.perf_counter())
        sink(batch)
        times.append(time.perf_counter())
        self._time(times)

    def _score(self, rows: Rows, times: list[float]) -> tuple[Any, Any, Verdicts]:
        """Features, scores and verdicts of rows; when each of the first two was ready is added to `times`."""
        detector = self._detector
        features = detector.extractor.extract(rows)
        times.append(time.perf_counter())
        scores = detector.scorer.score(features)
        times.append(time.perf_counter())
        group = group_of(rows) if detector.policy.by_group else None
        verdicts = decide(scores.probs, scores.novelty, detector.policy, group)
        for observer in self._observers:
            observer.see(rows, features.x, scores.novelty, verdicts)
        return features, scores, verdicts

    def _time(self, times: Sequence[float]) -> None:
        for stage, start, end in zip(STAGES[1:], times, times[1:]):
            self.timings[stage] += end - start

    def _follow(self, rows: Rows, verdicts: Verdicts, x: NDArray[Any], residuals: NDArray[Any]) -> Batch:
        """Allow-list, reasons and incidents of one batch."""
        detector = self._detector
        allowed = detector.allow_list.match(rows, verdicts.decision)
        decided = np.flatnonzero(verdicts.decision)
        explained = np.arange(len(rows)) if self._explain_all else decided
        reasons: list[tuple[Reason, ...]] = [()] * len(rows)
        top = top_features(x[explained], residuals[explained], detector.usual, detector.names)
        for i, why in zip(explained.tolist(), top):
            reasons[i] = why
        suppressed: list[str | None] = [None] * len(rows)
        for i in np.flatnonzero(allowed >= 0).tolist():
            name = detector.allow_list.entries[allowed[i]].name
            suppressed[i] = f"allow-list:{name}"
            self.counts.allowed[name] += 1
        clock = np.maximum.accumulate(np.maximum(np.nan_to_num(rows.end_time(), nan=-np.inf), self._clock))
        hits = decided[allowed[decided] < 0]
        outcome = self.incidents.add(hits_of(rows, verdicts, clock, reasons, hits))
        for i, why_not in zip(hits.tolist(), outcome.suppressed):
            suppressed[i] = why_not
        self._clock = float(clock[-1])
        return Batch(rows, verdicts, suppressed, reasons, outcome.notices + self.incidents.advance(self._clock))

    def _count(self, rows: Rows, verdicts: Verdicts, batch: Batch) -> None:
        counts = self.counts
        self._missing -= {n for n in self._missing & rows.columns.keys() if not np.isnan(rows.columns[n]).all()}
        last = ~(rows.number("partial") > 0)
        counts.rows += len(rows)
        counts.partial_rows += int((~last).sum())
        counts.notices += len(batch.notices)
        decisions = np.bincount(verdicts.decision[last], minlength=len(DECISION_NAMES))
        counts.decisions.update({name: n for name, n in zip(DECISION_NAMES, decisions.tolist()) if n})
        ts = rows.number("ts")
        if not np.isnan(ts).all():
            counts.first_ts = min(counts.first_ts, float(np.nanmin(ts)))
            counts.last_ts = max(counts.last_ts, float(np.nanmax(ts)))
        unscored = int(verdicts.unscored.sum())
        if unscored and not counts.unscored:
            self.warnings.append(
                "the model gave no number for some rows; they count as benign and are listed as unscored"
            )
        counts.unscored += unscored


def _patience_s(rows: Rows) -> NDArray[np.float64]:
    """How much later than others a row may come: Zeek waits for a silent ssh or ftp connection before it tells of it.

    float64 (rows,), s.
    """
    port = np.isin(rows.number("id.resp_p"), list(PATIENT_PORTS))
    service = [not PATIENT_SERVICES.isdisjoint((s or "").split(",")) for s in rows.text("service").tolist()]
    patient = (rows.text("proto") == "tcp") & (port | np.array(service, dtype=np.bool_))
    return np.where(patient, Timeouts().patient_inactivity_s, 0.0)


def _rest(held: list[Rows]) -> Iterator[Rows]:
    rows = concat(held) if held else _NO_ROWS
    held.clear()
    if len(rows):
        yield rows


def hits_of(
    rows: Rows, verdicts: Verdicts, clock: NDArray[np.float64], reasons: Sequence[tuple[Reason, ...]], at: NDArray[Any]
) -> Iterator[Hit]:
    """The rows at `at`, all of them decided, as incidents take them; clock: per row the newest time so far (s)."""
    if not len(at):
        return iter(())
    return map(
        Hit,
        clock[at].tolist(),
        rows.number("ts")[at].tolist(),
        rows.text("uid")[at].tolist(),
        rows.text("id.orig_h")[at].tolist(),
        _whole(rows, "id.orig_p", at),
        rows.text("id.resp_h")[at].tolist(),
        _whole(rows, "id.resp_p", at),
        rows.text("proto")[at].tolist(),
        _whole(rows, "vlan", at),
        np.nan_to_num(rows.number("partial")[at]).astype(np.int64).tolist(),
        verdicts.decision[at].tolist(),
        verdicts.score[at].tolist(),
        verdicts.novelty_p[at].tolist(),
        [reasons[i] for i in at.tolist()],
    )


def _whole(rows: Rows, name: str, at: NDArray[Any]) -> list[int | None]:
    values = rows.number(name)[at].tolist()
    return [None if isnan(v) else int(v) for v in values]


_END: Any = object()
_NO_ROWS = Rows({})
_NO_VERDICTS = Verdicts(
    probs=np.zeros((0, 0), dtype=np.float32),
    cls=np.zeros(0, dtype=np.int8),
    score=np.zeros(0),
    novelty_p=np.zeros(0),
    decision=np.zeros(0, dtype=np.int8),
    unscored=np.zeros(0, dtype=np.bool_),
)
_EMPTY = Batch(_NO_ROWS, _NO_VERDICTS, [], [], [])
