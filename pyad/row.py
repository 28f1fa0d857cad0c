"""The row schema: the one table of what a connection row holds; codecs, engines and features derive from it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Texts = NDArray[np.object_]

# Zeek's own log types. Numbers are float64 with NaN for unset (counts stay exact to 2^53); text is str or None.
_NUMERIC = frozenset({"time", "interval", "count", "port", "bool", "int"})


@dataclass(frozen=True)
class Field:
    """One column: Zeek's name, Zeek's log type, its unit, and whether a source must supply it."""

    name: str
    type: str
    unit: str = ""
    required: bool = False

    @property
    def numeric(self) -> bool:
        """Whether the column is float64 (NaN is unset) rather than text (None is unset)."""
        return self.type in _NUMERIC


# Order is the wire order: changing it changes SCHEMA_HASH and with it the wire.
CORE: tuple[Field, ...] = (
    Field("ts", "time", "s since epoch, first packet", required=True),
    Field("uid", "string"),
    Field("id.orig_h", "addr", required=True),
    Field("id.orig_p", "port", "port; ICMP type", required=True),
    Field("id.resp_h", "addr", required=True),
    Field("id.resp_p", "port", "port; ICMP code", required=True),
    Field("proto", "enum", required=True),
    Field("service", "string", "comma-separated, as Zeek confirmed them"),
    Field("duration", "interval", "s"),
    Field("orig_bytes", "count", "payload bytes"),
    Field("resp_bytes", "count", "payload bytes"),
    Field("conn_state", "string"),
    Field("history", "string"),
    Field("orig_pkts", "count"),
    Field("orig_ip_bytes", "count", "IP bytes"),
    Field("resp_pkts", "count"),
    Field("resp_ip_bytes", "count", "IP bytes"),
    Field("missed_bytes", "count", "payload bytes"),
    Field("local_orig", "bool"),
    Field("local_resp", "bool"),
    Field("orig_l2_addr", "string", "MAC"),
    Field("resp_l2_addr", "string", "MAC"),
    Field("vlan", "int"),
    Field("partial", "count", "0 = last row of its connection, else 1, 2, …"),
)

# Application counters: totals since the connection's start, unset where the analyzer did not run.
COUNTERS: tuple[Field, ...] = tuple(
    Field(name, "count")
    for name in (
        "auth_failures",
        "auth_successes",
        "requests",
        "error_replies",
        "dns_queries",
        "dns_nxdomain",
        "dns_longest_qname",
        "tls_version",
        "tls_invalid",
        "mqtt_publishes",
        "mqtt_refused",
        "ics_writes",
        "ics_exceptions",
        "weirds",
    )
)

FIELDS: tuple[Field, ...] = CORE + COUNTERS
BY_NAME: dict[str, Field] = {f.name: f for f in FIELDS}
REQUIRED: tuple[str, ...] = tuple(f.name for f in FIELDS if f.required)
_PACKING = 2  # how a row is text on the wire, see zeek-scripts/WIRE.md
SCHEMA_HASH = hashlib.sha256(
    "\n".join([f"packing {_PACKING}", *(f"{f.name} {f.type}" for f in FIELDS)]).encode()
).hexdigest()[:16]

PROTOS = frozenset({"tcp", "udp", "icmp", "sctp", "unknown_transport", "arp"})


@dataclass(frozen=True)
class Rows:
    """A batch of rows, columnar. A column the source does not have is absent, which reads as unset throughout.

    columns: field name → float64 array (numeric, NaN unset) or object array (text, None unset), all of one length.
    source: what the rows were read from, one value per row (shown to people, never to the model).
    """

    columns: dict[str, NDArray[Any]]
    source: Texts = field(default_factory=lambda: np.empty(0, dtype=object))

    def __len__(self) -> int:
        return len(self.source)

    def number(self, name: str) -> Floats:
        """A numeric column, float64 of shape (rows,); all NaN where the source lacks it."""
        column = self.columns.get(name)
        return np.full(len(self), np.nan) if column is None else column

    def text(self, name: str) -> Texts:
        """A text column, object array of str or None of shape (rows,); all None where the source lacks it."""
        column = self.columns.get(name)
        return np.full(len(self), None, dtype=object) if column is None else column

    def take(self, index: Any) -> Rows:
        """The rows at `index` (slice, integer or boolean array)."""
        return Rows({k: v[index] for k, v in self.columns.items()}, self.source[index])

    def end_time(self) -> Floats:
        """A row's time: `ts` + `duration` (s since epoch)."""
        return self.number("ts") + np.nan_to_num(self.number("duration"))

    def records(self) -> Iterator[dict[str, Any]]:
        """One dict per row with only the fields that are set; counts, ports and ints as int, bools as bool."""
        names = [f for f in FIELDS if f.name in self.columns]
        lists = [_python_values(f, self.columns[f.name]) for f in names]
        for values in zip(*lists, strict=True):
            yield {f.name: v for f, v in zip(names, values, strict=True) if v is not None}


def _python_values(f: Field, column: NDArray[Any]) -> list[Any]:
    if not f.numeric:
        texts: list[Any] = column.tolist()
        return texts
    unset = np.isnan(column)
    values: list[Any]
    if f.type == "bool":
        values = (column != 0).tolist()
    elif f.type in ("count", "port", "int"):
        values = np.where(unset, 0, column).astype(np.int64).tolist()
    else:
        values = column.tolist()
    if unset.any():
        values = [None if u else v for u, v in zip(unset.tolist(), values, strict=True)]
    return values


def from_tuples(names: Sequence[str], tuples: Sequence[Sequence[Any]], source: str) -> Rows:
    """Rows from value tuples in the order of `names`; None is unset."""
    columns: dict[str, NDArray[Any]] = {}
    transposed: Iterable[Sequence[Any]] = zip(*tuples, strict=True) if tuples else ([] for _ in names)
    for name, values in zip(names, transposed, strict=True):
        if BY_NAME[name].numeric:
            columns[name] = np.array(values, dtype=np.float64)  # None becomes NaN
        else:
            column = np.empty(len(values), dtype=object)
            column[:] = values
            columns[name] = column
    return Rows(columns, np.full(len(tuples), source, dtype=object))


def concat(parts: Sequence[Rows]) -> Rows:
    """Batches one after another; a column that only some have is unset in the others."""
    if len(parts) == 1:
        return parts[0]
    names = [f for f in FIELDS if any(f.name in p.columns for p in parts)]
    columns = {
        f.name: np.concatenate([p.number(f.name) if f.numeric else p.text(f.name) for p in parts]) for f in names
    }
    source = np.concatenate([p.source for p in parts]) if parts else np.empty(0, dtype=object)
    return Rows(columns, source)
