"""The same captures seen otherwise: without features or a class's labels, their rows in another order, or disturbed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from onnx_export.data import Capture, features_of, stream_rows, zeek_order
from pyad import host_windows
from pyad.features import FEATURE_GROUPS, FEATURES
from pyad.row import Rows
from pyad.verdict import CLASSES

_PAST_ROWS = 500  # connections of a benign host
_JITTER_S, _RESIZED, _LOST, _SLOWER = 1.0, 0.2, 0.1, 4.0
_SIZES = frozenset(f"{end}_{what}" for end in ("orig", "resp") for what in ("bytes", "ip_bytes", "pkts"))
_NUMBER = "number"  # no field of a connection's
_LEAST_ROWS = 5  # streams of fewer are one-row senders of floods, which nobody remembers
# Name of a view → the columns it has not.
COLUMNS: dict[str, tuple[int, ...]] = {
    "no_ports": FEATURE_GROUPS["ports"],
    "no_windows": tuple(FEATURES.index(n) for n in host_windows.NAMES),
    # Of the windows only how long ago things were last seen: the network has to count for itself.
    "no_rates": tuple(
        i for i in map(FEATURES.index, host_windows.NAMES) if i not in (*FEATURE_GROUPS["ages"], *FEATURE_GROUPS["mac"])
    ),
    "no_counters": FEATURE_GROUPS["counters"],
    "no_mac": FEATURE_GROUPS["mac"],
    "no_service": FEATURE_GROUPS["service"],
}


def without_columns(captures: Sequence[Capture], view: str) -> list[Capture]:
    """Captures in which the view's columns are unset, as in a log that lacks them."""
    found = []
    for capture in captures:
        x = capture.x.copy()
        x[:, COLUMNS[view]] = np.nan
        found.append(replace(capture, x=x))
    return found


def without_class(captures: Sequence[Capture], name: str) -> list[Capture]:
    """Captures in which nobody says which rows are of this class."""
    index = CLASSES.index(name)
    return [replace(c, label=np.where(c.label == index, -1, c.label).astype(np.int8)) for c in captures]


def shuffled(captures: Sequence[Capture], seed: int) -> tuple[list[Capture], NDArray[np.int64]]:
    """(captures whose streams have their rows in random order, index): row i is row index[i] of the originals.

    Each row keeps its features, windows included: only what the network learns from order is gone.
    """
    rng = np.random.default_rng(seed)
    found, index, base = [], [], 0
    for capture in captures:
        order = _mixed(capture, rng)
        found.append(replace(capture, x=capture.x[order], label=capture.label[order], rows=None))
        index.append(order + base)
        base += len(order)
    return found, np.concatenate(index)


def without_memory(captures: Sequence[Capture]) -> list[Capture]:
    """Captures whose rows are each a stream's first: what the network carries from row to row is gone."""
    return [replace(c, stream=np.full_like(c.stream, -1)) for c in captures]


def after_past(captures: Sequence[Capture]) -> list[Capture]:
    """Captures in which every stream with an attack is preceded by rows of a benign host, as background.

    Recordings show attackers from their first row; in life whoever attacks has been at work for weeks, and that is in
    the network's memory. Windows are as they were. The pasts are the last rows of long benign streams, by turns.
    """
    pasts = [
        c.x[rows[-_PAST_ROWS:]]
        for c in captures
        for rows in stream_rows(c.stream)
        if len(rows) >= _PAST_ROWS and (c.label[rows] <= 0).all()
    ]
    found, turn = [], 0
    for capture in captures:
        attacked = [
            int(capture.stream[rows[0]])
            for rows in stream_rows(capture.stream)
            if len(rows) >= _LEAST_ROWS and (capture.label[rows] > 0).any()
        ]
        if not attacked or not pasts:
            found.append(capture)
            continue
        before = [pasts[(turn + i) % len(pasts)] for i in range(len(attacked))]
        turn += len(attacked)
        n = len(attacked) * _PAST_ROWS
        found.append(
            replace(
                capture,
                x=np.concatenate([*before, capture.x]),
                stream=np.concatenate([np.repeat(attacked, _PAST_ROWS), capture.stream]),
                label=np.concatenate([np.full(n, -1, dtype=np.int8), capture.label]),
                detail=("",) * n + capture.detail,
                rows=None,
            )
        )
    return found


def reordered(captures: Sequence[Capture], seed: int) -> list[Capture]:
    """Captures whose hosts made the same connections at the same moments, but which at which moment is random.

    Features are computed anew: what windows and network learn from order is gone, and how busy a host is when is not.
    Of captures that kept their rows.
    """
    rng = np.random.default_rng(seed)
    found = []
    for capture in captures:
        assert capture.rows is not None, f"{capture.name} kept no rows"
        order = _mixed(capture, rng)
        rows = capture.rows.take(order)
        rows.columns["ts"] = rows.number("ts") + capture.rows.end_time() - rows.end_time()
        x, stream = features_of(rows)
        detail = tuple(capture.detail[i] for i in order)
        found.append(replace(capture, x=x, stream=stream, label=capture.label[order], detail=detail, rows=rows))
    return found


def jittered(captures: Sequence[Capture], seed: int) -> list[Capture]:
    """Captures whose connections begin up to a second sooner or later, as by clocks and queues; features anew."""
    return _disturbed(captures, _jitter, seed)


def resized(captures: Sequence[Capture], seed: int) -> list[Capture]:
    """Captures whose connections carry up to a fifth more or less, as by padding; features anew."""
    return _disturbed(captures, _resize, seed)


def lossy(captures: Sequence[Capture], seed: int) -> list[Capture]:
    """Captures in which one connection in ten is missing whole, as where a sensor sheds load; features anew."""
    return _disturbed(captures, lambda rows, draw: rows.take(draw >= _LOST), seed)


def slowed(captures: Sequence[Capture], seed: int) -> list[Capture]:
    """Captures four times as slow: so much longer between connections, each of which lasts as long; features anew."""
    return _disturbed(captures, _slow, seed)


def _slow(rows: Rows, draw: NDArray[np.float64]) -> Rows:
    ts = rows.number("ts")
    rows.columns["ts"] = ts.min() + _SLOWER * (ts - ts.min())
    return rows


def _jitter(rows: Rows, draw: NDArray[np.float64]) -> Rows:
    rows.columns["ts"] = rows.number("ts") + _JITTER_S * (2 * draw - 1)
    return rows


def _resize(rows: Rows, draw: NDArray[np.float64]) -> Rows:
    for name in _SIZES & rows.columns.keys():
        rows.columns[name] = np.rint(rows.number(name) * (1 + _RESIZED * (2 * draw - 1)))
    return rows


def _disturbed(
    captures: Sequence[Capture], change: Callable[[Rows, NDArray[np.float64]], Rows], seed: int
) -> list[Capture]:
    """Captures after a change of their rows, in the order in which Zeek would deliver them then.

    change: (rows, a number in [0, 1) per row, the same for all rows of a connection) → rows. Captures of which nothing
    is left are left out.
    """
    rng = np.random.default_rng(seed)
    found = []
    for capture in captures:
        assert capture.rows is not None, f"{capture.name} kept no rows"
        rows, count = capture.rows, len(capture.rows)
        names = [f"row {i}" if uid is None else uid for i, uid in enumerate(rows.text("uid"))]
        _, connection = np.unique(names, return_inverse=True)
        # Numbered, to tell afterwards which labels are whose.
        rows = change(Rows({**rows.columns, _NUMBER: np.arange(count)}, rows.source), rng.random(count)[connection])
        if not len(rows):
            continue
        rows = rows.take(zeek_order(rows))
        at = rows.columns.pop(_NUMBER)
        x, stream = features_of(rows)
        detail = tuple(capture.detail[i] for i in at)
        found.append(replace(capture, x=x, stream=stream, label=capture.label[at], detail=detail, rows=rows))
    return found


def _mixed(capture: Capture, rng: np.random.Generator) -> NDArray[np.int64]:
    """Which row comes at each place when those of a stream change places."""
    order = np.arange(len(capture.x))
    for rows in stream_rows(capture.stream):
        order[rows] = rng.permutation(rows)
    return order


def in_place(values: NDArray[np.float32], index: NDArray[np.int64]) -> NDArray[np.float32]:
    """Scores of shuffled rows, at the places of the originals."""
    back = np.empty_like(values)
    back[index] = values
    return back
