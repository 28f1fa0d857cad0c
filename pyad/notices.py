"""Notices: an incident at one moment, worded as Zeek's Notice framework records it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pyad.explain import Reason, digits
from pyad.verdict import DECISION_NAMES

MAX_MESSAGE = 256

# Class → (notice type, severity, what a person calls it).
_KINDS: dict[str, tuple[str, str, str]] = {
    "flood": ("PyAD::Flood", "high", "Flood"),
    "recon": ("PyAD::Recon", "medium", "Scan"),
    "brute_force": ("PyAD::Brute_Force", "high", "Password guessing"),
    "web_attack": ("PyAD::Web_Attack", "high", "Attack on a web service"),
    "spoofing": ("PyAD::Spoofing", "high", "Address spoofing"),
    "c2": ("PyAD::C2", "critical", "Command and control traffic"),
    "exfiltration": ("PyAD::Exfiltration", "critical", "Data exfiltration"),
    "exploit": ("PyAD::Exploit", "critical", "Exploit attempt"),
    "novel": ("PyAD::Novel_Behavior", "low", "Unusual behavior"),
}
SEVERITIES = ("critical", "high", "medium", "low")
NOTICE_TYPES: dict[str, str] = {name: kind[0] for name, kind in _KINDS.items()}
SEVERITY: dict[str, str] = {name: kind[1] for name, kind in _KINDS.items()}
LABEL: dict[str, str] = {name: kind[2] for name, kind in _KINDS.items()}
assert set(_KINDS) == set(DECISION_NAMES[1:])  # noqa: S101  (the tables of two modules, checked once at import)


@dataclass(frozen=True)
class Incident:
    """What is known of an incident at one moment.

    ident: its ID. cls: decision name. role: whose address `subject` is, "originator", "responder" or "claimed".
    first_ts, last_ts: s since epoch, first packets of its first and its newest connection. rows: decided rows, conns:
    connections. score: the highest 1 - P(benign); novelty_p: the lowest. target, port: responder and responder port
    (as in 80/tcp) of the newest row. targets, ports, originators: how many different ones, counted up to a bound;
    at_least: those of them that have reached it. reasons: of the row that gave the last notice.
    """

    ident: str
    cls: str
    role: str
    subject: str
    vlan: int | None
    first_ts: float
    last_ts: float
    rows: int
    conns: int
    score: float
    novelty_p: float
    target: str
    port: str
    targets: int
    ports: int
    originators: int
    at_least: tuple[str, ...]
    reasons: tuple[Reason, ...]
    notices: int

    @property
    def severity(self) -> str:
        """Of the class: critical, high, medium or low."""
        return SEVERITY[self.cls]


@dataclass(frozen=True)
class Notice:
    """One line of notice.log.

    ts and the columns after it are the connection's; proto is one that Zeek knows. n: connections in the incident.
    identifier: the incident, the state and the power of ten of its count, for Zeek's own suppression.
    """

    ts: float
    uid: str | None
    orig_h: str
    orig_p: int | None
    resp_h: str
    resp_p: int | None
    proto: str | None
    note: str
    msg: str
    sub: str
    n: int
    identifier: str
    incident: str
    state: str


def sub_text(incident: Incident, state: str, model: str, into: str = "") -> str:
    """The `sub` column: key=value pairs in a fixed order, numbers to three digits.

    `top` is feature:observed:usual, joined by commas; `into` names the incident that took this one's connections.
    """
    top = ",".join(f"{r.feature}:{digits(r.observed)}:{digits(r.usual)}" for r in incident.reasons) or "-"
    pairs = [
        ("incident", incident.ident),
        ("state", state),
        ("class", incident.cls),
        ("severity", incident.severity),
        ("score", digits(incident.score)),
        ("p", digits(incident.novelty_p)),
        ("conns", str(incident.conns)),
        ("window", f"{digits(window_s(incident))}s"),
        ("model", model),
        ("top", top),
    ]
    if into:
        pairs.append(("into", into))
    return " ".join(f"{key}={_token(value)}" for key, value in pairs)


def message(incident: Incident, state: str, into: str = "") -> str:
    """One plain sentence: who did what to whom, how many, how sure, why. ASCII, at most 256 characters."""
    lead = {"new": "", "update": "Still going on: ", "closed": "Ended: "}[state]
    if into:
        return _plain(f"{lead}{who(incident)} is now counted in incident {into}, one of many originators.")
    count = f"{incident.conns:,} connection{'' if incident.conns == 1 else 's'}"
    sure = f"score {digits(incident.score)}"
    if incident.cls == "novel":
        sure = f"novelty p {digits(incident.novelty_p)}"
    head = f"{lead}{who(incident)}: {count} in {digits(window_s(incident))} s, {sure}"
    for kept in range(len(incident.reasons), 0, -1):
        why = f", because {_listed([str(r) for r in incident.reasons[:kept]])}"
        if len(head) + len(why) < MAX_MESSAGE:
            return _plain(f"{head}{why}.")
    return _plain(f"{head}.")


def who(incident: Incident) -> str:
    """Label, subject and the other side, as in `Scan from 10.0.0.5 to 10.0.0.9 and 3 others, port 22/tcp`."""
    label = LABEL[incident.cls]
    vlan = f" (VLAN {incident.vlan})" if incident.vlan is not None else ""
    subject = f"{_token(incident.subject)[:45]}{vlan}"
    if incident.role == "responder":
        return f"{label} on {subject} from {_counted(incident, 'originators', incident.originators)}"
    more = incident.targets - 1
    others = f" and {_counted(incident, 'targets', more, 'other' if more == 1 else 'others')}" if more else ""
    target = f"{_token(incident.target)[:45]}{others}"
    if incident.role == "claimed":
        return f"{label} of {subject} towards {target}"
    port = f", port {incident.port}" if incident.port else ""
    ports = port if incident.ports == 1 else f", {_counted(incident, 'ports', incident.ports)}"
    return f"{label} from {subject} to {target}{ports}"


def _counted(incident: Incident, what: str, n: int, name: str = "") -> str:
    return f"{'at least ' if what in incident.at_least else ''}{n:,} {name or what}"


def window_s(incident: Incident) -> float:
    """Seconds from the incident's first connection to its newest."""
    return max(incident.last_ts - incident.first_ts, 0.0)


def _listed(items: Sequence[str]) -> str:
    return " and ".join([", ".join(items[:-1]), items[-1]]) if len(items) > 1 else items[0]


def _token(text: str) -> str:
    # Values stay one word each, whatever a log or a bundle had in them.
    return "".join(c if "!" <= c <= "~" else "_" for c in text) or "-"


def _plain(text: str) -> str:
    safe = "".join(c if " " <= c <= "~" else "?" for c in text)
    return safe if len(safe) <= MAX_MESSAGE else safe[: MAX_MESSAGE - 3] + "..."
