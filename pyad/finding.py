"""What a check found: a line of `pyad doctor`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Finding:
    """One line: level, what was looked at, what was found, and what to do about it."""

    level: Literal["ok", "warn", "FAIL"]
    what: str
    found: str
    todo: str = ""
