"""Label rules: which class a connection of a recorded capture has. The first rule that matches names it.

The rule format is that of the lab's label files: keys `orig resp host host2` (address, CIDR, "a-b" or a list; `host`
is either end, `host2` the other), `orig_port resp_port port`, `proto state l2 orig_pkts resp_pkts`, `after before`
(epoch seconds of the first packet); `not_KEY` negates. All keys of a rule must match.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

Connection = Mapping[str, Any]
Test = Callable[[Connection], bool]


def load_rules(path: Path) -> Callable[[Connection], tuple[str, str]]:
    """The labelling of a one-entry label file: connection → (label, detail). Raises ValueError for one of several."""
    entries = yaml.safe_load(path.read_text(encoding="utf-8"))["entries"]
    if len(entries) != 1:
        raise ValueError(f"{path}: has {len(entries)} entries; a capture has one label file with one")
    entry = entries[0]
    rules = [(_tests(rule), rule["label"], rule.get("detail", "")) for rule in entry["rules"]]
    default = (entry["default"], entry.get("default_detail", ""))

    def label(connection: Connection) -> tuple[str, str]:
        for tests, name, detail in rules:
            if all(test(connection) for test in tests):
                return name, detail
        return default

    return label


def _tests(rule: Mapping[str, Any]) -> list[Test]:
    tests = []
    for key, value in rule.items():
        if key in ("label", "detail", "source"):
            continue
        negated = key.startswith("not_")
        test = _test(key.removeprefix("not_"), value, rule)
        tests.append((lambda c, t=test: not t(c)) if negated else test)
    return tests


def _test(key: str, value: Any, rule: Mapping[str, Any]) -> Test:
    if key in ("orig", "resp"):
        within = _addresses(value)
        return lambda c: within(c[f"id.{key}_h"])
    if key == "host":
        within = _addresses(value)
        return lambda c: within(c["id.orig_h"]) or within(c["id.resp_h"])
    if key == "host2":
        within, host = _addresses(value), _addresses(rule["host"])
        return lambda c: (
            (host(c["id.orig_h"]) and within(c["id.resp_h"])) or (host(c["id.resp_h"]) and within(c["id.orig_h"]))
        )
    if key in ("orig_port", "resp_port", "port"):
        inside = _numbers(value)
        sides = ("orig", "resp") if key == "port" else (key.removesuffix("_port"),)
        return lambda c: any(inside(c[f"id.{side}_p"]) for side in sides)
    if key in ("orig_pkts", "resp_pkts"):
        inside = _numbers(value)
        return lambda c: c.get(key) is not None and inside(c[key])
    if key in ("proto", "state", "l2"):
        wanted = {str(v).lower() for v in _list(value)}
        names = {"proto": ("proto",), "state": ("conn_state",), "l2": ("orig_l2_addr", "resp_l2_addr")}[key]
        return lambda c: any(str(c.get(n, "")).lower() in wanted for n in names)
    if key == "after":
        return lambda c: bool(c["ts"] >= value)
    if key == "before":
        return lambda c: bool(c["ts"] < value)
    raise ValueError(f"label rule has an unknown key {key!r}")


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _addresses(spec: Any) -> Callable[[str], bool]:
    ranges = []
    for text in map(str, _list(spec)):
        if "-" in text:
            first, last = map(ipaddress.ip_address, text.split("-"))
        else:
            network = ipaddress.ip_network(text, strict=False)
            first, last = network[0], network[-1]
        ranges.append((first.version, int(first), int(last)))
    known: dict[str, bool] = {}

    def within(address: str) -> bool:
        if address not in known:
            ip = ipaddress.ip_address(address)
            known[address] = any(ip.version == v and low <= int(ip) <= high for v, low, high in ranges)
        return known[address]

    return within


def _numbers(spec: Any) -> Callable[[float], bool]:
    ranges = []
    for text in map(str, _list(spec)):
        low, _, high = text.partition("-")
        ranges.append((int(low), int(high or low)))
    return lambda v: any(low <= v <= high for low, high in ranges)
