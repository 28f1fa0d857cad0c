"""Where batches from the wire meet the pipeline: decoded, scored, logged, their notices worded for Zeek."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Protocol

import numpy as np

from pyad.drift import Drift, DriftWatch
from pyad.errors import PyadError, printable
from pyad.logline import Log
from pyad.notices import Notice
from pyad.pipeline import Batch
from pyad.row import Rows
from pyad.row_text import RowDecoder
from pyad.sinks.pyad_log import PYAD_FIELDS, PyadLog
from pyad.sinks.zeek_log import ZeekLogWriter
from pyad.streams import Work
from pyad.wire import notice_text

PYAD_LOG = "pyad.log"


class Pushed(Protocol):
    """What is needed of pyad.pipeline.Pipeline."""

    warnings: list[str]

    def push(self, parts: Sequence[Rows]) -> list[Batch]:
        """Score parts in order; a batch for each."""

    def finish(self) -> list[Notice]:
        """Close what is open."""


class Desk:
    """Takes work in order and gives the notice texts of each.

    sink: gets what was scored. drift: watches the pipeline. rows, notices: handled so far; failed: rows that broke the
    model or a stage around it and have no score; bad_rows: rows that were none.
    """

    def __init__(
        self, pipeline: Pushed, log: Log, sink: Callable[[Batch], object] | None = None, drift: DriftWatch | None = None
    ) -> None:
        self.rows = self.notices = self.failed = 0
        self._pipeline = pipeline
        self._log = log
        self._sink = sink
        self._watch = drift
        self._windows = 0
        self._decoder = RowDecoder()
        self._warned = len(pipeline.warnings)

    @property
    def drift(self) -> Drift | None:
        """What the newest window showed, None before there was one."""
        return None if self._watch is None else self._watch.last

    @property
    def bad_rows(self) -> int:
        """Rows left out because their text is no row."""
        return sum(self._decoder.bad.values())

    def handle(self, works: Sequence[Work]) -> list[list[str]]:
        """Score `works`, all at once as far as no flush lies between them. Never raises for what came in."""
        texts: list[list[str]] = [[] for _ in works]
        parts: list[Rows] = []
        whose: list[int] = []
        for i, work in enumerate(works):
            if work.flush:
                self._push(parts, whose, texts)
                parts, whose = [], []
                texts[i] = self._words(self._pipeline.finish())
                continue
            rows = self._decode(work)
            if len(rows):
                parts.append(rows)
                whose.append(i)
        self._push(parts, whose, texts)
        return texts

    def _decode(self, work: Work) -> Rows:
        before = self.bad_rows
        rows = self._decoder.decode(work.rows, work.key[0])
        new = self.bad_rows - before
        if new and (not before or len(str(self.bad_rows)) > len(str(before))):  # the first, and each tenfold
            reasons = "; ".join(f"{reason}: {n}" for reason, n in self._decoder.bad.most_common(5))
            self._log("warn", "bad_rows", node=work.key[0], new=new, total=self.bad_rows, reasons=reasons)
        return rows

    def _push(self, parts: list[Rows], whose: list[int], texts: list[list[str]]) -> None:
        if not parts:
            return
        try:
            batches = self._pipeline.push(parts)
        except Exception as error:  # one poisoned batch must not end the service: it would come again and again
            lost = sum(map(len, parts))
            self.failed += lost
            what = printable(f"{type(error).__name__}: {' '.join(str(error).split())}")
            todo = "these rows have no verdict; if this goes on, restart pyad and report it"
            self._log("error", "scoring_failed", rows=lost, total=self.failed, error=what, todo=todo)
            return
        for warning in self._pipeline.warnings[self._warned :]:
            self._log("warn", "pipeline", text=warning)
        self._warned = len(self._pipeline.warnings)
        self._tell_drift()
        for i, batch in zip(whose, batches, strict=True):
            self.rows += len(batch.rows)
            texts[i] = self._words(batch.notices)
            if self._sink is not None:
                self._sink(batch)

    def _tell_drift(self) -> None:
        """A line for each window that ended."""
        if self._watch is None or self._watch.windows == self._windows:
            return
        self._windows = self._watch.windows
        drift = self._watch.last
        if drift is not None:
            about = {"rows": drift.rows, "hours": drift.hours, "score_psi": drift.score_psi}
            moved = f"{drift.moved_features} of {drift.features}"
            if drift.drifting:
                moves = ", ".join(map(str, drift.moves))
                todo = "see what changed; then pyad calibrate on logs of the new days, or train again"
                self._log("warn", "model_drift", **about, features_moved=moved, moves=moves, todo=todo)
            else:
                self._log("info", "no_drift", **about, features_moved=moved)

    def _words(self, notices: Sequence[Notice]) -> list[str]:
        self.notices += len(notices)
        return [notice_text(n) for n in notices]


class LiveLog:
    """pyad.log of a running service, in `folder`: written as batches come, an earlier one renamed, not replaced.

    verdicts: "decided" or "all". A log that cannot be written is told of and given up until `reopen`; detection goes
    on. Raises PyadError only where it cannot be opened at the start.
    """

    def __init__(self, folder: Path, fmt: str, verdicts: str, model: str, log: Log) -> None:
        self.path = folder / PYAD_LOG
        self._fmt = fmt
        self._all = verdicts == "all"
        self._model = model
        self._log = log
        self._writer: ZeekLogWriter | None = None
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            shown = printable(str(folder))
            raise PyadError(f"{shown}: no folder to write to ({error.strerror}); choose another --out") from None
        self._open()

    def __call__(self, batch: Batch) -> None:
        """Write one batch."""
        if self._writer is None:
            return
        rows, verdicts = batch.rows, batch.verdicts
        suppressed, reasons = batch.suppressed_by, batch.reasons
        if not self._all:
            at = np.flatnonzero(verdicts.decision)
            if not len(at):
                return
            rows, verdicts = rows.take(at), verdicts.take(at)
            suppressed, reasons = [suppressed[i] for i in at.tolist()], [reasons[i] for i in at.tolist()]
        try:
            self._lines.write(rows, verdicts, suppressed, reasons)
            self._writer.flush()  # who follows the log sees each batch at once
        except PyadError as error:
            self._writer = None
            self._log("error", "pyad_log_given_up", error=error, todo="free space there, then send SIGHUP")

    def reopen(self) -> None:
        """Begin a new file; one that a log rotation has not moved is renamed."""
        self.close()
        try:
            self._open()
        except PyadError as error:
            self._log("error", "pyad_log_given_up", error=error, todo="see to it, then send SIGHUP")

    def close(self) -> None:
        """Finish the file."""
        if self._writer is not None:
            with suppress(PyadError):
                self._writer.close()
        self._writer = None

    def _open(self) -> None:
        try:
            if self.path.exists():
                self.path.rename(_free_name(self.path))
        except OSError as error:
            shown = printable(str(self.path))
            raise PyadError(
                f"{shown}: an earlier log cannot be renamed ({error.strerror}); choose another --out"
            ) from None
        self._writer = ZeekLogWriter(self.path, "pyad", PYAD_FIELDS, self._fmt)
        self._lines = PyadLog(self._writer, self._fmt, self._model)


def _free_name(path: Path) -> Path:
    """A name beside `path` with the time of its last line, that nothing has yet."""
    when = time.strftime("%Y-%m-%d-%H-%M-%S", time.localtime(path.stat().st_mtime))
    free, n = path.with_name(f"{path.stem}.{when}{path.suffix}"), 1
    while free.exists():
        free, n = path.with_name(f"{path.stem}.{when}-{n}{path.suffix}"), n + 1
    return free
