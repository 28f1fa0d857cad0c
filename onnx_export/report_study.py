"""The report's part on comparisons: seeds, ablations, classes left out, sets crossed."""

from __future__ import annotations

from typing import Any

import numpy as np

from onnx_export.groups import Results, difference, key, macro_f1, macro_of, of
from onnx_export.page import Block, Heading, Table, Text
from onnx_export.registry import CHOICES, LAB
from onnx_export.tables import share, total
from pyad.verdict import CLASSES

# What the order of a host's connections should tell.
ORDERED = ("c2", "recon", "brute_force")
_RIVALS = ("hybrid", "lightgbm")


def novelty(results: Results, shown: dict[str, dict[str, Any]]) -> list[Block]:
    """The novelty score of each class, and of each class that training did not know."""
    lines: list[list[object]] = []
    runs = [(name, "", r) for name, r in shown.items()]
    runs += [(key(r)[0], key(r)[3], r) for r in results if key(r)[3]]
    for name, left_out, result in runs:
        scores = (result["parts"].get("test") or result["parts"]["validation"])["novelty"]
        for cls, c in scores.items():
            if (not left_out or cls == left_out) and c["auroc"] is not None:
                recall, fused = ("-" if c.get(k) is None else f"{c[k]:.3f}" for k in ("recall", "fused_recall"))
                lines.append([
                    name, cls, "yes" if left_out else "no", c["rows"], f"{c['auroc']:.3f}", recall,
                    f"{c['fused']:.3f}", fused, *_alarmed(result, cls),
                ])  # fmt: skip
    unknown = [[float(str(line[i])) for i in (4, 6)] for line in lines if line[2] == "yes"]
    means = np.mean(unknown, axis=0) if unknown else ()
    mean = f" Means over the {len(unknown)} left out: {means[0]:.3f} and {means[1]:.3f}." if len(means) else ""
    return [
        Heading("Novelty"),
        Text(
            "AUROC against all benign test rows: of the autoencoder's score alone, and fused, of the rarer of that and "
            "1 - P(benign). And what the whole detector alarmed of the class, and called novel, at its operating "
            f"point.{mean}"
        ),
        Table(
            [
                "model",
                "class",
                "left out",
                "rows",
                "AUROC",
                "recall at 1e-3",
                "fused AUROC",
                "fused at 1e-3",
                "alarmed by the whole",
                "as novel",
            ],
            lines,
        ),
    ]


def _alarmed(result: dict[str, Any], cls: str) -> tuple[str, str]:
    row = total(_tests(result))[CLASSES.index(cls)]
    return share(int(row[1:].sum()), int(row.sum())), share(int(row[-1]), int(row.sum()))


def _tests(result: dict[str, Any], lab: bool | None = None) -> list[dict[str, Any]]:
    captures = (result["parts"].get("test") or result["parts"]["validation"])["captures"]
    return [c for c in captures if lab is None or (c["set"] == LAB) == lab]


def cross(results: Results) -> list[Block]:
    """Trained on one side, tested on the other, per class and model."""
    lines: list[list[object]] = []
    firsts = [(data, model, found[0]) for data in CHOICES for model in _RIVALS if (found := of(results, model, data))]
    for where, lab in (("lab", True), ("public", False)):
        tests = [(data, model, captures) for data, model, r in firsts if (captures := _tests(r, lab))]
        # What one of them was trained on is a test for none.
        common = set.intersection(*({c["name"] for c in captures} for *_, captures in tests)) if tests else set()
        for data, model, captures in tests:
            if common:
                table = total([c for c in captures if c["name"] in common])
                cells = [share(int(table[i, 1:].sum()), int(table[i].sum())) for i in range(len(CLASSES))]
                lines.append([data, where, model, f"{macro_of(table):.3f}", *cells])
    return [
        Heading("Across sets"),
        Text(
            "Share of rows alarmed, without any adaptation: trained on the lab alone, on the public sets alone, on "
            "both, on everything that may be studied; only captures that test all of them. Under benign it is the "
            "false-positive rate."
        ),
        Table(["trained on", "tested on", "model", "macro alarmed", *CLASSES], lines),
    ]


def recalibrated(shown: dict[str, dict[str, Any]]) -> list[Block]:
    """What each set's own benign traffic is worth for the thresholds."""
    lines: list[list[object]] = []
    for model, result in shown.items():
        found = result.get("recalibrated", {"before": []})
        for name in sorted({c["set"] for c in found["before"]}):
            before, after = (total([c for c in found[when] if c["set"] == name]) for when in ("before", "after"))
            benign = [share(int(t[0, 1:].sum()), int(t[0].sum())) for t in (before, after)]
            attacks = [f"{macro_of(t):.3f}" if t[1:].any() else "-" for t in (before, after)]
            lines.append([model, name, *benign, int(before[1:].sum()), *attacks])
    return [
        Heading("With thresholds of a site's own"),
        Text(
            "Every second capture without an attack of a set was read to set its thresholds, as `pyad calibrate` does "
            "for a site, from benign traffic alone; the others and all attacks are counted, before and after. No "
            "class's threshold gets looser; novelty has the set's own distribution."
        ),
        Table(
            ["model", "set", "benign alarmed before", "after", "attack rows", "macro alarmed before", "after"], lines
        ),
    ]


def seeds(results: Results, data: str) -> list[Block]:
    """Hybrid against LightGBM, seed by seed."""
    ours, theirs = (of(results, model, data) for model in _RIVALS)
    lines: list[list[object]] = []
    for what in ("alarmed", "recall", "macro_f1"):
        for where, dataset in (("lab test", LAB), ("all test sets", "")):
            if not ours or not all("test" in r["parts"] for r in (*ours, *theirs)):
                continue
            found = difference(ours, theirs, dataset, what)
            if found:
                per_seed, (low, high) = found
                better = f"{sum(d > 0 for d in per_seed)} of {len(per_seed)}"
                lines.append([
                    what, where, better, f"{np.mean(per_seed):+.3f} ({low:+.3f} to {high:+.3f})",
                    ", ".join(f"{d:+.3f}" for d in per_seed),
                ])  # fmt: skip
    return [
        Heading("Hybrid against LightGBM"),
        Text(
            "Differences of macro values over attack classes (`macro_f1`: over all classes), hybrid minus LightGBM, "
            "each at its own operating point; captures and seeds are drawn anew, the same for both."
        ),
        Table(["measure", "on", "seeds better", "mean difference (95 %)", "by seed"], lines),
    ]


def ablations(results: Results, data: str) -> list[Block]:
    """What each part of the hybrid is worth, and what a log without some fields costs."""
    whole = of(results, "hybrid", data)
    if not whole or "test" not in whole[0]["parts"]:
        return [Heading("Ablations"), Text("No hybrid run with a test part yet.")]
    lines = [_ablated("whole", [total(_tests(r, lab=True)) for r in whole], "-")]
    for name in sorted({key(r)[2] for r in results if key(r)[:2] == ("hybrid", data)} - {""}):
        some = of(results, "hybrid", data, name)
        cost = _cost(difference(whole, some, LAB, "alarmed", ORDERED))
        lines.append(_ablated(f"trained {name}", [total(_tests(r, lab=True)) for r in some], cost))
        lines += _viewed(some, f"trained {name}, tested ")
    lines += _viewed(whole, "tested ")
    for bundle in (r for r in results if key(r)[0].startswith("bundle")):
        lines.append(_ablated(key(bundle)[0], [total(_tests(bundle, lab=True))], "-"))
        lines += _viewed([bundle], f"{key(bundle)[0]}, tested ")
    return [
        Heading("Ablations"),
        Text(
            "The hybrid on the lab's test recordings, means over seeds. Trained: the part is missing from the start, "
            "with an operating point of its own. Tested: the trained hybrid reads data that lacks it, at its usual "
            "thresholds. Shuffled: each host's rows in random order, features as they were; no_memory: every row its "
            "host's first for the network, features as they were; after_past: every host that attacks was a benign one "
            "for 500 rows before; reordered: which of a host's connections was made "
            "at which moment is random, features computed anew; jittered, resized, lossy: they begin up to a "
            "second off, carry up to a fifth more or less, are missing one in ten; slowed: four times as long between "
            "connections. Cost: of macro alarmed "
            f"over {', '.join(ORDERED)}, whole (or trained alike) minus this, paired, with interval."
        ),
        Table(
            ["hybrid", "seeds", "macro alarmed", "of it c2, recon, brute_force", "macro F1", "benign alarmed", "cost"],
            lines,
        ),
    ]


def _viewed(runs: Results, what: str) -> list[list[object]]:
    viewed = [r for r in runs if "views" in r]
    lines = []
    for view in sorted({v for r in viewed for v in r["views"]}):
        some = [r for r in viewed if view in r["views"]]
        tables = [total([c for c in r["views"][view]["captures"] if c["set"] == LAB]) for r in some]
        lines.append(_ablated(what + view, tables, _cost(difference(some, some, LAB, "alarmed", ORDERED, view=view))))
    return lines


def _ablated(name: str, tables: list[Any], cost: str) -> list[object]:
    benign = np.mean([t[0, 1:].sum() / max(t[0].sum(), 1) for t in tables])
    return [
        name, len(tables), f"{np.mean([macro_of(t) for t in tables]):.3f}",
        f"{np.mean([macro_of(t, classes=ORDERED) for t in tables]):.3f}",
        f"{np.mean([macro_f1(t) for t in tables]):.3f}", f"{benign:.5f}", cost,
    ]  # fmt: skip


def _cost(found: tuple[list[float], tuple[float, float]] | None) -> str:
    if found is None:
        return "-"
    per_seed, (low, high) = found
    return f"{np.mean(per_seed):+.3f} ({low:+.3f} to {high:+.3f})"
