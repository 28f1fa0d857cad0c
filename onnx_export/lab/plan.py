"""The seeded address plan: who is in the hospital, with which address, MAC and habits."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

Task = tuple[str, dict[str, Any]]  # (behaviour, its parameters)
USER, PASSWORD = "imaging", "Kreuzgang-77"
ZONE = "stmary.example"
TRIES = (2, 3, 6)


@dataclass(frozen=True)
class Host:
    """One machine of the lab; `tasks` are the servers and clients it runs."""

    name: str
    role: str
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
    subnets: tuple[str, ...]
    hosts: tuple[Host, ...]
    gateway_addresses: tuple[str, ...]
    internet: tuple[str, ...]
    sites: dict[str, str] = field(default_factory=dict)  # internet name -> address
    login_tries: int = 3  # wrong passwords a server takes on one connection
    volume: float = 1.0  # scales the bytes of pages, files, prints and images

    def role(self, *roles: str) -> list[Host]:
        """All hosts of these roles, in the plan's order."""
        return [h for h in self.hosts if h.role in roles]

    def one(self, role: str) -> Host:
        """The first host of a role."""
        return next(h for h in self.hosts if h.role == role)

    @property
    def gateway(self) -> Host:
        """The host every default route leads to; it forwards nothing."""
        return self.one("gateway")


# role: (subnet index, how many least, how many most, tasks, ports left open by a firewall)
_SSH: Task = ("sshd", {})
_SNMP: Task = ("snmpd", {})
_HOUSEKEEPING: tuple[Task, ...] = (("boot", {}), ("ntp_client", {}), ("syslog_client", {}))
ROLES: dict[str, tuple[int, int, int, tuple[Task, ...], tuple[int, ...]]] = {
    "gateway": (0, 1, 1, (("dns_server", {}), ("http_server", {"port": 80}), ("http_server", {"port": 443}),
                          ("ntp_server", {}), ("sink_server", {"port": 22})), ()),
    "dns": (0, 1, 1, (("dns_server", {"dhcp": True}), ("ntp_server", {}), _SSH, _SNMP), ()),
    "pacs": (0, 1, 1, (("dicom_server", {}), ("http_server", {"port": 443}), _SSH, _SNMP, *_HOUSEKEEPING), ()),
    "ris": (0, 1, 1, (("mllp_server", {}), ("http_server", {"port": 80}), _SSH, _SNMP, *_HOUSEKEEPING,
                      ("hl7_client", {"to": "ehr", "period": 25})), ()),
    "ehr": (0, 1, 1, (("http_server", {"port": 443}), ("http_server", {"port": 80}), ("mllp_server", {}), _SSH,
                      *_HOUSEKEEPING), (22, 80, 443, 2575)),
    "broker": (0, 1, 1, (("mqtt_server", {}), _SSH, _SNMP, *_HOUSEKEEPING), ()),
    "files": (0, 1, 1, (("ftp_server", {}), ("sink_server", {"port": 10000}), ("telnet_server", {}), _SSH, _SNMP,
                        *_HOUSEKEEPING), ()),
    "monitor": (0, 1, 1, (("syslog_server", {}), ("http_server", {"port": 80}), _SSH,
                          ("monitor", {"period": 60}), ("ntp_client", {})), ()),
    "plc": (2, 1, 2, (("modbus_server", {}), ("http_server", {"port": 80}), ("telnet_server", {}), _SNMP,
                      ("ntp_client", {})), ()),
    "printer": (1, 1, 2, (("sink_server", {"port": 9100}), ("http_server", {"port": 80}), ("announcer", {}),
                          _SNMP, ("boot", {})), ()),
    "modality": (2, 3, 4, (("dicom_client", {}), *_HOUSEKEEPING), (104,)),
    "analyzer": (2, 1, 2, (("hl7_client", {"to": "ris", "period": 12}), *_HOUSEKEEPING), ()),
    "pump": (2, 2, 3, (("mqtt_client", {}), ("boot", {}), ("ntp_client", {})), ()),
    "bedside": (2, 2, 2, (("mqtt_client", {}), ("hl7_client", {"to": "ris", "period": 20}), ("boot", {})), ()),
    "hmi": (2, 1, 1, (("modbus_client", {}), *_HOUSEKEEPING), ()),
    "workstation": (1, 4, 6, (("web_client", {}), ("print_client", {}), ("dns_noise", {}), ("announcer", {}),
                              ("file_client", {}), *_HOUSEKEEPING), ()),
    "nurse": (1, 1, 2, (("web_client", {"inside": 0.9}), ("hl7_client", {"to": "ris", "period": 30}),
                        ("dead_client", {}), ("boot", {})), ()),
    "admin": (1, 1, 1, (("ssh_client", {}), ("web_client", {}), ("snmp_client", {}), ("ntp_client", {})), ()),
}  # fmt: skip
_DEVICES = {"plc", "printer", "modality", "analyzer", "pump", "bedside", "hmi"}
_NAMES = (
    "news",
    "mail",
    "cdn",
    "update",
    "weather",
    "maps",
    "bank",
    "shop",
    "video",
    "wiki",
    "portal",
    "radio",
)


def _subnets(rng: random.Random) -> list[str]:
    choices = [
        f"10.{rng.randrange(1, 250)}.{rng.randrange(1, 250)}",
        f"192.168.{rng.randrange(1, 250)}",
        f"172.{rng.randrange(16, 32)}.{rng.randrange(1, 250)}",
        f"10.{rng.randrange(1, 250)}.{rng.randrange(1, 250)}",
    ]
    rng.shuffle(choices)
    return choices[:3]


def make_plan(seed: int, extra: dict[str, list[Task]], attackers: list[str], volume: float = 1.0) -> Plan:
    """Draw the plan. `extra` adds tasks to every host of a role, `attackers` adds hosts by name."""
    rng = random.Random(f"plan/{seed}")
    nets = _subnets(rng)
    pools = [rng.sample(range(2, 250), 120) for _ in nets]
    internet = [f"{p}.{n}" for p in ("198.51.100", "203.0.113", "192.0.2") for n in rng.sample(range(2, 250), 20)]
    hosts: list[Host] = []

    def add(role: str, name: str, net: int, tasks: tuple[Task, ...], ports: tuple[int, ...] = ()) -> None:
        windows = role in {"workstation", "nurse", "modality"} and rng.random() < 0.8
        ttl = 128 if windows else rng.choice([64, 64, 255]) if role in _DEVICES else 64
        hosts.append(Host(
            name=name, role=role, ip=f"{nets[net]}.{1 if role == 'gateway' else pools[net].pop()}",
            mac="02:" + ":".join(f"{rng.randrange(256):02x}" for _ in range(5)), ttl=ttl,
            ports="49152 65535" if windows else "32768 60999" if rng.random() < 0.8 else "1025 30000",
            ipv6=role in {"workstation", "printer"}, tasks=tasks, open_ports=ports,
        ))  # fmt: skip

    for role, (net, least, most, tasks, ports) in ROLES.items():
        count = rng.randint(least, most)
        for number in range(count):
            name = role if most == 1 else f"{role}{number + 1}"
            add(role, name, net, tasks + tuple(extra.get(role, [])), ports)
    for name in attackers:
        add("attacker", name, rng.randrange(3), ())
    sites = {
        f"{rng.choice(_NAMES)}{n}.{rng.choice(['com', 'org', 'net'])}": rng.choice(internet[:-5]) for n in range(60)
    }
    return Plan(
        seed=seed,
        subnets=tuple(f"{n}.0/24" for n in nets),
        hosts=tuple(hosts),
        gateway_addresses=tuple(f"{n}.1" for n in nets),
        internet=tuple(internet),
        sites=sites,
        login_tries=random.Random(f"logins/{seed}").choice(TRIES),
        volume=volume,
    )
