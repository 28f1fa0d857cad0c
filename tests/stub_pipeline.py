"""A pipeline of one line: a connection whose uid begins with N gives a notice, one whose uid is BREAK breaks it."""

from __future__ import annotations

import time

import numpy as np

from pyad.notices import Notice
from pyad.pipeline import Batch
from pyad.verdict import CLASSES, DECISION_NAMES, Verdicts


def notice(uid: str, state: str = "new", cls: str = "recon") -> Notice:
    return Notice(
        ts=1700000000.5, uid=uid, orig_h="10.0.0.5", orig_p=40000, resp_h="10.0.0.9", resp_p=22, proto="tcp",
        note="PyAD::Recon", msg="A scan.", sub=f"incident=ab12 state={state} class={cls}", n=7,
        identifier=f"ab12-{state}-0", incident="ab12", state=state,
    )  # fmt: skip


class StubPipeline:
    """pushes: rows of each part of each push; takes_s: how long a push takes."""

    def __init__(self, takes_s: float = 0.0):
        self.warnings: list[str] = []
        self.pushes: list[list[int]] = []
        self.uids: list[str] = []
        self.takes_s = takes_s

    def push(self, parts):
        time.sleep(self.takes_s)
        self.pushes.append([len(rows) for rows in parts])
        return [self._batch(rows) for rows in parts]

    def finish(self):
        return [notice("NEND", "closed")]

    def _batch(self, rows):
        uids = rows.text("uid").tolist()
        if "BREAK" in uids:
            raise RuntimeError("the model\nbroke")
        self.uids += uids
        n = len(rows)
        decided = np.array([DECISION_NAMES.index("recon") if u.startswith("N") else 0 for u in uids], dtype=np.int8)
        verdicts = Verdicts(
            np.full((n, len(CLASSES)), 0.1, dtype=np.float32), decided, np.ones(n), np.ones(n), decided,
            np.zeros(n, dtype=np.bool_),
        )  # fmt: skip
        notices = [notice(u) for u in uids if u.startswith("N")]
        return Batch(rows, verdicts, [None] * n, [()] * n, notices)


def text(uid: str) -> str:
    """A row as Zeek sends it."""
    return f"1700000000.5 {uid} 10.0.0.5 40000 10.0.0.9 22 tcp - 0.1 1 2 SF ShADad 3 4 5 6 0 T T - - - 0"
