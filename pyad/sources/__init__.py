"""Inputs to rows: which files, in which order, through which reader."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Generator, Iterator, Sequence
from itertools import count, groupby
from pathlib import Path
from typing import TYPE_CHECKING

from pyad.errors import InputError, UsageError, printable
from pyad.row import Rows
from pyad.sources.base import ReadReport
from pyad.sources.conn_log import read_conn_log
from pyad.sources.sniff import detect, first_time, is_conn_log
from pyad.sources.stored import STDIN

if TYPE_CHECKING:
    from pyad.flow.options import FlowOptions

__all__ = ["ENGINES", "detect", "expand", "first_time", "read"]

ENGINES = ("auto", "zeek", "dpkt", "tshark")

_NAMES_IN_NOTE = 6


def expand(paths: Sequence[Path], report: ReadReport | None = None, out: Path | None = None) -> list[Path]:
    """The files to read, in order: files as given, a folder's captures and conn.logs by the time they begin.

    What a folder holds besides (dns.log, conn_long.log, stderr.log, …) is left out with one warning in `report`, and
    `out`, the folder that is written to, without one. Raises UsageError for no paths, InputError for a path that does
    not exist and a folder that holds nothing to read.
    """
    if not paths:
        raise UsageError("nothing to read: give captures, conn.logs or folders of them")
    files: list[Path] = []
    for path in paths:
        if path.is_dir():
            files.extend(_folder(path, report, out))
        elif path == STDIN or path.exists():
            files.append(path)
        else:
            raise InputError(str(path), "", "no such file", "check the path")
    return files


def read(
    paths: Sequence[Path],
    engine: str,
    report: ReadReport,
    options: FlowOptions,
    *,
    chunk_rows: int = 8192,
    zeek_out: Path | None = None,
    zeek_format: str = "tsv",
) -> Generator[Rows, Sequence[str] | None, None]:
    """Rows of the files (as from `expand`), in order; captures by `engine`, conn.logs directly.

    Captures that follow one another are one stream: a flow may begin in one and end in the next. Inputs that cannot
    be read (further) are added to `report.problems`, and reading goes on with the next.
    engine: one of ENGINES; auto is zeek when it is on PATH, else dpkt. zeek_out, zeek_format: where Zeek's own logs
    stay and how they are written, with that engine: a single capture's in `zeek_out` itself; with several, those of
    each Zeek run (see zeek_process) in a folder in it that is called after the run's number and first capture. What
    may be sent to the iterator, and what rows of length 0 mean, is told there too.
    """
    if engine not in ENGINES:
        raise UsageError(f"engine '{printable(engine)}' does not exist; one of {', '.join(ENGINES)}")
    if engine == "auto":
        engine = "zeek" if shutil.which("zeek") else "dpkt"
    inputs = list(_kinds(paths, report))
    folder_of = _zeek_folders(sum(kind == "pcap" for kind, _ in inputs), zeek_out)
    for kind, group in groupby(inputs, key=lambda item: item[0]):
        files = [path for _, path in group]
        if kind == "conn_log":
            for path in files:
                yield from read_conn_log(path, report, chunk_rows)
        else:
            yield from _captures(files, engine, report, options, folder_of, zeek_format)


def _captures(
    files: list[Path],
    engine: str,
    report: ReadReport,
    options: FlowOptions,
    folder_of: Callable[[Path], Path | None],
    zeek_format: str,
) -> Generator[Rows, Sequence[str] | None, None]:
    # Imported here: reading logs needs neither dpkt nor pyshark nor a Zeek.
    if engine == "dpkt":
        from pyad.sources.pcap import read_captures

        yield from read_captures(files, report, options)
    elif engine == "tshark":
        from pyad.flow.tshark import read_with_tshark

        yield from read_with_tshark(files, report, options)
    else:
        from pyad.sources.zeek_package import ZeekPackage
        from pyad.sources.zeek_process import read_with_zeek, runs_package

        package = None
        if runs_package():
            package = ZeekPackage(options.long_conn_first_s, options.long_conn_interval_s, report)
        else:
            report.warnings.append(
                "this Zeek is older than 8.0 and cannot run pyad's package: rows come from its conn.log, without "
                "application counters, and pyad writes notice.log itself"
            )
        yield from read_with_zeek(
            files,
            report,
            folder_of,
            "json" if zeek_format == "json" else "tsv",
            local_nets=options.local_nets,
            private_nets_are_local=options.private_nets_are_local,
            max_lateness_s=options.max_lateness_s,
            package=package,
        )


def _zeek_folders(captures: int, out: Path | None) -> Callable[[Path], Path | None]:
    """Where the next Zeek run, which begins with the capture asked for, leaves its logs."""
    runs = count(1)
    return lambda first: out if out is None or captures == 1 else out / f"{next(runs)}-{first.name}"


def _kinds(paths: Sequence[Path], report: ReadReport) -> Iterator[tuple[str, Path]]:
    """(kind, path) of every readable input; the others become problems."""
    for path in paths:
        try:
            kind = detect(path)
        except InputError as error:
            report.files += 1
            report.problems.append(error)
            continue
        yield kind, path


def _folder(folder: Path, report: ReadReport | None, out: Path | None) -> list[Path]:
    found: list[tuple[float, str, Path]] = []
    left_out: list[str] = []
    for path in _files_under(folder, out):
        # One that may not be read is kept: it will say so itself when its turn comes.
        if os.access(path, os.R_OK) and not _is_connection_data(path):
            left_out.append(path.name)
            continue
        begins = first_time(path)
        # What does not tell its time (only a header, damaged at once) comes last, by name, and reports for itself.
        found.append((float("inf") if begins is None else begins, str(path), path))
    if not found:
        what = f"; it holds {_listed(left_out)}" if left_out else ""
        raise InputError(str(folder), "", f"no capture or conn.log in this folder{what}", "check the path")
    if left_out and report is not None:
        report.warnings.append(
            f"{printable(str(folder))}: left out, neither captures nor conn.log: {_listed(left_out)}"
        )
    return [path for _, _, path in sorted(found)]


def _is_connection_data(path: Path) -> bool:
    try:
        return detect(path) == "pcap" or is_conn_log(path)
    except InputError:
        return False


def _files_under(folder: Path, out: Path | None) -> Iterator[Path]:
    """Regular files below the folder; hidden ones (editors, rotators), those in `out` and outputs of pyad left out.

    Links to folders are not followed.
    """
    written = out and out.resolve()

    def refuse(error: OSError) -> None:
        raise InputError(str(error.filename), "", f"cannot be listed ({error.strerror})", "check its permissions")

    for base, folders, names in os.walk(folder, onerror=refuse):
        if {"pyad.log", "summary.json"} <= set(names):  # what an earlier replay wrote, Zeek's own logs among it
            folders.clear()
            continue
        folders[:] = sorted(n for n in folders if not n.startswith(".") and Path(base, n).resolve() != written)
        for name in sorted(names):
            path = Path(base, name)
            if not name.startswith(".") and path.is_file():
                yield path


def _listed(names: list[str]) -> str:
    unique = sorted({printable(name, 60) for name in names})
    more = len(unique) - _NAMES_IN_NOTE
    return ", ".join(unique[:_NAMES_IN_NOTE]) + (f" and {more} more" if more > 0 else "")
