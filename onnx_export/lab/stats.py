"""What a data set holds: rows, device-days of benign traffic, and classes, counted from the rows themselves."""

from __future__ import annotations

import json
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pyad.verdict import CLASSES

from . import stored

_DAY_S = 86_400.0


@dataclass
class Recording:
    """Counts of one recording. classes: rows by label; device_days: as `device_days` defines it."""

    title: str
    group: str
    classes: Counter[str] = field(default_factory=Counter)
    devices: int = 0
    device_days: float = 0.0


def count(title: str, facts: dict[str, Any], path: Path) -> Recording:
    """Count one recording.

    Its benign device-days are its devices × the time its benign rows span (first packet of the first to the last
    packet of the last), in days. A device is an address inside the hospital that sent at least one packet in a benign
    row, as originator or as responder; addresses that attacked in this recording are none, nor are those outside.
    """
    found = Recording(title, facts.get("group") or "-")
    attackers = {a for attack in stored.known_attacks(facts) for a in attack["by"]}
    sent: set[str] = set()
    first, last = float("inf"), float("-inf")
    for row in stored.read_rows(path):
        label = row["label"]
        found.classes[label] += 1
        if label != "benign":
            if label not in ("background", "spoofing"):  # of a rerouted connection the originator is a victim
                attackers.add(row["id.orig_h"])
            continue
        first, last = min(first, row["ts"]), max(last, row["ts"] + row.get("duration", 0.0))
        if row["proto"] != "arp":
            sent.add(row["id.orig_h"])
            if row.get("resp_pkts"):
                sent.add(row["id.resp_h"])
    found.devices = sum(stored.is_inside(a) for a in sent - attackers)
    found.device_days = found.devices * max(last - first, 0.0) / _DAY_S
    return found


def summary(recordings: list[Recording]) -> dict[str, Any]:
    """{"rows", "background", "benign_device_days", "classes": {class: {"rows", "scenarios"}}}.

    scenarios: recordings in which the class occurs. Rows of `background` (neither trained on nor scored) count in
    `rows` and are no class.
    """
    rows: Counter[str] = Counter(dict.fromkeys(CLASSES, 0))
    scenarios: Counter[str] = Counter()
    for recording in recordings:
        rows.update(recording.classes)
        scenarios.update(recording.classes.keys())
    background = rows.pop("background", 0)
    return {
        "rows": rows.total() + background,
        "background": background,
        "benign_device_days": round(sum(r.device_days for r in recordings), 3),
        "classes": {name: {"rows": n, "scenarios": scenarios[name]} for name, n in rows.items()},
    }


def run(folder: Path, as_json: bool) -> int:
    """Print what the folder holds; 1 where it holds no rows."""
    facts = stored.read_recordings(folder)
    if not facts:
        sys.stderr.write(f"lab: no *{stored.ROWS} in {folder}\n")
        return 1
    files = stored.row_files(folder)
    recordings = [count(title, what, files[title]) for title, what in facts.items()]
    if as_json:
        sys.stdout.write(json.dumps(summary(recordings)) + "\n")
    else:
        sys.stdout.write(_text(recordings))
    return 0


def _text(recordings: list[Recording]) -> str:
    total = summary(recordings)
    lines = [
        f"{total['rows']} rows of {len(recordings)} recordings, {total['background']} of them background",
        f"{total['benign_device_days']:.2f} device-days of benign traffic",
        "",
        f"{'class':<14}{'rows':>9}{'scenarios':>11}",
    ]
    lines += [f"{name:<14}{n['rows']:>9}{n['scenarios']:>11}" for name, n in total["classes"].items()]
    names = list(total["classes"])
    lines += ["", f"{'group':<12}{'recordings':>11}{'device-days':>12}" + "".join(f"{n:>14}" for n in names)]
    order = [*stored.GROUPS, "-"]
    for group in sorted({r.group for r in recordings}, key=lambda g: (order.index(g) if g in order else 9, g)):
        inside = [r for r in recordings if r.group == group]
        part = summary(inside)
        cells = [part["classes"].get(n, {"rows": 0, "scenarios": 0}) for n in names]
        lines.append(
            f"{group:<12}{len(inside):>11}{part['benign_device_days']:>12.2f}"
            + "".join(f"{c['rows']:>9}/{c['scenarios']:<4}" for c in cells)
        )
    lines += ["", "per group and class: rows/scenarios"]
    return "\n".join(lines) + "\n"
