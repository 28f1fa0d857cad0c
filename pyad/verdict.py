"""Scores to verdicts: thresholds per class, the novelty p-value, and what is decided for each row. Pure, on arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyad.errors import PyadError, printable

CLASSES: tuple[str, ...] = (
    "benign",
    "flood",
    "recon",
    "brute_force",
    "web_attack",
    "spoofing",
    "c2",
    "exfiltration",
    "exploit",
)
ATTACK_CLASSES = CLASSES[1:]
NOVEL = len(CLASSES)
# A decision is an index in this: benign, one of the attack classes, or novel.
DECISION_NAMES: tuple[str, ...] = (*CLASSES, "novel")

# A p-value smaller than this says nothing more: no calibration set is that long.
MIN_P = 1e-12
# Decides nothing for a class that neither bundle nor site gives a threshold.
DEFAULT_THRESHOLD = 0.5


@dataclass(frozen=True)
class Calibration:
    """The novelty score's distribution on benign rows.

    scores, log_p: float64 (quantiles,), rising scores and the logarithm of the share of benign rows above each.
    tail_start, tail_xi, tail_beta, tail_p: a generalised Pareto distribution of the excess over `tail_start`, which
    a share of tail_p of benign rows exceeds; tail_start is inf where there is none.
    """

    scores: NDArray[np.float64]
    log_p: NDArray[np.float64]
    tail_start: float = np.inf
    tail_xi: float = 0.0
    tail_beta: float = 1.0
    tail_p: float = 1.0

    @classmethod
    def from_bundle(cls, novelty: Mapping[str, Any], where: str = "bundle") -> Calibration:
        """From bundle.yaml's `novelty`: quantiles [[p, score], …] and tail {threshold, xi, beta, p_tail}.

        Raises PyadError, naming `where`, for one that is not usable.
        """
        try:
            pairs = sorted((float(score), float(p)) for p, score in novelty["quantiles"])
            scores = np.array([s for s, _ in pairs])
            shares = np.array([p for _, p in pairs])
            tail = novelty.get("tail")
            values = (
                [float(tail[k]) for k in ("threshold", "xi", "beta", "p_tail")] if tail else [np.inf, 0.0, 1.0, 1.0]
            )
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise PyadError(f"{where}: novelty calibration is not usable: {printable(repr(error))}") from None
        sound = len(pairs) > 0 and bool(np.isfinite(scores).all()) and bool(((shares > 0) & (shares <= 1)).all())
        if not sound or bool((np.diff(shares) > 0).any()):
            raise PyadError(
                f"{where}: novelty quantiles must be [p, score] with p in (0, 1] falling as the score rises"
            )
        start, xi, beta, p_tail = values
        if np.isnan(values).any() or not np.isfinite([xi, beta]).all() or beta <= 0 or not 0 < p_tail <= 1:
            raise PyadError(f"{where}: novelty tail needs a finite xi, beta > 0 and p_tail in (0, 1]")
        return cls(scores, np.log(shares), start, xi, beta, p_tail)


def novelty_p(calibration: Calibration, score: NDArray[Any]) -> NDArray[np.float64]:
    """Share of benign rows at least as odd as each `score` (n,): float64 (n,) in [1e-12, 1], NaN for a NaN score.

    Below the tail's start interpolated between the quantiles in log p, above it by the generalised Pareto tail.
    """
    s = np.asarray(score, dtype=np.float64)
    p = np.exp(np.interp(s, calibration.scores, calibration.log_p))
    in_tail = s > calibration.tail_start
    if in_tail.any():
        excess = (s[in_tail] - calibration.tail_start) / calibration.tail_beta
        xi = calibration.tail_xi
        with np.errstate(over="ignore", divide="ignore"):  # inf scores end in p = 0, which is clipped below
            # A negative xi has an end, nothing benign was ever beyond it; with none the tail is exponential.
            pareto = np.maximum(1.0 + xi * excess, 0.0) ** (-1.0 / xi) if abs(xi) > 1e-9 else np.exp(-excess)
        p[in_tail] = calibration.tail_p * pareto
    return np.clip(p, MIN_P, 1.0)


@dataclass(frozen=True)
class Policy:
    """When a score becomes a decision: the bundle's values with the site's over them.

    thresholds: float64 (attack classes,) in the order of ATTACK_CLASSES. novel_p: the site's level, 0 for never.
    by_group: index in pyad.groups.GROUPS → the site's own calibration of that group, over `calibration`.
    """

    thresholds: NDArray[np.float64]
    calibration: Calibration
    novel_p: float
    by_group: Mapping[int, Calibration] = field(default_factory=dict)

    @classmethod
    def build(
        cls, bundle_thresholds: Mapping[str, float], novelty: Mapping[str, Any], site_thresholds: Mapping[str, float],
        novel_p: float | None, by_group: Mapping[int, Calibration] | None = None,
    ) -> Policy:  # fmt: skip
        """novel_p None: the bundle's `novelty: {level: …}`, or 0 (never) where it gives none."""
        thresholds = {**bundle_thresholds, **site_thresholds}
        level = float(novelty.get("level", 0.0)) if novel_p is None else novel_p
        return cls(
            np.array([float(thresholds.get(c, DEFAULT_THRESHOLD)) for c in ATTACK_CLASSES]),
            Calibration.from_bundle(novelty),
            level,
            by_group or {},
        )

    def novelty_p(self, score: NDArray[Any], group: NDArray[np.int8] | None) -> NDArray[np.float64]:
        """The novelty p-value of each row, by the calibration of its group where that has one."""
        p = novelty_p(self.calibration, score)
        if group is not None:
            for index, calibration in self.by_group.items():
                at = np.flatnonzero(group == index)
                p[at] = novelty_p(calibration, np.asarray(score)[at])
        return p


@dataclass(frozen=True)
class Verdicts:
    """What was decided for a batch, one entry per row.

    probs: float32 (rows, classes). cls: int8, most probable class. score: float64, 1 - P(benign). novelty_p: float64.
    decision: int8, index in DECISION_NAMES. unscored: bool, the model gave no number; decided benign and counted.
    """

    probs: NDArray[np.float32]
    cls: NDArray[np.int8]
    score: NDArray[np.float64]
    novelty_p: NDArray[np.float64]
    decision: NDArray[np.int8]
    unscored: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.decision)

    def take(self, index: Any) -> Verdicts:
        """The verdicts at `index` (slice, integer or boolean array)."""
        return Verdicts(*(getattr(self, f.name)[index] for f in fields(self)))


def decide(
    probs: NDArray[np.float32], novelty: NDArray[Any], policy: Policy, group: NDArray[np.int8] | None = None
) -> Verdicts:
    """Verdicts for class probabilities (n, classes) and novelty scores (n,); group: indices in pyad.groups.GROUPS (n,).

    An attack class is decided where its probability reaches that class's threshold, the most probable of those that
    do; else novel where the novelty p-value is under the site's level; else benign. Known or novel, never an average.
    """
    no_probs = np.asarray(np.isnan(probs).any(axis=1))
    p = policy.novelty_p(novelty, group)
    no_novelty = np.isnan(p)
    attacks = np.where(no_probs[:, None], 0.0, probs[:, 1:].astype(np.float64))
    over = np.where((attacks >= policy.thresholds) & ~no_probs[:, None], attacks, -1.0)
    best = over.argmax(axis=1) if len(over) else np.zeros(0, dtype=np.int64)
    known = over[np.arange(len(over)), best] >= 0
    novel = ~known & ~no_probs & (p < policy.novel_p)  # NaN compares false
    decision = np.where(known, best + 1, np.where(novel, NOVEL, 0)).astype(np.int8)
    safe = np.where(no_probs[:, None], 0.0, probs)
    return Verdicts(
        probs=probs,
        cls=(safe.argmax(axis=1) if len(safe) else np.zeros(0)).astype(np.int8),
        score=np.where(no_probs, 0.0, 1.0 - safe[:, 0].astype(np.float64)),
        novelty_p=np.where(no_novelty, 1.0, p),
        decision=decision,
        unscored=no_probs | no_novelty,
    )


def class_order(classes: Sequence[Any], where: str = "bundle") -> None:
    """Raise PyadError where a bundle's classes are not CLASSES in this order: probabilities would be misread."""
    if tuple(classes) != CLASSES:
        raise PyadError(f"{where}: its classes or their order differ from this pyad's: {', '.join(CLASSES)}")
