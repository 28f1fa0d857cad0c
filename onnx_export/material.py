"""Captures as a network reads them: streams cut into chunks, chunks of like length gathered into padded batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from onnx_export.data import Capture, stream_rows


@dataclass(frozen=True)
class Chunk:
    """A run of one stream's rows: indices into the material; `number` of the chunk, `following` in its stream or -1.

    first: nothing of its stream comes before it.
    """

    rows: NDArray[np.int64]
    number: int
    following: int
    first: bool


class Material:
    """Captures laid end to end, and their streams cut into chunks.

    x: (rows, features). chunks: numbered, a stream's one after the other. depths: the same by place in their stream
    (first chunks, second chunks, …).
    """

    def __init__(self, captures: Sequence[Capture], chunk: int) -> None:
        self.x = np.concatenate([c.x for c in captures])
        self.chunks: list[Chunk] = []
        self.depths: list[list[Chunk]] = []
        base = 0
        for capture in captures:
            for rows in stream_rows(capture.stream):
                first, pieces = len(self.chunks), -(-len(rows) // chunk)
                for depth in range(pieces):
                    following = first + depth + 1 if depth + 1 < pieces else -1
                    piece = rows[depth * chunk : (depth + 1) * chunk] + base
                    self.chunks.append(Chunk(piece, first + depth, following, depth == 0))
                    if len(self.depths) <= depth:
                        self.depths.append([])
                    self.depths[depth].append(self.chunks[-1])
            base += len(capture.x)

    def pasts(self, label: NDArray[np.int64]) -> NDArray[np.int64]:
        """Numbers of the last chunks of long streams without an attack: the state before one is a past."""
        found, benign = [], True
        for c in self.chunks:
            benign = bool((label[c.rows] <= 0).all()) and (benign or c.first)
            if benign and c.following < 0 and not c.first:
                found.append(c.number)
        return np.array(found, dtype=np.int64)

    def labelled(self, label: NDArray[np.int64]) -> list[Chunk]:
        """The chunks in which `label` (rows,) names any row."""
        return [c for c in self.chunks if (label[c.rows] >= 0).any()]


def batches(chunks: Sequence[Chunk], batch_rows: int, rng: np.random.Generator | None) -> Iterator[list[Chunk]]:
    """Chunks of like length together, at most `batch_rows` rows a batch with padding; shuffled where `rng` is given."""
    key = np.array([len(c.rows) for c in chunks], dtype=np.float64)
    if rng is not None:
        key = key + rng.random(len(key)) * 4
    order = np.argsort(key, kind="stable")
    groups: list[list[Chunk]] = []
    current: list[Chunk] = []
    longest = 0
    for i in order:
        longest = max(longest, len(chunks[i].rows))
        if current and (len(current) + 1) * longest > batch_rows:
            groups.append(current)
            current, longest = [], len(chunks[i].rows)
        current.append(chunks[i])
    if current:
        groups.append(current)
    for i in rng.permutation(len(groups)) if rng is not None else range(len(groups)):
        yield groups[int(i)]


def gather(material: Material, batch: Sequence[Chunk]) -> tuple[Tensor, NDArray[np.int64], Tensor]:
    """(x (B, T, F) raw, row indices (B, T) with -1 on padding, lengths (B,))."""
    lengths = np.array([len(c.rows) for c in batch])
    index = np.full((len(batch), lengths.max()), -1, dtype=np.int64)
    index[np.arange(lengths.max()) < lengths[:, None]] = np.concatenate([c.rows for c in batch])
    return torch.as_tensor(material.x[index]), index, torch.as_tensor(lengths)
