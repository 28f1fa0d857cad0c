"""Lines of a Zeek TSV log to columns: header by name, a whole block at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import inf, nan
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyad.memo import Memo
from pyad.row import BY_NAME, Field
from pyad.sources.fields import (
    MAX_COUNT,
    MAX_TIME,
    BadValueError,
    limited,
    memo_for,
    objects,
    parse_real,
    parse_text,
    unescape,
)

_PLAIN_REAL = str.maketrans("", "", "0123456789.-")


@dataclass(frozen=True)
class Header:
    """What the `#` lines of a log say: its marks, its path (`conn`) and its column names in order."""

    separator: str = "\t"
    set_separator: str = ","
    empty_field: str = "(empty)"
    unset_field: str = "-"
    path: str = ""
    fields: tuple[str, ...] = ()

    def with_line(self, line: str) -> Header:
        """The header with one more `#` line taken in; lines that do not matter (#open, #types, …) change nothing."""
        key, mark, value = line[1:].partition(self.separator)
        if not mark:
            key, _, value = line[1:].partition(" ")  # `#separator \x09` uses a space, and it comes first
        changed: dict[str, Any] = {}
        if key == "separator":
            changed["separator"] = unescape(value) or "\t"
        elif key in ("set_separator", "empty_field", "unset_field", "path"):
            changed[key] = unescape(value)
        elif key == "fields":
            changed["fields"] = tuple(value.split(self.separator))
        return Header(**{**self.__dict__, **changed}) if changed else self

    def same_columns(self, other: Header) -> bool:
        """Whether lines under `other` read the same as lines under this header."""
        return {**self.__dict__, "path": ""} == {**other.__dict__, "path": ""}


class TsvColumns:
    """Converts data lines under one header. Holds the memos, so that repeats are parsed once and share one text."""

    def __init__(self, header: Header) -> None:
        self._separator = header.separator
        self._boundary = f"{header.separator}\n{header.separator}"
        self._width = len(header.fields)
        self._unset = header.unset_field
        self._empty = header.empty_field
        self._columns: list[tuple[int, Field, Callable[[list[str], bool], NDArray[Any]]]] = []
        for name in BY_NAME:
            if name in header.fields:
                self._columns.append((header.fields.index(name), BY_NAME[name], self._reader(BY_NAME[name])))

    def parse(self, text: str, rows: int) -> Mapping[str, NDArray[Any]]:
        """The columns of `rows` lines (no newline at the end). BadValueError when any line does not fit.

        The error names the line's fault exactly only when there is one line.
        """
        # One split for the whole block: a newline between two separators becomes a column of its own, and every
        # line has the right number of columns exactly when that column holds nothing but newlines.
        flat = text.replace("\n", self._boundary).split(self._separator)
        step = self._width + 1
        if len(flat) != rows * step - 1 or flat[self._width :: step].count("\n") != rows - 1:
            raise BadValueError("", "not the number of columns of the header", f"{len(flat)}, not {self._width}")
        escaped = "\\" in text
        columns: dict[str, NDArray[Any]] = {}
        for index, field, read in self._columns:
            values = flat[index::step]
            try:
                columns[field.name] = read(values, escaped)
            except ValueError as error:
                raise BadValueError(f"column {field.name}", str(error), values[0]) from None
        return columns

    def _reader(self, field: Field) -> Callable[[list[str], bool], NDArray[Any]]:
        if field.type in ("time", "interval"):
            unset = None if field.required else self._unset
            return lambda values, _: _reals(values, unset)
        if field.name == "uid":  # never repeats: no memo
            return self._unique_texts
        memo: Memo[str, Any] = memo_for(field, self._unset, self._empty)
        if field.type == "count":
            return lambda values, _: _counts(values, self._unset, memo)
        if field.numeric:
            return lambda values, _: np.fromiter(map(memo.__getitem__, values), dtype=np.float64, count=len(values))
        return lambda values, _: objects(list(map(memo.__getitem__, values)))

    def _unique_texts(self, values: list[str], escaped: bool) -> NDArray[Any]:
        read = parse_text if escaped else limited
        if self._unset in values or self._empty in values:
            marks: dict[str, str | None] = {self._unset: None, self._empty: ""}
            return objects([marks[v] if v in marks else read(v) for v in values])
        return objects(list(map(read, values)))


def _counts(values: list[str], unset: str, memo: Memo[str, Any]) -> NDArray[np.float64]:
    """Whole numbers. They seldom repeat: a block of nothing but digits is converted as it is, the rest one by one."""
    digits = "".join(values).replace(unset, "")
    if digits.isdecimal() and digits.isascii():
        try:
            found = [nan if v == unset else float(v) for v in values] if unset in values else list(map(float, values))
        except ValueError:
            found = [inf]
        column = np.array(found, dtype=np.float64)
        # A minus sign is the usual unset mark and was not looked at above.
        if not np.signbit(column).any() and not (column > MAX_COUNT).any():
            return column
    return np.fromiter(map(memo.__getitem__, values), dtype=np.float64, count=len(values))


def _reals(values: list[str], unset: str | None) -> NDArray[np.float64]:
    """Seconds. Python's float takes more than Zeek writes (`1_0`, `nan`), so anything but digits goes one by one."""
    read: Callable[[str], float] = parse_real if "".join(values).translate(_PLAIN_REAL) else float
    try:
        found = [nan if v == unset else read(v) for v in values] if unset in values else list(map(read, values))
    except ValueError as error:
        raise (error if read is parse_real else ValueError("is not a number")) from None
    column = np.array(found, dtype=np.float64)
    if np.signbit(column).any() or (column >= MAX_TIME).any():
        raise ValueError("is negative or too large")
    return column
