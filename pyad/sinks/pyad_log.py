"""pyad.log: every verdict in detail, one line per row, joined with conn.log and notice.log on uid."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyad.explain import Reason, digits
from pyad.memo import Memo
from pyad.row import Rows
from pyad.sinks.zeek_log import ZeekLogWriter
from pyad.sinks.zeek_values import json_text, tsv_text, zeek_double
from pyad.verdict import CLASSES, DECISION_NAMES, Verdicts

# `partial` is set only on rows of connections that go on (1, 2, …).
# `probs` in TSV is the classes' probabilities in the order of pyad.verdict.CLASSES, in JSON an object
# {class: probability}; `top` in TSV is `feature=observed (usual)`, in JSON {feature, observed, usual}.
PYAD_FIELDS: tuple[tuple[str, str], ...] = (
    ("ts", "time"),
    ("uid", "string"),
    ("id.orig_h", "addr"),
    ("id.orig_p", "port"),
    ("id.resp_h", "addr"),
    ("id.resp_p", "port"),
    ("proto", "enum"),
    ("partial", "count"),
    ("class", "string"),
    ("probs", "vector[double]"),
    ("score", "double"),
    ("novelty_p", "double"),
    ("decision", "string"),
    ("suppressed_by", "string"),
    ("top", "vector[string]"),
    ("source", "string"),
    ("model", "string"),
)

_FROM_ROW = ("ts", "uid", "id.orig_h", "id.orig_p", "id.resp_h", "id.resp_p", "proto")


class PyadLog:
    """pyad.log being written: probabilities to six decimals (as Zeek), p-values to three digits.

    writer: opened with PYAD_FIELDS in `fmt`; model: the bundle's name and version.
    """

    def __init__(self, writer: ZeekLogWriter, fmt: str, model: str) -> None:
        self._writer = writer
        self._tsv = fmt == "tsv"
        self._model = model
        # Probabilities in millionths: few different ones occur, so a batch is mostly look-ups.
        self._millionths: Memo[int, str] = Memo(self._millionth, {})
        self._names: Memo[str, str] = Memo(_set_element if self._tsv else json_text, {})
        self._probs_object = "{" + ",".join(f"{json_text(c)}:%s" for c in CLASSES) + "}"

    def write(
        self,
        rows: Rows,
        verdicts: Verdicts,
        suppressed_by: Sequence[str | None],
        reasons: Sequence[Sequence[Reason]],
    ) -> None:
        """One line per row; all four of one length. A row without reasons has `top` unset."""
        columns: dict[str, Any] = {name: rows.columns[name] for name in _FROM_ROW if name in rows.columns}
        columns |= {
            "partial": np.where(rows.number("partial") > 0, rows.number("partial"), np.nan),
            "class": [CLASSES[i] for i in verdicts.cls.tolist()],
            "decision": [DECISION_NAMES[i] for i in verdicts.decision.tolist()],
            "suppressed_by": suppressed_by,
            "source": rows.source,
            "model": [self._model] * len(rows),
        }
        ready = {
            "probs": self._probs(verdicts.probs),
            "score": self._shares(verdicts.score),
            "novelty_p": _three_digits(verdicts.novelty_p, "-" if self._tsv else ""),
            "top": [self._top(why) for why in reasons],
        }
        self._writer.write_columns(columns, len(rows), ready)

    def close(self) -> None:
        """Write the rest and close the file."""
        self._writer.close()

    def _millionth(self, millionths: int) -> str:
        return zeek_double(millionths / 1e6) if self._tsv else repr(millionths / 1e6)

    def _shares(self, values: NDArray[Any]) -> list[str]:
        """Values in [0, 1] to six decimals."""
        return list(map(self._millionths.__getitem__, _to_millionths(values).tolist()))

    def _probs(self, probs: NDArray[Any]) -> list[str]:
        if not len(probs):
            return []
        by_class = zip(*[self._shares(column) for column in probs.T], strict=True)
        return list(map(",".join, by_class)) if self._tsv else list(map(self._probs_object.__mod__, by_class))

    def _top(self, reasons: Sequence[Reason]) -> str:
        if not reasons:
            return "-" if self._tsv else ""
        if self._tsv:
            return ",".join([f"{self._names[r.feature]}={digits(r.observed)} ({digits(r.usual)})" for r in reasons])
        texts = (
            f'{{"feature":{self._names[r.feature]},"observed":{_number(r.observed)},"usual":{_number(r.usual)}}}'
            for r in reasons
        )
        return f"[{','.join(texts)}]"


def _set_element(name: str) -> str:
    return tsv_text(name, escape_comma=True)


def _to_millionths(values: NDArray[Any]) -> NDArray[np.int64]:
    # A row the model gave no number for has NaN throughout; it is decided benign and counted as unscored.
    clean = np.nan_to_num(np.asarray(values, dtype=np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    return np.rint(np.clip(clean, 0.0, 1.0) * 1e6).astype(np.int64)


def _three_digits(values: NDArray[Any], unset: str) -> list[str]:
    """p-values: the small ones, which matter, still tell apart."""
    return [repr(float(f"{p:.3g}")) if isfinite(p) else unset for p in values.tolist()]


def _number(value: float) -> str:
    """To six digits; what is not finite is null in JSON."""
    return f"{value:.6g}" if isfinite(value) else "null"
