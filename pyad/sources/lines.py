"""Stored bytes to whole numbered lines of text, a block at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pyad.errors import InputError, printable
from pyad.sources.base import ReadReport
from pyad.sources.stored import read_blocks

MAX_LINE_BYTES = 1 << 20

_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class Lines:
    """Consecutive lines: `text` has no newline at its end, `first` is the first line's number (from 1).

    ended: whether the last line had its newline; False only at the end of a file.
    """

    text: str
    first: int
    count: int
    ended: bool = True


def read_lines(path: Path, name: str, report: ReadReport) -> Iterator[Lines]:
    """Blocks of whole lines, decoded. Lines that are not UTF-8 are kept, with U+FFFD, and counted.

    Raises InputError after everything readable: damaged or truncated compression, a line beyond MAX_LINE_BYTES.
    """
    rest = b""
    number = 1
    for stored in read_blocks(path, report):
        block = stored
        if number == 1 and not rest:
            block = block.removeprefix(_BOM)
        head, newline, tail = block.rpartition(b"\n")
        if not newline:
            rest += block
            _refuse_long(rest, name, number)
            continue
        lines = rest + head
        rest = tail
        _refuse_long(rest, name, number + lines.count(b"\n") + 1)
        block_lines = _decode(lines, number, True, name, report)
        number += block_lines.count
        yield block_lines
    if rest:
        yield _decode(rest, number, False, name, report)


def runs(block: Lines) -> Iterator[Lines]:
    """The block without blank lines, cut so that every `#` line stands alone and data lines stay together."""
    text = block.text
    if not (text.startswith(("#", "\n")) or "\n#" in text or "\n\n" in text or text.endswith("\n") or not text):
        yield block
        return
    start = block.first
    run: list[str] = []
    lines = text.split("\n")
    for number, line in enumerate(lines, block.first):
        if line and not line.startswith("#"):
            if not run:
                start = number
            run.append(line)
            continue
        if run:
            yield Lines("\n".join(run), start, len(run))
            run = []
        if line:
            yield Lines(line, number, 1, block.ended or number < block.first + len(lines) - 1)
    if run:
        yield Lines("\n".join(run), start, len(run), block.ended)


def _refuse_long(line: bytes, name: str, number: int) -> None:
    if len(line) > MAX_LINE_BYTES:
        raise InputError(name, f"line {number}", "a line longer than 1 MiB", "this is no conn.log, or it is damaged")


def _decode(raw: bytes, first: int, ended: bool, name: str, report: ReadReport) -> Lines:
    if b"\r\n" in raw:
        raw = raw.replace(b"\r\n", b"\n")
    raw = raw.removesuffix(b"\r")
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        text = raw.decode("utf-8", "replace")
        place = first + raw.count(b"\n", 0, error.start)
        where = f"{printable(name)}: line {place}"
        report.skip("invalid UTF-8 replaced, line kept", f"{where}: not UTF-8; kept, with U+FFFD")
    return Lines(text, first, text.count("\n") + 1, ended)
