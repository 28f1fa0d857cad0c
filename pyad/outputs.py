"""The folder a replay writes to: notice.log and pyad.log while it runs, summary.json at its end."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pyad.errors import PyadError, UsageError, printable
from pyad.notices import Notice
from pyad.pipeline import Batch
from pyad.sinks.notice_log import NOTICE_FIELDS
from pyad.sinks.pyad_log import PYAD_FIELDS, PyadLog
from pyad.sinks.zeek_log import ZeekLogWriter
from pyad.sources.stored import STDIN

NOTICE_LOG, PYAD_LOG, SUMMARY = "notice.log", "pyad.log", "summary.json"
# Zeek may write a notice.log of its own, which must not meet ours.
ZEEK_FOLDER = "zeek"


def prepare_folder(out: Path, inputs: Sequence[Path]) -> None:
    """Create the output folder. Refuses (UsageError) one that holds an input: nothing read is ever overwritten.

    An input may also be held as a link, by one of the files that are written to.
    """
    target = out.resolve()
    written = [out / NOTICE_LOG, out / PYAD_LOG, out / SUMMARY, *(out / ZEEK_FOLDER).rglob("*")]
    for given in inputs:
        if given == STDIN:
            continue
        if given.resolve().is_relative_to(target) or any(_same(output, given) for output in written):
            raise UsageError(
                f"--out {printable(str(out))}: holds the input {printable(str(given))}; choose another folder, so that "
                "nothing you read is overwritten"
            )
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise PyadError(
            f"{printable(str(out))}: no folder to write to ({error.strerror}); choose another --out"
        ) from None


def _same(output: Path, given: Path) -> bool:
    try:
        return output.samefile(given)
    except OSError:
        return False


class Outputs:
    """notice.log and pyad.log, open for one run; a sink of the pipeline. Earlier files of these names are replaced.

    verdicts: "decided" or "all" rows in pyad.log. opened: what #open and #close of the TSV headers say (s since epoch);
    with the time of the data the same input gives the same bytes. Raises PyadError when a file cannot be written
    (further); what was written before stays, whole lines only.
    """

    def __init__(self, out: Path, fmt: str, verdicts: str, model: str, opened: float | None = None) -> None:
        self.files = {name: out / name for name in (NOTICE_LOG, PYAD_LOG, SUMMARY)}
        self._all = verdicts == "all"
        # A summary of an earlier run must not stand beside the logs of this one, should this one be cut short.
        try:
            self.files[SUMMARY].unlink(missing_ok=True)
        except OSError as error:
            raise PyadError(
                f"{printable(str(self.files[SUMMARY]))}: cannot be replaced ({error.strerror}); choose another --out"
            ) from None
        self._notice_log = ZeekLogWriter(self.files[NOTICE_LOG], "notice", NOTICE_FIELDS, fmt, opened=opened)
        try:
            writer = ZeekLogWriter(self.files[PYAD_LOG], "pyad", PYAD_FIELDS, fmt, opened=opened)
            self._pyad_log = PyadLog(writer, fmt, model)
        except BaseException:
            self._notice_log.close()
            raise

    def __call__(self, batch: Batch) -> None:
        """Write one batch."""
        for notice in batch.notices:
            self._notice_log.write(_record(notice))
        if batch.notices:
            self._notice_log.flush()  # whoever follows the log need not wait for its next 256 KiB
        rows, verdicts, suppressed, reasons = batch.rows, batch.verdicts, batch.suppressed_by, batch.reasons
        if not self._all:
            at = np.flatnonzero(verdicts.decision)
            rows, verdicts = rows.take(at), verdicts.take(at)
            suppressed = [suppressed[i] for i in at.tolist()]
            reasons = [reasons[i] for i in at.tolist()]
        if len(rows):
            self._pyad_log.write(rows, verdicts, suppressed, reasons)

    def adopt_notices(self, folder: Path) -> None:
        """Put the notices that Zeek runs raised in place of the empty notice.log: their logs lie below `folder`.

        The first log is taken as it is, further ones are added where they have the same columns.
        """
        self._notice_log.close()
        target = self.files[NOTICE_LOG]
        first: list[str] = []
        for found in sorted(folder.rglob(NOTICE_LOG), key=_run_number):
            lines = found.read_text(encoding="utf-8", errors="surrogateescape").splitlines(keepends=True)
            found.unlink()
            if not first:
                first = lines
            else:
                at = len(first) - (first[-1].startswith("#close") if first else 0)
                first[at:at] = [line for line in lines if not line.startswith("#")]
        if first:
            target.write_text("".join(first), encoding="utf-8", errors="surrogateescape")

    def close(self) -> None:
        """Finish both logs; each is tried even if the other fails. Twice is harmless."""
        try:
            self._notice_log.close()
        finally:
            self._pyad_log.close()

    def write_summary(self, summary: Mapping[str, Any]) -> None:
        """summary.json, in place only once it is complete."""
        path = self.files[SUMMARY]
        unfinished = path.with_suffix(".json.part")
        try:
            unfinished.write_text(json.dumps(summary, indent=2, allow_nan=False) + "\n", encoding="utf-8")
            unfinished.replace(path)
        except OSError as error:
            unfinished.unlink(missing_ok=True)
            raise PyadError(
                f"{printable(str(path))}: cannot be written ({error.strerror}); "
                "free space there or choose another --out"
            ) from None


def _run_number(log: Path) -> tuple[int, str]:
    """Order of the Zeek runs, whose folders begin with their number."""
    number = log.parent.name.partition("-")[0]
    return (int(number) if number.isdecimal() else 0, str(log))


def _record(notice: Notice) -> dict[str, Any]:
    """Zeek's column names; src, dst and p as Zeek fills them from a connection."""
    return {
        "ts": notice.ts,
        "uid": notice.uid,
        "id.orig_h": notice.orig_h,
        "id.orig_p": notice.orig_p,
        "id.resp_h": notice.resp_h,
        "id.resp_p": notice.resp_p,
        "proto": notice.proto,
        "note": notice.note,
        "msg": notice.msg,
        "sub": notice.sub,
        "src": notice.orig_h,
        "dst": notice.resp_h,
        "p": notice.resp_p,
        "n": notice.n,
        "peer_descr": "pyad",
        "actions": ["Notice::ACTION_LOG"],
        "email_dest": [],
        "suppress_for": 0.0,
    }
