"""`pyad calibrate`: a site's own logs to thresholds for its budget of notices, in a file that run and replay use."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pyad import __version__
from pyad.allow_list import Network
from pyad.budget import KINDS, Choice, Limits, choose, evaluate, limits, strength, strengths
from pyad.bundle import Bundle, load_bundle
from pyad.calibrate_text import Outcome, as_text, unconfirmed
from pyad.config import Config
from pyad.detector import load_detector
from pyad.errors import PyadError, UsageError, printable
from pyad.evidence import Collector, Evidence
from pyad.features import FEATURE_GROUPS
from pyad.groups import GROUPS
from pyad.paths import find_bundle, sample_log
from pyad.pipeline import Batch, Detector, Pipeline
from pyad.reading import open_rows
from pyad.reference import SCORES, Reference
from pyad.replay import progress
from pyad.site import save_site
from pyad.sources import expand
from pyad.sources.base import ReadReport
from pyad.sources.conn_log import read_conn_log
from pyad.tail import MIN_ROWS
from pyad.verdict import ATTACK_CLASSES, Calibration

MIN_DAYS = 1 / 24  # shorter logs are taken for this long: a rate per day from minutes would be a guess
FACTORS = (0.25, 0.5, 1.0, 2.0, 4.0)  # of the budget, in the table


@dataclass(frozen=True)
class Answers:
    """What a person said of the logs. keep: incidents in them are the site's own ordinary traffic."""

    keep: bool = False
    excluded: tuple[Network, ...] = ()


def calibrate(inputs: Sequence[Path], config: Config, out: Path, answers: Answers) -> int:
    """Read logs, choose thresholds, write `out`, tell what it means; returns the exit code.

    Raises PyadError where the logs hold incidents that nobody has spoken for, or nothing to calibrate on.
    """
    if any(given.exists() and out.exists() and out.samefile(given) for given in inputs):
        raise UsageError(f"--out {printable(str(out))}: is one of the inputs; choose another file")
    if out.is_dir() or not out.absolute().parent.is_dir():
        raise UsageError(f"--out {printable(str(out))}: name a file in a folder that exists")
    report = ReadReport()
    files = expand(inputs, report)
    config = replace(config, model=replace(config.model, calibration=""))  # anew, not on top of an earlier one
    loaded = load_detector(config)
    bundle, detector = load_bundle(find_bundle(config.model.bundle)), loaded.detector
    collector = Collector(answers.excluded, float(detector.policy.thresholds.min()))
    pipeline = _pipeline(detector, config, collector)
    with progress(files, report):
        pipeline.run(open_rows(files, config.input, report), _nowhere)
    evidence = collector.evidence()
    days = max(collector.days, MIN_DAYS)
    before = evaluate(evidence, detector.policy, detector.rules, detector.allow_list, days)
    if before.incidents and not answers.keep:
        why = {i.ident: i.reasons for i in pipeline.incidents.finished}
        sys.stdout.write(unconfirmed(before, why, report))
        raise PyadError(
            f"{len(before.incidents)} incident{'s' * (len(before.incidents) != 1)} in these logs: nothing was written, "
            "since thresholds chosen on an attack would hide it. What was an attack: leave its host out with "
            "--exclude-host ADDRESS, or name other days. If all that remains is ordinary here: --keep-incidents"
        )
    reference = collector.reference((*bundle.features, *SCORES))
    outcome = _choose(collector, evidence, days, bundle, detector, config, before, _lacking(reference))
    groups = {name: collector.sketches[GROUPS.index(name)].calibration() for name in outcome.groups}
    thresholds = dict(zip(ATTACK_CLASSES, outcome.chosen.policy.thresholds.tolist()))
    about = _about(collector, config, answers, outcome)
    save_site(out, bundle, thresholds, outcome.chosen.policy.novel_p, groups, reference, about)
    sys.stdout.write(as_text(outcome, report, out))
    for problem in report.problems:
        sys.stderr.write(f"pyad: {problem}\n")
    return 1 if report.problems else 0


def _pipeline(detector: Detector, config: Config, collector: Collector) -> Pipeline:
    return Pipeline(detector, config.model.batch_rows, config.input.max_lateness_s, observers=[collector])


def _nowhere(_: Batch) -> None:
    """A sink for who wants no logs."""


def _choose(
    collector: Collector, evidence: Evidence, days: float, bundle: Bundle, detector: Detector, config: Config,
    before: Choice, lacking: Sequence[str],
) -> Outcome:  # fmt: skip
    groups = tuple(name for name, sketch in zip(GROUPS, collector.sketches) if sketch.rows >= MIN_ROWS)
    where = "these logs"
    by_group = {
        GROUPS.index(name): Calibration.from_bundle(collector.sketches[GROUPS.index(name)].calibration(), where)
        for name in groups
    }
    policy = replace(detector.policy, by_group=by_group)
    rules, allow_list = detector.rules, detector.allow_list
    pinned = frozenset(config.verdict.thresholds) | ({"novel"} if config.verdict.novel_p is not None else set())
    bounds = limits(policy, collector.loosest, pinned, days, collector.rows)
    sample = _sample_evidence(detector, config)
    told = None if sample is None else evaluate(sample, detector.policy, rules, allow_list, 1.0)
    kept: tuple[str, ...] = ()
    if sample is not None and told is not None:
        bounds, kept = _keep_sample(sample, told, bounds, detector)
    found = strengths(evidence, policy, rules, allow_list)
    budget = config.verdict.alerts_per_day
    choices = [choose(evidence, found, bounds, policy, rules, allow_list, budget * factor, days) for factor in FACTORS]
    chosen = choices[FACTORS.index(1.0)]
    after = None if sample is None else evaluate(sample, chosen.policy, rules, allow_list, 1.0)
    return Outcome(
        bundle=bundle,
        budget=budget,
        days=days,
        short=collector.days < MIN_DAYS,
        rows=collector.rows,
        excluded=collector.excluded,
        devices=len(collector.devices),
        first_ts=collector.first_ts,
        last_ts=collector.last_ts,
        groups=groups,
        group_rows={name: s.rows for name, s in zip(GROUPS, collector.sketches)},
        pinned=tuple(k for k in KINDS if k in pinned),
        before=before,
        chosen=chosen,
        table=tuple(zip(FACTORS, choices)),
        sample_before=told,
        sample_after=after,
        held_by_sample=tuple(k for k in kept if _at_limit(chosen, bounds, k)),
        lacking=lacking,
    )


def _lacking(reference: Reference | None) -> tuple[str, ...]:
    """What no row of the logs has, though a live Zeek would give it."""
    if reference is None:
        return ()
    unset = reference.shares[:, -1] >= 1.0
    groups = {"application counters": "counters", "MAC addresses": "mac"}
    return tuple(name for name, group in groups.items() if unset[list(FEATURE_GROUPS[group])].all())


def _sample_evidence(detector: Detector, config: Config) -> Evidence | None:
    """The attacks in the log that comes with pyad, as this detector scores them; None where it is not there."""
    path = sample_log()
    if path is None:
        return None
    detector.extractor.reset()
    detector.scorer.reset()
    collector = Collector()
    _pipeline(detector, config, collector).run(read_conn_log(path, ReadReport()), _nowhere)
    return collector.evidence()


def _keep_sample(
    sample: Evidence, told: Choice, bounds: dict[str, Limits], detector: Detector
) -> tuple[dict[str, Limits], tuple[str, ...]]:
    """Bounds under which every class that the bundle finds in the sample is still found there."""
    found = strengths(sample, detector.policy, detector.rules, detector.allow_list)
    kept = tuple(name for name in ATTACK_CLASSES if told.by_kind[name] and len(found[name]))
    held = dict(bounds)
    for name in kept:
        most = float(found[name][0]) - 1e-3
        if not bounds[name].pinned:
            held[name] = replace(bounds[name], high=max(bounds[name].now, min(bounds[name].high, most)))
    return held, kept


def _at_limit(chosen: Choice, bounds: dict[str, Limits], name: str) -> bool:
    at = strength(float(chosen.policy.thresholds[ATTACK_CLASSES.index(name)]))
    return not bounds[name].pinned and at >= bounds[name].high - 1e-3


def _about(
    collector: Collector, config: Config, answers: Answers, outcome: Outcome
) -> list[tuple[str, Mapping[str, Any]]]:
    logs = {
        "first": _when(collector.first_ts),
        "last": _when(collector.last_ts),
        "days": round(collector.days, 3),
        "connections": collector.rows,
        "devices": len(collector.devices),
        "excluded_hosts": [str(n) for n in answers.excluded],
        "excluded_connections": collector.excluded,
        "incidents_kept": len(outcome.before.incidents),
    }
    budget = {
        "alerts_per_day": config.verdict.alerts_per_day,
        "per_100_devices": round(outcome.per_100_devices(config.verdict.alerts_per_day), 4),
        "on_these_logs_per_day": round(outcome.chosen.per_day, 4),
    }
    return [("made", {"by": f"pyad {__version__}", "at": _when(datetime.now(UTC).timestamp())}), ("logs", logs),
            ("budget", budget)]  # fmt: skip


def _when(ts: float) -> str | None:
    try:
        return datetime.fromtimestamp(ts, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (OverflowError, ValueError, OSError):
        return None
