r"""Values as Zeek prints them, by Zeek type: in its ASCII format and in JSON, a column at a time.

Text is data from outside: in TSV what is not printable becomes `\xNN` as Zeek's writer does it (valid UTF-8 stays),
in JSON the output is ASCII and always valid.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from math import isfinite, isinf, isnan
from typing import Any

import numpy as np
from numpy.typing import NDArray

UNSET = "-"
EMPTY = "(empty)"

# Zeek types written as plain text; the rest are numbers, bool, or set[…] and vector[…] of these.
_TEXTS = frozenset({"string", "enum", "addr", "subnet", "file", "func"})
_WHOLE = frozenset({"count", "int", "port"})

_CONTAINER = re.compile(r"(?:set|vector)\[(.*)\]")

Format = Callable[[Sequence[Any] | NDArray[Any]], list[str]]

_CUT_TEXT = {b"\\": b"\\\\", b"\t": b"\\x09", b",": b"\\x2c"}


def formatter(zeek_type: str, fmt: str) -> Format:
    """The function that turns a column of values (list or array; None or NaN is unset) into text.

    Unset is `-` in TSV and the empty text in JSON (the field is left out). Raises ValueError for an unknown type.
    """
    one = (_tsv_one if fmt == "tsv" else _json_one)(zeek_type)
    unset = UNSET if fmt == "tsv" else ""
    if zeek_type in _TEXTS:
        return lambda values: _text_column(values, fmt == "tsv", unset)
    if _CONTAINER.fullmatch(zeek_type):
        return lambda values: [unset if v is None else one(v) for v in values]

    def numbers(values: Sequence[Any] | NDArray[Any]) -> list[str]:
        if isinstance(values, np.ndarray):
            if zeek_type in _WHOLE and values.dtype.kind == "f" and _fits_int(values):
                return _whole_column(values, unset)
            values = values.tolist()
        # NaN is unequal to itself; the test is cheaper than a call
        return [unset if v is None or v != v else one(v) for v in values]  # noqa: PLR0124

    return numbers


def _text_column(values: Sequence[Any] | NDArray[Any], tsv: bool, unset: str) -> list[str]:
    column: list[str | None] = values.tolist() if isinstance(values, np.ndarray) else list(values)
    some_unset = None in column
    # Nearly every column is plain: one look at all of it together is far cheaper than one at each.
    together = "".join([v for v in column if v is not None] if some_unset else column)  # type: ignore[arg-type]
    if together.isascii() and together.isprintable() and "\\" not in together:
        if tsv and not ("" in column or UNSET in column or EMPTY in column):
            return [unset if v is None else v for v in column] if some_unset else column  # type: ignore[return-value]
        if not tsv and '"' not in together:
            return [unset if v is None else f'"{v}"' for v in column]
    one = tsv_text if tsv else json_text
    return [unset if v is None else one(v) for v in column]


def _fits_int(column: NDArray[np.float64]) -> bool:
    return not (np.abs(column) >= 2.0**63).any()


def _whole_column(column: NDArray[np.float64], unset: str) -> list[str]:
    missing = np.isnan(column)
    texts = list(map(str, np.where(missing, 0, column).astype(np.int64).tolist()))
    if missing.any():
        for row in np.flatnonzero(missing).tolist():
            texts[row] = unset
    return texts


def zeek_double(value: float) -> str:
    """A `double` in Zeek's TSV: six decimals, zeros at the end cut, `.0` on whole numbers."""
    if isnan(value):
        return "nan"
    if isinf(value):
        return "-inf" if value < 0 else "inf"
    if value == 0.0:
        return "0.0"  # also for -0.0
    text = f"{value:.6f}".rstrip("0").removesuffix(".")
    return text + ".0" if abs(value - round(value)) < 1e-9 else text


def tsv_text(text: str, escape_comma: bool = False) -> str:
    r"""Text for one TSV column as Zeek escapes it: `\xNN`, `\\`, and what would read as unset or empty."""
    if text.isascii() and text.isprintable() and "\\" not in text and not (escape_comma and "," in text):
        if text in ("", UNSET, EMPTY):
            return EMPTY if not text else f"\\x{ord(text[0]):02x}{text[1:]}"
        return text
    # Zeek cuts at each backslash, tab and (in sets) comma, and judges what lies between by itself.
    cuts = rb"([\\\t,])" if escape_comma else rb"([\\\t])"
    parts = re.split(cuts, _raw(text))
    parts[::2] = [_escape_bytes(part, keep="").encode() for part in parts[::2]]
    parts[1::2] = [_CUT_TEXT[part] for part in parts[1::2]]
    return b"".join(parts).decode()


def json_text(text: str) -> str:
    r"""A JSON string (quotes included) of ASCII: controls and bytes that are not UTF-8 as the text `\xNN`, as Zeek."""
    if text.isascii() and text.isprintable() and '"' not in text and "\\" not in text:
        return f'"{text}"'
    return json.dumps(_escape_bytes(_raw(text), keep="\b\f\n\r\t"))


def json_double(value: float) -> str:
    """A double in JSON: the shortest text that reads back the same; null when it is not finite, as Zeek."""
    return repr(float(value)) if isfinite(value) else "null"


def json_time(value: float) -> str:
    """A time in JSON: seconds since the epoch, to the microsecond."""
    return repr(round(float(value), 6)) if isfinite(value) else "null"


def _tsv_one(zeek_type: str) -> Callable[[Any], str]:
    container = _CONTAINER.fullmatch(zeek_type)
    if container:
        element = container[1]
        one: Callable[[Any], str] = _set_text if element in _TEXTS else _tsv_one(element)
        return lambda values: ",".join([UNSET if v is None else one(v) for v in values]) or EMPTY
    if zeek_type in _TEXTS:
        return tsv_text
    if zeek_type in ("time", "interval"):
        return "{:.6f}".format
    if zeek_type in _WHOLE:
        return _whole(UNSET)
    if zeek_type == "bool":
        return lambda v: "T" if v else "F"
    if zeek_type == "double":
        return zeek_double
    raise ValueError(f"no Zeek type {zeek_type}")


def _set_text(value: str) -> str:
    return tsv_text(value, escape_comma=True)


def _json_one(zeek_type: str) -> Callable[[Any], str]:
    container = _CONTAINER.fullmatch(zeek_type)
    if container:
        one = _json_one(container[1])
        return lambda values: "[" + ",".join(["null" if v is None else one(v) for v in values]) + "]"
    if zeek_type in _TEXTS:
        return json_text
    if zeek_type == "time":
        return json_time
    if zeek_type in ("interval", "double"):
        return json_double
    if zeek_type in _WHOLE:
        return _whole("null")
    if zeek_type == "bool":
        return lambda v: "true" if v else "false"
    raise ValueError(f"no Zeek type {zeek_type}")


def _whole(unset: str) -> Callable[[Any], str]:
    def one(value: float) -> str:
        try:
            return str(int(value))
        except (OverflowError, ValueError):  # infinite or NaN
            return unset

    return one


def _raw(text: str) -> bytes:
    """The text's bytes. Lone surrogates stand for bytes where they can (file names), else for themselves."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass")


def _escape_bytes(raw: bytes, keep: str) -> str:
    r"""Zeek's escape_utf8: the text when all of it is acceptable UTF-8, else every byte outside ASCII as `\xNN`.

    keep: control characters that pass.
    """
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        text = ""
        good = False
    else:
        good = all(" " <= c <= "~" or c in keep or _acceptable(c) for c in text)
    if good:
        return text
    return "".join(chr(b) if 32 <= b < 127 or chr(b) in keep else f"\\x{b:02x}" for b in raw)


def _acceptable(char: str) -> bool:
    """Characters beyond ASCII that Zeek writes as they are: no controls, private use or specials."""
    code = ord(char)
    return code >= 0xA0 and not (0xE000 <= code <= 0xF8FF or 0xFFF0 <= code <= 0xFFFF)
