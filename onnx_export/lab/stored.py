"""What a recording leaves in a folder, and the rows made of it: names, formats, reading. Base install only."""

from __future__ import annotations

import fnmatch
import gzip
import ipaddress
import json
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).parent
LAB_ROWS = HERE.parent / "data" / "lab"  # what is committed
ROWS = ".jsonl.gz"
RECORDINGS = "recordings.yaml"
SUMS = "SHA256SUMS"
GROUPS = ("train", "validation", "test")
NOT_AN_ATTACK = frozenset(("benign", "background"))
INTERNET = tuple(map(ipaddress.ip_network, ("198.51.100.0/24", "203.0.113.0/24", "192.0.2.0/24")))
INSIDE = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")  # where the lab draws its segments from
_INSIDE = tuple(map(ipaddress.ip_network, INSIDE))


def captures(paths: list[Path]) -> list[Path]:
    """The recordings in these folders (or the captures given), by title; those without a label file are left out."""
    found = [p for path in paths for p in (sorted(path.glob("*.pcap")) if path.is_dir() else [path])]
    return [p for p in found if beside(p, "labels.yaml").exists()]


def beside(capture: Path, ending: str) -> Path:
    """The file that lies beside a capture: TITLE.labels.yaml, TITLE.hosts.tsv, TITLE.scenario.yaml."""
    return capture.with_name(f"{capture.stem}.{ending}")


def read_scenario(capture: Path) -> dict[str, Any]:
    """What the recorder noted, with the attackers' MAC addresses; what can be told by the name alone where it did not.

    scenario, seed, group, compress, recorded_s, hosts, attacks: [{label, detail, start, end, by, targets, macs}].
    """
    name, _, seed = capture.stem.rpartition("-")
    facts: dict[str, Any] = {"scenario": name or capture.stem, "seed": int(seed) if seed.isdecimal() else None}
    path = beside(capture, "scenario.yaml")
    if path.exists():
        facts |= yaml.safe_load(path.read_text(encoding="utf-8"))
    mac_of = {h["address"]: h["mac"] for h in read_hosts(capture)}
    for attack in facts.setdefault("attacks", []):
        attack["macs"] = sorted({mac_of[a] for a in attack["by"] if a in mac_of})
    return facts


def read_hosts(capture: Path) -> list[dict[str, str]]:
    """TITLE.hosts.tsv: name, role, address, mac, does of every host; none where there is no such file."""
    path = beside(capture, "hosts.tsv")
    if not path.exists():
        return []
    names, *lines = (line.split("\t") for line in path.read_text(encoding="utf-8").splitlines())
    return [dict(zip(names, line, strict=False)) for line in lines]


def read_rows(path: Path) -> Iterator[dict[str, Any]]:
    """The labelled connections of one recording."""
    with gzip.open(path, "rt", encoding="utf-8") as file:
        yield from map(json.loads, file)


def row_files(folder: Path) -> dict[str, Path]:
    """Title → file of rows, of every recording in a folder."""
    return {p.name.removesuffix(ROWS): p for p in sorted(folder.glob(f"*{ROWS}"))}


def read_recordings(folder: Path) -> dict[str, dict[str, Any]]:
    """Title → facts of every recording whose rows are in a folder; older rows tell only what their name tells."""
    path = folder / RECORDINGS
    known = (yaml.safe_load(path.read_text(encoding="utf-8")) or {}) if path.exists() else {}
    facts = {}
    for title in row_files(folder):
        scenario, _, seed = title.rpartition("-")
        facts[title] = known.get(title) or {
            "scenario": scenario,
            "seed": int(seed) if seed.isdecimal() else None,
            "group": _older_group(title),
            "attacks": [],
        }
    return facts


@lru_cache(maxsize=1)
def _validation() -> tuple[str, ...]:
    sets = yaml.safe_load((HERE.parent / "sets.yaml").read_text(encoding="utf-8"))["sets"]
    return tuple(sets["lab"].get("validation", ()))


def _older_group(title: str) -> str:
    return "validation" if any(fnmatch.fnmatchcase(f"lab/{title}.pcap", g) for g in _validation()) else "train"


def known_attacks(facts: dict[str, Any]) -> list[dict[str, Any]]:
    """The attacks of a recording; an empty list also where nothing was noted."""
    attacks: list[dict[str, Any]] = facts.get("attacks") or []
    return attacks


@lru_cache(maxsize=65536)
def is_inside(address: str) -> bool:
    """Whether an address is one of the hospital's own: private, and no broadcast of a /24."""
    ip = ipaddress.ip_address(address)
    return any(ip in net for net in _INSIDE) and not address.endswith((".0", ".255"))


@lru_cache(maxsize=65536)
def is_internet(address: str) -> bool:
    """Whether an address belongs to the lab's internet: the documentation networks."""
    ip = ipaddress.ip_address(address)
    return any(ip in net for net in INTERNET)
