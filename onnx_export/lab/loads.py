"""Busy but benign: what makes a quiet hospital loud without anything being wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .plan import Task

LOADS: dict[str, dict[str, list[Task]]] = {
    "backup": {
        "ehr": [("backup_client", {"connections": 600, "size": 20_000, "at": 50, "gap": 0.1})],
        "pacs": [("backup_client", {"connections": 250, "size": 60_000, "at": 120, "gap": 0.3})],
        "workstation": [("backup_client", {"connections": 80, "size": 15_000, "at": 140, "gap": 0.05})],
    },
    "monitoring": {"monitor": [("monitor", {"period": 12})], "admin": [("inventory", {"period": 60})]},
    "slow_monitoring": {"admin": [("monitor", {"period": 40}), ("inventory", {"period": 100})]},
    "pacs": {
        "modality": [("dicom_client", {"period": 10, "images": 40, "edge": 24})],
        "ris": [("dicom_client", {"period": 25, "images": 60, "edge": 16})],
    },
    "web": {
        "workstation": [("web_client", {"period": 5, "burst": 14, "inside": 0.3})],
        "nurse": [("web_poll", {"period": 2})],
    },
    "resolver": {
        "files": [("dns_heavy", {"per_minute": 500, "nxdomain": 0.25})],
        "workstation": [("dns_noise", {"period": 1.5})],
    },
    "mqtt": {
        "bedside": [("mqtt_client", {"clients": 15, "period": 4, "session": 40})],
        "analyzer": [("mqtt_client", {"clients": 4, "period": 1, "session": 12})],
    },
    "dead": {
        "nurse": [("dead_client", {"period": 2})],
        "workstation": [("dead_client", {"period": 6})],
        "bedside": [("dead_client", {"period": 1})],
        "analyzer": [("dead_client", {"period": 4})],
    },
    "jobs": {"admin": [("ssh_jobs", {"period": 0.7})], "monitor": [("web_poll", {"to": "ris", "period": 1})]},
    "messages": {"analyzer": [("hl7_client", {"period": 0.7})], "ehr": [("hl7_client", {"period": 0.5})]},
    "files": {"workstation": [("file_client", {"period": 6})], "nurse": [("print_client", {"period": 8})]},
}


def mix(*names: str) -> dict[str, list[Task]]:
    """Several loads at once, as a scenario's `extra`."""
    found: dict[str, list[Task]] = {}
    for name in names:
        for role, tasks in LOADS[name].items():
            found.setdefault(role, []).extend(tasks)
    return found
