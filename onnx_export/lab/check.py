"""Consistency of recordings and rows: every attack is there, no label is stolen, and the groups share nothing."""

from __future__ import annotations

import hashlib
import json
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from . import stored
from .labels import RELAYING

# As the label rules have it: what begins a little before the start was noted, and what the attack leaves behind.
_BEFORE_S, _AFTER_S = 1.0, 15.5
_SHOWN = 5
_NAMES = ("capture", "label", "label_detail", "label_source", "scenario", "seed", "ts", "uid")


@dataclass
class Found:
    """Errors make the check fail; notes are told. attacks: (title, attack, connections) of each attack noted."""

    errors: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    attacks: list[tuple[str, dict[str, Any], int]] = field(default_factory=list)


class Groups:
    """What each group has used; whatever two groups share is an error, but for identical rows, which are counted."""

    def __init__(self) -> None:
        self.used: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
        self.rows: dict[bytes, str] = {}
        self.identical: Counter[str] = Counter()

    def use(self, kind: str, what: str, group: str) -> None:
        """Note that a group has used a scenario, a device or an attack setting."""
        self.used[kind][what].add(group)

    def row(self, record: dict[str, Any], group: str) -> None:
        """Note a row; times, names of connections and labels aside."""
        text = json.dumps({k: v for k, v in record.items() if k not in _NAMES}, sort_keys=True)
        digest = hashlib.blake2b(text.encode(), digest_size=12).digest()
        first = self.rows.setdefault(digest, group)
        if first != group:
            self.identical[" and ".join(sorted((first, group)))] += 1

    def judge(self, found: Found) -> None:
        """Add what groups share to the findings."""
        for kind, used in self.used.items():
            for what, groups in sorted(used.items()):
                if len(groups) > 1:
                    found.errors.append(f"{kind} {what} is in {' and '.join(sorted(groups))}")
        for pair, n in self.identical.items():
            found.notes.append(f"{n} rows in {pair} are identical but for their times")


def run(paths: list[Path]) -> int:
    """Check folders of recordings or of rows; prints the attacks with their connections; 1 where anything is wrong."""
    found, groups = Found(), Groups()
    any_rows = False
    for title, facts, hosts, rows in _sources(paths):
        any_rows = True
        check_recording(title, facts, hosts, rows, found, groups)
    groups.judge(found)
    if not any_rows:
        found.errors.append(f"nothing to check in {' '.join(map(str, paths))}")
    sys.stdout.write(_text(found))
    return 1 if found.errors else 0


def _sources(
    paths: list[Path],
) -> Iterator[tuple[str, dict[str, Any], list[dict[str, str]], Iterator[dict[str, Any]]]]:
    """(title, facts, hosts, rows) of everything in the folders; rows of captures by our own engine."""
    from .rows import labelled

    for path in paths:
        if path.is_dir() and (files := stored.row_files(path)):
            for title, facts in stored.read_recordings(path).items():
                yield title, facts, [], stored.read_rows(files[title])
            continue
        for capture in stored.captures([path]):
            facts = stored.read_scenario(capture)
            yield capture.stem, facts, stored.read_hosts(capture), labelled(capture, "dpkt", facts)


def check_recording(
    title: str,
    facts: dict[str, Any],
    hosts: list[dict[str, str]],
    rows: Iterator[dict[str, Any]],
    found: Found,
    groups: Groups,
) -> None:
    """Check one recording: attacks without connections, and connections labelled as an attack that nothing explains."""
    attacks = stored.known_attacks(facts)
    group = facts.get("group") or "-"
    counts = [0] * len(attacks)
    missed = 0
    stolen: list[dict[str, Any]] = []
    groups.use("scenario", f"{facts['scenario']} of seed {facts['seed']}", group)
    for host in hosts:
        groups.use("device", host["mac"], group)
    for attack in attacks:
        groups.use("attack setting", f"{attack['label']}: {attack['detail']}", group)
    for row in rows:
        groups.row(row, group)
        if not hosts:
            for end in ("orig", "resp"):
                mac = row.get(f"{end}_l2_addr")
                if mac and stored.is_inside(row[f"id.{end}_h"]) and not int(mac[:2], 16) & 1:
                    groups.use("device", mac, group)
        if row["label"] in stored.NOT_AN_ATTACK:
            missed += row["label"] == "benign" and any(
                _is_of(row, a) for a in attacks if a.get("shape") in (None, "direct")
            )
            continue
        groups.use("attack setting", f"{row['label']}: {row['label_detail']}", group)
        detail = row["label_detail"].removesuffix(RELAYING)
        same = [i for i, a in enumerate(attacks) if a["detail"] == detail
                and (a["label"] == row["label"] or a.get("shape") == "inflight")]  # fmt: skip
        explained = [i for i in same if explains(attacks[i], row)]
        for i in explained:
            counts[i] += row["label"] == attacks[i]["label"]
        if attacks and not explained:
            stolen.append(row)
    found.attacks += [(title, attack, n) for attack, n in zip(attacks, counts, strict=True)]
    for attack, n in zip(attacks, counts, strict=True):
        if n == 0:
            said = f"{title}: {attack['label']} ({attack['detail']}) has no connection in the rows"
            others = any(m for a, m in zip(attacks, counts, strict=True) if a["label"] == attack["label"])
            (found.notes if others else found.errors).append(said)
    if stolen:
        found.errors.append(f"{title}: {len(stolen)} connections are labelled as an attack that does not explain them")
        found.errors += [f"    {_line(row)}" for row in stolen[:_SHOWN]]
    if missed:
        found.notes.append(f"{title}: {missed} connections of an attacker to its target are labelled benign meanwhile")


def _is_of(row: dict[str, Any], attack: dict[str, Any]) -> bool:
    return (
        attack["start"] <= row["ts"] < attack["end"]
        and row["id.orig_h"] in attack["by"]
        and (row["id.resp_h"] in attack["targets"])
    )


def explains(attack: dict[str, Any], row: dict[str, Any]) -> bool:
    """Whether an attack is the cause of a connection with its label: its time, and who began the connection.

    Direct: an attacking address began it. Spoofed: its target got it, from whomever. Amplified: it has an end outside,
    and a target. All others have the attacker in the middle or at either end: it is over an attacker's MAC address, or
    to an attacking address; of those who believed a forged name ("relay") also after the end.
    """
    if row["ts"] < attack["start"] - _BEFORE_S:
        return False
    orig, resp = row["id.orig_h"], row["id.resp_h"]
    shape = attack.get("shape") or _shape(attack, row)
    if shape == "spoofed":  # its victims go on answering nobody until the capture ends
        return resp in attack["targets"] or orig in attack["by"]
    if row["ts"] > attack["end"] + _AFTER_S and not (shape == "relay" and resp in attack["by"]):
        return False
    if orig in attack["by"]:
        return True
    if shape == "amplified":
        return stored.is_internet(orig) or stored.is_internet(resp)
    if shape == "direct":
        return False
    macs = set(attack.get("macs", ())) & {row.get("orig_l2_addr"), row.get("resp_l2_addr")}
    return (
        bool(macs) or resp in attack["by"] or (not attack.get("macs") and bool({orig, resp} & set(attack["targets"])))
    )


def _shape(attack: dict[str, Any], row: dict[str, Any]) -> str:
    """The shape that a recording without one would have had."""
    if attack["label"] == "spoofing":
        return "arp"
    if attack["label"] != "flood" or row["id.orig_h"] in attack["by"]:
        return "direct"
    ends = (row["id.orig_h"], row["id.resp_h"])
    return "amplified" if any(map(stored.is_internet, ends)) and row.get("id.resp_p") == 53 else "spoofed"


def _line(row: dict[str, Any]) -> str:
    ends = f"{row['id.orig_h']}:{row['id.orig_p']} > {row['id.resp_h']}:{row['id.resp_p']}/{row['proto']}"
    return f"{row['ts']:.6f} {ends} {row['label']} ({row['label_detail']})"


def _text(found: Found) -> str:
    lines = []
    if found.attacks:
        lines.append(f"{'recording':<24} {'class':<13} {'connections':>11}  attack")
    for title, attack, n in found.attacks:
        lines.append(f"{title:<24} {attack['label']:<13} {n:>11}  {attack['detail']}")
    lines += [f"note: {note}" for note in found.notes]
    lines += [error if error.startswith(" ") else f"error: {error}" for error in found.errors]
    lines.append("errors found" if found.errors else "consistent")
    return "\n".join(lines) + "\n"
