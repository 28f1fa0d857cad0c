"""Drift: whether features and scores still look as they did where the thresholds were chosen. Pure, bounded.

Windows of rows that are no known attack are compared with a reference by the population stability index over the
reference's deciles: sum((p - q) * ln(p / q)); 0.1 is usually taken for a change worth watching, 0.25 for one worth
acting on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pyad.explain import digits, natural
from pyad.reference import BINS, SCORES, Reference, bin_counts
from pyad.row import Rows
from pyad.verdict import NOVEL, Verdicts

SHOWN = 5  # moves that are told
UNSET = ".unset"  # after a name: it is how often the value is missing that has moved
_SHARE_EPS = 1e-4
_EVERY = 8  # one row of so many is looked at; which, depends on its number alone
_BUFFER = 512  # rows looked at together
_ENTER_SHARE, _LEAVE_SHARE = 0.25, 0.15  # of the features, moved by more than `alarm_psi`
_HASH = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True)
class DriftRules:
    """window_h: hours of the traffic's own time, and min_rows: rows of no known attack, that a window has at least.

    alarm_psi: from here on a quantity has moved; clear_psi: below it the scores are as they were again.
    """

    window_h: float = 24.0
    min_rows: int = 10_000
    alarm_psi: float = 0.25
    clear_psi: float = 0.1


class Move(NamedTuple):
    """One quantity that moved: its index, and its mean (or with `.unset` the share of unset values) before and now."""

    name: str
    psi: float
    before: float
    now: float

    def __str__(self) -> str:
        return f"{self.name} {digits(self.before)} -> {digits(self.now)} (PSI {digits(self.psi)})"


@dataclass(frozen=True)
class Drift:
    """What one window showed. drifting: the verdict, hysteresis included; moves: strongest first, over alarm_psi.

    begun, ended: s, the traffic's own time. moved_features: how many features are over alarm_psi, of `features`.
    """

    drifting: bool
    begun: float
    ended: float
    rows: int
    score_psi: float
    moved_features: int
    features: int
    moves: tuple[Move, ...]

    @property
    def hours(self) -> float:
        """The window's length."""
        return (self.ended - self.begun) / 3600.0


@dataclass
class _Window:
    """What is known of the window under way. passed: s of it before the present timeline or run."""

    counts: NDArray[np.int64]
    sums: NDArray[np.float64]
    rows: int = 0
    passed: float = 0.0
    begun: float = -np.inf


class DriftWatch:
    """Watches a pipeline. `last` is the newest window's outcome, None before the first; `windows` counts them."""

    def __init__(self, reference: Reference, names: Sequence[str], rules: DriftRules) -> None:
        self.last: Drift | None = None
        self.windows = 0
        self._reference = reference
        self._names = (*names, *SCORES)
        self._rules = rules
        self._drifting = False
        self._seen = 0  # rows so far, over all windows
        self._clock = -np.inf
        self._buffer: list[NDArray[Any]] = []
        self._buffered = 0
        self._window = self._new_window()

    def begin(self) -> None:
        """Time has stepped back: what there is of the window goes on with the new time."""
        if np.isfinite(self._clock):
            self._window.passed += self._clock - self._window.begun
        self._window.begun = self._clock = -np.inf

    def see(self, rows: Rows, x: NDArray[Any], novelty: NDArray[Any], verdicts: Verdicts) -> None:
        """Take scored rows in order; x: (rows, features)."""
        # What is merely novel counts: traffic that has changed altogether would otherwise pass unseen.
        at = np.flatnonzero(((verdicts.decision == 0) | (verdicts.decision == NOVEL)) & ~verdicts.unscored)
        if not len(at):
            return
        clock = np.maximum.accumulate(np.maximum(np.nan_to_num(rows.end_time()[at], nan=-np.inf), self._clock))
        start = 0
        while start < len(at):
            if np.isneginf(self._window.begun):
                self._window.begun = float(clock[start])
            full = self._full_at(clock[start:])
            stop = len(at) if full is None else start + full + 1
            self._take(at[start:stop], x, verdicts.score, novelty)
            self._window.rows += stop - start
            self._clock = float(clock[stop - 1])
            if full is not None:
                self._close()
            start = stop

    def so_far(self) -> Drift | None:
        """The unfinished window's outcome, where it has rows enough; hysteresis is left as it is."""
        return self._compare(self._drifting) if self._window.rows >= self._rules.min_rows else None

    def memory(self) -> dict[str, Any]:
        """What `restore` takes: plain numbers and lists."""
        self._fold()
        return {
            "reference": self._reference.digest,
            "drifting": self._drifting,
            "seen": self._seen,
            "rows": self._window.rows,
            "passed": self._window.passed
            + (max(self._clock - self._window.begun, 0.0) if np.isfinite(self._clock) else 0.0),
            "counts": self._window.counts.tolist(),
            "sums": self._window.sums.tolist(),
        }

    def restore(self, memory: Any) -> bool:
        """Go on from `memory`; whether it is that of a watch with this reference, otherwise nothing is taken over."""
        try:
            if memory["reference"] != self._reference.digest:
                return False
            counts = np.array(memory["counts"], dtype=np.int64)
            sums = np.array(memory["sums"], dtype=np.float64)
            seen, rows = int(memory["seen"]), int(memory["rows"])
            passed, drifting = float(memory["passed"]), bool(memory["drifting"])
        except (KeyError, TypeError, ValueError, OverflowError):
            return False
        if counts.shape != self._window.counts.shape or sums.shape != self._window.sums.shape or (counts < 0).any():
            return False
        self._seen, self._drifting = seen, drifting
        self._window = _Window(counts, sums, rows, passed)
        return True

    def _new_window(self) -> _Window:
        q = len(self._names)
        return _Window(np.zeros((q, BINS + 1), dtype=np.int64), np.zeros(q))

    def _full_at(self, clock: NDArray[np.float64]) -> int | None:
        """The index of the row that fills the window, None where none of these does."""
        by_time = int(np.searchsorted(clock, self._window.begun + self._rules.window_h * 3600.0 - self._window.passed))
        at = max(by_time, self._rules.min_rows - self._window.rows - 1)
        return at if at < len(clock) else None

    def _take(self, at: NDArray[Any], x: NDArray[Any], score: NDArray[Any], novelty: NDArray[Any]) -> None:
        number = np.arange(self._seen, self._seen + len(at), dtype=np.uint64)
        self._seen += len(at)
        at = at[(number * _HASH >> np.uint64(40)) % np.uint64(_EVERY) == 0]
        if not len(at):
            return
        self._buffer.append(np.column_stack([x[at], score[at], novelty[at]]))
        self._buffered += len(at)
        if self._buffered >= _BUFFER:
            self._fold()

    def _fold(self) -> None:
        if not self._buffer:
            return
        values = np.concatenate(self._buffer)
        self._buffer, self._buffered = [], 0
        for begin in range(0, len(values), _BUFFER):  # bounds what the comparison needs
            part = values[begin : begin + _BUFFER]
            self._window.counts += bin_counts(part, self._reference.edges)
            self._window.sums += np.nansum(part, axis=0)

    def _close(self) -> None:
        drift = self._compare(self._drifting)
        self._drifting = drift.drifting
        self.last = drift
        self.windows += 1
        self._window = self._new_window()

    def _compare(self, before: bool) -> Drift:
        self._fold()
        reference, rules = self._reference, self._rules
        shares = self._window.counts / np.maximum(self._window.counts.sum(axis=1, keepdims=True), 1)
        # What the reference has never seen set (a log without counters or MACs) cannot be compared.
        index = np.where(reference.shares[:, -1] >= 1.0, 0.0, stability_index(reference.shares, shares))
        features = len(self._names) - len(SCORES)
        moved = index >= rules.alarm_psi
        share = float(moved[:features].mean()) if features else 0.0
        score_psi = float(index[features:].max())
        enters = score_psi >= rules.alarm_psi or share >= _ENTER_SHARE
        stays = score_psi >= rules.clear_psi or share >= _LEAVE_SHARE
        end = max(self._clock, self._window.begun)
        if not np.isfinite(end):  # a new timeline has begun and nothing of it counted yet
            end = 0.0
        begun = self._window.begun if np.isfinite(self._window.begun) else end
        return Drift(
            drifting=enters or (before and stays),
            begun=begun - self._window.passed,
            ended=end,
            rows=self._window.rows,
            score_psi=score_psi,
            moved_features=int(moved[:features].sum()),
            features=features,
            moves=self._moves(index, shares),
        )

    def _moves(self, index: NDArray[Any], shares: NDArray[Any]) -> tuple[Move, ...]:
        """Scores first where they moved, then features by how much; at most SHOWN."""
        features = len(self._names) - len(SCORES)
        rank = index + np.where(np.arange(len(index)) >= features, 1e6, 0.0)
        order = [int(i) for i in np.argsort(-rank, kind="stable") if index[i] >= self._rules.alarm_psi][:SHOWN]
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = self._window.sums / self._window.counts[:, :-1].sum(axis=1)
        unset = stability_index(*(np.stack([s[:, -1], 1 - s[:, -1]], axis=1) for s in (self._reference.shares, shares)))
        moves = []
        for i in order:
            name, psi = self._names[i], float(index[i])
            if unset[i] > psi / 2:
                moves.append(Move(name + UNSET, psi, float(self._reference.shares[i, -1]), float(shares[i, -1])))
            else:
                pair = np.array([self._reference.mean[i], mean[i]])
                before, now = natural(pair, np.array([i, i]), self._names).tolist()
                moves.append(Move(name, psi, before, now))
        return tuple(moves)


def stability_index(expected: NDArray[Any], actual: NDArray[Any]) -> NDArray[np.float64]:
    """The population stability index of shares (quantities, bins): float64 (quantities,)."""
    p, q = np.maximum(expected, _SHARE_EPS), np.maximum(actual, _SHARE_EPS)
    index: NDArray[np.float64] = ((q - p) * np.log(q / p)).sum(axis=1)
    return index


def as_json(drift: Drift | None) -> Mapping[str, Any] | None:
    """For summary.json."""
    if drift is None:
        return None
    names = ("drifting", "hours", "rows", "score_psi", "moved_features", "features")
    told = {name: getattr(drift, name) for name in names}
    moves = [
        {"quantity": m.name, "psi": m.psi, "before": _number(m.before), "now": _number(m.now)} for m in drift.moves
    ]
    return {**told, "moves": moves}


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
