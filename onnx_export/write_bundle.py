"""Writes a bundle folder: both graphs, bundle.yaml and the model card, from a trained network and its data."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from onnx_export import calibration, graph, report, report_incidents, report_study
from onnx_export.bundle_run import measure_bundle
from onnx_export.data import Capture, Split, labels_of
from onnx_export.experiment import Experiment
from onnx_export.metrics import Scored
from onnx_export.models import Fitted, fit
from onnx_export.network import Hybrid, weights
from onnx_export.operating import MIN_CONNS, RATES, WITHIN, OperatingPoint, choose
from onnx_export.page import Plot, as_markdown
from onnx_export.registry import Registry, load_registry
from onnx_export.sources import labelled_files
from onnx_export.tables import by_set, total
from pyad.budget import LOWEST
from pyad.bundle import FORMAT, MANIFEST
from pyad.features import FEATURE_HASH, FEATURES
from pyad.reference import SCORES, make_reference
from pyad.verdict import CLASSES, NOVEL

SUMS = "SHA256SUMS"
_REFERENCE_ROWS = 20_000
_FALSE_SHARE = 0.05


def write_graphs(folder: Path, model: Hybrid, name: str, version: str) -> dict[str, dict[str, str]]:
    """`step.onnx` and `sequence.onnx` in `folder`; returns bundle.yaml's `graphs`."""
    folder.mkdir(parents=True, exist_ok=True)
    metadata = {
        "pyad.bundle": f"{name}-{version}",
        "pyad.feature_hash": FEATURE_HASH,
        "pyad.classes": ",".join(CLASSES),
    }
    w = weights(model)
    entries = {}
    for kind, build in (("step", graph.build_step), ("sequence", graph.build_sequence)):
        path = folder / f"{kind}.onnx"
        graph.save(build(w, metadata), path)
        entries[kind] = {"sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    return entries


def make(
    experiment: Experiment, split: Split, folders: Sequence[Path], folder: Path, version: str,
    start: Hybrid | None = None, begun_from: str = "", beside: str = "",
) -> str:  # fmt: skip
    """Train and write the whole bundle; returns its card's table of the test rows.

    start: network of `begun_from`. beside: for the card, how others do that were given the same.
    """
    fitted = fit(experiment, split.train, split.validation, start)
    return publish(experiment, fitted, split, folders, folder, version, begun_from, beside)


def publish(
    experiment: Experiment, fitted: Fitted, split: Split, folders: Sequence[Path], folder: Path, version: str,
    begun_from: str = "", beside: str = "",
) -> str:  # fmt: skip
    """Calibrate, measure and write what was trained; returns the card's table of the test rows."""
    if fitted.network is None:
        raise ValueError(f"a bundle holds the hybrid; {experiment.model} has no network to export")
    registry = load_registry(folders)
    graphs = write_graphs(folder, fitted.network, folder.name, version)
    write_curve(folder, fitted.curve)
    validation = fitted.score(split.validation)
    # Validation is kinder than networks that were never seen: the loosest rate is not tried, and `pyad calibrate` goes
    # no lower either.
    point = choose(split.validation, validation.probs, validation.novelty, MIN_CONNS, rates=RATES[1:], lowest=LOWEST)
    fields = manifest(experiment, fitted.network, split, point, registry, graphs, _files(folders, split, registry))
    label = labels_of(split.validation)
    fields |= {"name": folder.name, "version": version, "detection": calibration.detection(validation.probs, label)}
    fields["reference"] = reference(split, validation, label)
    fields["training"]["begun_from"] = begun_from
    write_manifest(folder, fields, {})
    result = measure_bundle(folder, split)  # as the product loads it
    write_manifest(folder, fields, result["parts"])
    write_card(folder, fields, result, beside)
    return by_set(result["parts"]["test"]["captures"]) if split.test else ""


def manifest(
    experiment: Experiment, model: Hybrid, split: Split, point: OperatingPoint, registry: Registry,
    graphs: Mapping[str, Mapping[str, str]], files: Mapping[str, str],
) -> dict[str, Any]:  # fmt: skip
    """bundle.yaml's fields, name, version and `metrics` aside. files: training file → sha256."""
    settings = experiment.settings
    benign = np.concatenate([c.x[c.label == 0] for c in split.train])
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of features that are never set
        usual = [None if np.isnan(v) else round(float(v), 5) for v in np.nanmedian(benign, axis=0)]
    return {
        "format": FORMAT,
        "name": "",
        "version": "",
        "licence": _licence(experiment, split),
        "features": list(FEATURES),
        "feature_hash": FEATURE_HASH,
        "classes": list(CLASSES),
        "state_size": graph.state_size(weights(model)),
        "graphs": {k: dict(v) for k, v in graphs.items()},
        "thresholds": point.thresholds,
        "min_conns": dict(MIN_CONNS),
        "novelty": point.novelty,
        "usual": usual,
        "budget": {
            "false_positive_rate": point.rate,
            "chosen_on": "validation",
            "within": WITHIN if point.within else "not reached",
        },
        "training": {
            "data": experiment.data,
            "seed": settings.seed,
            "epochs": settings.epochs,
            "sets": {
                s: _counts([c for c in split.train if c.dataset == s], registry.of(s)) for s in _sets(split.train)
            },
            "validation": {
                s: _counts([c for c in split.validation if c.dataset == s], {}) for s in _sets(split.validation)
            },
            "files": dict(files),
        },
    }


def _licence(experiment: Experiment, split: Split) -> str:
    if experiment.data == "everything":
        return "for research only, not to be passed on"
    known = load_registry().sets
    theirs = sorted({c.dataset for c in split.train} - known.keys())
    return f"as the terms of {', '.join(theirs)} allow" if theirs else "CC BY 4.0"


def reference(split: Split, scores: Scored, label: NDArray[np.int8]) -> dict[str, Any]:
    """What features and scores looked like on benign validation rows, for pyad.drift; their hours are not one span."""
    x = np.concatenate([c.x for c in split.validation])
    values = np.column_stack([x, 1.0 - scores.probs[:, 0], scores.novelty])[label == 0]
    sample = values[:: -(-len(values) // _REFERENCE_ROWS)]
    return make_reference(sample, (*FEATURES, *SCORES), len(values), 0.0).as_mapping()


def _files(folders: Sequence[Path], split: Split, registry: Registry) -> dict[str, str]:
    used = {c.dataset for c in (*split.train, *split.validation)}
    files = {
        f"{dataset}/{path.name}": _sha256(path)
        for folder in folders
        for dataset, path in labelled_files(folder, registry)
        if dataset in used
    }
    # The recordings themselves are not kept beside their rows; their sums are, so that nobody can train on a demo
    # unnoticed.
    for sums in (folder / SUMS for folder in folders):
        lines = sums.read_text(encoding="utf-8").splitlines() if sums.exists() else []
        files |= {name: digest for digest, name in map(str.split, lines)}
    return files


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sets(captures: Sequence[Capture]) -> list[str]:
    return sorted({c.dataset for c in captures})


def _counts(captures: Sequence[Capture], terms: Mapping[str, Any]) -> dict[str, Any]:
    label = np.concatenate([c.label for c in captures])
    rows = {name: int((label == i).sum()) for i, name in enumerate(CLASSES) if (label == i).any()}
    kept = {k: terms[k] for k in ("terms", "get", "cite") if k in terms}
    return {**kept, "captures": len(captures), "rows": rows}


def write_curve(folder: Path, curve: Sequence[Mapping[str, float]]) -> None:
    """learning_curve.csv: one line per epoch and member."""
    if curve:
        lines = [",".join(curve[0]), *(",".join(f"{v:.6g}" for v in point.values()) for point in curve)]
        (folder / "learning_curve.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")


def write_manifest(folder: Path, fields: Mapping[str, Any], parts: Mapping[str, Any]) -> None:
    """bundle.yaml with the test counts under `metrics`."""
    metrics: dict[str, Any] = {}
    for c in parts.get("test", {}).get("captures", ()):
        for i, j, count in c["confusion"]:
            tally = metrics.setdefault(c["set"], {}).setdefault(
                CLASSES[i], {"rows": 0, "alarmed": 0, "right": 0, "novel": 0}
            )
            for what, hit in (("rows", True), ("alarmed", j > 0), ("right", j == i), ("novel", j == NOVEL)):
                tally[what] += count * hit
    whole = {**fields, "metrics": {"split": "test recordings of the lab, and sets left out whole", "sets": metrics}}
    text = yaml.safe_dump(whole, sort_keys=False, width=118)
    (folder / MANIFEST).write_text(text, encoding="utf-8")


def write_card(folder: Path, fields: Mapping[str, Any], result: dict[str, Any], beside: str) -> None:
    """MODEL_CARD.md: what it was trained on, what it scores, where it fails."""
    training, parts = fields["training"], result["parts"]
    sets = "\n".join(map(_set_line, training["sets"].items()))
    limits = "\n".join(f"| {c} | {v:.4f} | {fields['min_conns'][c]} |" for c, v in fields["thresholds"].items())
    tables = {p: by_set(parts[p]["captures"]) if p in parts else "-" for p in ("test", "validation")}
    this = {fields["name"]: result}
    blocks = [
        *report.classes(this, []), *report.confusions(this, tuple(this)), *report_incidents.blocks(this),
        *report_study.novelty([], this), *report.graphs([result]), *report.calibration(this),
    ]  # fmt: skip
    operation = as_markdown([b for b in blocks if not isinstance(b, Plot)])
    text = CARD.format(
        name=fields["name"], version=fields["version"], sets=sets, limits=limits, seed=training["seed"],
        epochs=training["epochs"], level=fields["novelty"]["level"], rate=fields["budget"]["false_positive_rate"],
        features=len(FEATURES), state=fields["state_size"], licence=fields["licence"],
        within=fields["budget"]["within"], operation=operation, misses=_misses(parts),
        beside=beside.strip() or "Not measured.", **tables,
    )  # fmt: skip
    (folder / "MODEL_CARD.md").write_text(text, encoding="utf-8")


def _set_line(entry: tuple[str, Mapping[str, Any]]) -> str:
    name, described = entry
    terms = "; cite ".join(described[k] for k in ("terms", "cite") if k in described)
    rows = ", ".join(f"{k} {v}" for k, v in described["rows"].items())
    return f"| {name} | {terms} | {described['captures']} | {rows} |"


def _misses(parts: Mapping[str, Any]) -> str:
    """Where it failed on test, in numbers: sets it takes for attacks, attacks it does not find."""
    captures = parts.get("test", {}).get("captures", [])
    false, missed = [], []
    for name in sorted({c["set"] for c in captures}):
        benign, *attacks = total([c for c in captures if c["set"] == name])
        if benign.sum() and benign[1:].sum() > _FALSE_SHARE * benign.sum():
            false.append(f"{name} {benign[1:].sum() / benign.sum():.0%} of {benign.sum()}")
        missed += [
            f"{name} {cls} {1 - row[0] / row.sum():.0%} of {row.sum()}"
            for cls, row in zip(CLASSES[1:], attacks, strict=True)
            if row.sum() and row[0] > row.sum() / 2
        ]
    return (
        f"* Benign connections alarmed on test sets, where above {_FALSE_SHARE:.0%}: {', '.join(false) or 'nowhere'}.\n"
        f"* Attacks of which it alarms less than half the connections: {', '.join(missed) or 'none'}."
    )


CARD = """# {name} {version}

It states what it scores; no hospital should rely on it alone. Licence of the weights: {licence}.

## What it is

One step per connection and host: each feature enters as ramps between the quantiles of training and is embedded, a
causal 1D convolution (kernel 3) and a stride-1 max-pool read the host's last rows, an LSTM carries the host's memory;
beside it an autoencoder of the row trained on benign rows alone; LSTM and convolution output, embedded row, latent code
and residuals are fused and classified. {features} features, {state} floats of state per host. No address,
absolute time or raw port number is an input.

## Data

Trained with seed {seed}, {epochs} epochs, on these sets only (the others of the registry, among them every set without
stated terms or with non-commercial terms, are for evaluation):

| set | terms | captures | connections |
|---|---|---:|---|
{sets}

Training captures without a flood are seen a second time at another pace (benign ones faster) and with their
responders nearer or farther, and the benign rows of each frequent service once more as the work of one busy client.
Validation is whole recordings and whole sets, never rows of a training capture; it chose the epoch, the thresholds
and the novelty calibration. The groups of a set share no capture, device or identical connection
(`python -m onnx_export overlap`).

## Decision

A class is decided at its threshold, chosen on validation so that about {rate:g} of benign connections are alarmed
in all ({within}, on its benign captures); `novel` where the novelty p-value is under {level:g}. An incident gives its
first notice after so many decided connections.

| class | threshold | connections |
|---|---:|---:|
{limits}

## What it scores

Counts of connections. "Alarmed" is any decision but benign. Each capture starts with empty windows.

### Test: recordings of the lab and sets left out whole

No weight and no threshold was chosen on them. The public sets were looked at while features and training were being
designed (the busy clients above answer false alarms first seen there), so they flatter a little; judge by captures of
your own.

{test}

### Validation (thresholds were chosen on it, so it flatters)

{validation}

{operation}

### Beside others

{beside}

## Where it fails, and what it must not be used for

{misses}
* Command and control and exfiltration over ordinary TLS are found by luck, or not at all. `novel` seldom says anything
  here: it is for what nothing like benign rows explains.
* ARP spoofing shows only where the source delivers MAC addresses or address-change rows.
* Very slow scans and guessing (hours between tries) leave the windows before they add up.
* The first minutes of any replay have empty windows: every peer is new.
* One-directional captures look like failed connections.
* It is no evidence about a person and no reason to switch a medical device off: a notice is a reason to look.
"""
