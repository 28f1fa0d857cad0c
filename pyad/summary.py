"""What a replay found, for a person at the terminal and for a program (summary.json)."""

from __future__ import annotations

import math
import textwrap
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pyad import __version__
from pyad.drift import Drift
from pyad.drift import as_json as drift_json
from pyad.errors import printable
from pyad.explain import digits
from pyad.notices import NOTICE_TYPES, SEVERITIES, Incident, who
from pyad.pipeline import Pipeline
from pyad.sources.base import ReadReport
from pyad.verdict import DECISION_NAMES

WIDTH = 100
_SHOWN_INCIDENTS = 20
_SHOWN_MESSAGES = 10


@dataclass(frozen=True)
class RunFacts:
    """What was run: the inputs, the engine asked for, the bundle and the provider the session really uses.

    calibration: the site's file, "" for none; drift: None where there was too little to tell, or no reference.
    """

    inputs: Sequence[Path]
    engine: str
    bundle_name: str
    bundle_version: str
    bundle_sha256: Mapping[str, str]
    provider: str
    wall_s: float
    calibration: str = ""
    drift: Drift | None = None


def by_weight(incidents: Sequence[Incident]) -> list[Incident]:
    """Most severe first, then the most connections, then the earliest."""
    return sorted(incidents, key=lambda i: (SEVERITIES.index(i.severity), -i.conns, i.first_ts, i.ident))


def as_json(facts: RunFacts, report: ReadReport, pipeline: Pipeline) -> dict[str, Any]:
    """The content of summary.json; numbers that do not exist are null."""
    counts, tracker = pipeline.counts, pipeline.incidents
    return {
        "pyad": __version__,
        "inputs": [printable(str(p), 4096) for p in facts.inputs],
        "engine": facts.engine,
        "provider": facts.provider,
        "bundle": {
            "name": facts.bundle_name,
            "version": facts.bundle_version,
            "sha256": dict(facts.bundle_sha256),
            "calibration": printable(facts.calibration, 4096) or None,
        },
        "counts": {
            "files": report.files,
            "bytes": report.bytes,
            "packets": report.packets,
            "rows": counts.rows,
            "partial_rows": counts.partial_rows,
            "timelines": max(counts.timelines, report.timelines),
            "skipped": dict(sorted(report.skipped.items())),
            "decisions": {name: counts.decisions[name] for name in DECISION_NAMES},
            "unscored": counts.unscored,
            "allowed": dict(sorted(counts.allowed.items())),
            "incidents": tracker.opened,
            "below_min_conns": tracker.below_min_conns,
            "over_budget": tracker.over_budget,
            "closed_early": tracker.closed_early,
            "notices": counts.notices,
        },
        "drift": drift_json(facts.drift),
        "first_ts": _finite(counts.first_ts),
        "last_ts": _finite(counts.last_ts),
        "incidents": [_incident_json(i) for i in by_weight(tracker.finished)],
        "timings": {"total_s": round(facts.wall_s, 6)}
        | {f"{stage}_s": round(seconds, 6) for stage, seconds in pipeline.timings.items()},
        "warnings": [printable(w, 1000) for w in (*report.warnings, *pipeline.warnings)],
        "problems": [str(p) for p in report.problems],
    }


def _incident_json(i: Incident) -> dict[str, Any]:
    return {
        "incident": i.ident,
        "class": i.cls,
        "note": NOTICE_TYPES[i.cls],
        "severity": i.severity,
        "subject": i.subject,
        "role": i.role,
        "vlan": i.vlan,
        "first_ts": i.first_ts,
        "last_ts": i.last_ts,
        "conns": i.conns,
        "rows": i.rows,
        "score": _finite(i.score),
        "novelty_p": _finite(i.novelty_p),
        "target": i.target,
        "port": i.port,
        "targets": i.targets,
        "ports": i.ports,
        "originators": i.originators,
        "at_least": list(i.at_least),
        "top": [{"feature": r.feature, "observed": _finite(r.observed), "usual": _finite(r.usual)} for r in i.reasons],
        "notices": i.notices,
    }


def as_text(facts: RunFacts, report: ReadReport, pipeline: Pipeline, files: Sequence[Path]) -> str:
    """The summary on the terminal: plain text, at most 100 columns."""
    lines = [
        *_read(facts, report, pipeline),
        "",
        *_found(pipeline),
        "",
        *_remarks(report, pipeline),
        "Written:",
        *(f"  {printable(str(f), 4096)}" for f in files),
    ]
    return "\n".join(lines) + "\n"


def _read(facts: RunFacts, report: ReadReport, pipeline: Pipeline) -> Iterator[str]:
    counts = pipeline.counts
    what = [count_of(report.files, "file")]
    if report.packets:
        what.append(count_of(report.packets, "packet"))
    what.append(count_of(counts.rows - counts.partial_rows, "connection"))
    yield f"Read     {', '.join(what)} in {_seconds(facts.wall_s)}"
    if math.isfinite(counts.first_ts):
        more = f", {counts.timelines} timelines" if counts.timelines > 1 else ""
        yield f"Period   {when(counts.first_ts)} to {when(counts.last_ts)} UTC{more}"
    if report.skipped:
        yield from wrapped("Skipped  ", ", ".join(f"{printable(r)} ({n:,})" for r, n in _top(report.skipped)))
    where = facts.provider.removesuffix("ExecutionProvider")
    site = f", calibrated by {printable(facts.calibration)}" if facts.calibration else ""
    yield f"Model    {facts.bundle_name} {facts.bundle_version} on the {where}{site}"
    yield from _drift(facts.drift)


def _drift(drift: Drift | None) -> Iterator[str]:
    if drift is None:
        return
    over = f"over {digits(drift.hours)} hours and {count_of(drift.rows, 'connection')} of no known attack"
    if not drift.drifting:
        yield f"Drift    none {over}"
        return
    what = f"{drift.moved_features} of {drift.features} features and scores (PSI {digits(drift.score_psi)}) have moved"
    yield from wrapped("Drift    ", f"{what} from what the thresholds were chosen on, {over}")
    for move in drift.moves:
        yield f"         {move}"


def _found(pipeline: Pipeline) -> Iterator[str]:
    tracker = pipeline.incidents
    if not tracker.opened:
        yield "Found    nothing that calls for a notice"
    else:
        yield f"Found    {count_of(tracker.opened, 'incident')}, {count_of(pipeline.counts.notices, 'notice')}"
    decided = Counter({name: n for name, n in pipeline.counts.decisions.items() if name != DECISION_NAMES[0]})
    if decided:
        each = ", ".join(f"{n:,} as {name}" for name, n in _top(decided))
        yield from wrapped("Decided  ", f"{count_of(decided.total(), 'connection')}: {each}")
    shown = by_weight(tracker.finished)[:_SHOWN_INCIDENTS]
    for incident in shown:
        yield ""
        yield from incident_lines(incident)
    if tracker.opened > len(shown):
        yield ""
        yield f"  and {tracker.opened - len(shown):,} more, in notice.log and summary.json"


def incident_lines(i: Incident) -> Iterator[str]:
    """One incident, a few lines."""
    yield from wrapped(f"  {i.severity.upper():<9}", who(i))
    yield f"    when   {when(i.first_ts)} to {when(i.last_ts)} UTC, {count_of(i.conns, 'connection')}"
    yield f"    sure   score {digits(i.score)}, novelty p {digits(i.novelty_p)}"
    if i.reasons:
        yield from wrapped("    why    ", ", ".join(map(str, i.reasons)))
    yield f"    see    {NOTICE_TYPES[i.cls]}, incident={i.ident}"


def _remarks(report: ReadReport, pipeline: Pipeline) -> Iterator[str]:
    counts, tracker = pipeline.counts, pipeline.incidents
    remarks = []
    if tracker.below_min_conns:
        what = count_of(tracker.below_min_conns, "suspicion")
        remarks.append(f"{what} with too few connections for a notice (see pyad.log)")
    if tracker.over_budget:
        what = count_of(tracker.over_budget, "incident")
        most = f"{tracker.rules.max_new_per_hour:,} new ones of a class in an hour"
        remarks.append(f"{what} not told: more than {most} (incidents.max_new_per_hour; see pyad.log)")
    remarks += [f"allow-list entry {printable(name)}: {count_of(n, 'row')} allowed" for name, n in _top(counts.allowed)]
    if tracker.closed_early:
        remarks.append(f"{count_of(tracker.closed_early, 'incident')} ended early: more were under way than may be")
    messages = [*remarks, *(printable(w, 1000) for w in (*report.warnings, *pipeline.warnings))]
    for message in messages[:_SHOWN_MESSAGES]:
        yield from wrapped("Note     ", message)
    if len(messages) > _SHOWN_MESSAGES:
        yield f"Note     and {len(messages) - _SHOWN_MESSAGES:,} more, in summary.json"
    for problem in report.problems:
        yield from wrapped("Problem  ", str(problem))
    if messages or report.problems:
        yield ""


def wrapped(lead: str, text: str) -> list[str]:
    """Text after its lead, in lines of WIDTH at most."""
    return textwrap.wrap(
        text, WIDTH, initial_indent=lead, subsequent_indent=" " * len(lead), break_on_hyphens=False
    ) or [lead.rstrip()]


def count_of(n: int, what: str) -> str:
    """As in `1 file` and `2,000 files`."""
    return f"{n:,} {what}{'' if n == 1 else 's'}"


def _top(counter: Counter[str]) -> list[tuple[str, int]]:
    return sorted(counter.items(), key=lambda item: (-item[1], item[0]))


def when(ts: float) -> str:
    """UTC, to the second."""
    try:
        return datetime.fromtimestamp(ts, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    except (OverflowError, ValueError, OSError):
        return f"{ts:.0f} s"


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _seconds(value: float) -> str:
    return f"{value:.0f} s" if value >= 100 else f"{value:.1f} s"
