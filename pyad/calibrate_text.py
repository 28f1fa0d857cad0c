"""What a calibration means, in words and a table, for a person at the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from pyad.budget import KINDS, Choice
from pyad.bundle import Bundle
from pyad.errors import printable
from pyad.explain import Reason, digits
from pyad.sources.base import ReadReport
from pyad.summary import by_weight, count_of, incident_lines, when, wrapped
from pyad.verdict import ATTACK_CLASSES, Policy

_SHOWN = 20


@dataclass(frozen=True)
class Outcome:
    """Everything there is to tell. before: with the bundle's thresholds; table: factor of the budget → choice.

    short: the logs are shorter than they were taken for. held_by_sample: classes whose threshold was kept from rising
    so that the sample's attack is still found. lacking: groups of features that no row has. sample_*: the sample's
    incidents, None without a sample.
    """

    bundle: Bundle
    budget: float
    days: float
    short: bool
    rows: int
    excluded: int
    devices: int
    first_ts: float
    last_ts: float
    groups: Sequence[str]
    group_rows: Mapping[str, int]
    pinned: Sequence[str]
    before: Choice
    chosen: Choice
    table: Sequence[tuple[float, Choice]]
    sample_before: Choice | None
    sample_after: Choice | None
    held_by_sample: Sequence[str]
    lacking: Sequence[str]

    def per_100_devices(self, per_day: float) -> float:
        """A rate per day, for every hundred devices."""
        return per_day * 100.0 / max(self.devices, 1)


def unconfirmed(before: Choice, why: Mapping[str, tuple[Reason, ...]], report: ReadReport) -> str:
    """The incidents that a person has to speak for, by the bundle's own thresholds; why: reasons by incident."""
    incidents = by_weight(before.incidents)
    lines = [f"Read     {count_of(report.rows, 'connection')}", "Found    with the thresholds as they are:"]
    for incident in incidents[:_SHOWN]:
        lines += ["", *incident_lines(replace(incident, reasons=why.get(incident.ident, ())))]
    if len(incidents) > _SHOWN:
        lines += ["", f"  and {len(incidents) - _SHOWN:,} more: pyad replay lists them"]
    hosts = sorted({i.subject for i in incidents if i.role != "responder"})
    lines += ["", *wrapped("Hosts    ", ", ".join(printable(h, 60) for h in hosts[:_SHOWN]) or "none")]
    return "\n".join(lines) + "\n"


def as_text(outcome: Outcome, report: ReadReport, out: Path) -> str:
    """The whole outcome, at most 100 columns."""
    parts = (_read(outcome), _chosen(outcome), _alternatives(outcome), _raised(outcome), _remarks(outcome, report))
    lines = [line for part in parts for line in [*part, ""]]
    return "\n".join([*lines, f"Written  {printable(str(out), 4096)}", *_use(out)]) + "\n"


def _read(o: Outcome) -> Iterator[str]:
    about = f"{count_of(o.rows, 'connection')} of {count_of(o.devices, 'device')} in {digits(o.days)} days"
    yield from wrapped("Read     ", f"{about}, {when(o.first_ts)} to {when(o.last_ts)} UTC")
    if o.excluded:
        yield f"Left out {count_of(o.excluded, 'connection')} of excluded hosts"
    few = " (too few: the bundle's)"
    groups = (f"{name} {n:,}{'' if name in o.groups else few}" for name, n in o.group_rows.items())
    yield from wrapped("Novelty  ", f"calibrated by group: {', '.join(groups)}")
    yield from wrapped(
        "Budget   ",
        f"{digits(o.budget)} new incidents a day, {digits(o.per_100_devices(o.budget))} per 100 devices",
    )


def _chosen(o: Outcome) -> Iterator[str]:
    yield f"{'class':<13}{'bundle':>9}{'gives':>7}{'here':>10}{'gives':>7}   what it costs in detection"
    for name in KINDS:
        here, there = _value(o.chosen.policy, name), _value(o.before.policy, name)
        cost = "set in the configuration" if name in o.pinned else _cost(o.bundle, name, there, here)
        was, now = o.before.by_kind[name], o.chosen.by_kind[name]
        yield f"{name:<13}{digits(there):>9}{was:>7}{digits(here):>10}{now:>7}   {cost}"
    yield from wrapped(
        "",
        f"In all {digits(o.chosen.per_day)} a day, {digits(o.per_100_devices(o.chosen.per_day))} per 100 devices; with "
        f"the bundle's thresholds it was {digits(o.before.per_day)} a day.",
    )


def _value(policy: Policy, name: str) -> float:
    return policy.novel_p if name == "novel" else float(policy.thresholds[ATTACK_CLASSES.index(name)])


def _cost(bundle: Bundle, name: str, there: float, here: float) -> str:
    """The share of the bundle's validation connections of a class that still reach the threshold."""
    if name == "novel":
        return "-"
    if here <= there + 1e-5:
        return "nothing"
    if not bundle.detection:
        return "not known: this bundle does not say"
    pairs = bundle.detection.get(name)
    if not pairs:
        return "not known: no connections of it in the bundle's validation"
    at, share = zip(*pairs)
    was, now = (100 * float(np.interp(t, at, share)) for t in (there, here))
    return f"{now:.0f} % of its connections in validation, was {was:.0f} %"


def _alternatives(o: Outcome) -> Iterator[str]:
    yield "Other budgets, on these logs (new incidents a day → thresholds):"
    names = ("flood", "recon", "brute", "web", "spoof", "c2", "exfil", "exploit")
    yield f"{'asked':>8}{'gives':>8}  " + "".join(f"{n:>8}" for n in names) + f"{'novel p':>10}"
    for factor, choice in o.table:
        values = "".join(f"{digits(t):>8}" for t in choice.policy.thresholds.tolist())
        mark = " *" if choice is o.chosen else ""
        asked = digits(o.budget * factor)
        yield f"{asked:>8}{digits(choice.per_day):>8}  {values}{digits(choice.policy.novel_p):>10}{mark}"
    values = "".join(f"{digits(t):>8}" for t in o.before.policy.thresholds.tolist())
    yield f"{'bundle':>8}{digits(o.before.per_day):>8}  {values}{digits(o.before.policy.novel_p):>10}"


def _raised(o: Outcome) -> Iterator[str]:
    incidents = by_weight(o.chosen.incidents)
    if not incidents:
        yield "Raised   nothing, had these thresholds been there"
        return
    yield f"Raised   {count_of(len(incidents), 'incident')}, had these thresholds been there:"
    for incident in incidents[:_SHOWN]:
        yield ""
        yield from incident_lines(incident)
    if len(incidents) > _SHOWN:
        yield ""
        yield f"  and {len(incidents) - _SHOWN:,} more: pyad replay --calibration lists them"


def _remarks(o: Outcome, report: ReadReport) -> Iterator[str]:
    for text in (*_sample(o), *_doubts(o), *(printable(w, 1000) for w in report.warnings)):
        yield from wrapped("Note     ", text)


def _sample(o: Outcome) -> Iterator[str]:
    if o.sample_before is None or o.sample_after is None:
        yield "the sample attacks that come with pyad are not there to be tried"
        return
    found = [n for n in KINDS if o.sample_before.by_kind[n]]
    lost = [n for n in found if not o.sample_after.by_kind[n]]
    if lost:
        yield f"WARNING: with these thresholds the sample's {', '.join(lost)} is missed; the bundle's find it"
    else:
        yield f"the attacks of the sample that comes with pyad ({', '.join(found) or 'none'}) are still found"
    for name in o.held_by_sample:
        yield (
            f"the threshold of {name} would have to be higher for this budget, but then the sample's attack would be "
            "missed; it stays. Allow what is ordinary here (verdict.allow_list) or raise incidents.min_conns"
        )


def _doubts(o: Outcome) -> Iterator[str]:
    if o.chosen.per_day > o.budget * 1.0001:
        yield (
            f"the budget is not met: {digits(o.chosen.per_day)} a day and not {digits(o.budget)}, since no threshold "
            "goes further; see the incidents above, and verdict.allow_list"
        )
    if o.short:
        yield "these logs are minutes; a rate per day from them is a guess. Take a week, if you can, with a weekend"
    elif o.days < 1:
        yield "these logs are less than a day: nights, backups and shifts are not in them. Take a week, if you can"
    if o.lacking:
        yield (
            f"no row has {', '.join(o.lacking)}, which a live Zeek with pyad's package gives: scores live may differ. "
            "For the live bridge calibrate on captures (--engine zeek)"
        )
    if o.before.incidents:
        yield f"{count_of(len(o.before.incidents), 'incident')} by the bundle's thresholds were taken for ordinary"


def _use(out: Path) -> Iterator[str]:
    shown = printable(str(out), 4096)
    yield f"Use it   pyad replay --calibration {shown} LOGS…; pyad run --calibration {shown}; model.calibration"
