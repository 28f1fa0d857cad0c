"""The data set registry: terms, use and split of every set, from `sets.yaml` here and one beside given data."""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).parent
LAB = "lab"
# What trains: our recordings; public sets whose terms allow it; both; and whatever may be studied, for research only.
CHOICES = ("lab", "public", "clean", "everything")
GROUPS = ("train", "validation", "test")


@dataclass(frozen=True)
class Registry:
    """sets: name → its entry in sets.yaml."""

    sets: Mapping[str, Mapping[str, Any]]

    def of(self, dataset: str) -> Mapping[str, Any]:
        """One set's entry. Raises ValueError for a set nobody has described."""
        if dataset not in self.sets:
            raise ValueError(
                f"no set '{dataset}' is registered: describe it (use, terms) in onnx_export/sets.yaml or in a "
                "sets.yaml beside its files"
            )
        return self.sets[dataset]

    def group(self, dataset: str, capture: str, recorded: Mapping[str, str], choice: str) -> str | None:
        """train, validation or test: where a capture goes under a choice of training data, None for nowhere.

        recorded: capture → group, of a set that says so itself.
        """
        known = self.of(dataset)
        if known["use"] not in GROUPS:
            raise ValueError(f"set '{dataset}': use is one of {', '.join(GROUPS)}, not {known['use']!r}")
        own: str = recorded.get(capture, known["use"])
        if own == "train" and any(fnmatch.fnmatchcase(capture, g) for g in known.get("validation", ())):
            own = "validation"
        ours = dataset == LAB or bool(known.get("earlier_lab"))
        if (ours and choice == "public") or (not ours and choice == "lab"):
            # The other side is what such a model is tested on: the lab's test recordings, or public sets whole.
            return "test" if own == "test" or not ours else None
        if choice == "everything" and known.get("research"):
            return "train"
        return own


def load_registry(folders: Sequence[Path] = ()) -> Registry:
    """The project's registry and those of `folders`, which may add sets and not change any."""
    sets: dict[str, Any] = yaml.safe_load((HERE / "sets.yaml").read_text(encoding="utf-8"))["sets"]
    for folder in folders:
        path = folder / "sets.yaml"
        if not path.exists():
            continue
        own = yaml.safe_load(path.read_text(encoding="utf-8"))["sets"]
        again = sorted(own.keys() & sets.keys())
        if again:
            raise ValueError(f"{path}: {', '.join(again)} is registered already; choose another name")
        sets |= own
    return Registry(sets)
