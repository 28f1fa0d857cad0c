"""A dictionary that computes what it does not have, and forgets before it grows without bound."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")

# Keys come from traffic and logs: any number of different ones, of any length.
MEMO_LIMIT = 1 << 16
MEMO_TEXT = 64  # characters; a longer text is not remembered


class Memo(dict[K, V], Generic[K, V]):
    """key → value; a key not seen before goes through `compute` (whose errors pass). `preset` is never forgotten.

    Meant for `map(memo.__getitem__, column)`: one look-up per value, in C, for whatever repeats.
    """

    def __init__(self, compute: Callable[[K], V], preset: Mapping[K, V]) -> None:
        super().__init__(preset)
        self._compute = compute
        self._preset = preset

    def __missing__(self, key: K) -> V:
        value = self._compute(key)
        if isinstance(key, str) and len(key) > MEMO_TEXT:
            return value
        if len(self) >= MEMO_LIMIT:
            self.clear()
            self.update(self._preset)
        self[key] = value
        return value
