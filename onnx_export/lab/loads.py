"""Busy but benign: what makes a quiet hospital loud without anything being wrong. Periods are seconds of real life."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .roles import Task

LOADS: dict[str, dict[str, list[Task]]] = {
    "backup": {
        "ehr": [("backup_client", {"connections": 200, "size": 20_000, "at": 300, "gap": 2})],
        "pacs": [("backup_client", {"connections": 150, "size": 60_000, "at": 600, "gap": 4})],
    },
    "monitoring": {"monitor": [("monitor", {"period": 240})], "admin": [("inventory", {"period": 1200})]},
    "slow_monitoring": {"admin": [("monitor", {"period": 900}), ("inventory", {"period": 3600})]},
    "pacs": {
        "modality": [("dicom_client", {"period": 200, "images": 30, "edge": 24})],
        "ris": [("dicom_client", {"period": 400, "images": 40, "edge": 16})],
    },
    "web": {
        "workstation": [("web_client", {"period": 90, "burst": 12, "inside": 0.3})],
        "nurse": [("web_poll", {"period": 60})],
    },
    "resolver": {
        "files": [("dns_heavy", {"per_minute": 20, "nxdomain": 0.25})],
        "workstation": [("dns_noise", {"period": 60})],
    },
    "mqtt": {
        "bedside": [("mqtt_client", {"clients": 8, "period": 60, "session": 400})],
        "analyzer": [("mqtt_client", {"clients": 3, "period": 20, "session": 150})],
    },
    "dead": {
        "nurse": [("dead_client", {"period": 60})],
        "bedside": [("dead_client", {"period": 45})],
        "analyzer": [("dead_client", {"period": 90})],
    },
    "jobs": {"admin": [("ssh_jobs", {"period": 40})], "monitor": [("web_poll", {"to": "ris", "period": 30})]},
    "messages": {"analyzer": [("hl7_client", {"period": 20})], "ehr": [("hl7_client", {"period": 15})]},
    "files": {"workstation": [("file_client", {"period": 240})], "nurse": [("print_client", {"period": 300})]},
}


def mix(*names: str) -> dict[str, list[Task]]:
    """Several loads at once, as a scenario's `extra`."""
    found: dict[str, list[Task]] = {}
    for name in names:
        for role, tasks in LOADS[name].items():
            found.setdefault(role, []).extend(tasks)
    return found
