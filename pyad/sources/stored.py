"""Stored bytes as they are meant: plain, gzip or zstd by their magic, in bounded blocks, faults named by place."""

from __future__ import annotations

import sys
import zlib
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import zstandard

from pyad.errors import InputError
from pyad.sources.base import ReadReport

STDIN = Path("-")
# Small enough that the values of one block stay in the processor's cache: with 1 MiB, JSON is a third slower.
BLOCK_BYTES = 1 << 18

_GZIP = b"\x1f\x8b"
_ZSTD = b"\x28\xb5\x2f\xfd"
_GZIP_STEP = 1 << 16
# zstd has no bound on what one call may produce; four stored bytes can stand for 128 KiB, so the bound is on the
# input: 2 KiB gives at most 64 MiB, and only for a file made to do so.
_ZSTD_STEP = 1 << 11


@contextmanager
def open_stored(path: Path) -> Iterator[IO[bytes]]:
    """The file's stored bytes (`-` is standard input). Raises InputError when it cannot be opened."""
    if path == STDIN:
        # Unbuffered: a thread that waits in a buffer's lock would make Python abort at exit.
        yield getattr(sys.stdin.buffer, "raw", sys.stdin.buffer)
        return
    try:
        stream = path.open("rb")
    except FileNotFoundError:
        raise InputError(str(path), "", "no such file", "check the path") from None
    except IsADirectoryError:
        raise InputError(str(path), "", "is a folder", "name the files in it") from None
    except PermissionError:
        raise InputError(str(path), "", "not allowed to read it", "run as a user who may, or chmod it") from None
    except (OSError, ValueError) as error:
        raise InputError(str(path), "", f"cannot be opened ({_reason(error)})") from None
    with stream:
        yield stream


def read_blocks(path: Path, report: ReadReport) -> Generator[bytes]:
    """The decompressed content in blocks of at most about BLOCK_BYTES; stored bytes are counted into `report`.

    Everything that can be decompressed is yielded before a damaged or truncated stream raises InputError.
    """
    with open_stored(path) as stream:
        head = _read(stream, 4, path)
        while 0 < len(head) < 4 and (more := _read(stream, 4 - len(head), path)):
            head += more
        report.consumed(len(head))
        if head.startswith(_GZIP):
            yield from _unpack_gzip(stream, head, path, report)
        elif head.startswith(_ZSTD):
            yield from _unpack_zstd(stream, head, path, report)
        else:
            block = head
            while block:
                yield block
                block = _read(stream, BLOCK_BYTES, path)
                report.consumed(len(block))


def peek(path: Path, size: int = 1 << 16) -> bytes:
    """The first `size` bytes of the content (decompressed); less when it is shorter or damaged after them."""
    parts: list[bytes] = []
    have = 0
    blocks = read_blocks(path, ReadReport())
    try:
        for block in blocks:
            parts.append(block)
            have += len(block)
            if have >= size:
                break
    except InputError:
        if not parts:
            raise
    finally:
        blocks.close()
    return b"".join(parts)[:size]


def _unpack_gzip(stream: IO[bytes], head: bytes, path: Path, report: ReadReport) -> Iterator[bytes]:
    done = 0  # stored bytes handed to the decompressor
    unpacker = zlib.decompressobj(wbits=31)
    data = head
    while data or (data := _next(stream, _GZIP_STEP, path, report)):
        if unpacker.eof:
            data = data.lstrip(b"\0")  # archives on tape and some rotators pad with zeros
            if not data:
                continue
            if not (data.startswith(_GZIP[: len(data)])):
                raise InputError(str(path), f"byte {done}", "other data after the end of the gzip stream")
            unpacker = zlib.decompressobj(wbits=31)
        try:
            block = unpacker.decompress(data, BLOCK_BYTES)
        except zlib.error:
            raise InputError(str(path), f"near byte {done}", "damaged gzip data", _COPY_AGAIN) from None
        rest = unpacker.unused_data if unpacker.eof else unpacker.unconsumed_tail
        done += len(data) - len(rest)
        data = rest
        if block:
            yield block
    if not unpacker.eof:
        raise InputError(str(path), f"byte {done}", "the gzip file is cut short", _COPY_AGAIN)


def _unpack_zstd(stream: IO[bytes], head: bytes, path: Path, report: ReadReport) -> Iterator[bytes]:
    done = 0
    unpacker = zstandard.ZstdDecompressor().decompressobj()
    data = head
    while data or (data := _next(stream, _ZSTD_STEP, path, report)):
        if unpacker.eof:
            unpacker = zstandard.ZstdDecompressor().decompressobj()
        try:
            block = unpacker.decompress(data)
        except zstandard.ZstdError:
            raise InputError(str(path), f"near byte {done}", "damaged zstd data", _COPY_AGAIN) from None
        rest = unpacker.unused_data if unpacker.eof else b""
        done += len(data) - len(rest)
        data = rest
        for start in range(0, len(block), BLOCK_BYTES):
            yield block[start : start + BLOCK_BYTES]
    if not unpacker.eof:
        raise InputError(str(path), f"byte {done}", "the zstd file is cut short", _COPY_AGAIN)


_COPY_AGAIN = "copy or rotate it again; everything before this place was read"


def _next(stream: IO[bytes], size: int, path: Path, report: ReadReport) -> bytes:
    data = _read(stream, size, path)
    report.consumed(len(data))
    return data


def _read(stream: IO[bytes], size: int, path: Path) -> bytes:
    try:
        return stream.read(size)
    except OSError as error:
        raise InputError(str(path), "", f"reading failed ({_reason(error)})", "check the disk") from None


def _reason(error: OSError | ValueError) -> str:
    return getattr(error, "strerror", None) or str(error)
