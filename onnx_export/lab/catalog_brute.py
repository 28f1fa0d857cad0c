"""Variants of guessing passwords, for training, validation and test."""

from __future__ import annotations

from typing import Any

from .variant import Variant

_PORTS = {"ssh": 22, "ftp": 21, "telnet": 23, "http-get": 80, "http-post-form": 80, "https-post-form": 443,
          "http": 80}  # fmt: skip


def _tool(group: str, run: str, service: str, *to: str, seconds: float = 100, **with_: Any) -> Variant:
    """A packaged tool against a service; the label keeps to the service's port, or to the one given."""
    pace = " ".join(f"{k}={v}" for k, v in with_.items())
    with_["module" if run == "guess_medusa" else "service"] = service
    return Variant("brute_force", f"{run.removeprefix('guess_')} {service} {pace}", group, run, to,
                   with_={**with_, "seconds": seconds}, seconds=seconds,
                   match={"resp_port": with_.get("port", _PORTS[service])})  # fmt: skip


def _own(group: str, detail: str, run: str, port: int, *to: str, by: str = "attacker", seconds: float = 100,
         sources: int = 1, **with_: Any) -> Variant:  # fmt: skip
    given = {"port": port} if run in {"guess_http", "guess_mqtt"} else {}
    return Variant("brute_force", detail, group, run, to, by, sources, {**given, **with_, "seconds": seconds},
                   {"proto": "tcp", "resp_port": port}, seconds=seconds)  # fmt: skip


_TRAIN = (
    _tool("train", "guess_hydra", "ssh", "files", tries=600, threads=6, seconds=90),
    _tool("train", "guess_hydra", "ssh", "pacs", "dns", tries=90, threads=1, wait=1),
    _tool("train", "guess_hydra", "ftp", "files", tries=900, threads=14, seconds=90),
    _tool("train", "guess_hydra", "http-post-form", "monitor", "broker", port=8888, tries=250, threads=6, seconds=60),
    _tool("train", "guess_hydra", "http-get", "ris", port=8080, tries=500, threads=8, success=True, seconds=60),
    _tool("train", "guess_hydra", "https-post-form", "ehr", tries=300, threads=4, seconds=60),
    _tool("train", "guess_medusa", "ssh", "ris", "broker", tries=120, threads=3, hosts=2),
    _tool("train", "guess_medusa", "ftp", "files", tries=40, users=8, threads=4, seconds=90),
    _tool("train", "guess_ncrack", "telnet", "files", tries=300, options="CL=12,at=1", timing=4, seconds=90),
    _own("train", "stolen pairs on login forms, tls", "guess_http", 8443, "ehr", "pacs", tries=250, rate=5, threads=4),
    _own("train", "mqtt logins, many users", "guess_mqtt", 1883, "broker", tries=350, rate=4, seconds=90),
    _own("train", "ftp pairs, one at a time", "guess_ftp", 21, "files", tries=150, rate=1.6, threads=3, success=True),
    _own("train", "device accounts on telnet", "guess_telnet", 23, "plc", "files", tries=120, rate=4, threads=6,
         seconds=80),
    _own("train", "smb logins, many users", "guess_smb", 445, "files", tries=250, users=15, rate=3, threads=3,
         seconds=90),
    _own("train", "remote desktop logins", "guess_rdp", 3389, "admin", tries=250, rate=3, threads=2, seconds=90),
    _own("train", "ssh by hand on all servers, one try in a while", "guess_ssh", 22, "pacs", "ris", "ehr", "broker",
         "files", "dns", tries=40, period=3, seconds=115),
    _own("train", "ssh from two workstations", "guess_ssh", 22, "files", "monitor", by="workstation", sources=2,
         tries=70, period=1.5, threads=2),
)  # fmt: skip

_VALIDATION = (
    _tool("validation", "guess_ncrack", "ssh", "files", "dns", tries=200, options="CL=5,at=1", seconds=90),
    _tool("validation", "guess_hydra", "http-post-form", "ris", port=8888, tries=200, threads=2, seconds=60),
    _tool("validation", "guess_medusa", "ssh", "dns", "monitor", tries=30, users=6, threads=1, seconds=90),
    _tool("validation", "guess_hydra", "ftp", "files", tries=40, users=20, threads=12, by_password=True, seconds=90),
    _tool("validation", "guess_medusa", "http", "printer", "plc", tries=200, threads=2, hosts=2,
          extra="-m DIR:/admin/", seconds=60),
    _own("validation", "mqtt logins over tls", "guess_mqtt", 8883, "broker", tries=250, rate=3, threads=3),
    _own("validation", "basic authentication, sprayed, slow", "guess_http", 5000, "files", "monitor", "plc", tries=60,
         rate=1.5, threads=1, form=False, users=18),
    _own("validation", "remote desktop logins, slow", "guess_rdp", 3389, "admin", tries=90, rate=1),
    _own("validation", "ssh by hand, six seconds apart", "guess_ssh", 22, "files", "pacs", tries=20, period=5,
         seconds=110),
    _own("validation", "device accounts on telnet from a printer", "guess_telnet", 23, "files", by="printer", tries=150,
         rate=2, per_connection=2),
)  # fmt: skip

_TEST = (
    _own("test", "pairs on a dashboard, one a connection", "guess_http", 8888, "camera", "broker", tries=200, rate=3,
         threads=2),
    _tool("test", "guess_ncrack", "ftp", "files", tries=240, options="CL=3,at=1,cd=150ms", seconds=90),
    _tool("test", "guess_hydra", "ssh", "pacs", "ris", "broker", tries=3, users=18, threads=3, by_password=True,
          seconds=110),
    _own("test", "smb logins, two users", "guess_smb", 445, "files", tries=130, users=2, rate=1.6),
    _tool("test", "guess_medusa", "ssh", "files", tries=45, users=5, threads=5, seconds=60),
    _tool("test", "guess_ncrack", "telnet", "plc", tries=150, options="CL=8,at=1,cd=200ms", success=True, seconds=100),
    _tool("test", "guess_hydra", "http-get", "printer", "nvr", port=8000, tries=250, threads=16, seconds=60),
    _own("test", "mqtt logins, the right one last", "guess_mqtt", 1883, "broker", tries=110, rate=1.2, threads=1,
         success=True),
    _own("test", "stolen pairs, five a connection", "guess_http", 9443, "nvr", "bms", tries=900, rate=4, threads=3,
         per_connection=5, success=True, agent="python-requests/2.31.0", seconds=60),
    _own("test", "login form from many hosts, slow each", "guess_http", 80, "ris", sources=6, tries=50, rate=0.6,
         threads=1),
    _own("test", "ssh by hand from a monitor's bed", "guess_ssh", 22, "broker", "files", "ris", by="bedside", tries=50,
         period=2, threads=1),
    _own("test", "device accounts on telnet, three a connection", "guess_telnet", 23, "plc", tries=90, rate=2.5,
         threads=3, per_connection=3),
)  # fmt: skip

BRUTE_FORCE = (*_TRAIN, *_VALIDATION, *_TEST)
