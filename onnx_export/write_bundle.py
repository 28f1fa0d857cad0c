"""Writes a bundle folder: both graphs, bundle.yaml and the model card, from a trained network and its data."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from onnx_export import calibration, graph
from onnx_export.data import Capture, Split, overlap
from onnx_export.evaluate import Tally, markdown
from onnx_export.network import Hybrid, weights
from onnx_export.train import Scored, Settings, operating_recall, score
from pyad.bundle import FORMAT, MANIFEST
from pyad.features import FEATURE_HASH, FEATURES
from pyad.reference import SCORES, make_reference
from pyad.verdict import CLASSES

# Decided connections it takes before an incident gives its first notice: one odd connection is not yet a scan.
MIN_CONNS = {
    "flood": 10,
    "recon": 8,
    "brute_force": 6,
    "web_attack": 5,
    "spoofing": 5,
    "c2": 5,
    "exfiltration": 3,
    "exploit": 3,
    "novel": 5,
}
_REFERENCE_ROWS = 20_000
# Expected share of benign connections decided novel.
NOVEL_LEVEL = 1e-4


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


def manifest(
    model: Hybrid, split: Split, settings: Settings, terms: Mapping[str, Any], name: str, version: str,
    graphs: Mapping[str, Mapping[str, str]], files: Mapping[str, str],
) -> dict[str, Any]:  # fmt: skip
    """bundle.yaml's fields, `metrics` aside. files: training file → sha256."""
    validation = score(model, split.validation)
    label = np.concatenate([c.label for c in split.validation])
    benign = np.concatenate([c.x[c.label == 0] for c in split.train])
    with np.errstate(all="ignore"):
        usual = [None if np.isnan(v) else round(float(v), 5) for v in np.nanmedian(benign, axis=0)]
    return {
        "format": FORMAT,
        "name": name,
        "version": version,
        "licence": "CC BY 4.0",
        "features": list(FEATURES),
        "feature_hash": FEATURE_HASH,
        "classes": list(CLASSES),
        "state_size": model.shape.state,
        "graphs": {k: dict(v) for k, v in graphs.items()},
        "thresholds": calibration.thresholds(validation.probs, label, settings.false_positive_rate),
        "min_conns": MIN_CONNS,
        "novelty": calibration.novelty(validation.novelty[label == 0], NOVEL_LEVEL),
        "usual": usual,
        "detection": calibration.detection(validation.probs, label),
        "reference": reference(split, validation, label),
        "budget": {"false_positive_rate": settings.false_positive_rate, "chosen_on": "validation"},
        "training": {
            "seed": settings.seed,
            "epochs": settings.epochs,
            "members": settings.members,
            "sets": {s: _counts([c for c in split.train if c.dataset == s], terms[s]) for s in _sets(split.train)},
            "validation": {
                s: _counts([c for c in split.validation if c.dataset == s], {}) for s in _sets(split.validation)
            },
            "files": dict(files),
            "overlap": overlap(split),
            "validation_recall": operating_recall(validation, split.validation, settings.false_positive_rate),
        },
    }


def reference(split: Split, scores: Scored, label: NDArray[np.int8]) -> dict[str, Any]:
    """What features and scores looked like on benign validation rows, for pyad.drift; their hours are not one span."""
    x = np.concatenate([c.x for c in split.validation])
    values = np.column_stack([x, 1.0 - scores.probs[:, 0], scores.novelty])[label == 0]
    sample = values[:: -(-len(values) // _REFERENCE_ROWS)]
    return make_reference(sample, (*FEATURES, *SCORES), len(values), 0.0).as_mapping()


def _sets(captures: Sequence[Capture]) -> list[str]:
    return sorted({c.dataset for c in captures})


def _counts(captures: Sequence[Capture], terms: Mapping[str, Any]) -> dict[str, Any]:
    label = np.concatenate([c.label for c in captures])
    rows = {name: int((label == i).sum()) for i, name in enumerate(CLASSES) if (label == i).any()}
    kept = {k: terms[k] for k in ("terms", "cite") if k in terms}
    return {**kept, "captures": len(captures), "rows": rows}


def write_manifest(folder: Path, fields: Mapping[str, Any], table: Mapping[str, Mapping[str, Tally]]) -> None:
    """bundle.yaml with the test counts under `metrics`."""
    metrics = {
        s: {c: {"rows": t.rows, "alarmed": t.alarmed, "right": t.right, "novel": t.novel} for c, t in classes.items()}
        for s, classes in table.items()
    }
    text = yaml.safe_dump(
        {**fields, "metrics": {"split": "sets left out whole", "sets": metrics}}, sort_keys=False, width=118
    )
    (folder / MANIFEST).write_text(text, encoding="utf-8")


def write_card(
    folder: Path, fields: Mapping[str, Any], test: dict[str, dict[str, Tally]], validation: dict[str, dict[str, Tally]]
) -> None:
    """MODEL_CARD.md: what it was trained on, what it scores, where it fails."""
    training = fields["training"]
    sets = "\n".join(
        f"| {s} | {d.get('terms', '')} | {d['captures']} | {', '.join(f'{k} {v}' for k, v in d['rows'].items())} |"
        for s, d in training["sets"].items()
    )
    limits = "\n".join(f"| {c} | {v:.4f} | {fields['min_conns'][c]} |" for c, v in fields["thresholds"].items())
    text = CARD.format(
        members=training["members"],
        name=fields["name"], version=fields["version"], sets=sets, limits=limits, seed=training["seed"],
        epochs=training["epochs"], level=fields["novelty"]["level"], rate=fields["budget"]["false_positive_rate"],
        features=len(FEATURES), state=fields["state_size"], test=markdown(test), validation=markdown(validation),
        overlap=", ".join(f"{k} {v}" for k, v in training["overlap"].items()),
    )  # fmt: skip
    (folder / "MODEL_CARD.md").write_text(text, encoding="utf-8")


CARD = """# {name} {version}

A first, honest bundle: it does the main job end to end and states what it scores. It is not yet the model a hospital
should rely on alone. Licence of the weights: CC BY 4.0.

## What it is

One step per connection and host: a pointwise convolution embeds the row, a causal 1D convolution (kernel 3) and a
stride-1 max-pool read the host's last rows, an LSTM carries the host's memory; beside it an autoencoder of the row
trained on benign rows alone; LSTM and convolution output, latent code and residuals are fused and classified. {members}
such networks of different seeds share the autoencoder and vote with the mean of their logits; in the graph they are
the blocks of one network. {features} features, {state} floats of state per host. No address, absolute time or raw port
number is an input. The application counters are inputs too, but the training rows have none, so this bundle ignores
them.

## Data

Trained with seed {seed}, {epochs} epochs, on these sets only (the others of the registry, among them every set without
stated terms or with non-commercial terms, are for evaluation):

| set | terms | captures | connections |
|---|---|---:|---|
{sets}

Training captures without a flood are seen a second time at another pace (benign ones faster), and the benign rows of
each frequent service once more as the work of one busy client. Validation is whole captures of the same sets, never
rows of a training capture; it chose the epoch, the thresholds and the novelty calibration. Overlap: {overlap}.

## Decision

A class is decided at its threshold, chosen on validation so that about {rate:g} of benign connections are alarmed
in all; `novel` where the novelty p-value is under {level:g}. An incident gives its first notice after so many decided
connections.

| class | threshold | connections |
|---|---:|---:|
{limits}

## What it scores

Counts of connections. "Alarmed" is any decision but benign. Each capture starts with empty windows.

### Sets left out whole

No weight and no threshold was chosen on them. They were looked at several times while features and training were being
designed (the busy clients above answer false alarms first seen here), so they flatter a little; judge by captures of
your own.

{test}

### Validation (thresholds were chosen on it, so it flatters)

{validation}

## Where it fails, and what it must not be used for

* Classes with few or no training connections above (exploit, web attack, exfiltration, command and control over
  ordinary TLS) are found by luck or as `novel`, or not at all.
* ARP spoofing shows only where the source delivers MAC addresses or address-change rows.
* Very slow scans and guessing (hours between tries) leave the windows before they add up.
* The first minutes of any replay have empty windows: every peer is new.
* One-directional captures look like failed connections.
* It is no evidence about a person and no reason to switch a medical device off: a notice is a reason to look.
"""
