"""One setting of one attack tool, and which part of the data set may use it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Variant:
    """An attack the catalogue can draw; `group` keeps settings apart: none is ever used in two groups."""

    label: str  # class
    detail: str  # unique text naming tool and setting; becomes label_detail
    group: str  # train | validation | test
    run: str  # the attack function's name
    to: tuple[str, ...]  # roles, host names, subnet:SEGMENT (subnet:clinical), far:N, internet:N, gateway
    by: str = "attacker"  # a host of its own, or a role whose compromised host does it
    sources: int = 1  # how many attacking hosts
    with_: dict[str, Any] = field(default_factory=dict)
    match: dict[str, Any] = field(default_factory=dict)  # further keys of the label rule
    shape: str = "direct"  # direct | spoofed | amplified | arp
    seconds: float = 60  # how long it takes about, at most
