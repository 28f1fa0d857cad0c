"""`pyad replay` and `pyad rows`: inputs through the pipeline to files and a summary."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

from tqdm import tqdm

from pyad.config import Config
from pyad.detector import load_detector
from pyad.drift import Drift, DriftWatch
from pyad.errors import printable
from pyad.flow import parity
from pyad.outputs import ZEEK_FOLDER, Outputs, prepare_folder
from pyad.pipeline import Pipeline
from pyad.reading import as_conn_log, engine_used, in_python, open_rows, through_zeek
from pyad.row import Rows
from pyad.sinks.zeek_log import write_rows
from pyad.sources import expand, first_time
from pyad.sources.base import ReadReport
from pyad.sources.conn_log import read_conn_log
from pyad.summary import RunFacts, as_json, as_text
from pyad.wire import notice_text

_READ_AHEAD = 4  # chunks
_TERMINATED = 143  # 128 + SIGTERM, as shells have it


def replay(inputs: Sequence[Path], config: Config, out: Path, fail_on_notice: bool = False) -> int:
    """Detect in captures and logs, write to `out`, print the summary; returns the exit code.

    Inputs that cannot be read (further) are reported at the end, exit code 1; what was read before counts. Raises
    PyadError for what makes going on impossible, KeyboardInterrupt for Ctrl-C and SystemExit for SIGTERM; the logs are
    finished before.
    """
    start = time.perf_counter()
    report = ReadReport()
    files = expand(inputs, report, out)
    prepare_folder(out, [*inputs, *files])
    loaded = load_detector(config)
    pipeline = Pipeline(
        loaded.detector,
        config.model.batch_rows,
        config.input.max_lateness_s,
        explain_all=config.output.verdicts == "all",
        observers=[loaded.drift] if loaded.drift else (),
    )
    pipeline.warnings += loaded.warnings
    opened = first_time(files[0]) if files else None
    outputs = Outputs(out, config.output.format, config.output.verdicts, loaded.label, opened)
    zeek_out = out / ZEEK_FOLDER
    with _orderly_end(), closing(outputs), progress(files, report):
        rows = open_rows(files, config.input, report, zeek_out=zeek_out, zeek_format=config.output.format)
        if through_zeek(files, config.input):
            _converse(rows, pipeline, outputs)
            outputs.adopt_notices(zeek_out)
        else:
            pipeline.run(rows, outputs, _READ_AHEAD if in_python(files, config.input) else 0)
    run = RunFacts(
        inputs=inputs,
        engine=engine_used(config.input),
        bundle_name=loaded.name,
        bundle_version=loaded.version,
        bundle_sha256=loaded.sha256,
        provider=loaded.provider,
        wall_s=time.perf_counter() - start,
        calibration=loaded.calibration,
        drift=_drift(loaded.drift),
    )
    outputs.write_summary(as_json(run, report, pipeline))
    sys.stdout.write(as_text(run, report, pipeline, list(outputs.files.values())))
    if report.problems:
        return _problems(report)
    return 1 if fail_on_notice and pipeline.counts.notices else 0


def _drift(watch: DriftWatch | None) -> Drift | None:
    """The newest whole window, or what there is of the first."""
    return None if watch is None else watch.last or watch.so_far()


def _converse(source: Generator[Rows, Sequence[str] | None, None], pipeline: Pipeline, outputs: Outputs) -> None:
    """Score what Zeek tells of and answer with the notices, which Zeek raises: none are written here."""
    with closing(source):
        batch = next(source, None)
        while batch is not None:
            if len(batch):
                pipeline.begin_if_back(batch)
                scored = pipeline.push([batch])[0]
                notices = scored.notices
                outputs(replace(scored, notices=[]))
            else:
                notices = pipeline.finish()
            try:
                batch = source.send([notice_text(n) for n in notices])
            except StopIteration:
                return


def rows(inputs: Sequence[Path], config: Config, fmt: str, everything: bool, against: Path | None) -> int:
    """Print rows as a conn.log, or compare them with one; returns the exit code.

    everything: also partial rows and changes of address, which a conn.log does not have.
    """
    report = ReadReport()
    batches: Iterator[Rows] = open_rows(expand(inputs, report), config.input, report)
    if not everything:
        batches = as_conn_log(batches)
    code = 0
    if against is None:
        write_rows(batches, sys.stdout, fmt)
    else:
        code = _compare(batches, against)
    for warning in report.warnings:
        sys.stderr.write(f"pyad: {printable(warning, 1000)}\n")
    return _problems(report) if report.problems else code


def _compare(batches: Iterator[Rows], against: Path) -> int:
    """Print what differs from a conn.log and how much agrees; 1 where anything differs or cannot be read."""
    theirs = ReadReport()
    found = parity.compare(_records(batches), _records(read_conn_log(against, theirs)))
    if theirs.problems and not found.connections:
        return _problems(theirs)  # nothing of the log could be read: every connection would be listed as missing
    for line in found.text():
        sys.stdout.write(line + "\n")
    if theirs.problems:
        return _problems(theirs)
    return 1 if found.differences else 0


def _records(batches: Iterator[Rows]) -> Iterator[dict[str, Any]]:
    return chain.from_iterable(rows.records() for rows in batches)


def _problems(report: ReadReport) -> int:
    for problem in report.problems:
        sys.stderr.write(f"pyad: {problem}\n")
    return 1


@contextmanager
def _orderly_end() -> Iterator[None]:
    """SIGTERM ends what is under way as Ctrl-C does, with its own exit code; a second one is ignored meanwhile."""

    def end(*_: object) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise SystemExit(_TERMINATED)

    if threading.current_thread() is not threading.main_thread():
        yield  # Python lets only the main thread handle signals
        return
    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    except SystemExit:
        sys.stderr.write("pyad: ended by SIGTERM; what was finished before is kept\n")
        raise
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def progress(files: Sequence[Path], report: ReadReport) -> Iterator[None]:
    """A bar on standard error that follows the bytes read, on a terminal only."""
    sizes = [f.stat().st_size for f in files if f.is_file()]
    with tqdm(
        total=sum(sizes) or None,
        unit="B",
        unit_scale=True,
        desc="reading",
        leave=False,
        disable=not sys.stderr.isatty(),
    ) as bar:
        report.on_bytes = bar.update
        try:
            yield
        finally:
            report.on_bytes = None
