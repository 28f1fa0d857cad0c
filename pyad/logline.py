"""Log lines of a service: one line each, `TIME LEVEL EVENT key=value …`, on standard error (systemd's journal)."""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Literal, Protocol

from pyad.errors import printable

Level = Literal["info", "warn", "error"]

_PLAIN = re.compile(r"[!#-<>-\[\]-~]+")  # printable ASCII but blank, quote, equals sign and backslash
_MAX_VALUE = 500  # characters
_TELL_FIRST = 3


class Log(Protocol):
    """Where log lines go: `log("warn", "rows_lost", node="zeek", batches=3)`."""

    def __call__(self, level: Level, event: str, /, **fields: Any) -> None:
        """One line."""


def line(when_s: float, level: Level, event: str, fields: dict[str, Any]) -> str:
    """A line without its end. when_s: seconds since the epoch. Values from outside are safe: one line, no controls."""
    when = datetime.fromtimestamp(when_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return " ".join([when, level, event, *(f"{key}={_value(value)}" for key, value in fields.items())])


def stderr_log(clock: Callable[[], float]) -> Log:
    """Lines on standard error; where nobody reads them any more, that is no fault."""

    def log(level: Level, event: str, /, **fields: Any) -> None:
        with suppress(OSError, ValueError):
            sys.stderr.write(line(clock(), level, event, fields) + "\n")
            sys.stderr.flush()

    return log


def _value(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 1e4 else f"{value:.0f}"
    text = printable(str(value), _MAX_VALUE)
    if _PLAIN.fullmatch(text):
        return text
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


class Tally:
    """Counts what goes wrong by reason, and tells of the first few of a reason, then of each tenfold.

    Reasons are fixed texts. counts: reason → how often.
    """

    def __init__(self, log: Log) -> None:
        self.counts: Counter[str] = Counter()
        self._log = log

    def add(self, reason: str, n: int = 1, /, **fields: Any) -> None:
        """`n` more cases; fields: what else to say of them."""
        before = self.counts[reason]
        count = self.counts[reason] = before + n
        if n and (before < _TELL_FIRST or len(str(count)) > len(str(before))):
            self._log("warn", "refused", reason=reason, **fields, count=count)
