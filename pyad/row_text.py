"""Rows as text on the wire: one line per row, decoded a batch at a time into columns."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyad.memo import Memo
from pyad.row import CORE, COUNTERS, Rows, concat
from pyad.sources.fields import BadValueError, objects
from pyad.sources.zeek_tsv import Header, TsvColumns

_WIDTH = len(CORE)
_DIGITS = 15  # a counter's value stays exact as a float
_ROUNDED = ("ts", "duration")
_DECIMALS = 6  # conn.log has microseconds; Zeek's script language knows more


class RowDecoder:
    """Turns batches of row texts into Rows. Keeps what it has seen, so that repeats are parsed once.

    bad: reason → rows left out because they are no such row.
    """

    def __init__(self) -> None:
        self.bad: Counter[str] = Counter()
        self._counted: Memo[str, tuple[float, ...] | None] = Memo(_counters, {"": _NONE})
        self._core = TsvColumns(Header(separator=" ", empty_field="", fields=tuple(f.name for f in CORE)))

    def decode(self, texts: Sequence[str], source: str) -> Rows:
        """The rows in their order, those that do not parse left out and counted. source: what `Rows.source` says."""
        together = "".join(texts)
        if not (together.isascii() and together.isprintable()):
            texts = self._only(texts, [t.isascii() and t.isprintable() for t in texts], "not printable ASCII")
        cores, tails = list(texts), [""] * len(texts)
        for i, text in enumerate(cores):
            n_counters = text.count(" ") + 1 - _WIDTH
            if n_counters in (1, len(COUNTERS)):
                cores[i] = text.rsplit(" ", n_counters)[0]
                tails[i] = text[len(cores[i]) + 1 :] or " "  # a blank at the end is no counter
        sound = [t.count(" ") == _WIDTH - 1 and "  " not in t and t[0] != " " != t[-1] for t in cores]
        if not all(sound):
            cores, tails = self._only(cores, sound, "not the columns of a row"), _kept(tails, sound)
        counters = [self._counted[tail] for tail in tails]
        if None in counters:
            sound = [c is not None for c in counters]
            cores, counters = self._only(cores, sound, "counters that are no counters"), _kept(counters, sound)
        found = self._parse(cores, counters)
        if not found:
            return Rows({})
        rows = concat(found)
        return Rows(rows.columns, objects([source] * len(rows)))

    def _only(self, items: Sequence[str], sound: Sequence[bool], reason: str) -> list[str]:
        kept = _kept(items, sound)
        self.bad[reason] += len(items) - len(kept)
        return kept

    def _parse(self, cores: list[str], counters: Sequence[Any]) -> list[Rows]:
        """All that parse, as few parts as possible; a part with a bad row is halved until that row stands alone."""
        if not cores:
            return []
        try:
            columns = dict(self._core.parse("\n".join(cores), len(cores)))
        except BadValueError as error:
            if len(cores) == 1:
                self.bad[error.kind()] += 1
                return []
            half = len(cores) // 2
            return self._parse(cores[:half], counters[:half]) + self._parse(cores[half:], counters[half:])
        for name in _ROUNDED:
            columns[name] = _rounded(columns[name])
        columns.update(_counter_columns(counters))
        return [Rows(columns, np.empty(len(cores), dtype=object))]


def _kept(items: Sequence[Any], sound: Sequence[bool]) -> list[Any]:
    return [item for item, good in zip(items, sound) if good]


_COUNT = rf"\d{{1,{_DIGITS}}}"
_ALL_COUNTERS = re.compile(rf"(-1|{_COUNT})( (-1|{_COUNT})){{{len(COUNTERS) - 1}}}", re.ASCII)
_NONE = (np.nan,) * len(COUNTERS)


def _counters(tail: str) -> tuple[float, ...] | None:
    """Every counter's value, NaN where unset; None for a text that is none of ours.

    All of them with blanks between (-1: unset), or weirds alone, or none ("-", or nothing).
    """
    if tail in ("", "-"):
        return _NONE
    if _ALL_COUNTERS.fullmatch(tail):
        return tuple(np.nan if text == "-1" else float(text) for text in tail.split(" "))
    return (*_NONE[1:], float(tail)) if re.fullmatch(_COUNT, tail, re.ASCII) else None


def _counter_columns(counters: Sequence[tuple[float, ...]]) -> dict[str, NDArray[np.float64]]:
    """The counters that any of the rows has."""
    values = np.array(counters)
    return {f.name: values[:, i] for i, f in enumerate(COUNTERS) if not np.isnan(values[:, i]).all()}


def _rounded(seconds: NDArray[np.float64]) -> NDArray[np.float64]:
    """To the microsecond exactly as printed text would have it, which scaling in floating point is not."""
    return np.array([round(s, _DECIMALS) for s in seconds.tolist()])
