"""Groups of connections with a novelty calibration of their own: by who speaks and what for, not by address."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pyad.row import Rows
from pyad.row_features import SERVICE_FAMILIES

# outside: the originator is not local. equipment: medical, building and IoT protocols. outbound: from here to
# elsewhere. inside: the rest, also where a log does not say what is local.
GROUPS: tuple[str, ...] = ("inside", "outbound", "equipment", "outside")
_EQUIPMENT = frozenset(
    name for family in ("service_iot", "service_ics", "service_medical") for name in SERVICE_FAMILIES[family]
)


def group_of(rows: Rows) -> NDArray[np.int8]:
    """Per row an index in GROUPS: int8 (rows,)."""
    here, there = rows.number("local_orig"), rows.number("local_resp")
    services = rows.text("service").tolist()
    known = {s: not _EQUIPMENT.isdisjoint((s or "").lower().split(",")) for s in set(services)}
    equipment = np.fromiter(map(known.__getitem__, services), np.bool_, len(services))
    group = np.where(there == 0, GROUPS.index("outbound"), GROUPS.index("inside"))
    group = np.where(equipment, GROUPS.index("equipment"), group)
    return np.where(here == 0, GROUPS.index("outside"), group).astype(np.int8)
