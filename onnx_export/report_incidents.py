"""The report's part on what a person would get: notices on quiet days, attacks found and how soon."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

import numpy as np

from onnx_export import svg
from onnx_export.metrics import poisson
from onnx_export.operating import LEAST_DEVICE_DAYS
from onnx_export.page import Block, Heading, Plot, Table, Text
from pyad.verdict import CLASSES


def blocks(shown: dict[str, dict[str, Any]]) -> list[Block]:
    """Notices on benign captures, and attacks found. shown: model → result."""
    tests = {n: (r["parts"].get("test") or r["parts"]["validation"])["captures"] for n, r in shown.items()}
    return [
        Heading("Notices on benign captures"),
        Text(
            "New incidents that the product's own pipeline would tell of on test captures without an attack, at the "
            "operating point. A device-day is a device of the monitored network for a day; captures of less than "
            f"{LEAST_DEVICE_DAYS:g} device-days say nothing about days and are counted beside. Rates with exact "
            "Poisson intervals, per day and 100 devices. Worst hour: the most in any of these captures within an hour, "
            "by when their connections began (-1: measured before this was counted)."
        ),
        Table(
            ["model", "device-days", "incidents", "a day per 100 devices (95 %)", "by class", "worst capture",
             "worst hour", "incidents in short captures"],
            [_quiet(n, captures) for n, captures in tests.items()],
        ),
        Heading("Attacks found"),
        Text(
            "An attack is what one label detail of one capture names. Found: a row of it belongs to an incident that "
            "was told. Time from its first packet to the end of the connection that was told of, median (90 %)."
        ),
        Table(
            ["model", "class", "attacks", "found", "seconds to first notice", "connections to first notice"],
            [line for n, captures in tests.items() for line in _attacks(n, captures)],
        ),
    ]  # fmt: skip


def over_time(shown: dict[str, dict[str, Any]]) -> list[Block]:
    """Alarms hour by hour in benign captures of hours. shown: model → result."""
    found: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for model, result in shown.items():
        for name, counts in (result["parts"].get("test") or {}).get("hours", {}).items():
            found.setdefault(name, {})[model] = [(h, 1000 * k / n) for h, n, k in counts]
    plots = [
        Plot(f"hours-{re.sub('[^A-Za-z0-9]+', '-', name)}", svg.lines(name, of, "hour", "per mille", unit=False))
        for name, of in sorted(found.items())
    ]
    return [Heading("Over time"), Text("Benign connections alarmed in a thousand, by hour."), *plots] if plots else []


def _is_benign(capture: dict[str, Any]) -> bool:
    return not any(i > 0 for i, _, _ in capture["confusion"])


def _quiet(name: str, captures: list[dict[str, Any]]) -> list[object]:
    benign = [c for c in captures if _is_benign(c)]
    long = [c for c in benign if c["device_days"] >= LEAST_DEVICE_DAYS]
    short = sum(sum(c["false"].values()) for c in benign if c not in long)
    days = sum(c["device_days"] for c in long)
    by_class = sum((Counter(c["false"]) for c in long), Counter[str]())
    if not days:
        return [name, 0, "-", "-", "-", "-", "-", short]
    low, high = poisson(by_class.total(), days / 100)
    worst = max(long, key=lambda c: sum(c["false"].values()))
    return [
        name, f"{days:.1f}", by_class.total(), f"{by_class.total() / days * 100:.2f} ({low:.2f} to {high:.2f})",
        ", ".join(f"{k} {n}" for k, n in by_class.most_common()) or "none",
        f"{worst['name']} {sum(worst['false'].values())}", max(c.get("worst_hour", -1) for c in long), short,
    ]  # fmt: skip


def _attacks(name: str, captures: list[dict[str, Any]]) -> list[list[object]]:
    lines = []
    for cls in CLASSES[1:]:
        attacks = [a for c in captures for a in c["attacks"] if a["label"] == cls]
        if not attacks:
            continue
        found = [a for a in attacks if a["seconds"] is not None]
        cells = [_spread([a[what] for a in found]) for what in ("seconds", "connections")]
        lines.append([name, cls, len(attacks), len(found), *cells])
    return lines


def _spread(values: list[float]) -> str:
    return f"{np.median(values):.0f} ({np.quantile(values, 0.9):.0f})" if values else "-"
