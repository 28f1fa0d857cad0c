r"""Logs as Zeek writes them: its ASCII format with header and escapes, or JSON lines; whole batches at once."""

from __future__ import annotations

import errno
import io
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

from numpy.typing import NDArray

from pyad.errors import PyadError, UsageError, printable
from pyad.row import FIELDS as ROW_FIELDS
from pyad.row import Rows
from pyad.sinks.zeek_values import formatter, json_text

FORMATS = ("tsv", "json")

_FLUSH_CHARS = 1 << 18


class ZeekLogWriter:
    """One log file (or text stream) in Zeek's format. Lines are gathered and written in large pieces.

    target: a path, created anew, or an open text stream, which is not closed.
    log_path: the log's name in the header (`notice`); fields: (name, Zeek type) in column order.
    opened: seconds since the epoch for `#open`; None is now, as Zeek does.
    Raises PyadError, naming the file and what to do, when it cannot be written (further); the lines already written
    stay whole.
    """

    def __init__(
        self,
        target: Path | TextIO,
        log_path: str,
        fields: Sequence[tuple[str, str]],
        fmt: str = "tsv",
        *,
        opened: float | None = None,
    ) -> None:
        if fmt not in FORMATS:
            raise UsageError(f"log format '{printable(fmt)}' does not exist; one of {', '.join(FORMATS)}")
        self.lines = 0
        self._tsv = fmt == "tsv"
        self._fields = tuple(fields)
        self._formatters = [formatter(type_, fmt) for _, type_ in fields]
        self._keys = [json_text(name) + ":" for name, _ in fields]
        self._pending: list[str] = []
        self._pending_chars = 0
        self._opened = opened
        self._out = _File(target) if isinstance(target, Path) else _Stream(target)
        if self._tsv:
            names, types = zip(*self._fields, strict=True)
            self._add(
                "#separator \\x09\n#set_separator\t,\n#empty_field\t(empty)\n#unset_field\t-\n"
                f"#path\t{log_path}\n#open\t{_timestamp(opened)}\n"
                + "\t".join(("#fields", *names))
                + "\n"
                + "\t".join(("#types", *types))
                + "\n"
            )
        self.flush()  # an unwritable place is told now, not after an hour of work

    def write(self, record: Mapping[str, Any]) -> None:
        """One line: field name → value, None or absent is unset; names that are no field are left out."""
        self.write_columns({name: [record.get(name)] for name, _ in self._fields}, 1)

    def write_columns(
        self,
        columns: Mapping[str, Sequence[Any] | NDArray[Any]],
        rows: int,
        ready: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        """`rows` lines at once: field name → values (list or array; None or NaN is unset), absent is all unset.

        ready: columns whose text is already as the format wants it (`-` or, in JSON, empty for unset).
        """
        if not rows:
            return
        texts: list[Sequence[str]] = []
        for (name, _), format_column, key in zip(self._fields, self._formatters, self._keys, strict=True):
            if ready is not None and name in ready:
                made: Sequence[str] = ready[name]
            elif name in columns:
                made = format_column(columns[name])
            elif self._tsv:
                made = ["-"] * rows
            else:
                continue
            texts.append(made if self._tsv else [key + text if text else "" for text in made])
        if self._tsv:
            self._add(_tsv_lines(texts))
        else:
            self._add(_json_lines(texts, rows))
        self.lines += rows
        if self._pending_chars >= _FLUSH_CHARS:
            self.flush()

    def flush(self) -> None:
        """Hand everything gathered to the file."""
        text = "".join(self._pending)
        self._pending.clear()
        self._pending_chars = 0
        if text:
            self._out.write(text)

    def close(self, closed: float | None = None) -> None:
        """Write the rest and, in TSV, `#close` (None is `opened` where that was given, else now). Twice is harmless."""
        if self._out.closed:
            return
        try:
            if self._tsv:
                self._add(f"#close\t{_timestamp(closed if closed is not None else self._opened)}\n")
            self.flush()
        finally:
            self._out.close()

    def __enter__(self) -> ZeekLogWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _add(self, text: str) -> None:
        self._pending.append(text)
        self._pending_chars += len(text)


def write_rows(rows: Iterable[Rows], out: TextIO | Path, fmt: str) -> int:
    """Print rows as a conn.log with every column of the row schema; returns how many.

    TSV has all columns, `-` where unset (a stream cannot know which will come); JSON only what is set.
    """
    written = 0
    with ZeekLogWriter(out, "conn", [(f.name, f.type) for f in ROW_FIELDS], fmt) as log:
        for batch in rows:
            log.write_columns(batch.columns, len(batch))
            log.flush()
            written += len(batch)
    return written


def _tsv_lines(columns: list[Sequence[str]]) -> str:
    lines = list(map("\t".join, zip(*columns, strict=True)))
    # A line must not look like a header line: Zeek escapes its first character then.
    if "#" in "".join(columns[0]):
        lines = ["\\x23" + line[1:] if line.startswith("#") else line for line in lines]
    return "\n".join(lines) + "\n"


def _json_lines(columns: list[Sequence[str]], rows: int) -> str:
    if not columns:
        return "{}\n" * rows
    if any("" in column for column in columns):
        lines = [",".join(filter(None, parts)) for parts in zip(*columns, strict=True)]
    else:
        lines = list(map(",".join, zip(*columns, strict=True)))
    return "{" + "}\n{".join(lines) + "}\n"


def _timestamp(when: float | None) -> str:
    """Local time as in `#open`; now where `when` is no time that a calendar has."""
    try:
        moment = time.localtime(when)
    except (OverflowError, ValueError, OSError):
        moment = time.localtime()
    return time.strftime("%Y-%m-%d-%H-%M-%S", moment)


class _File:
    """A file of our own, unbuffered; a failed write leaves whole lines and says what to do."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._size = 0
        self._failed: PyadError | None = None
        self.closed = False
        try:
            self._file = path.open("wb", buffering=0)
        except OSError as error:
            self.closed = True
            raise self._error(error) from None

    def write(self, text: str) -> None:
        if self._failed is not None:
            raise self._failed
        data = text.encode()  # the formatters leave nothing that UTF-8 cannot hold
        try:
            _write_all(self._file, data)
        except OSError as error:
            self._failed = self._error(error)
            self._cut_to_whole_lines(data)
            self.closed = True
            self._file.close()
            raise self._failed from None
        self._size += len(data)

    def close(self) -> None:
        if self.closed:
            return
        self.closed = True
        try:
            self._file.close()  # network file systems tell of a full disk only now
        except OSError as error:
            raise self._error(error) from None

    def _cut_to_whole_lines(self, data: bytes) -> None:
        """After a write of `data` that stopped somewhere."""
        try:
            done = os.fstat(self._file.fileno()).st_size - self._size
            self._file.truncate(self._size + data.rfind(b"\n", 0, max(done, 0)) + 1)
        except OSError:
            return  # not a regular file

    def _error(self, error: OSError) -> PyadError:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        todo = (
            "free space there or choose another --out; what was written before is whole"
            if full
            else "choose another --out or make it writable"
        )
        return PyadError(f"{printable(str(self._path))}: cannot be written ({error.strerror}); {todo}")


def _write_all(out: io.RawIOBase | io.BufferedIOBase, data: bytes) -> None:
    rest = memoryview(data)
    while rest:  # a raw write may take less than all, on a nearly full disk for one
        rest = rest[out.write(rest) or 0 :]


class _Stream:
    """A text stream of the caller's (standard output): written to, never closed."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.closed = False

    def write(self, text: str) -> None:
        # Straight to the bytes below where there are any: a log is UTF-8 whatever the terminal's encoding, and what
        # a full disk refuses must not wait in a buffer to fail once more at exit.
        buffer = getattr(self._stream, "buffer", None)
        raw = getattr(buffer, "raw", buffer)
        try:
            self._stream.flush()
            if isinstance(raw, io.RawIOBase | io.BufferedIOBase):
                _write_all(raw, text.encode())
            else:
                self._stream.write(text)
                self._stream.flush()
        except BrokenPipeError:
            self.closed = True
            raise  # the reader has gone (head): no fault of the log's
        except OSError as error:
            self.closed = True
            raise PyadError(f"the output cannot be written ({error.strerror}); free space there") from None

    def close(self) -> None:
        self.closed = True
