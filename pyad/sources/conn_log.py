"""Zeek's conn.log to rows: TSV or JSON, plain, gzip or zstd, any subset of columns, bad lines left out and counted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from pyad.errors import InputError, printable
from pyad.row import REQUIRED, Rows, concat
from pyad.sources.base import ReadReport
from pyad.sources.fields import BadValueError
from pyad.sources.lines import Lines, read_lines, runs
from pyad.sources.sniff import CONN, foreign_log
from pyad.sources.zeek_json import JsonColumns, json_names
from pyad.sources.zeek_tsv import Header, TsvColumns

# A file is given up when this many lines from its start are all bad, or when more than this share is.
MAX_BAD_AT_START = 20
MAX_BAD_SHARE = 0.05
_LINES_TO_JUDGE = 1000  # the share is looked at after this many, and at the end

_HINT = "check that this is Zeek's own conn.log, unedited"


class Columns(Protocol):
    """Data lines to columns, from TSV or JSON."""

    def parse(self, text: str, rows: int) -> Mapping[str, NDArray[Any]]:
        """The columns of `rows` lines; BadValueError when any of them does not fit."""
        ...


def read_conn_log(path: Path, report: ReadReport, chunk_rows: int = 8192) -> Iterator[Rows]:
    """Rows of one conn.log in file order, in batches of at most `chunk_rows`; `-` is standard input.

    Nothing is raised for bad input: every good row is yielded, bad lines are counted in `report.skipped`, and what
    was wrong with the file is one InputError in `report.problems`.
    """
    report.files += 1
    try:
        for rows in _Reader(path, report).read():
            for start in range(0, len(rows), chunk_rows):
                chunk = rows if len(rows) <= chunk_rows else rows.take(slice(start, start + chunk_rows))
                report.rows += len(chunk)
                yield chunk
    except InputError as error:
        report.problems.append(error)


class _Reader:
    """One pass over one file: the header in force and the good and bad lines so far."""

    def __init__(self, path: Path, report: ReadReport) -> None:
        self._path = path
        self._name = "standard input" if path == Path("-") else str(path)
        self._report = report
        self._columns: Columns | None = None
        self._header = Header()  # what the data lines are read by
        self._latest = Header()  # with the `#` lines since
        self._good = 0
        self._bad = 0
        self._first_bad = (0, BadValueError("", ""))  # line, fault

    def read(self) -> Iterator[Rows]:
        """Rows block by block; InputError where nothing more can be read, or at the end if some lines were bad."""
        empty = True
        for block in read_lines(self._path, self._name, self._report):
            for run in runs(block):
                empty = False
                if run.text.startswith("#"):
                    self._latest = self._latest.with_line(run.text)
                elif (ready := self._ready(run)) is not None:
                    yield from self._convert(*ready)
            self._judge(_LINES_TO_JUDGE)
        if empty:
            raise InputError(self._name, "", "the file is empty", "leave it out, or see what should have written it")
        if self._columns is None:
            self._use_header(1)  # a header and nothing else is the log of a quiet hour
        self._judge(1)
        if self._bad:
            raise self._verdict("left out")

    def _ready(self, run: Lines) -> tuple[Columns, Lines] | None:
        """The converter for the run, and its data lines; None when it was a bare header line."""
        if self._columns is not None:
            if self._latest is not self._header and not isinstance(self._columns, JsonColumns):
                self._same_header(run.first)
            return self._columns, run
        if self._latest.fields:
            return self._use_header(run.first), run
        first, _, rest = run.text.partition("\n")
        if first.startswith("{"):
            log_path, names = json_names(first)
            other = foreign_log(self._path, log_path, names)
            if other:
                raise self._not_conn(other)
            self._warn_of(log_path)
            self._columns = JsonColumns()
            return self._columns, run
        self._latest = Header(fields=tuple(first.split("\t")))
        if not set(REQUIRED) & set(self._latest.fields):
            raise InputError(
                self._name,
                f"line {run.first}",
                f"neither a capture nor a conn.log: '{printable(first, 60)}'",
                "a conn.log begins with #separator or with {",
            )
        columns = self._use_header(run.first)  # Zeek's LogAscii::tsv: one line with the names, no `#`
        return (columns, Lines(rest, run.first + 1, run.count - 1, run.ended)) if rest else None

    def _use_header(self, line: int) -> Columns:
        header = self._latest
        missing = [name for name in REQUIRED if name not in header.fields]
        other = foreign_log(self._path, header.path, header.fields)
        if other:
            raise self._not_conn(other)
        if not header.fields:
            raise InputError(self._name, f"line {line}", "no #fields line before the data", _HINT)
        if missing:
            raise InputError(
                self._name,
                "header",
                f"required column{'s' if len(missing) > 1 else ''} {', '.join(missing)} missing",
                "write conn.log with at least " + " ".join(REQUIRED),
            )
        self._warn_of(header.path)
        self._header = header
        self._columns = TsvColumns(header)
        return self._columns

    def _same_header(self, line: int) -> None:
        if not self._latest.same_columns(self._header):
            raise InputError(
                self._name,
                f"line {line}",
                "the header changes halfway; the lines before it were read",
                "split the file there and give both parts",
            )
        self._latest = self._header

    def _warn_of(self, log_path: str) -> None:
        if log_path not in ("", CONN):
            self._report.warnings.append(
                f"{printable(self._name)}: this is {printable(log_path, 40)}.log, not conn.log; connections that are "
                "in conn.log as well count twice"
            )

    def _not_conn(self, other: str) -> InputError:
        return InputError(self._name, "", f"this is Zeek's {printable(other, 40)}.log", "give conn.log")

    def _convert(self, converter: Columns, run: Lines) -> Iterator[Rows]:
        """Rows of the run's good lines. A bad line is found by halving, so one among thousands costs little."""
        parts: list[Rows] = []
        todo = [run]
        stop: InputError | None = None
        while todo and stop is None:
            lines = todo.pop()
            try:
                columns = converter.parse(lines.text, lines.count)
            except BadValueError as fault:
                if lines.count == 1:
                    stop = self._bad_line(lines, fault)
                else:
                    todo.extend(reversed(_halves(lines)))
                continue
            self._good += lines.count
            parts.append(Rows(dict(columns), np.full(lines.count, self._name, dtype=object)))
        if parts:
            yield concat(parts)
        if stop is not None:
            raise stop

    def _bad_line(self, line: Lines, fault: BadValueError) -> InputError | None:
        """Count a bad line; the error to end with when it is the cut last one or one too many."""
        if not line.ended:
            return InputError(
                self._name,
                f"line {line.first}",
                f"the last line is cut short ({fault.sentence()})",
                "everything before it was read; is the file still being written?",
            )
        self._report.skip(f"bad line: {fault.kind()}")
        self._bad += 1
        if self._bad == 1:
            self._first_bad = (line.first, fault)
        return self._verdict("given up") if self._bad >= MAX_BAD_AT_START and not self._good else None

    def _judge(self, enough: int) -> None:
        lines = self._good + self._bad
        if lines >= enough and self._bad > MAX_BAD_SHARE * lines:
            raise self._verdict("given up")

    def _verdict(self, what: str) -> InputError:
        line, fault = self._first_bad
        count = f"{self._bad} of {self._good + self._bad} lines so far are bad, {what}"
        return InputError(self._name, f"line {line}", f"{fault.sentence()} ({count})", _HINT)


def _halves(lines: Lines) -> list[Lines]:
    half = lines.count // 2
    each = lines.text.split("\n")
    return [
        Lines("\n".join(each[:half]), lines.first, half),
        Lines("\n".join(each[half:]), lines.first + half, lines.count - half, lines.ended),
    ]
