"""The allow-list: what a site has declared normal, matched to decided rows."""

from __future__ import annotations

import dataclasses
import ipaddress
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pyad.row import Rows
from pyad.verdict import DECISION_NAMES

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
# Addresses whose subnets are remembered; a spoofed flood has more, which then cost their parsing again.
_MEMO_ADDRESSES = 65_536


def parse_network(text: object) -> Network:
    """A subnet or a single address; ValueError says what is wrong with it."""
    if not isinstance(text, str):
        raise ValueError(f"{text!r} is not a subnet")  # noqa: TRY004  (one error type for whoever reports it)
    return ipaddress.ip_network(text.strip(), strict=False)


class Port(NamedTuple):
    """A responder port; proto "" for any."""

    number: int
    proto: str


@dataclass(frozen=True)
class AllowEntry:
    """One thing that must raise no notice: all conditions that are given must hold; those not given hold always.

    name: shown as `suppressed_by: allow-list:NAME`. orig, resp, either: subnets of the originator, the responder, of
    one of the two. ports: responder ports, as 80 or 80/tcp. services, classes: any of these. note: why, for the next
    admin.
    """

    name: str
    orig: tuple[Network, ...] = ()
    resp: tuple[Network, ...] = ()
    either: tuple[Network, ...] = ()
    ports: tuple[Port, ...] = ()
    services: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    note: str = ""

    @classmethod
    def from_mapping(cls, value: object) -> AllowEntry:
        """From configuration; ValueError says what is wrong."""
        if not isinstance(value, Mapping):
            raise ValueError(f"{value!r} is not a table with a name")  # noqa: TRY004
        known = [f.name for f in dataclasses.fields(cls)]
        for key in value:
            if key not in known:
                raise ValueError(f"{key!r} is not one of {', '.join(known)}")
        name = value.get("name")
        if not isinstance(name, str) or not name.isprintable() or not name.strip():
            raise ValueError("every entry needs a name")
        entry = cls(
            name=name,
            orig=_many(value, "orig", parse_network),
            resp=_many(value, "resp", parse_network),
            either=_many(value, "either", parse_network),
            ports=_many(value, "ports", _port),
            services=_many(value, "services", str),
            classes=_many(value, "classes", _class),
            note=str(value.get("note", "")),
        )
        if not (entry.orig or entry.resp or entry.either or entry.ports or entry.services or entry.classes):
            raise ValueError(f"{name!r} would allow everything; give it orig, resp, either, ports, services or classes")
        return entry


def _many(value: Mapping[str, Any], key: str, convert: Callable[[Any], Any]) -> tuple[Any, ...]:
    given = value.get(key)
    items = [] if given is None else given if isinstance(given, list | tuple) else [given]
    if given is not None and not items:  # an empty list would hold always, the opposite of what it looks like
        raise ValueError(f"{key} is empty; leave it out")
    return tuple(convert(item) for item in items)


def _port(value: Any) -> Port:
    match = re.fullmatch(r"([0-9]{1,5})(?:/(tcp|udp|icmp))?", str(value))
    if match is None or int(match[1]) > 65535:
        raise ValueError(f"{value!r} is not a port such as 80 or 80/tcp")
    return Port(int(match[1]), match[2] or "")


def _class(value: Any) -> str:
    if value not in DECISION_NAMES[1:]:
        raise ValueError(f"{value!r} is not one of {', '.join(DECISION_NAMES[1:])}")
    return str(value)


class AllowList:
    """The entries of a site, in order; the first that matches names itself."""

    def __init__(self, entries: Sequence[AllowEntry]) -> None:
        self.entries = tuple(entries)
        self._known: dict[tuple[Network, ...], Callable[[str], bool]] = {}

    @classmethod
    def of_networks(cls, networks: Sequence[Network]) -> AllowList:
        """A list that matches whatever comes from or goes to these subnets."""
        return cls([AllowEntry("hosts", either=tuple(networks))] if networks else ())

    def match(self, rows: Rows, decision: NDArray[np.int8]) -> NDArray[np.int16]:
        """Per row the index of the first entry that allows it, -1 for none.

        decision: int8 (rows,), index in DECISION_NAMES; rows that are not decided (0) are not looked at.
        """
        allowed = np.full(len(rows), -1, dtype=np.int16)
        open_rows = np.flatnonzero(decision > 0)
        if not self.entries or not len(open_rows):
            return allowed
        orig, resp = rows.text("id.orig_h"), rows.text("id.resp_h")
        port, proto, service = rows.number("id.resp_p"), rows.text("proto"), rows.text("service")
        for index, entry in enumerate(self.entries):
            at = open_rows[allowed[open_rows] < 0]
            if entry.classes:
                at = at[np.isin(decision[at], [DECISION_NAMES.index(c) for c in entry.classes])]
            if entry.ports:
                at = at[_at_ports(entry.ports, port[at], proto[at])]
            if entry.services:
                wanted = {s.lower() for s in entry.services}
                at = at[[not wanted.isdisjoint((s or "").lower().split(",")) for s in service[at].tolist()]]
            if entry.orig:
                at = at[self._inside(entry.orig, orig[at])]
            if entry.resp:
                at = at[self._inside(entry.resp, resp[at])]
            if entry.either:
                at = at[self._inside(entry.either, orig[at]) | self._inside(entry.either, resp[at])]
            allowed[at] = index
        return allowed

    def _inside(self, networks: tuple[Network, ...], addresses: NDArray[np.object_]) -> NDArray[np.bool_]:
        test = self._known.get(networks)
        if test is None:
            test = self._known[networks] = lru_cache(_MEMO_ADDRESSES)(lambda text: _contains(networks, text))
        return np.array([test(a) for a in addresses.tolist()], dtype=np.bool_)


def _at_ports(ports: Sequence[Port], number: NDArray[Any], proto: NDArray[np.object_]) -> NDArray[np.bool_]:
    found = np.isin(number, [p.number for p in ports if not p.proto])
    for p in ports:
        if p.proto:
            found |= (number == p.number) & (proto == p.proto)
    return found


def _contains(networks: tuple[Network, ...], text: str) -> bool:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:  # a log may hold a name where an address belongs; it is in no subnet
        return False
    return any(address in network for network in networks)
