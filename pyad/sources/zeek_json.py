"""Lines of a Zeek JSON log to columns: one object per line, a whole block at once."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from math import isnan, nan
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from pyad.memo import Memo
from pyad.row import BY_NAME, REQUIRED, Field
from pyad.sources.fields import (
    MAX_COUNT,
    MAX_PORT,
    MAX_TIME,
    BadValueError,
    limited,
    objects,
    parse_mac,
    parse_text,
    text_parser,
)

_NUMBERS = frozenset({int, float, type(None)})
_TEXTS = frozenset({str, type(None)})
_BOOLS = frozenset({bool, type(None)})
_MILLISECONDS = 1e11  # a ts beyond the year 5138 was written as JSON::TS_MILLIS


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


class JsonColumns:
    """Converts lines of JSON. Holds the memos, so that repeats are parsed once and share one text."""

    def __init__(self) -> None:
        self._decoder = json.JSONDecoder(parse_constant=_no_constant)
        self._memos: dict[str, Memo[str, Any]] = {
            name: Memo(_text_reader(field), {})
            for name, field in BY_NAME.items()
            if not field.numeric and name != "uid"
        }

    def parse(self, text: str, rows: int) -> Mapping[str, NDArray[Any]]:
        """The columns of `rows` lines (no newline at the end). BadValueError when any line does not fit.

        The error names the line's fault exactly only when there is one line.
        """
        records = self.records(text, rows)
        names = set().union(*records)
        if "id" in names:
            _flatten_ids(records)
            names = set().union(*records)
        columns: dict[str, NDArray[Any]] = {}
        missing = [name for name in REQUIRED if name not in names]
        if missing:
            raise BadValueError("", f"required field{'s' if len(missing) > 1 else ''} {', '.join(missing)} missing")
        for name, field in BY_NAME.items():
            if name not in names:
                continue
            values = [record.get(name) for record in records]
            try:
                columns[name] = self._convert(field, values)
            except ValueError as error:
                raise BadValueError(f"field {name}", str(error), json.dumps(values[0])) from None
        return columns

    def records(self, text: str, rows: int) -> list[dict[str, Any]]:
        """The objects of `rows` lines."""
        try:
            records = self._decoder.decode("[" + text.replace("\n", ",") + "]")
        except (ValueError, RecursionError):
            raise BadValueError("", "not one valid JSON object") from None
        if len(records) != rows or set(map(type, records)) != {dict}:
            raise BadValueError("", "not one valid JSON object")
        return records  # type: ignore[no-any-return]

    def _convert(self, field: Field, values: list[Any]) -> NDArray[Any]:
        types = set(map(type, values))
        if field.required and type(None) in types:
            raise ValueError("is missing")
        if field.type == "bool":
            if not types <= _BOOLS:
                raise ValueError("is not true or false")
            return np.array(values, dtype=np.float64)
        if field.numeric:
            if field.type == "time" and str in types:
                values = [_iso_time(v) if type(v) is str else v for v in values]
                types = set(map(type, values))
            if not types <= _NUMBERS:
                raise ValueError("is not a number")
            return _numbers(field, values)
        if not types <= _TEXTS:
            raise ValueError("is not text")
        if field.name == "uid":
            return objects([None if v is None else limited(v) for v in values])
        get = self._memos[field.name].__getitem__
        return objects(
            [None if v is None else get(v) for v in values] if type(None) in types else list(map(get, values))
        )


def _text_reader(field: Field) -> Callable[[str], str]:
    read = text_parser(field)
    if read is parse_text:  # JSON has its own escapes
        return limited
    return (lambda text: limited(text).lower()) if read is parse_mac else read


def json_names(line: str) -> tuple[str, set[str]]:
    """(the log's name if the line tells it as `_path`, the field names) of one line; empty when it is broken."""
    try:
        record = JsonColumns().records(line, 1)[0]
    except BadValueError:
        return "", set()
    _flatten_ids([record])
    path = record.get("_path")
    return path if isinstance(path, str) else "", set(record)


def _numbers(field: Field, values: list[Any]) -> NDArray[np.float64]:
    try:
        column = np.array(values, dtype=np.float64)
    except OverflowError:
        raise ValueError("is too large") from None
    if field.type == "time":
        column = np.where(column >= _MILLISECONDS, column / 1000, column)
    if np.signbit(column[~np.isnan(column)]).any():
        raise ValueError("is negative")
    largest = MAX_PORT if field.type == "port" else MAX_TIME if field.type in ("time", "interval") else MAX_COUNT
    if (column > largest).any():
        raise ValueError("is not a port" if field.type == "port" else "is too large")
    if field.type in ("port", "count", "int") and (np.floor(column) != column)[~np.isnan(column)].any():
        raise ValueError(f"is not a {field.type}")
    return column


def _iso_time(text: str) -> float:
    """Seconds since the epoch of an ISO 8601 time; without a zone it is UTC, as Zeek writes it."""
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        seconds = moment.timestamp()
    except (ValueError, OverflowError):
        seconds = nan
    if isnan(seconds):
        raise ValueError("is not a time")
    return seconds


def _flatten_ids(records: list[dict[str, Any]]) -> None:
    """`{"id": {"orig_h": …}}` to `{"id.orig_h": …}`, in place."""
    for record in records:
        nested = record.pop("id", None)
        if isinstance(nested, dict):
            for name, value in nested.items():
                record["id." + name] = value
