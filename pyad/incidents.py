"""Verdicts to incidents to notices: a pure state machine, row by row, bounded, the same for every batch size."""

from __future__ import annotations

import hashlib
import math
from collections import Counter, OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from pyad.explain import Reason
from pyad.notices import NOTICE_TYPES, Incident, Notice, message, sub_text
from pyad.verdict import DECISION_NAMES

# A flood on one responder from more originators than this is one incident about the responder.
MAX_FLOOD_ORIGINATORS = 8
# Decided connections it takes before a class gives its first notice, where neither bundle nor site says.
MIN_CONNS: dict[str, int] = {"flood": 5, "recon": 5, "brute_force": 5, "novel": 3}
# Responders of one flooding originator that are followed one by one; rows to others count for the originator only.
_MAX_FLOOD_TARGETS = 16
_MAX_COUNTED = 64  # different responders, and responder ports, counted per incident
_MAX_LONG_CONNS = 256  # open connections per incident that partial rows spoke of
_MAX_FINISHED = 10_000  # finished incidents kept for the summary
_HOUR_S = 3600.0


class Hit(NamedTuple):
    """One decided row. clock: s, the newest row time so far; partial: 0 for a connection's last row."""

    clock: float
    ts: float
    uid: str | None
    orig_h: str
    orig_p: int | None
    resp_h: str
    resp_p: int | None
    proto: str | None
    vlan: int | None
    partial: int
    decision: int
    score: float
    novelty_p: float
    reasons: tuple[Reason, ...]


@dataclass(frozen=True)
class IncidentRules:
    """What makes an incident and when it is told; the defaults are those of the configuration.

    idle_s: row time without a row after which an incident ends. min_conns: per class name. max_new_per_hour: first
    notices of one class within an hour of row time, 0 for any number. model: for `sub`.
    """

    idle_s: float = 600.0
    min_conns: Mapping[str, int] = field(default_factory=lambda: MIN_CONNS)
    max_new_per_hour: int = 60
    max_incidents: int = 4096
    max_originators: int = 256
    model: str = "-"


@dataclass(frozen=True)
class Outcome:
    """notices in order; suppressed: per hit the reason why it gave no notice of its own, None where it did."""

    notices: list[Notice]
    suppressed: list[str | None]


class _Key(NamedTuple):
    cls: str
    role: str
    vlan: int | None
    address: str


@dataclass(slots=True)
class _Tally:
    """Sums over the rows of an incident, or of its part against one responder."""

    first_ts: float = math.inf
    last_ts: float = -math.inf
    rows: int = 0
    conns: int = 0
    score: float = 0.0
    novelty_p: float = 1.0

    def add(self, hit: Hit, conns: int) -> None:
        # Comparisons, not min and max: this runs for every row of a flood.
        ts, score, p = hit.ts, hit.score, hit.novelty_p
        self.first_ts = min(self.first_ts, ts)
        self.last_ts = max(self.last_ts, ts)
        self.score = max(self.score, score)
        self.novelty_p = min(self.novelty_p, p)
        self.rows += 1
        self.conns += conns

    def merge(self, other: _Tally) -> None:
        self.first_ts = min(self.first_ts, other.first_ts)
        self.last_ts = max(self.last_ts, other.last_ts)
        self.rows += other.rows
        self.conns += other.conns
        self.score = max(self.score, other.score)
        self.novelty_p = min(self.novelty_p, other.novelty_p)


@dataclass(slots=True)
class _Open:
    """An incident under way; `next_update` 0 means that it has not given its first notice."""

    key: _Key
    ident: str
    last: Hit
    clock: float
    tally: _Tally = field(default_factory=_Tally)
    next_update: int = 0
    heir: bool = False  # took over an incident that had been told, so it is told in its place
    notices: int = 0
    reasons: tuple[Reason, ...] = ()
    parts: dict[str, _Tally] = field(default_factory=dict)  # of a flooding originator, per responder
    targets: set[str] = field(default_factory=set)
    ports: set[int | None] = field(default_factory=set)
    originators: set[str] = field(default_factory=set)
    long_conns: OrderedDict[str, None] = field(default_factory=OrderedDict)


# What a tracker's memory is made of, for who stores it.
STATE_CLASSES: tuple[type, ...] = (Hit, _Key, _Tally, _Open, Incident, IncidentRules)


class IncidentTracker:
    """Incidents of one timeline. `add` decided rows in order, `advance` the clock, `close_all` at the end.

    An incident is the rows of one class about one subject until idle_s of row time passes without one. The subject is
    the originator, for spoofing the claimed address. When a ninth originator floods one responder, what the nine sent
    there becomes one incident about the responder; an originator's incident that is left empty by this closes with no
    connections. Before `min_conns` connections nothing is said, and those that far count. Nor is anything said once
    `max_new_per_hour` incidents of the class have been told within the hour; an incident that goes on into the next
    hour is told then.
    """

    # What a snapshot holds of it.
    remembers = (
        *("_quiet", "_open", "_flooders", "_expired_at", "_hour", "_told"),
        *("finished", "opened", "below_min_conns", "over_budget", "closed_early"),
    )

    def __init__(self, rules: IncidentRules) -> None:
        self.rules = rules
        self._quiet: OrderedDict[_Key, _Open] = OrderedDict()  # not told so far
        self._open: OrderedDict[_Key, _Open] = OrderedDict()
        self._flooders: dict[tuple[int | None, str], dict[_Key, None]] = {}
        self._expired_at = -math.inf
        self._hour = -math.inf  # of row time, since the epoch
        self._told: Counter[str] = Counter()  # first notices per class in that hour
        self._out: list[Notice] = []
        self.finished: list[Incident] = []
        self.opened = 0  # incidents that gave a notice and were not taken over by another
        self.below_min_conns = 0  # incidents that ended before they had enough connections for a notice
        self.over_budget = 0  # incidents that ended before there was room for their notice
        self.closed_early = 0  # closed or dropped because too many were under way

    def add(self, hits: Iterable[Hit]) -> Outcome:
        """Take decided rows in order."""
        suppressed = [self._take(hit) for hit in hits]
        return Outcome(self._flush(), suppressed)

    def advance(self, clock: float) -> list[Notice]:
        """Close what has been idle at `clock` (s, the newest row time, of rows decided or not)."""
        self._expire(clock)
        return self._flush()

    def close_all(self) -> list[Notice]:
        """Close everything, least recently seen first: the input or the timeline has ended."""
        self._expire(math.inf)
        self._expired_at = self._hour = -math.inf
        return self._flush()

    def _flush(self) -> list[Notice]:
        out, self._out = self._out, []
        return out

    def _take(self, hit: Hit) -> str | None:
        self._expire(hit.clock)
        cls = DECISION_NAMES[hit.decision]
        if cls == "flood":
            incident = self._find(_Key(cls, "responder", hit.vlan, hit.resp_h), hit)
            if incident is None:
                incident = self._flood_from(hit)
            else:
                incident.tally.add(hit, _new_conns(incident, hit))
        else:
            key = _Key(cls, "claimed" if cls == "spoofing" else "originator", hit.vlan, hit.orig_h)
            incident = self._find(key, hit) or self._begin(key, hit, hit.ts)
            incident.tally.add(hit, _new_conns(incident, hit))
        _see(incident, hit, self.rules.max_originators)
        return self._notify(incident, hit)

    def _flood_from(self, hit: Hit) -> _Open:
        """Count a flood row for its originator, or for a new incident about the responder at the ninth."""
        key = _Key("flood", "originator", hit.vlan, hit.orig_h)
        incident = self._find(key, hit) or self._begin(key, hit, hit.ts)
        conns = _new_conns(incident, hit)
        incident.tally.add(hit, conns)
        part = incident.parts.get(hit.resp_h)
        if part is None:
            if len(incident.parts) >= _MAX_FLOOD_TARGETS:
                return incident
            part = incident.parts[hit.resp_h] = _Tally()
        part.add(hit, conns)
        flooders = self._flooders.setdefault((hit.vlan, hit.resp_h), {})
        flooders[key] = None
        return self._fold(hit, flooders) if len(flooders) > MAX_FLOOD_ORIGINATORS else incident

    def _fold(self, hit: Hit, flooders: dict[_Key, None]) -> _Open:
        sources = [self._quiet.get(key) or self._open[key] for key in flooders]
        del self._flooders[hit.vlan, hit.resp_h]
        total, long_conns = _Tally(), OrderedDict[str, None]()
        emptied, told = [], False
        for source in sources:
            part = source.parts.pop(hit.resp_h)
            total.merge(part)
            long_conns.update(source.long_conns)
            source.tally.rows -= part.rows
            source.tally.conns -= part.conns
            if source.tally.rows == 0:
                emptied.append(self._remove(source.key))
                told = told or source.next_update > 0
        incident = self._begin(_Key("flood", "responder", hit.vlan, hit.resp_h), hit, total.first_ts)
        incident.tally, incident.long_conns, incident.heir = total, long_conns, told
        incident.originators.update(source.key.address for source in sources)
        for source in emptied:
            if source.next_update:
                self.opened -= 1
                self._say(source, source.last, "closed", into=incident.ident)
        return incident

    def _notify(self, incident: _Open, hit: Hit) -> str | None:
        conns = incident.tally.conns
        if not incident.next_update:
            if not incident.heir:
                if conns < self._min_conns(incident):
                    return "min-conns"
                if not self._within_budget(incident.key.cls, hit.clock):
                    return "budget"
            del self._quiet[incident.key]
            self._open[incident.key] = incident
            state = "new"
            self.opened += 1
            if len(self._open) > self.rules.max_incidents:
                self._close(next(iter(self._open)))
                self.closed_early += 1
        elif conns >= incident.next_update:
            state = "update"
        else:
            return incident.ident
        incident.next_update = 10 ** len(str(conns))
        incident.reasons = hit.reasons
        self._say(incident, hit, state)
        return None

    def _min_conns(self, incident: _Open) -> int:
        return self.rules.min_conns.get(incident.key.cls, 1)

    def _within_budget(self, cls: str, clock: float) -> bool:
        """Whether one more incident of this class may be told in the hour of `clock`; if so, it is counted."""
        hour, limit = clock // _HOUR_S, self.rules.max_new_per_hour
        if hour != self._hour:
            self._hour = hour
            self._told.clear()
        if limit and self._told[cls] >= limit:
            return False
        self._told[cls] += 1
        return True

    def _find(self, key: _Key, hit: Hit) -> _Open | None:
        held = self._open
        incident = held.get(key)
        if incident is None:
            held = self._quiet
            incident = held.get(key)
            if incident is None:
                return None
        held.move_to_end(key)
        incident.clock = hit.clock
        incident.last = hit
        return incident

    def _begin(self, key: _Key, hit: Hit, first_ts: float) -> _Open:
        if len(self._quiet) >= self.rules.max_incidents:
            self._close(next(iter(self._quiet)))
            self.closed_early += 1
        name = f"{key.cls}|{key.role}|{key.vlan}|{key.address}|{first_ts:.6f}"
        ident = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:12]
        incident = self._quiet[key] = _Open(key, ident, hit, hit.clock)
        return incident

    def _expire(self, clock: float) -> None:
        if clock <= self._expired_at:  # the clock stands still within a batch of a fast flood
            return
        self._expired_at = clock
        # Both are in the order of their last row's clock, so only the front can be idle.
        limit = clock - self.rules.idle_s
        for held in (self._quiet, self._open):
            while held:
                key, incident = next(iter(held.items()))
                if incident.clock >= limit:
                    break
                self._close(key)

    def _close(self, key: _Key) -> None:
        incident = self._remove(key)
        if not incident.next_update:
            if incident.tally.conns < self._min_conns(incident):
                self.below_min_conns += 1
            else:
                self.over_budget += 1
            return
        self._say(incident, incident.last, "closed")
        if len(self.finished) < _MAX_FINISHED:
            self.finished.append(_snapshot(incident, self.rules.max_originators))

    def _remove(self, key: _Key) -> _Open:
        incident = self._quiet.pop(key, None) or self._open.pop(key)
        for responder in incident.parts:
            flooders = self._flooders[key.vlan, responder]
            del flooders[key]
            if not flooders:
                del self._flooders[key.vlan, responder]
        return incident

    def _say(self, incident: _Open, hit: Hit, state: str, into: str = "") -> None:
        incident.notices += 1
        now = _snapshot(incident, self.rules.max_originators)
        self._out.append(
            Notice(
                ts=hit.ts,
                uid=hit.uid,
                orig_h=hit.orig_h,
                orig_p=hit.orig_p,
                resp_h=hit.resp_h,
                resp_p=hit.resp_p,
                # Zeek's type for this column knows no ARP.
                proto=hit.proto if hit.proto in ("tcp", "udp", "icmp") else "unknown_transport",
                note=NOTICE_TYPES[now.cls],
                msg=message(now, state, into),
                sub=sub_text(now, state, self.rules.model, into),
                n=now.conns,
                identifier=f"{now.ident}-{state}-{max(len(str(now.conns)) - 1, 0)}",
                incident=now.ident,
                state=state,
            )
        )


def _new_conns(incident: _Open, hit: Hit) -> int:
    """1 where the row's connection is not counted in this incident yet, else 0."""
    seen, uid = incident.long_conns, hit.uid
    if not hit.partial:
        if uid is not None and uid in seen:
            del seen[uid]
            return 0
        return 1
    if uid is None or uid in seen:
        return 0 if incident.tally.conns else 1
    seen[uid] = None
    if len(seen) > _MAX_LONG_CONNS:
        seen.popitem(last=False)
    return 1


def _see(incident: _Open, hit: Hit, max_originators: int) -> None:
    if len(incident.targets) < _MAX_COUNTED:
        incident.targets.add(hit.resp_h)
    if len(incident.ports) < _MAX_COUNTED:
        incident.ports.add(hit.resp_p)
    if incident.key.role == "responder" and len(incident.originators) < max_originators:
        incident.originators.add(hit.orig_h)


def _snapshot(incident: _Open, max_originators: int) -> Incident:
    tally, last, key = incident.tally, incident.last, incident.key
    port = "" if last.resp_p is None or last.proto not in ("tcp", "udp") else f"{last.resp_p}/{last.proto}"
    counted = (
        ("targets", len(incident.targets), _MAX_COUNTED),
        ("ports", len(incident.ports), _MAX_COUNTED),
        ("originators", len(incident.originators), max_originators),
    )
    return Incident(
        ident=incident.ident,
        cls=key.cls,
        role=key.role,
        subject=key.address,
        vlan=key.vlan,
        first_ts=tally.first_ts,
        last_ts=tally.last_ts,
        rows=tally.rows,
        conns=tally.conns,
        score=tally.score,
        novelty_p=tally.novelty_p,
        target=last.resp_h,
        port=port,
        targets=len(incident.targets),
        ports=len(incident.ports),
        originators=len(incident.originators) or 1,
        at_least=tuple(name for name, size, most in counted if size >= most),
        reasons=incident.reasons,
        notices=incident.notices,
    )
