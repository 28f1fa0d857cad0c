"""What training, validation and test share: captures, devices, identical connections. A clean split shares none."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from onnx_export.registry import GROUPS, load_registry
from onnx_export.sources import labelled_files, read_labelled, recorded_groups

# Names of a connection, not what happened in it.
_IDENTITY = ("ts", "uid", "capture", "label", "label_detail", "label_source", "scenario", "seed")
HEAD = ("set", "groups", "captures", "devices", "some of them", "identical rows", "of")
_PAIRS = (("train", "validation"), ("train", "test"), ("validation", "test"))


@dataclass
class Held:
    """What one group holds of one set. devices: MAC addresses, or addresses where the rows have none."""

    captures: set[str] = field(default_factory=set)
    devices: set[str] = field(default_factory=set)
    rows: Counter[bytes] = field(default_factory=Counter)


@dataclass(frozen=True)
class Shared:
    """What two groups share of one set. rows: of the later group that the earlier one holds too; of: all its rows."""

    dataset: str
    pair: tuple[str, str]
    captures: tuple[str, ...]
    devices: tuple[str, ...]
    rows: int
    of: int


def held(folders: Sequence[Path], choice: str) -> dict[str, dict[str, Held]]:
    """Set → group → what it holds, under a choice of training data."""
    registry = load_registry(folders)
    found: dict[str, dict[str, Held]] = {}
    for folder in folders:
        recorded = recorded_groups(folder)
        for dataset, path in labelled_files(folder, registry):
            for name, records in read_labelled(dataset, path, registry.of(dataset)):
                group = registry.group(dataset, name, recorded, choice)
                if group is None:
                    continue
                into = found.setdefault(dataset, {g: Held() for g in GROUPS})[group]
                into.captures.add(name)
                for record in records:
                    if record["label"] != "background":
                        _take(into, record)
    return found


def _take(into: Held, record: dict[str, Any]) -> None:
    # A device is what sent something: the responder counts once it answered.
    ends = [("orig_l2_addr", "id.orig_h")]
    if record.get("resp_pkts"):
        ends.append(("resp_l2_addr", "id.resp_h"))
    into.devices.update(str(record.get(mac) or record[address]) for mac, address in ends)
    content = sorted((k, v) for k, v in record.items() if k not in _IDENTITY)
    into.rows[hashlib.blake2b(repr(content).encode(), digest_size=12).digest()] += 1


def shared(found: dict[str, dict[str, Held]]) -> list[Shared]:
    """Per set and pair of groups what they share; pairs of which one side is empty are left out."""
    table = []
    for dataset, groups in found.items():
        for early, late in _PAIRS:
            a, b = groups[early], groups[late]
            if not a.captures or not b.captures:
                continue
            same = sum(n for row, n in b.rows.items() if row in a.rows)
            table.append(
                Shared(
                    dataset,
                    (early, late),
                    tuple(sorted(a.captures & b.captures)),
                    tuple(sorted(a.devices & b.devices)),
                    same,
                    b.rows.total(),
                )
            )
    return table


def across(found: dict[str, dict[str, Held]]) -> list[Shared]:
    """The same of each two sets, identical rows alone: captures have names of their own there, and addresses that
    coincide, 192.168.1.1 before all, are no shared device. Pairs that share nothing are left out.

    Collections quote one another, and a short exchange may come twice by chance: this is to be known, not to be 0.
    """
    table = []
    for a, early in found.items():
        for b, late in found.items():
            for pair in _PAIRS:
                rows = late[pair[1]].rows
                same = sum(n for row, n in rows.items() if row in early[pair[0]].rows)
                if a != b and same:
                    table.append(Shared(f"{a}, {b}", pair, (), (), same, rows.total()))
    return table


def clean(table: Sequence[Shared]) -> bool:
    """Whether nothing is shared."""
    return not any(s.captures or s.devices or s.rows for s in table)


def lines(table: Sequence[Shared]) -> list[list[object]]:
    """One line per set and pair of groups, under HEAD; of shared devices the first three are named."""
    return [
        [
            s.dataset, " and ".join(s.pair), len(s.captures), len(s.devices), ", ".join(s.devices[:3]), s.rows, s.of,
        ]
        for s in table
    ]  # fmt: skip
