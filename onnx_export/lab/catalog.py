"""Scenarios by name: two fixed ones, benign days, and attack scenarios drawn by seed from their group's variants."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from .catalog_brute import BRUTE_FORCE
from .catalog_c2 import C2, CAMPAIGNS
from .catalog_exfiltration import EXFILTRATION
from .catalog_exploit import EXPLOIT
from .catalog_floods import FLOODS
from .catalog_recon import RECON
from .catalog_spoofing import SPOOFING
from .catalog_web import WEB_ATTACK
from .loads import LOADS, mix
from .roles import ROLES
from .scenario import Attack, Scenario

if TYPE_CHECKING:
    from .variant import Variant

GROUPS = ("train", "validation", "test")
BY_CLASS: dict[str, tuple[Variant, ...]] = {
    "recon": RECON, "brute_force": BRUTE_FORCE, "flood": FLOODS, "web_attack": WEB_ATTACK,
    "spoofing": SPOOFING, "c2": C2, "exfiltration": EXFILTRATION, "exploit": EXPLOIT,
}  # fmt: skip
_SERVERS = ("files", "pacs", "ris", "ehr", "broker", "printer", "workstation", "modality")
_ATTACK_S = 240.0  # an attack recording
_FIRST_S, _LAST_S = 25.0, 200.0  # when attacks may begin in it

FIXED: dict[str, Scenario] = {
    "smoke": Scenario(10),
    "hospital": Scenario(
        270,
        attacks=(
            Attack("recon", "nmap syn scan of several hosts", 100, "nmap", ("guest-scan",), _SERVERS[:7],
                   {"flags": "-sS -Pn --top-ports 60 --max-retries 1 --max-rate 60"}),
            Attack("recon", "nmap syn scan of many ports", 125, "nmap", ("guest-scan",), ("pacs",),
                   {"flags": "-sS -Pn -p1-1000 --max-retries 1 --max-rate 150"}),
            Attack("brute_force", "hydra password guessing on ftp", 150, "hydra", ("guest-guess",), ("files",),
                   {"service": "ftp", "tries": 240, "threads": 6}, {"resp_port": 21}),
            Attack("flood", "hping3 syn flood on the hl7 port", 225, "hping", ("guest-flood",), ("ris",),
                   {"flags": "-S", "count": 7_000, "interval_us": 800, "port": 2575}, {"resp_port": 2575}),
        ),
        attackers={"guest-scan": "guest", "guest-guess": "guest", "guest-flood": "guest"},
        volume=0.03,
        haste=5,
    ),
}  # fmt: skip
NAMES = (*FIXED, "day", *BY_CLASS, "campaign")


def scenario(name: str, group: str, seed: int, haste: float = 0.0, duration_s: float = 0.0) -> Scenario:
    """The scenario of this name as `seed` draws it from the variants of `group`. Raises KeyError for another name.

    A `day` lasts `duration_s` of the recorder's time at `haste`, and is stretched to real-life pace afterwards.
    """
    if name in FIXED:
        return FIXED[name]
    rng = random.Random(f"scenario/{name}/{group}/{seed}")
    if name == "day":
        extra = mix(*rng.sample(sorted(LOADS), 2))
        return Scenario(duration_s or 900, extra, volume=0.15, haste=haste or 48, stretched=True, begins_at=7)
    if name == "campaign":
        stages = rng.choice([c for c in CAMPAIGNS if c[0].group == group])
        chosen = []
        for other in rng.sample(sorted(BY_CLASS), 2):
            chosen.append(rng.choice([v for v in BY_CLASS[other] if v.group == group]))
    else:
        pool = [v for v in BY_CLASS[name] if v.group == group]
        chosen = rng.sample(pool, min(len(pool), 5))
    attacks, attackers = _arrange(chosen, rng, duration_s or _ATTACK_S)
    if name == "campaign":  # the stages wait for one another themselves
        attacks += [_attack(v, 5.0, (f"role:{v.by}:{v.sources}",)) for v in stages]
    # monitoring touches every service that attacks do: a port must not tell
    extra = mix("monitoring", rng.choice(sorted(LOADS)))
    return Scenario(duration_s or _ATTACK_S, extra, tuple(attacks), attackers, rng.uniform(0.1, 0.4),
                    haste or rng.uniform(4, 9), begins_at=rng.uniform(0, 24))  # fmt: skip


def _arrange(chosen: list[Variant], rng: random.Random, duration_s: float) -> tuple[list[Attack], dict[str, str]]:
    """Give each variant its time and its hosts; the long ones begin first, so that they get to their end."""
    attacks, attackers = [], {}
    step = (_LAST_S - _FIRST_S) / max(1, len(chosen)) * duration_s / _ATTACK_S
    for number, variant in enumerate(sorted(chosen, key=lambda v: -v.seconds)):
        at = _FIRST_S * duration_s / _ATTACK_S + step * (number + rng.uniform(0, 0.6))
        at = max(5.0, min(at, duration_s - variant.seconds - 10))
        if variant.by == "attacker":
            by = tuple(f"attacker{number + 1}-{n + 1}" for n in range(variant.sources))
            first = ROLES.get(variant.to[0])
            near = first.segment if first and variant.shape != "direct" else ""
            attackers |= dict.fromkeys(by, near if near and variant.shape not in ("spoofed", "amplified") else "")
        else:
            by = (f"role:{variant.by}:{variant.sources}",)
        attacks.append(_attack(variant, at, by))
    return attacks, attackers


def _attack(variant: Variant, at: float, by: tuple[str, ...]) -> Attack:
    return Attack(variant.label, variant.detail, at, variant.run, by, variant.to, variant.with_, variant.match,
                  variant.shape)  # fmt: skip
