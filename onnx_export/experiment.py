"""One run described: which model, on which data, with what left out, under which settings; from YAML."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import yaml

from onnx_export.registry import CHOICES
from onnx_export.settings import Settings, changed
from onnx_export.views import COLUMNS
from pyad.verdict import ATTACK_CLASSES

# Left out of the network, or of its input, or of the order of rows; to see what each is for.
PARTS = {"no_lstm": "lstm", "no_conv": "conv", "no_autoencoder": "autoencoder"}
ABLATIONS = ("", *PARTS, "shuffled", *COLUMNS)
_AXES = ("model", "data", "ablation", "left_out", "seed")


@dataclass(frozen=True)
class Experiment:
    """model: hybrid, autoencoder or a baseline's name. data: what trains, one of CHOICES. left_out: an attack class."""

    model: str = "hybrid"
    data: str = "clean"
    ablation: str = ""
    left_out: str = ""
    settings: Settings = field(default_factory=Settings)

    @property
    def name(self) -> str:
        """For file names: hybrid-lab-no_lstm-s1."""
        left_out = f"without_{self.left_out}" if self.left_out else ""
        return "-".join(filter(None, (self.model, self.data, self.ablation, left_out, f"s{self.settings.seed}")))

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**asdict(self), "name": self.name}


def read(path: Path) -> Experiment:
    """An experiment from a YAML file: Experiment's fields, `seed`, and `settings`."""
    return _make(_table(path), Settings())


def read_study(path: Path) -> list[Experiment]:
    """The runs of a study: `settings` for all, and `runs`, each of whose fields may be a list of values to go through.

    Runs named twice are done once. Order is kept. Raises ValueError where two of one name differ in their settings.
    """
    study = _table(path)
    common = changed(Settings(), study.get("settings", {}))
    found: dict[str, Experiment] = {}
    for run in (_make(one, common) for entry in study["runs"] for one in _each(entry)):
        if found.setdefault(run.name, run) != run:
            raise ValueError(f"{path}: two runs would be called {run.name} and differ in settings: make it two studies")
    return list(found.values())


def _table(path: Path) -> dict[str, Any]:
    loaded = yaml.safe_load(path.read_text(encoding="utf-8"))
    if not isinstance(loaded, dict):
        raise TypeError(f"{path}: not a table of fields")
    return loaded


def _each(entry: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    lists = {k: entry[k] for k in _AXES if isinstance(entry.get(k), list)}
    for values in itertools.product(*lists.values()):
        yield {**entry, **dict(zip(lists, values, strict=True))}


def _make(entry: Mapping[str, Any], common: Settings) -> Experiment:
    unknown = sorted(entry.keys() - {*_AXES, "settings"})
    if unknown:
        raise ValueError(f"a run has no field {', '.join(unknown)}; there are {', '.join(_AXES)} and settings")
    settings = changed(common, {**entry.get("settings", {}), **({"seed": entry["seed"]} if "seed" in entry else {})})
    run = Experiment(
        **{k: entry[k] or "" for k in _AXES if k in entry and k != "seed"},
        settings=settings,
    )
    for what, value, known in (
        ("data", run.data, CHOICES), ("ablation", run.ablation, ABLATIONS), ("left_out", run.left_out,
        ("", *ATTACK_CLASSES)),
    ):  # fmt: skip
        if value not in known:
            raise ValueError(f"{what}: {value!r} is none of {', '.join(filter(None, known))}")
    return run
