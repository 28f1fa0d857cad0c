"""Our rows beside Zeek's conn.log of the same capture: which connections agree, and how the others differ."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

KEY: tuple[str, ...] = ("id.orig_h", "id.orig_p", "id.resp_h", "id.resp_p", "proto")
EXACT: tuple[str, ...] = (
    *("conn_state", "history", "orig_pkts", "resp_pkts", "orig_ip_bytes", "resp_ip_bytes"),
    *("orig_bytes", "resp_bytes"),
)
DURATION_TOLERANCE_S = 1e-3

Record = Mapping[str, Any]


@dataclass(frozen=True)
class Difference:
    """One connection that does not agree: `fields` maps a field to (Zeek's value, ours).

    kind: "differs", "missing" (Zeek has it, we do not) or "extra" (we have it, Zeek does not).
    """

    kind: str
    ts: float
    connection: tuple[str, ...]
    fields: dict[str, tuple[Any, Any]] = field(default_factory=dict)

    def __str__(self) -> str:
        orig_h, orig_p, resp_h, resp_p, proto = self.connection
        where = f"{self.ts:.6f} {proto} {orig_h}:{orig_p} > {resp_h}:{resp_p}"
        if self.kind != "differs":
            return f"{where}: {'only Zeek has it' if self.kind == 'missing' else 'only pyad has it'}"
        return f"{where}: " + ", ".join(f"{k} {z} (pyad {o})" for k, (z, o) in self.fields.items())


@dataclass(frozen=True)
class ParityReport:
    """The comparison of one capture; `connections` counts Zeek's, `agree` those that agree on every field."""

    connections: int
    agree: int
    differing: Counter[str]
    differences: list[Difference]

    @property
    def missing(self) -> int:
        """Connections that only Zeek has."""
        return sum(d.kind == "missing" for d in self.differences)

    @property
    def extra(self) -> int:
        """Connections that only pyad has."""
        return sum(d.kind == "extra" for d in self.differences)

    @property
    def share(self) -> float:
        """Share of Zeek's connections that agree, 0 to 1; 1 where there are none."""
        return self.agree / self.connections if self.connections else 1.0

    def text(self) -> Iterator[str]:
        """Lines for a person: every difference, then the summary."""
        yield from (str(d) for d in self.differences)
        fields = ", ".join(f"{name} {n}" for name, n in self.differing.most_common())
        yield (
            f"{self.agree} of {self.connections} connections agree ({self.share:.2%}); "
            f"{self.missing} only in Zeek's log, {self.extra} only in pyad's rows"
            + (f"; differing: {fields}" if fields else "")
        )


def compare(ours: Iterable[Record], theirs: Iterable[Record]) -> ParityReport:
    """Compare connection records (as `Rows.records` gives them) with those of Zeek's conn.log.

    Compared: endpoints, protocol, state, history, packets, IP bytes, payload bytes, and duration to 1 ms.
    Rows of connections still open (`partial` not 0) and ARP rows are left out, since Zeek's conn.log has neither.
    Of several connections with the same endpoints, those nearest in time are compared with each other.
    """
    pool: defaultdict[tuple[str, ...], list[Record]] = defaultdict(list)
    for row in ours:
        if not row.get("partial") and row.get("proto") != "arp":
            pool[_key(row)].append(row)
    agree = total = 0
    differing: Counter[str] = Counter()
    differences: list[Difference] = []
    for row in theirs:
        total += 1
        key = _key(row)
        rivals = pool.get(key)
        if not rivals:
            differing["no such connection"] += 1
            differences.append(Difference("missing", float(row["ts"]), key))
            continue
        nearest = min(range(len(rivals)), key=lambda i: abs(float(rivals[i]["ts"]) - float(row["ts"])))
        fields = _fields(rivals.pop(nearest), row)
        if fields:
            differing.update(fields.keys())
            differences.append(Difference("differs", float(row["ts"]), key, fields))
        else:
            agree += 1
    for key, left in pool.items():
        differences.extend(Difference("extra", float(row["ts"]), key) for row in left)
    return ParityReport(total, agree, differing, differences)


def _key(row: Record) -> tuple[str, ...]:
    return tuple(str(row.get(k)) for k in KEY)


def _value(row: Record, name: str) -> Any:
    value = row.get(name)
    return None if value in ("-", "") else value


def _fields(ours: Record, theirs: Record) -> dict[str, tuple[Any, Any]]:
    fields = {
        name: (_value(theirs, name), _value(ours, name)) for name in EXACT if _value(theirs, name) != _value(ours, name)
    }
    durations = (_value(theirs, "duration"), _value(ours, "duration"))
    if abs(float(durations[0] or 0) - float(durations[1] or 0)) > DURATION_TOLERANCE_S:
        fields["duration"] = durations
    return fields
