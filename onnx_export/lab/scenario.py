"""What a scenario is: what runs beside the everyday background, and which attacks come when."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .plan import Task


@dataclass(frozen=True)
class Attack:
    """One attack: `run` from the hosts `by` against `to` (roles, names, subnet:N, far:N, internet:N)."""

    label: str
    detail: str
    at: float  # seconds after the start
    run: str
    by: tuple[str, ...]
    to: tuple[str, ...]
    with_: dict[str, Any] = field(default_factory=dict)
    match: dict[str, Any] = field(default_factory=dict)  # further keys of the label rule
    shape: str = "direct"  # spoofed | amplified | arp | relay | inflight | host | redirect


@dataclass(frozen=True)
class Scenario:
    """A recording of `duration_s`; `extra` adds tasks to every host of a role."""

    duration_s: float
    extra: dict[str, list[Task]] = field(default_factory=dict)
    attacks: tuple[Attack, ...] = ()
    volume: float = 0.6


def scan(at: float, by: str, flags: str, *to: str) -> Attack:
    """An nmap run with these flags."""
    return Attack("recon", f"nmap {flags}", at, "nmap", (by,), to, {"flags": flags})


def guess(at: float, by: str, service: str, *to: str, **more: Any) -> Attack:
    """A hydra run against a service."""
    pace = " ".join(f"{k}={v}" for k, v in more.items() if k != "form")
    return Attack("brute_force", f"hydra {service} {pace}", at, "hydra", (by,), to, {"service": service, **more})


def flood(at: float, by: str, detail: str, to: str, run: str = "hping", **more: Any) -> Attack:
    """A flood from one host."""
    return Attack("flood", detail, at, run, (by,), (to,), more)


def many(at: float, hosts: int, detail: str, to: str, run: str = "hping", **more: Any) -> Attack:
    """A flood from many hosts at once."""
    return Attack("flood", detail, at, run, tuple(f"guest-d{n:02}" for n in range(hosts)), (to,), more)
