"""Verdicts on their way: kept until it is known whom they are for, and a while longer in case they must go again.

Zeek applies the verdicts of a batch once, however often they come, but only if they were made out to the run (epoch)
of the node that raises notices. Nobody vouches for what a status says that epoch is; the newest status wins, and what
went out under a name that turns out wrong goes out again.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from pyad.streams import Key, Work

_MAX_KEPT = 256  # batches with verdicts
_MAX_UNSENT = 2048
_MAX_EPOCHS = 16
_MAX_TRIES = 16
_REFUSED_RECENTLY_S = 30.0
_LONG_AGO = float("-inf")


@dataclass(slots=True)
class _Entry:
    work: Work
    notices: Sequence[str]
    due: bool = True
    answer: bool = True  # the batch's acknowledgement goes with it
    epoch: str = ""  # it was last sent under
    sent_at: float = _LONG_AGO
    tries: int = 0


@dataclass(slots=True)
class _Epoch:
    first_seen: float
    refused: int = 0


class VerdictBox:
    """Holds the notices of recent batches. epoch: whom verdicts are for now, None while unknown."""

    def __init__(self) -> None:
        self.epoch: str | None = None
        self._entries: OrderedDict[tuple[Key, int, bool], _Entry] = OrderedDict()
        self._epochs: OrderedDict[str, _Epoch] = OrderedDict()

    def add(self, work: Work, notices: Sequence[str]) -> int:
        """A batch gave notices: they are due. Returns how many others that were never sent are given up for it."""
        self._entries[_name(work)] = _Entry(work, tuple(notices))
        return self._bound()

    def again(self, work: Work) -> bool:
        """A batch came again: whether it had notices, which then are due again."""
        entry = self._entries.get(_name(work))
        if entry is None:
            return False
        entry.due = entry.answer = True
        return True

    def learn(self, epoch: str, refused: int, now: float) -> bool:
        """A status names the epoch, and how many verdicts were refused in it so far; whether the epoch changed."""
        changed = epoch != self.epoch
        self.epoch = epoch
        seen = self._epochs.setdefault(epoch, _Epoch(now))
        self._epochs.move_to_end(epoch)
        if len(self._epochs) > _MAX_EPOCHS:
            self._epochs.popitem(last=False)
        more_refused = refused > seen.refused
        seen.refused = max(seen.refused, refused)
        for entry in self._entries.values():
            if entry.due or entry.epoch == epoch or entry.tries >= _MAX_TRIES:
                continue
            # Sent under another name although this run was there already, or this run says it refused something.
            missed = entry.sent_at >= seen.first_seen
            if missed or (more_refused and now - entry.sent_at <= _REFUSED_RECENTLY_S):
                entry.due, entry.answer = True, False
        return changed

    def forget_epoch(self) -> None:
        """A new connection: who raises notices there is not known yet."""
        self.epoch = None

    def due(self, now: float) -> list[tuple[Work, Sequence[str], bool]]:
        """(batch, its notices, whether its acknowledgement goes with them) for all that are to be sent now."""
        found = []
        for entry in self._entries.values():
            if entry.due and self.epoch is not None:
                found.append((entry.work, entry.notices, entry.answer))
                entry.due, entry.epoch, entry.sent_at = False, self.epoch, now
                entry.tries += 1
        return found

    def memory(self) -> list[Any]:
        """What `restore` takes."""
        return [
            [*e.work.key, e.work.seq, e.work.flush, list(e.notices), e.due, e.answer, e.epoch]
            for e in self._entries.values()
        ]

    def restore(self, memory: Iterable[Any]) -> None:
        """Verdicts as `memory` gave them. Raises ValueError or TypeError where they are not."""
        for node, node_epoch, lane, seq, flush, notices, due, answer, epoch in memory:
            key = (str(node), str(node_epoch), str(lane))
            work = Work(key, int(seq), (), 0.0, flush=bool(flush))
            entry = _Entry(work, tuple(map(str, notices)), bool(due), bool(answer), str(epoch))
            self._entries[_name(work)] = entry

    def _bound(self) -> int:
        if len(self._entries) <= _MAX_KEPT:
            return 0
        sent = next((name for name, e in self._entries.items() if not e.due), None)
        if sent is not None:
            del self._entries[sent]
        elif len(self._entries) > _MAX_UNSENT:
            _, oldest = self._entries.popitem(last=False)
            return int(oldest.tries == 0)
        return 0


def _name(work: Work) -> tuple[Key, int, bool]:
    return work.key, work.seq, work.flush
