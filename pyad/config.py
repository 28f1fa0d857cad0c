"""Settings: the table of what a site can change, read from a file, the environment and --set, in that order."""

from __future__ import annotations

import dataclasses
import difflib
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import yaml

from pyad.allow_list import AllowEntry, Network, parse_network
from pyad.drift import DriftRules
from pyad.errors import UsageError, printable
from pyad.incidents import IncidentRules
from pyad.sources import ENGINES
from pyad.verdict import ATTACK_CLASSES, DECISION_NAMES
from pyad.wire import PATH

ENV_PREFIX = "PYAD_"
# A variable that Zeek's side reads too, so that one name moves the secret for both.
_SHARED_VARIABLES = {"PYAD_SECRET_FILE": "bridge.secret_file"}


class _BadValueError(Exception):
    """A value that is not what the setting takes; the message is what was expected."""


def _number(low: float, high: float, unit: str = "", whole: bool = False) -> Callable[[Any], Any]:
    kind = "a whole number" if whole else "a number"
    expected = f"{kind} from {low:g} to {high:g}{' ' if unit else ''}{unit}"

    def convert(value: Any) -> Any:
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            raise _BadValueError(expected)
        try:
            number = float(value)  # also text such as "1e-6", which YAML 1.1 does not take for a number
        except ValueError:
            raise _BadValueError(expected) from None
        if not low <= number <= high or (whole and number != int(number)):
            raise _BadValueError(expected)
        return int(number) if whole else number

    return convert


def _choice(*names: str) -> Callable[[Any], str]:
    def convert(value: Any) -> str:
        if value in names:
            return str(value)
        raise _BadValueError("one of " + ", ".join(names))

    return convert


def _name(value: Any) -> str:
    if isinstance(value, str) and value.strip():
        return value
    raise _BadValueError("a name or a path")


def _optional_name(value: Any) -> str:
    return "" if value in (None, "", "none") else _name(value)


def _lane(value: Any) -> str:
    if isinstance(value, str) and value and set(value) <= _LANE_CHARACTERS and len(value) <= _MAX_LANE:
        return value
    raise _BadValueError("a lane: 'all', or the name of a proxy")


_LANE_CHARACTERS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-")
_MAX_LANE = 64


def _url(value: Any) -> str:
    expected = "an address such as ws://127.0.0.1:27759 or wss://zeek.example.org:27759"
    try:
        parts = urlsplit(value if isinstance(value, str) else "")
        sound = parts.scheme in ("ws", "wss") and parts.hostname and parts.port != 0
    except ValueError:
        raise _BadValueError(expected) from None
    if not sound or parts.username or parts.query or parts.fragment or not str(value).isprintable() or " " in value:
        raise _BadValueError(expected)
    return urlunsplit(parts._replace(path=PATH)) if parts.path in ("", "/") else str(value)


def _networks(value: Any) -> tuple[Network, ...]:
    expected = "a list of subnets such as [10.0.0.0/8, 2001:db8::/32]"
    texts = value.replace(",", " ").split() if isinstance(value, str) else value
    if not isinstance(texts, list | tuple):
        raise _BadValueError(expected)
    try:
        return tuple(parse_network(t) for t in texts)
    except ValueError as error:
        raise _BadValueError(f"{expected}: {error}") from None


def _per_class(names: Sequence[str], convert: Callable[[Any], Any]) -> Callable[[Any], Mapping[str, Any]]:
    def convert_all(value: Any) -> Mapping[str, Any]:
        if not isinstance(value, Mapping):
            raise _BadValueError("a table of class and value, such as {flood: 0.9}")
        result = {}
        for name, item in value.items():
            if name not in names:
                raise _BadValueError(
                    f"one of the classes {', '.join(names)} (not {_shown(name)}{_nearest(name, names)})"
                )
            try:
                result[name] = convert(item)
            except _BadValueError as bad:
                raise _BadValueError(f"{bad} for {name}") from None
        return result

    return convert_all


def _allow_entries(value: Any) -> tuple[AllowEntry, ...]:
    if not isinstance(value, list | tuple):
        raise _BadValueError("a list of entries, each with a name and what it allows")
    try:
        entries = tuple(AllowEntry.from_mapping(entry) for entry in value)
    except ValueError as error:
        raise _BadValueError(f"entries of the allow-list: {error}") from None
    names = [e.name for e in entries]
    doubled = next((n for n in names if names.count(n) > 1), None)
    if doubled is not None:
        raise _BadValueError(f"entries with a name of their own each ({_shown(doubled)} is there twice)")
    return entries


def _setting(default: Any, convert: Callable[[Any], Any], text: str) -> Any:
    return field(default=default, metadata={"convert": convert, "help": text})


def _table(convert: Callable[[Any], Any], text: str) -> Any:
    return field(default_factory=dict, metadata={"convert": convert, "help": text})


@dataclass(frozen=True)
class InputSettings:
    """How captures and logs are read."""

    engine: str = _setting("auto", _choice(*ENGINES), "what turns packets into rows")
    local_nets: tuple[Network, ...] = _setting((), _networks, "local subnets besides the private ones")
    long_conn_first_s: float = _setting(
        60.0, _number(0.1, 1e9, "s"), "an open connection gives its first row after this long"
    )
    long_conn_interval_s: float = _setting(300.0, _number(0.1, 1e9, "s"), "and then one each time this long")
    max_lateness_s: float = _setting(
        600.0, _number(0, 1e9, "s"), "a step back in time of more than this starts a new timeline"
    )


@dataclass(frozen=True)
class HostSettings:
    """What is remembered of each host."""

    max_hosts: int = _setting(50_000, _number(8, 10_000_000, "hosts", whole=True), "hosts remembered at once")
    host_idle_s: float = _setting(86_400.0, _number(1, 1e9, "s"), "a host unseen for this long is forgotten")


@dataclass(frozen=True)
class ModelSettings:
    """Which model, and where it runs."""

    bundle: str = _setting("default", _name, "a bundle that comes with pyad, or a folder")
    calibration: str = _setting(
        "", _optional_name, "the site's own thresholds, a file that `pyad calibrate` made; none for the bundle's"
    )
    provider: str = _setting("auto", _choice("auto", "cpu", "cuda"), "where the model runs")
    batch_rows: int = _setting(4096, _number(1, 65_536, "rows", whole=True), "rows scored at once")


@dataclass(frozen=True)
class VerdictSettings:
    """When a score becomes a decision. None or a class not named: as the site's calibration or the bundle says."""

    novel_p: float | None = _setting(None, _number(0, 1), "novelty p-value below which a row is novel; 0 for never")
    thresholds: Mapping[str, float] = _table(
        _per_class(ATTACK_CLASSES, _number(0, 1.01)), "probability from which a class is decided; 1.01 for never"
    )
    allow_list: tuple[AllowEntry, ...] = _setting((), _allow_entries, "what must not raise a notice")
    alerts_per_day: float = _setting(
        1.0, _number(0.01, 100_000, "incidents"), "new incidents a day, of all devices, that `pyad calibrate` aims at"
    )


@dataclass(frozen=True)
class DriftSettings:
    """When features and scores count as moved away from what the thresholds were chosen on."""

    window_h: float = _setting(
        DriftRules.window_h, _number(0, 10_000, "h"), "a window is at least so long, by the traffic's time; 0 for never"
    )
    min_rows: int = _setting(
        DriftRules.min_rows,
        _number(100, 1e9, "connections", whole=True),
        "and has so many connections of no known attack",
    )
    alarm_psi: float = _setting(
        DriftRules.alarm_psi, _number(0.01, 100), "population stability index from which a quantity has moved"
    )
    clear_psi: float = _setting(DriftRules.clear_psi, _number(0.0, 100), "under which scores are as they were again")


@dataclass(frozen=True)
class IncidentSettings:
    """How decided rows become incidents and notices."""

    incident_idle_s: float = _setting(
        IncidentRules.idle_s, _number(1, 1e9, "s"), "an incident ends when this long without a row"
    )
    min_conns: Mapping[str, int] = _table(
        _per_class(DECISION_NAMES[1:], _number(1, 1_000_000, "connections", whole=True)),
        "decided connections it takes before a class gives its first notice",
    )
    max_new_per_hour: int = _setting(
        IncidentRules.max_new_per_hour,
        _number(0, 1_000_000, "incidents", whole=True),
        "new incidents told per class and hour of the traffic's own time; 0 for all",
    )
    max_incidents: int = _setting(
        IncidentRules.max_incidents,
        _number(1, 1_000_000, "incidents", whole=True),
        "incidents open at once; the idlest is closed first",
    )
    max_originators: int = _setting(
        IncidentRules.max_originators,
        _number(9, 1_000_000, "hosts", whole=True),
        "originators counted per distributed flood",
    )


@dataclass(frozen=True)
class OutputSettings:
    """What is written."""

    format: str = _setting("tsv", _choice("tsv", "json"), "format of the logs, as Zeek writes them")
    verdicts: str = _setting("decided", _choice("decided", "all"), "rows that pyad.log holds")


@dataclass(frozen=True)
class BridgeSettings:
    """The live connection to Zeek (`pyad run`)."""

    url: str = _setting(f"ws://127.0.0.1:27759{PATH}", _url, "Zeek's WebSocket API; wss:// with TLS")
    tls_ca: str = _setting("", _optional_name, "file with the authority that Zeek's certificate is checked with")
    tls_cert: str = _setting("", _optional_name, "file with the certificate shown to Zeek")
    tls_key: str = _setting("", _optional_name, "file with its key")
    lane: str = _setting("all", _lane, "rows it takes: all, or with sharding a proxy's name")
    window: int = _setting(
        32, _number(1, 1024, "batches", whole=True), "batches each Zeek node may have under way at once"
    )
    secret_file: str = _setting(
        "/etc/pyad/secret", _name, "the secret shared with Zeek; made if missing; also PYAD_SECRET_FILE"
    )
    require_mac: str = _setting(
        "auto", _choice("auto", "always", "never"), "whether rows must prove that they come from Zeek"
    )
    state_file: str = _setting(
        "/var/lib/pyad/state", _optional_name, "what is remembered of hosts from one run to the next; none for nothing"
    )
    snapshot_interval_s: float = _setting(
        300.0, _number(0, 1e9, "s"), "state is written this often; 0 for only at the end"
    )
    hello_interval_s: float = _setting(1.0, _number(0.05, 5, "s"), "heartbeat")
    connect_timeout_s: float = _setting(5.0, _number(0.1, 300, "s"), "a connection must be up within this")
    backoff_max_s: float = _setting(10.0, _number(0.1, 3600, "s"), "longest wait before connecting again")


@dataclass(frozen=True)
class Config:
    """All settings, one dataclass per section."""

    input: InputSettings = field(default_factory=InputSettings)
    hosts: HostSettings = field(default_factory=HostSettings)
    model: ModelSettings = field(default_factory=ModelSettings)
    verdict: VerdictSettings = field(default_factory=VerdictSettings)
    drift: DriftSettings = field(default_factory=DriftSettings)
    incidents: IncidentSettings = field(default_factory=IncidentSettings)
    output: OutputSettings = field(default_factory=OutputSettings)
    bridge: BridgeSettings = field(default_factory=BridgeSettings)


_SECTIONS: dict[str, Any] = {f.name: f.default_factory for f in dataclasses.fields(Config)}


def load_config(
    file: Path | None = None,
    environment: Mapping[str, str] | None = None,
    sets: Iterable[str] = (),
    options: Mapping[str, object] | None = None,
) -> Config:
    """The configuration from a YAML file, then PYAD_SECTION__KEY variables, then section.key=value texts.

    options: section.key → value, over all of these (the command line's own options). environment: os.environ.
    Later ones win, setting by setting. Raises UsageError naming where, which setting and what it takes; for an
    unknown one the nearest that exists.
    """
    config = Config()
    if file is not None:
        config = _with_file(config, file)
    variables = os.environ if environment is None else environment
    for name, setting in _SHARED_VARIABLES.items():
        if variables.get(name):
            config = _with(config, f"environment variable {name}", setting.split("."), variables[name])
    for name, text in sorted(variables.items()):
        path = name.removeprefix(ENV_PREFIX).lower().split("__")
        if not name.startswith(ENV_PREFIX):
            continue
        where = f"environment variable {printable(name)}"
        if len(path) > 1:
            config = _with(config, where, path, _scalar(text, name))
        elif path[0].startswith(tuple(f"{section}_" for section in _SECTIONS)):
            raise UsageError(f"{where}: no such setting{_nearest(name, map(_variable, _all_settings()))}")
    for item in sets:
        key, equals, text = item.partition("=")
        if not equals:
            raise UsageError(f"--set {printable(item)}: expected section.key=value")
        config = _with(config, f"--set {printable(item)}", key.strip().split("."), _scalar(text, item))
    for key, value in (options or {}).items():
        config = _with(config, f"--{key.rpartition('.')[2].replace('_', '-')}", key.split("."), value)
    return config


def describe() -> str:
    """Every setting with its default and what it does, one line each."""
    lines = []
    for section, make in _SECTIONS.items():
        for setting in dataclasses.fields(make):
            default = getattr(make(), setting.name)
            shown = "as the bundle says" if default in (None, {}) else "none" if default in ((), "") else default
            lines.append(f"  {section + '.' + setting.name:<31} {setting.metadata['help']} ({shown})")
    return "\n".join(lines)


def _scalar(text: str, name: str) -> Any:
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UsageError(f"{printable(name)}: not a value: {_one_line(error)}") from None


def _with_file(config: Config, file: Path) -> Config:
    shown = printable(str(file))
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{shown}: cannot be read: {error.strerror}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UsageError(f"{shown}: not a YAML file: {_one_line(error)}") from None
    if content is None:
        return config
    if not isinstance(content, Mapping):
        raise UsageError(f"{shown}: expected sections such as 'incidents:' with settings below them")
    for section, settings in content.items():
        if section not in _SECTIONS:
            raise _unknown(shown, "section", section)
        if settings is None:
            continue
        if not isinstance(settings, Mapping):
            raise UsageError(f"{shown}: {section}: expected settings below it, not {_shown(settings)}")
        for key, value in settings.items():
            config = _with(config, shown, [section, key], value)
    return config


def _with(config: Config, where: str, path: Sequence[Any], value: Any) -> Config:
    """`config` with one setting changed; a third element of `path` is a key in a setting that is a table."""
    section = path[0]
    if section not in _SECTIONS:
        raise _unknown(where, "section", section)
    current = getattr(config, section)
    settings = {f.name: f for f in dataclasses.fields(current)}
    key = path[1] if len(path) > 1 else ""
    if key not in settings:
        raise _unknown(where, "setting", f"{section}.{key}")
    old = getattr(current, key)
    is_table = isinstance(old, Mapping)
    if len(path) > (3 if is_table else 2):
        raise UsageError(f"{where}: {section}.{key} has nothing named {_shown(path[-1])} below it")
    if len(path) == 3:
        value = {path[2]: value}
    try:
        new = settings[key].metadata["convert"](value)
    except _BadValueError as bad:
        raise UsageError(f"{where}: {section}.{key}: expected {bad}, not {_shown(value)}") from None
    if is_table:
        new = {**old, **new}
    return dataclasses.replace(config, **{section: dataclasses.replace(current, **{key: new})})


def _unknown(where: str, what: str, name: Any) -> UsageError:
    names = list(_SECTIONS) if what == "section" else _all_settings()
    hint = _nearest(name, [*names, *_all_settings()]) or f"; there are: {', '.join(names)}"
    return UsageError(f"{where}: {_shown(name)}: no such {what}{hint}")


def _all_settings() -> list[str]:
    return [f"{section}.{f.name}" for section, make in _SECTIONS.items() for f in dataclasses.fields(make)]


def _variable(setting: str) -> str:
    return ENV_PREFIX + setting.replace(".", "__").upper()


def _nearest(name: Any, known: Iterable[str]) -> str:
    text = str(name)
    last = text.rpartition(".")[2]
    names = {n: n for n in known}
    by_last = {n.rpartition(".")[2]: n for n in names}
    if last in by_last:  # the right setting in the wrong section
        return f"; did you mean {by_last[last]}?"
    close = difflib.get_close_matches(text, names, n=1, cutoff=0.6)
    if not close:
        names = by_last
        close = difflib.get_close_matches(last, names, n=1, cutoff=0.6)
    return f"; did you mean {names[close[0]]}?" if close else ""


def _shown(value: Any) -> str:
    return printable(value if isinstance(value, str) else repr(value), 60)


def _one_line(error: Exception) -> str:
    return printable(" ".join(str(error).split()), 160)
