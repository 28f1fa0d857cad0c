"""What crosses the wire between Zeek and the bridge: events as JSON frames, rows and notices as text, the MAC. Pure.

Frames are those of Zeek's WebSocket API (/v1/messages/json). Whatever comes in is checked before it is believed: what
does not fit raises WireError with a fixed reason, so that reasons can be counted.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pyad.drift import Move
from pyad.explain import digits
from pyad.notices import MAX_MESSAGE, NOTICE_TYPES, Notice
from pyad.row import SCHEMA_HASH

PATH = "/v1/messages/json"
APPLICATION = "pyad"  # told to Zeek in the header X-Application-Name
ROWS_TOPIC, STATUS_TOPIC = "zeek/pyad/rows/", "zeek/pyad/status/"
BRIDGE_TOPIC, VERDICTS_TOPIC = "zeek/pyad/bridge/", "zeek/pyad/verdicts/"

# A frame of 200 rows has some 50 kB; a larger one than this is not read, as its objects would take far more memory.
MAX_FRAME = 2 << 20  # bytes
MAX_ROWS = 10_000  # per batch
MAX_COUNT = 2**63 - 1
MAX_TEXT = 256  # characters of a name, an epoch, a fact
MAX_SUB = 1500  # characters; Zeek takes no more

# Event → the Broker types of its arguments; _L is a string of lines, which costs Zeek less than a vector of strings.
_S, _C, _V, _L = "string", "count", "vector", "lines"
EVENTS: Mapping[str, tuple[str, ...]] = {
    "hello": (_S, _S, _S, _C, _C, _S),
    "rows": (_S, _S, _S, _S, _S, _C, _C, _L, _S),
    "ack": (_S, _S, _S, _S, _V, _S),
    "verdicts": (_S, _S, _C, _S, _S, _S, _C, _V, _S),
    "drift": (_S, _S, _C, _S, _C, _C, _V, _S),
    "status_request": (_S,),
    "status": (_S, _S, _S, _S, _V),
    "flush": (_S, _S, _S, _S, _C, _C, _S),
    "flushed": (_S, _S, _S, _S, _C, _S),
}
_MODULE = "PyAD::"
_CLASSES = {note: name for name, note in NOTICE_TYPES.items()}

Argument = str | int | Sequence[str]


class WireError(ValueError):
    """A frame is not what it should be. The message is a fixed text, without anything from the frame."""


@dataclass(frozen=True, slots=True)
class Joined:
    """Zeek has taken the subscription. version: Zeek's."""

    version: str


@dataclass(frozen=True, slots=True)
class Refusal:
    """Zeek could not read a message of ours. It does not say which."""

    code: str
    context: str


@dataclass(frozen=True, slots=True)
class Event:
    """One of EVENTS with its arguments, of the right number and types; vectors and lines are lists of text.

    The first is the row schema. Of an event of another schema it may be the only one.
    """

    name: str
    args: tuple[Any, ...]


def subscription(lane: str, rows: bool = True) -> str:
    """The first frame of a connection: the topics to be told of; without `rows` statuses alone."""
    return json.dumps([f"{ROWS_TOPIC}{lane}/", STATUS_TOPIC] if rows else [STATUS_TOPIC])


def encode(topic: str, event: str, args: Sequence[Argument]) -> str:
    """The frame that publishes `event`."""
    data = [_value(kind, arg) for kind, arg in zip(EVENTS[event], args, strict=True)]
    version = {"@data-type": "count", "data": 1}
    body = [version, version, _vector([_text(_MODULE + event), _vector(data)])]
    return json.dumps({"type": "data-message", "topic": topic, **_vector(body)}, separators=(",", ":"))


def _value(kind: str, arg: Any) -> dict[str, Any]:
    if kind == _L:
        return _text("\n".join(arg))
    return _vector([_text(a) for a in arg]) if kind == _V else {"@data-type": kind, "data": arg}


def _text(text: str) -> dict[str, Any]:
    return {"@data-type": _S, "data": text}


def _vector(items: list[Any]) -> dict[str, Any]:
    return {"@data-type": _V, "data": items}


def decode(frame: bytes) -> Joined | Refusal | Event:
    """What a frame says. Raises WireError for anything that is not one of these, with the reason."""
    if len(frame) > MAX_FRAME:
        raise WireError("frame too large")
    try:
        text = frame.decode("utf-8")
    except UnicodeDecodeError:
        raise WireError("not UTF-8") from None
    try:
        # Zeek sends control characters in strings as they are.
        message = json.loads(text, strict=False)
    except (ValueError, RecursionError):
        raise WireError("not JSON") from None
    if not isinstance(message, dict):
        raise WireError("not a message")
    kind = message.get("type")
    if kind == "data-message":
        return _event(message)
    if kind == "ack":
        return Joined(str(message.get("version", "-"))[:MAX_TEXT])
    if kind == "error":
        return Refusal(str(message.get("code", "-"))[:MAX_TEXT], str(message.get("context", "-"))[:MAX_TEXT])
    raise WireError("not a message")


def _event(message: dict[str, Any]) -> Event:
    try:
        # Metadata may follow the arguments; it does not matter.
        (name, args) = _items(message)[2]["data"][:2]
        full, values = _typed(name, _S), _typed(args, _V)
    except (KeyError, IndexError, TypeError, ValueError):
        raise WireError("not an event") from None
    event = full.removeprefix(_MODULE)
    types = EVENTS.get(event)
    if types is None or not full.startswith(_MODULE):
        raise WireError("unknown event")
    schema = _schema(values)
    try:
        if len(values) != len(types):
            raise WireError("wrong number of arguments")
        return Event(event, tuple(map(_argument, values, types)))
    except (KeyError, TypeError, ValueError) as error:
        if schema is not None and schema != SCHEMA_HASH:
            return Event(event, (schema,))  # another version may have other arguments; people are to see the cause
        raise (error if isinstance(error, WireError) else WireError("wrong type of argument")) from None


def _schema(values: list[Any]) -> str | None:
    """The row schema, which comes first in every event; None where that is no sound text."""
    try:
        return str(_argument(values[0], _S))
    except (IndexError, KeyError, TypeError, ValueError):
        return None


def _items(value: Any) -> list[Any]:
    items = value["data"]
    if value["@data-type"] != _V or not isinstance(items, list):
        raise TypeError
    return items


def _typed(value: Any, kind: str) -> Any:
    data = value["data"]
    if value["@data-type"] != kind or not isinstance(data, str if kind == _S else list):
        raise TypeError
    return data


def _argument(value: Any, kind: str) -> Any:
    if kind == _C:
        number = value["data"]
        if value["@data-type"] != _C or type(number) is not int or not 0 <= number <= MAX_COUNT:
            raise TypeError
        return number
    if kind == _S:
        text = _typed(value, _S)
        if not (text.isascii() and text.isprintable() and len(text) <= MAX_TEXT):
            raise WireError("text that is too long or not printable ASCII")
        return text
    if kind == _L:
        text = _typed(value, _S)
        if text.count("\n") >= MAX_ROWS:
            raise WireError("too many lines in a text")
        return text.split("\n") if text else []
    items = _typed(value, _V)
    if len(items) > MAX_ROWS:
        raise WireError("too many items in a vector")
    return [_typed(item, _S) for item in items]


def mac(secret: str, event: str, args: Sequence[Argument]) -> str:
    """The code that shows who knows `secret` sent `event` with `args` (without the code itself), lower-case hex.

    HMAC's nesting without its padding, as Zeek's script language can do it.
    """
    parts = [event]
    for arg in args:
        if isinstance(arg, str):
            parts.append(arg)
        elif isinstance(arg, int):
            parts.append(str(arg))
        else:
            parts.extend(arg)
    key = secret.encode()
    # A lone surrogate (JSON can hold one) is nothing that Zeek signs; it must only not break this.
    inner = hashlib.sha256(key + "\n".join(parts).encode("utf-8", "replace")).hexdigest()
    return hashlib.sha256(key + inner.encode()).hexdigest()


def signed(secret: str, event: str, args: Sequence[Argument]) -> tuple[Argument, ...]:
    """`args` with the code at their end."""
    return (*args, mac(secret, event, args))


def is_signed(secret: str, event: Event) -> bool:
    """Whether the event's last argument is the right code for the others."""
    *args, code = event.args
    return hmac.compare_digest(mac(secret, event.name, args), code)


def fingerprint(secret: str) -> str:
    """By which two sides can compare their secrets in public."""
    return hashlib.sha256(b"pyad-fingerprint" + secret.encode()).hexdigest()[:12]


def facts(texts: Sequence[str]) -> dict[str, str]:
    """A status' `key=value` texts; what is no such text or too long is left out."""
    found = {}
    for text in texts[:MAX_TEXT]:
        key, equals, value = text.partition("=")
        if equals and len(text) <= MAX_TEXT and text.isascii() and text.isprintable():
            found[key] = value
    return found


def notice_text(notice: Notice) -> str:
    """A notice as Zeek takes it: 15 fields between tabs, printable ASCII, `-` where unset."""
    vlan: int | None = getattr(notice, "vlan", None)
    fields = (
        f"{notice.ts:.6f}", notice.uid, notice.orig_h, notice.orig_p, notice.resp_h, notice.resp_p, notice.proto, vlan,
        _CLASSES[notice.note], notice.state, notice.identifier, notice.incident, notice.n,
        notice.msg[:MAX_MESSAGE], notice.sub[:MAX_SUB],
    )  # fmt: skip
    return "\t".join(["-" if f is None or f == "" else _plain(str(f)) for f in fields])


def drift_texts(moves: Sequence[Move]) -> list[str]:
    """What moved as Zeek takes it: name, stability index, before and now, three digits each, between tabs."""
    return ["\t".join((m.name, digits(m.psi), digits(m.before), digits(m.now))) for m in moves]


def _plain(text: str) -> str:
    if text.isascii() and text.isprintable():
        return text
    return "".join(c if " " <= c <= "~" else "?" for c in text)
