"""Reads ahead in a thread, so that parsing overlaps with the model, which runs outside Python's lock."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from contextlib import suppress
from typing import TypeVar

_POLL_S = 0.1
_JOIN_S = 2.0
T = TypeVar("T")


def prefetch(items: Iterator[T], depth: int = 4) -> Iterator[T]:
    """The same items in the same order, at most `depth` of them waiting; what `items` raises is raised here.

    Closing the result early ends `items` as well, which ends what a source started (a subprocess). A read that waits
    for ever (an idle pipe) is not waited for: its thread ends with the process.
    """
    waiting: queue.Queue[tuple[str, T | BaseException | None]] = queue.Queue(depth)
    stop = threading.Event()

    def put(kind: str, item: T | BaseException | None) -> None:
        while not stop.is_set():
            with suppress(queue.Full):
                waiting.put((kind, item), timeout=_POLL_S)
                return

    def work() -> None:
        try:
            for item in items:
                put("item", item)
                if stop.is_set():
                    break
        except BaseException as error:
            put("error", error)
        finally:
            close = getattr(items, "close", None)
            if close is not None:
                close()
        put("end", None)

    thread = threading.Thread(target=work, name="pyad-reader", daemon=True)
    thread.start()
    try:
        while True:
            kind, item = waiting.get()
            if kind == "end":
                return
            if isinstance(item, BaseException):
                raise item
            yield item  # type: ignore[misc]
    finally:
        stop.set()
        thread.join(_JOIN_S)
