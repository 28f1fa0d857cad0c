"""The live half of `pyad doctor`: is Zeek there, is it our package, do both sides agree, do rows and notices flow."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from pyad import __version__, wire
from pyad.bridge import tls_context
from pyad.config import BridgeSettings
from pyad.errors import PyadError, printable
from pyad.finding import Finding
from pyad.row import SCHEMA_HASH
from pyad.secret import read

_CONNECT_S = 3.0
_ANSWER_S = 3.0
_WATCH_S = 3.0  # rows are looked for during so long
_RAISES_NOTICES = ("standalone", "manager")

Status = wire.Event


def live_findings(settings: BridgeSettings, must: bool) -> Iterator[Finding]:
    """Every check in turn, as far as there is something to check.

    must: a Zeek that cannot be reached is a FAIL, not just not there.
    """
    try:
        socket = _connect(settings)
    except PyadError as error:
        yield Finding("FAIL", "zeek live", str(error))
        return
    except Exception as error:  # refused, timed out, no WebSocket server, a certificate that is not trusted, …
        what = printable(" ".join(str(error).split()) or type(error).__name__, 200)
        if must:
            yield Finding(
                "FAIL",
                "zeek live",
                f"{settings.url}: {what}",
                "start Zeek with the package loaded (zkg install …; @load packages); with ZeekControl set UseWebSocket "
                "= 1; or tell where it listens: --set bridge.url=ws://HOST:PORT",
            )
        else:
            yield Finding("ok", "zeek live", f"nothing at {settings.url}; only pyad run needs it")
        return
    from websockets.exceptions import ConnectionClosed

    try:
        with socket:
            yield from _look(socket, settings)
    except ConnectionClosed:
        todo = "did it end meanwhile, or is it no Zeek? run pyad doctor again"
        yield Finding("FAIL", "zeek live", f"{settings.url}: the connection was closed while looking", todo)


def _look(socket: Any, settings: BridgeSettings) -> Iterator[Finding]:
    statuses = _statuses(socket)
    yield _package(settings, statuses)
    if not statuses:
        return
    yield _schema(statuses)
    yield _versions(statuses)
    yield _secret(settings, statuses)
    yield _lane(settings, statuses)
    yield _flow(settings, statuses, _watch(socket))
    yield _notices(statuses)


def _connect(settings: BridgeSettings) -> Any:
    from websockets.sync.client import connect

    socket = connect(
        settings.url,
        ssl=tls_context(settings),
        additional_headers={"X-Application-Name": wire.APPLICATION},
        compression=None,
        proxy=None,
        open_timeout=_CONNECT_S,
        close_timeout=0.5,
    )
    # Statuses alone: rows are for the bridge.
    socket.send(wire.subscription("", rows=False))
    return socket


def _statuses(socket: Any, for_s: float = _ANSWER_S) -> dict[str, Status]:
    """The newest status of each node that answers within the time."""
    found: dict[str, Status] = {}
    end = time.monotonic() + for_s
    asked = False
    while (left := end - time.monotonic()) > 0:
        with suppress(TimeoutError, wire.WireError):
            message = wire.decode(socket.recv(timeout=left, decode=False))
            if isinstance(message, wire.Joined) and not asked:
                asked = True
                socket.send(wire.encode(wire.BRIDGE_TOPIC, "status_request", (SCHEMA_HASH,)))
            elif isinstance(message, wire.Event) and message.name == "status":
                # Of another version only the schema is told.
                found[str(message.args[1]) if len(message.args) > 1 else "?"] = message
                if asked:
                    end = min(end, time.monotonic() + 0.5)  # the others of a cluster answer at the same time
    return found


def _watch(socket: Any) -> dict[str, Status]:
    time.sleep(_WATCH_S)
    socket.send(wire.encode(wire.BRIDGE_TOPIC, "status_request", (SCHEMA_HASH,)))
    return _statuses(socket, 1.0)


def _facts(status: Status) -> dict[str, str]:
    return wire.facts(status.args[4]) if len(status.args) > 4 else {}


def _role(status: Status) -> str:
    return str(status.args[3]) if len(status.args) > 3 else ""


def _deciding(statuses: dict[str, Status]) -> dict[str, str]:
    """Facts of the node that raises notices, empty where none answered."""
    return next((_facts(s) for s in statuses.values() if _role(s) in _RAISES_NOTICES), {})


def lane_facts(statuses: dict[str, Status], lane: str) -> dict[str, dict[str, str]]:
    """Per exporting node what it says of a lane: session, exported, acked, dropped, held, in_flight, alive, …"""
    found = {}
    for node, status in statuses.items():
        text = _facts(status).get(f"lane.{lane}")
        if text is not None:
            found[node] = dict(pair.partition(":")[::2] for pair in text.split(","))
    return found


def _package(settings: BridgeSettings, statuses: dict[str, Status]) -> Finding:
    if not statuses:
        return Finding(
            "FAIL",
            "zeek package",
            f"a Zeek listens at {settings.url}, but pyad's package does not answer there",
            "zkg install the package and load it (@load packages in local.zeek), then zeekctl deploy",
        )
    nodes = ", ".join(sorted(f"{printable(node, 40)} ({_role(s) or '?'})" for node, s in statuses.items()))
    return Finding("ok", "zeek package", f"answers on {nodes}")


def _schema(statuses: dict[str, Status]) -> Finding:
    other = sorted({str(s.args[0]) for s in statuses.values()} - {SCHEMA_HASH})
    if other:
        return Finding(
            "FAIL",
            "row schema",
            f"Zeek's package has {', '.join(other)}, this pyad {SCHEMA_HASH}",
            "bring both to one version: pip install -U zeek-pyad; zkg upgrade pyad; zeekctl deploy",
        )
    return Finding("ok", "row schema", f"{SCHEMA_HASH} on both sides")


def _versions(statuses: dict[str, Status]) -> Finding:
    facts = [_facts(s) for s in statuses.values()]
    packages = sorted({f["pyad"] for f in facts if "pyad" in f})
    zeeks = sorted({f["zeek"] for f in facts if "zeek" in f})
    found = f"Zeek {', '.join(zeeks) or '?'}, package {', '.join(packages) or '?'}, pyad {__version__}"
    if packages != [__version__]:
        return Finding("warn", "versions", found, "they work together, but better bring both to one version")
    return Finding("ok", "versions", found)


def _secret(settings: BridgeSettings, statuses: dict[str, Status]) -> Finding:
    try:
        own = wire.fingerprint(read(Path(settings.secret_file)))
    except PyadError as error:
        return Finding("FAIL", "secret", str(error))
    theirs = _deciding(statuses).get("secret", "-")
    if theirs == "-":
        return Finding(
            "FAIL",
            "secret",
            "Zeek has none, so it believes no verdict",
            f"let Zeek's user read {settings.secret_file} (chgrp), or point PyAD::secret_file to it",
        )
    if theirs != own:
        return Finding(
            "FAIL",
            "secret",
            f"Zeek has another one ({printable(theirs, 20)}, not {own})",
            "let both read the same file: bridge.secret_file here, PyAD::secret_file there",
        )
    return Finding("ok", "secret", f"{own} on both sides")


def _lane(settings: BridgeSettings, statuses: dict[str, Status]) -> Finding:
    lanes = lane_facts(statuses, settings.lane)
    if not lanes:
        return Finding(
            "FAIL",
            "bridge",
            f"no node exports to lane {settings.lane}",
            "lanes are called after proxies with PyAD::shard_over_proxies, else there is only: all",
        )
    silent = sorted(node for node, facts in lanes.items() if facts.get("alive") != "T")
    if silent:
        return Finding(
            "FAIL",
            "bridge",
            f"{', '.join(silent)}: no bridge heard lately on lane {settings.lane}",
            "start it: pyad run (or look into its log)",
        )
    return Finding("ok", "bridge", f"heard by {', '.join(sorted(lanes))}")


def _flow(settings: BridgeSettings, before: dict[str, Status], after: dict[str, Status]) -> Finding:
    first, last = lane_facts(before, settings.lane), lane_facts(after, settings.lane)
    exported, acked, dropped, held = (
        sum(_number(f.get(name)) for f in last.values()) for name in ("exported", "acked", "dropped", "held")
    )
    new = exported - sum(_number(f.get("exported")) for f in first.values())
    found = f"{exported:,} rows exported ({new:,} in {_WATCH_S:.0f} s), {acked:,} answered, {held:,} waiting"
    if dropped:
        todo = "was the bridge away or too slow? see its log, and PyAD::Rows_Dropped in notice.log"
        return Finding("warn", "rows", f"{found}, {dropped:,} dropped", todo)
    if not exported:
        todo = "is there traffic, and is it seen (conn.log grows)? a bridge must have been heard first"
        return Finding("warn", "rows", found, todo)
    return Finding("ok", "rows", found)


def _notices(statuses: dict[str, Status]) -> Finding:
    facts = _deciding(statuses)
    if not facts:
        return Finding("FAIL", "notices", "no manager answers, so nobody raises notices", "look at the manager's log")
    refused = {k.removeprefix("refused."): _number(v) for k, v in facts.items() if k.startswith("refused.")}
    found = f"{_number(facts.get('notices')):,} raised, {_number(facts.get('allowed')):,} held back by the allow-list"
    if refused:
        worst = max(refused, key=lambda why: refused[why])
        return Finding(
            "warn",
            "notices",
            f"{found}, {sum(refused.values()):,} messages refused ({printable(worst, 100)}: {refused[worst]:,})",
            "is somebody else talking on Zeek's WebSocket? Zeek's reporter.log has the first of each kind",
        )
    return Finding("ok", "notices", found)


def _number(text: str | None) -> int:
    return int(text) if text is not None and text.isdecimal() and len(text) < 19 else 0
