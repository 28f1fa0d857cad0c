"""One log value to one row value: the readers of Zeek's types, strict, remembering what they have seen.

A memo maps a column's text to its value and parses only what is new: ports, counts, states and addresses repeat,
so a whole column is one `map` over a dictionary. Text that is no such value raises ValueError with the reason.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Callable
from math import inf, isfinite, nan
from typing import Any

import numpy as np

from pyad.errors import printable
from pyad.memo import Memo
from pyad.row import PROTOS, Field, Texts

MAX_TIME = 1e11  # s; the year 5138. Milliseconds and garbage are larger
MAX_COUNT = 2.0**64
MAX_PORT = 65535
MAX_TEXT = 512  # characters; the longest texts Zeek writes, lists of services, are far below

_NUMBER = re.compile(r"(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?", re.ASCII)
_ESCAPE = re.compile(rb"\\(?:x([0-9a-fA-F]{2})|\\)")


def parse_real(text: str) -> float:
    """A non-negative number of seconds below MAX_TIME."""
    if not _NUMBER.fullmatch(text):
        raise ValueError("is not a number")
    value = float(text)
    if not value < MAX_TIME:
        raise ValueError("is too large for seconds")
    return value


def parse_count(text: str, largest: float = MAX_COUNT) -> float:
    """A whole number from 0 to `largest`; `12.0` is taken too, as tables converted by other tools have it."""
    value = float(text) if _NUMBER.fullmatch(text) else inf
    if not isfinite(value) or value != int(value):
        raise ValueError("is not a count")
    if value > largest:
        raise ValueError("is too large")
    return value


_TRANSPORTS = ("tcp", "udp", "icmp", "unknown")


def parse_port(text: str) -> float:
    """A port, or an ICMP type or code: 0 to 65535; also with its transport, as Zeek prints ports (`80/tcp`)."""
    number, slash, transport = text.partition("/")
    try:
        if slash and transport not in _TRANSPORTS:
            raise ValueError
        return parse_count(number, MAX_PORT)
    except ValueError:
        raise ValueError("is not a port") from None


_TRUTH = {"T": 1.0, "F": 0.0, "true": 1.0, "false": 0.0, "1": 1.0, "0": 0.0}


def parse_bool(text: str) -> float:
    """Zeek's T or F as 1.0 or 0.0."""
    try:
        return _TRUTH[text]
    except KeyError:
        raise ValueError("is neither T nor F") from None


def parse_addr(text: str) -> str:
    """An IPv4 or IPv6 address in its canonical text."""
    try:
        if ":" in text:
            return socket.inet_ntop(socket.AF_INET6, socket.inet_pton(socket.AF_INET6, text))
        socket.inet_pton(socket.AF_INET, text)  # strict: what it takes is canonical already
    except (OSError, ValueError):
        raise ValueError("is not an IP address") from None
    return text


def parse_proto(text: str) -> str:
    """One of the transport names Zeek writes."""
    lower = text.lower()
    if lower not in PROTOS:
        raise ValueError("is not a transport protocol")
    return lower


def parse_mac(text: str) -> str:
    """A link-layer address, lower case (as text: it need not be Ethernet)."""
    return parse_text(text).lower()


def parse_text(text: str) -> str:
    """Text of at most MAX_TEXT characters, Zeek's escapes undone."""
    return limited(unescape(text))


def limited(text: str) -> str:
    """The text itself. ValueError where it is longer than MAX_TEXT."""
    if len(text) > MAX_TEXT:
        raise ValueError("is too long")
    return text


class BadValueError(ValueError):
    """A line holds what its column cannot: `column` (may be empty), `reason`, and the text that was there.

    reason: a fixed text, without anything from the line.
    """

    def __init__(self, column: str, reason: str, text: str = "") -> None:
        self.column, self.reason, self.text = column, reason, text
        super().__init__(reason)

    def kind(self) -> str:
        """The fault without the offending text: a counter's name."""
        return f"{self.column} {self.reason}" if self.column else self.reason

    def sentence(self) -> str:
        """The fault for a person."""
        text = printable(self.text, 60)
        if self.column:
            return f"{self.column}: '{text}' {self.reason}"
        return f"{self.reason} ({text})" if text else self.reason


def objects(values: list[Any]) -> Texts:
    """A list as an object array (numpy would otherwise make text arrays or nest lists)."""
    column = np.empty(len(values), dtype=object)
    column[:] = values
    return column


def unescape(text: str) -> str:
    r"""Undo Zeek's `\xNN` and `\\`. Bytes that are not UTF-8 stay `\xNN` text."""
    if "\\" not in text:
        return text
    raw = _ESCAPE.sub(lambda m: bytes.fromhex(m[1].decode()) if m[1] else b"\\", text.encode("utf-8", "surrogatepass"))
    return raw.decode("utf-8", "backslashreplace")


def text_parser(field: Field) -> Callable[[str], Any]:
    """The reader of one text of `field` (no unset mark), raising ValueError with the reason."""
    if field.type == "addr":
        return parse_addr
    if field.name == "proto":
        return parse_proto
    if field.name in ("orig_l2_addr", "resp_l2_addr"):
        return parse_mac
    by_type: dict[str, Callable[[str], Any]] = {
        "time": parse_real,
        "interval": parse_real,
        "count": parse_count,
        "int": parse_count,
        "port": parse_port,
        "bool": parse_bool,
    }
    return by_type.get(field.type, parse_text)


def memo_for(field: Field, unset: str, empty: str) -> Memo[str, Any]:
    """The memo of one TSV column; `unset` and `empty` are the log's marks for these."""
    if field.numeric:
        return Memo(text_parser(field), {} if field.required else {unset: nan})
    preset: dict[str, Any] = {} if field.required else {unset: None, empty: ""}
    return Memo(text_parser(field), preset)
