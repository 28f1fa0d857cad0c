"""The report: put together from whatever result files there are, saying which are missing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from onnx_export import groups, report_incidents, report_study
from onnx_export.groups import Results, key, macro_f1, macro_of, of
from onnx_export.measure import P_VALUES, RATES, dense
from onnx_export.metrics import SMALL_CLASS, mcc, of_confusion
from onnx_export.overlap import HEAD
from onnx_export.page import Block, Heading, Plot, Table, Text
from onnx_export.page import write as write_page
from onnx_export.registry import LAB
from onnx_export.svg import lines as plot
from onnx_export.tables import share, total
from pyad.verdict import CLASSES, DECISION_NAMES

Lines = Sequence[Sequence[object]]
_CONFUSED = ("hybrid", "lightgbm")
_LEVELS = [f"under {p:g}" for p in P_VALUES]


def write(results: Results, wanted: Sequence[str], folder: Path, overlap: Lines = ()) -> None:
    """report.md and report.html. wanted: names of runs that there should be. overlap: lines of `overlap`."""
    write_page("How pyad's models do", blocks(results, wanted, overlap), folder)


_ABSENT = (
    "Of the checklist this report has no curve of drift over months, since no recording is longer than days, and "
    "jitter, changed sizes, loss and a slower pace for bundles only. What `pyad calibrate` does to benign days is in "
    "`zeek-scripts/TUNING.md`, what the detector costs in the README."
)


def blocks(results: Results, wanted: Sequence[str], overlap: Lines) -> list[Block]:
    """The whole report, in the order of the evaluation's checklist."""
    data = _focus(results)
    plain = [r for r in results if key(r)[1] == data and not key(r)[2] and not key(r)[3]]
    bundles = [r for r in results if key(r)[0].startswith("bundle")]
    shown = first_seeds(plain) | {r["experiment"]["name"]: r for r in bundles}
    found: list[Block] = [
        *_runs(results, wanted),
        *_data(results, overlap),
        *_operating(shown),
        *graphs(bundles),
        *classes(shown, plain),
        *confusions(shown, _CONFUSED),
        *_captures(shown),
        *_ranking(shown),
        *report_incidents.blocks(shown),
        *report_incidents.over_time(shown),
        *calibration(shown),
        *report_study.novelty(results, shown),
        *report_study.cross(results),
        *report_study.recalibrated(shown),
        *report_study.seeds(results, data),
        *report_study.ablations(results, data),
        *_curves(plain),
        Heading("What is not here"),
        Text(_ABSENT),
    ]
    return found


def first_seeds(results: Results) -> dict[str, dict[str, Any]]:
    """Model → the result of its first seed, which stands for it where one is shown."""
    return {model: of(results, model, key(r)[1])[0] for r in results for model in [key(r)[0]]}


def _focus(results: Results) -> str:
    choices = [key(r)[1] for r in results if key(r)[0] == "hybrid"]
    return max(sorted(set(choices)), key=choices.count, default=LAB)


def lab_test(result: dict[str, Any]) -> list[dict[str, Any]]:
    """The lab's test recordings of a result, or its validation where no test was run."""
    part = result["parts"].get("test") or result["parts"]["validation"]
    return [c for c in part["captures"] if c["set"] == LAB] or part["captures"]


def _runs(results: Results, wanted: Sequence[str]) -> list[Block]:
    there = {r["experiment"]["name"] for r in results}
    missing = [name for name in wanted if name not in there]
    seconds = [r.get("training_seconds", 0.0) for r in results]
    return [
        Heading("Runs"),
        Text(
            f"{len(results)} runs, of which {len(wanted) - len(missing)} of the {len(wanted)} that the study lists; "
            f"training took {sum(seconds) / 60:.0f} minutes in all, {max(seconds, default=0) / 60:.0f} the longest."
        ),
        Text("Missing: " + (", ".join(f"`{m}`" for m in missing) or "none") + "."),
        *_other_rows(results),
    ]


def _other_rows(results: Results) -> list[Block]:
    seen: dict[str, set[str]] = {}
    for r in results:
        if "digest" in r and not key(r)[0].startswith("bundle"):
            seen.setdefault(key(r)[1], set()).add(r["digest"])
    mixed = sorted(data for data, digests in seen.items() if len(digests) > 1)
    return [Text(f"Not all of one material: the runs on {', '.join(mixed)} had different rows.")] if mixed else []


def _data(results: Results, overlap: Lines) -> list[Block]:
    found: list[Block] = [Heading("Data")]
    seen: dict[str, dict[str, dict[str, int]]] = {}
    for r in results:
        seen.setdefault(key(r)[1], r["rows"])
    lines = [
        [data, group, *(rows[group].get(name, 0) for name in CLASSES)]
        for data, rows in seen.items()
        for group in ("train", "validation", "test")
        if rows.get(group)
    ]
    found += [
        Text(
            "Labelled connections, augmented copies of training captures included. Splits are by recording and by set "
            "(`sets.yaml`, `recordings.yaml`); scaler, quantiles and class weights come from training rows, thresholds "
            "from validation rows, every capture begins with empty windows and states."
        ),
        Table(["trained on", "group", *CLASSES], lines),
    ]
    text = "What the groups of a set share that has more than one (`python -m onnx_export overlap`):"
    return [*found, Text(text), Table(HEAD, overlap)] if overlap else found


def _operating(shown: dict[str, dict[str, Any]]) -> list[Block]:
    lines = [
        [
            name,
            f"{o['rate']:g}",
            "yes" if o["within_budget"] else "no",
            o["device_days"],
            ", ".join(f"{rate}: {n}" for rate, n in o["false_incidents_tried"].items()),
        ]
        for name, r in shown.items()
        for o in [r["operating"]]
    ]
    return [
        Heading("Operating point"),
        Text(
            "Per class the largest rate at which its false incidents on the benign validation captures stay within "
            "one new incident a day per 100 devices; thresholds per class follow from it. Where none does, the least "
            "that was tried. Bundles keep their own."
        ),
        Table(["model", "rate", "within budget", "device-days", "false incidents by rate"], lines),
    ]


def graphs(bundles: Results) -> list[Block]:
    """How far onnxruntime and PyTorch are apart."""
    lines = [
        [r["experiment"]["name"], a["rows"], f"{a['probs']:.1e}", f"{a['novelty']:.1e}"]
        for r in bundles
        for a in [r.get("agreement")]
        if a
    ]
    if not lines:
        return []
    text = "A bundle's graphs in onnxruntime against its weights in PyTorch, all validation and test rows in order."
    head = ["bundle", "rows", "largest difference of a probability", "of the novelty score"]
    return [Heading("Graphs"), Text(text), Table(head, lines)]


def classes(shown: dict[str, dict[str, Any]], plain: Results) -> list[Block]:
    """Per class, and macro values. plain: results whose mean over seeds is shown beside."""
    lines: list[list[object]] = []
    for name, result in shown.items():
        counts = groups.stack(lab_test(result))
        table = counts.sum(axis=0)
        for cls, c in of_confusion(table).items():
            i = CLASSES.index(cls)
            rows = int(table[i].sum())
            lines.append(
                [name, cls, rows, share(rows - int(table[i, 0]), rows), *(f"{c[k]:.3f}" for k in
                 ("recall", "precision", "f1"))]
            )  # fmt: skip
    sums: list[list[object]] = []
    for name, result in shown.items():
        counts = groups.stack(lab_test(result))
        table = counts.sum(axis=0)
        low, high = groups.interval(counts)
        part = result["parts"].get("test") or result["parts"]["validation"]
        same = [r for r in plain if key(r)[0] == key(result)[0]] or [result]
        mean = np.mean([macro_of(total(lab_test(r))) for r in same])
        sums.append([
            name, f"{macro_of(table):.3f} ({low:.3f} to {high:.3f})", f"{mean:.3f} of {len(same)}",
            f"{macro_of(table, 'recall'):.3f}", f"{macro_f1(table):.3f}", f"{macro_f1(table, small=False):.3f}",
            f"{mcc(table):.3f}", f"{macro_of(dense(part['distinct'])):.3f}",
        ])  # fmt: skip
    return [
        Heading("Classes at the operating point"),
        Text(
            "The lab's test recordings. Alarmed: decided anything but benign; recall: its own class. Intervals of rows "
            "are Wilson's, which take rows for independent; those of macro values draw captures anew, only draws that "
            "have every class."
        ),
        Table(["model", "class", "rows", "alarmed (95 %)", "recall", "precision", "F1"], lines),
        Text(
            f"Small classes have fewer than {SMALL_CLASS} rows. MCC: Matthews' correlation over all classes. Distinct: "
            "identical feature rows count once, all sets."
        ),
        Table(
            [
                "model",
                "macro alarmed (95 %)",
                "mean of seeds",
                "macro recall",
                "macro F1",
                "without small",
                "MCC",
                "distinct",
            ],
            sums,
        ),
    ]


def confusions(shown: dict[str, dict[str, Any]], names: Sequence[str]) -> list[Block]:
    """Confusion counts of the named ones."""
    found: list[Block] = [Heading("Confusion")]
    for name in names:
        if name in shown:
            table = total(lab_test(shown[name]))
            lines = [[CLASSES[i], *table[i].tolist()] for i in range(len(CLASSES)) if table[i].any()]
            found += [Text(f"{name}, the lab's test recordings: true class, and what was decided."),
                      Table(["", *DECISION_NAMES], lines)]  # fmt: skip
    return found


def _captures(shown: dict[str, dict[str, Any]]) -> list[Block]:
    names = [n for n in _CONFUSED if n in shown]
    parts = {n: shown[n]["parts"].get("test") or shown[n]["parts"]["validation"] for n in names}
    tables = {n: {c["name"]: dense(c["confusion"]) for c in p["captures"]} for n, p in parts.items()}
    lines: list[list[object]] = []
    for capture in parts[names[0]]["captures"] if names else ():
        for i, cls in enumerate(CLASSES):
            rows = int(tables[names[0]][capture["name"]][i].sum())
            if rows and (i or capture["set"] == LAB):
                cells = [share(rows - int(tables[n][capture["name"]][i, 0]), rows) for n in names]
                lines.append([capture["name"], cls, rows, *cells])
    text = "Test captures: the lab's with all their classes, of public ones the attacks."
    return [
        Heading("Captures"),
        Text(text),
        Table(["capture", "class", "rows", *(f"{n} alarmed" for n in names)], lines),
    ]


def _ranking(shown: dict[str, dict[str, Any]]) -> list[Block]:
    lines: list[list[object]] = []
    curves: dict[str, dict[str, Any]] = {}
    benign = 0
    for name, result in shown.items():
        ranks = (result["parts"].get("test") or result["parts"]["validation"])["ranking"]
        benign = ranks["benign_rows"]
        for cls, c in ranks["classes"].items():
            cells = ["too few benign rows" if v is None else f"{v:.3f}" for v in c["recall_at"].values()]
            lines.append([name, cls, c["rows"], *cells, f"{c['average_precision']:.3f}"])
            curves.setdefault(cls, {})[name] = c["curve"]
    rates = [f"recall at {r:g}" for r in RATES]
    return [
        Heading("Ranking"),
        Text(
            f"All test rows of all sets, {benign} of them benign. A false-positive rate is stated where at least ten "
            "benign rows are to be expected above it. Curves and average precision: a class's own probability."
        ),
        Table(["model", "class", "rows", *rates, "average precision"], lines),
        *(Plot(f"precision-recall-{cls}", plot(cls, some, "recall", "precision")) for cls, some in curves.items()),
    ]


def calibration(shown: dict[str, dict[str, Any]]) -> list[Block]:
    """Whether probabilities are shares."""
    parts = {n: r["parts"].get("test") or r["parts"]["validation"] for n, r in shown.items()}
    lines = [[n, f"{p['calibration_error']:.4f}"] for n, p in parts.items()]
    curves = {n: [(b[1], b[2]) for b in p["reliability"]] for n, p in parts.items()}
    return [
        Heading("Calibration"),
        Text("Expected calibration error of the most probable class, 15 bins, all test rows of all sets."),
        Table(["model", "error"], lines),
        *_uniform(parts),
        Plot("reliability", plot("reliability", curves, "mean confidence", "accuracy")),
    ]


def _uniform(parts: dict[str, Any]) -> list[Block]:
    lines = [
        [n, p["p_values"]["rows"], f"{p['p_values']['distance']:.3f}", *map("{:.4f}".format,
        p["p_values"]["under"].values())]
        for n, p in parts.items() if p.get("p_values")
    ]  # fmt: skip
    text = (
        "Novelty p-values of benign rows, by the calibration of validation: the Kolmogorov-Smirnov distance from "
        "uniform, and the share of rows below a level, which should be that level."
    )
    return [Text(text), Table(["model", "rows", "distance", *_LEVELS], lines)] if lines else []


def _curves(plain: Results) -> list[Block]:
    series = {
        r["experiment"]["name"]: [(float(p["epoch"]), p["value"]) for p in r["curve"]]
        for r in plain
        if key(r)[0] == "hybrid" and r["curve"]
    }
    if not series:
        return []
    text = "The hybrid on validation, epoch by epoch: the mean macro recall at the training's rate and a quarter of it."
    return [Heading("Learning curves"), Text(text),
            Plot("learning", plot("validation", series, "epoch", "macro recall", unit=False))]  # fmt: skip
