"""What features and scores looked like where a bundle or a site was calibrated: a small table of quantiles. Pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyad.errors import PyadError, printable

SCORES = ("score", "novelty")  # what is watched besides the features: 1 - P(benign), and the autoencoder's score
BINS = 10
_DIGITS = 7


@dataclass(frozen=True)
class Reference:
    """How often each quantity fell where, on rows of no known attack.

    names: the quantities, features first, then SCORES. edges: float64 (quantities, BINS - 1), rising, inf where a
    quantity has fewer bins; a bin holds what is above its lower and up to its upper edge. shares: float64
    (quantities, BINS + 1), of the bins and, last, of unset values. mean: float64 (quantities,), of set values, NaN
    where there were none. rows, hours: what it was made from.
    """

    names: tuple[str, ...]
    edges: NDArray[np.float64]
    shares: NDArray[np.float64]
    mean: NDArray[np.float64]
    rows: int
    hours: float

    @property
    def digest(self) -> str:
        """Tells one reference from another."""
        return hashlib.sha256(json.dumps(self.as_mapping(), sort_keys=True).encode()).hexdigest()[:16]

    def as_mapping(self) -> dict[str, Any]:
        """What `from_mapping` takes, as bundle.yaml and a site's calibration hold it."""
        quantities = {}
        for i, name in enumerate(self.names):
            edges = self.edges[i][np.isfinite(self.edges[i])].tolist()
            shares = [_short(s) for s in self.shares[i, : len(edges) + 1].tolist()]
            mean = None if np.isnan(self.mean[i]) else _short(float(self.mean[i]))
            quantities[name] = {"mean": mean, "unset": _short(float(self.shares[i, -1])), "edges": edges}
            quantities[name]["shares"] = shares
        return {"rows": self.rows, "hours": _short(self.hours), "quantities": quantities}

    @classmethod
    def from_mapping(cls, value: Any, features: Sequence[str], where: str) -> Reference:
        """The reference in a YAML file. Raises PyadError, naming `where` and the field, for one that is not usable."""
        names = (*features, *SCORES)
        edges = np.full((len(names), BINS - 1), np.inf)
        shares = np.zeros((len(names), BINS + 1))
        mean = np.full(len(names), np.nan)
        field = "reference"
        try:
            quantities, rows, hours = value["quantities"], int(value["rows"]), float(value["hours"])
            if set(quantities) != set(names):
                raise ValueError("it is of other features")
            for i, name in enumerate(names):
                field = f"reference.quantities.{name}"
                _fill(quantities[name], edges[i], shares[i])
                if quantities[name]["mean"] is not None:
                    mean[i] = float(quantities[name]["mean"])
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            what = f"lacks {error}" if isinstance(error, KeyError) else str(error)
            raise PyadError(f"{where}: field '{field}' is not usable: {printable(what)}") from None
        return cls(names, edges, shares, mean, rows, hours)


def _fill(quantity: Mapping[str, Any], edges: NDArray[np.float64], shares: NDArray[np.float64]) -> None:
    given = np.array(quantity["edges"], dtype=np.float64).reshape(-1)
    counted = np.array(quantity["shares"], dtype=np.float64).reshape(-1)
    unset = float(quantity["unset"])
    if len(given) >= BINS or len(counted) != len(given) + 1:
        raise ValueError(f"it needs at most {BINS - 1} edges and one share more than edges")
    if not np.isfinite(given).all() or (np.diff(given) <= 0).any():
        raise ValueError("its edges do not rise")
    if not (counted >= 0).all() or not unset >= 0 or not abs(counted.sum() + unset - 1) < 1e-3:
        raise ValueError("its shares do not add up to 1")
    edges[: len(given)], shares[: len(counted)], shares[-1] = given, counted, unset


def make_reference(values: NDArray[Any], names: Sequence[str], rows: int, hours: float) -> Reference:
    """The reference of a sample: values (sample, quantities), NaN unset; rows, hours: what the sample stands for."""
    q = len(names)
    edges = np.full((q, BINS - 1), np.inf)
    for i in range(q):
        known = np.sort(values[:, i][~np.isnan(values[:, i])].astype(np.float64))
        found = _edges(known) if len(known) else []
        edges[i, : len(found)] = found
    counts = bin_counts(values, edges)
    with np.errstate(invalid="ignore"):
        total = np.nansum(values.astype(np.float64), axis=0)
        mean = total / counts[:, :-1].sum(axis=1)
    return Reference(tuple(names), edges, counts / max(len(values), 1), mean, rows, hours)


def _edges(known: NDArray[np.float64]) -> list[float]:
    """Between the values at the deciles and the next larger ones, so that rounding moves nothing across an edge."""
    distinct = np.unique(known)
    at = np.unique(np.searchsorted(distinct, known[(np.arange(1, BINS) * len(known)) // BINS]))
    at = at[at + 1 < len(distinct)]
    middles = (_short(m) for m in ((distinct[at] + distinct[at + 1]) / 2).tolist())
    return sorted(set(middles))


def bin_counts(values: NDArray[Any], edges: NDArray[np.float64]) -> NDArray[np.int64]:
    """How many of `values` (rows, quantities) fall in each bin and, last, are unset: (quantities, BINS + 1)."""
    q = values.shape[1]
    unset = np.isnan(values)
    at = (np.where(unset, -np.inf, values)[:, :, None] > edges[None]).sum(axis=2)
    at[unset] = BINS
    flat = (at + np.arange(q) * (BINS + 1)).ravel()
    return np.bincount(flat, minlength=q * (BINS + 1)).reshape(q, BINS + 1)


def _short(value: float) -> float:
    return float(f"{value:.{_DIGITS}g}")
