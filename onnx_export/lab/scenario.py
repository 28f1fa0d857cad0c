"""What a scenario is: what runs beside the everyday background, and which attacks come when."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .roles import Task


@dataclass(frozen=True)
class Attack:
    """One attack: `run` from the hosts `by` against `to` (roles, names, gateway, subnet:SEGMENT, far:N, internet:N).

    `by` are host names, or `role:NAME:COUNT` for that many hosts of the hospital's own, taken over.
    """

    label: str
    detail: str
    at: float  # seconds after the start
    run: str
    by: tuple[str, ...]
    to: tuple[str, ...]
    with_: dict[str, Any] = field(default_factory=dict)
    match: dict[str, Any] = field(default_factory=dict)  # further keys of the label rule
    shape: str = "direct"  # how connections of the attack are recognised, see labels.py


@dataclass(frozen=True)
class Scenario:
    """A recording of `duration_s`; `extra` adds tasks to every host of a role."""

    duration_s: float
    extra: dict[str, list[Task]] = field(default_factory=dict)
    attacks: tuple[Attack, ...] = ()
    attackers: dict[str, str] = field(default_factory=dict)  # hosts of their own, name -> segment ("": any)
    volume: float = 0.6
    haste: float = 1.0  # everyday schedules run this many times as fast
    stretched: bool = False  # the capture's clock is stretched by `haste` afterwards, to real-life pace
    begins_at: float = 9.0  # hour of the day
