"""The seeded address plan: who is in the hospital, with which address, MAC and habits."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from .roles import DEVICES, ROLES, SEGMENTS, Task

USER, PASSWORD = "imaging", "Kreuzgang-77"
ZONE = "stmary.example"
TRIES = (2, 3, 6)
TLS_PORTS = (443, 8443, 9443)  # web servers and their clients speak TLS there, on every other port they do not
_NAMES = "news mail cdn update weather maps bank shop video wiki portal radio".split()
_DOCUMENTATION = ("198.51.100", "203.0.113", "192.0.2")  # RFC 5737: what stands for the internet


@dataclass(frozen=True)
class Host:
    """One machine of the lab; `tasks` are the servers and clients it runs."""

    name: str
    role: str
    segment: str
    ip: str
    mac: str
    ttl: int
    ports: str
    ipv6: bool
    tasks: tuple[Task, ...]
    open_ports: tuple[int, ...] = ()  # not empty: a firewall silently drops every other port


@dataclass(frozen=True)
class Plan:
    """Every host of one recording and the networks they sit in."""

    seed: int
    subnets: dict[str, str]  # segment -> network
    hosts: tuple[Host, ...]
    internet: tuple[str, ...]
    sites: dict[str, str] = field(default_factory=dict)  # internet name -> address
    login_tries: int = 3  # wrong passwords a server takes on one connection
    volume: float = 1.0  # scales the bytes of pages, files, prints and images
    haste: float = 1.0  # everyday schedules run this many times as fast as in real life
    begins_at: float = 9.0  # hour of the day at which the recording begins

    def role(self, *roles: str) -> list[Host]:
        """All hosts of these roles, in the plan's order."""
        return [h for h in self.hosts if h.role in roles]

    def one(self, role: str) -> Host:
        """The first host of a role."""
        return next(h for h in self.hosts if h.role == role)

    @property
    def gateway(self) -> Host:
        """The router between the segments, seen from the office."""
        return self.one("gateway")

    def leg(self, segment: str) -> str:
        """The router's address in a segment."""
        return self.subnets[segment].rsplit(".", 1)[0] + ".1"


def _subnets(rng: random.Random) -> list[str]:
    # distinct by construction: the third octets differ
    thirds = rng.sample(range(1, 250), len(SEGMENTS))
    return [rng.choice([f"10.{rng.randrange(1, 250)}.{t}", f"192.168.{t}", f"172.{rng.randrange(16, 32)}.{t}"])
            for t in thirds]  # fmt: skip


def make_plan(
    seed: int,
    extra: dict[str, list[Task]],
    attackers: dict[str, str],
    volume: float = 1.0,
    haste: float = 1.0,
    begins_at: float = 9.0,
) -> Plan:
    """Draw the plan. `extra` adds tasks to every host of a role; `attackers` adds hosts, name to segment ("": any)."""
    rng = random.Random(f"plan/{seed}")
    nets = dict(zip(SEGMENTS, _subnets(rng), strict=True))
    pools = {s: rng.sample(range(2, 250), 120) for s in SEGMENTS}
    internet = [f"{p}.{n}" for p in _DOCUMENTATION for n in rng.sample(range(2, 250), 20)]
    hosts: list[Host] = []

    def add(role: str, name: str, segment: str, tasks: tuple[Task, ...], ports: tuple[int, ...] = ()) -> None:
        windows = role in {"workstation", "nurse", "viewer", "modality"} and rng.random() < 0.8
        ttl = 128 if windows else rng.choice([64, 64, 255]) if role in DEVICES else 64
        ip = (internet[0] if role == "internet" else f"{nets[segment]}.1" if role == "gateway"
              else f"{nets[segment]}.{pools[segment].pop()}")  # fmt: skip
        hosts.append(Host(
            name=name, role=role, segment=segment, ip=ip,
            mac="02:" + ":".join(f"{rng.randrange(256):02x}" for _ in range(5)), ttl=ttl,
            ports="49152 65535" if windows else "32768 60999" if rng.random() < 0.8 else "1025 30000",
            ipv6=role in {"workstation", "printer", "guest"}, tasks=tasks, open_ports=ports,
        ))  # fmt: skip

    for role, kind in ROLES.items():
        for number in range(rng.randint(kind.least, kind.most)):
            name = role if kind.most == 1 else f"{role}{number + 1}"
            add(role, name, kind.segment, kind.tasks + tuple(extra.get(role, [])), kind.ports)
    for name, segment in attackers.items():
        add("attacker", name, segment or rng.choice(SEGMENTS), ())
    sites = {
        f"{rng.choice(_NAMES)}{n}.{rng.choice(['com', 'org', 'net'])}": rng.choice(internet[:-5]) for n in range(60)
    }
    return Plan(
        seed=seed,
        subnets={s: f"{n}.0/24" for s, n in nets.items()},
        hosts=tuple(hosts),
        internet=tuple(internet),
        sites=sites,
        login_tries=random.Random(f"logins/{seed}").choice(TRIES),
        volume=volume,
        haste=haste,
        begins_at=begins_at,
    )
