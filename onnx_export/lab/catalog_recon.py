"""Variants of looking around: scans, sweeps and enumeration, for training, validation and test."""

from __future__ import annotations

from typing import Any

from .variant import Variant


def _nmap(group: str, flags: str, *to: str, seconds: float = 60, **more: Any) -> Variant:
    by = f", from a {more['by']}" if "by" in more else ""
    return Variant("recon", f"nmap {flags}{by}", group, "nmap", to, with_={"flags": flags, "seconds": seconds},
                   seconds=seconds, **more)  # fmt: skip


def _own(group: str, detail: str, run: str, *to: str, seconds: float = 60, by: str = "attacker",
         match: dict[str, Any] | None = None, **with_: Any) -> Variant:  # fmt: skip
    return Variant("recon", detail, group, run, to, by, with_={**with_, "seconds": seconds}, match=match or {},
                   seconds=seconds)  # fmt: skip


_SWEEP = "--disable-arp-ping --max-retries 1"
_CLINICAL, _BUILDING, _OFFICE = "subnet:clinical", "subnet:building", "subnet:office"

_TRAIN = (
    _nmap("train", "-sS -Pn -T4 --top-ports 300 --max-rate 400", "pacs", "ris", "broker", "files", seconds=30),
    _nmap("train", "-sT -Pn -p1-600 --max-rate 150", "files", seconds=30),
    _nmap("train", "-sS -Pn --scan-delay 1500ms -p22,80,104,443,2575,3389", "pacs", "ris", "ehr", "broker", "files",
          "printer", "monitor", seconds=60),
    _nmap("train", f"-sn -PE --max-rate 60 {_SWEEP}", _CLINICAL, seconds=60),
    _nmap("train", f"-sS -Pn -p445 --max-rate 40 {_SWEEP}", _CLINICAL, _OFFICE, seconds=60),
    _nmap("train", "-sS -Pn -p22,104 --max-rate 30 --max-retries 0", "far:4", seconds=60),
    _nmap("train", "-sU -Pn --top-ports 30 --max-retries 1", "files", "plc", "printer", seconds=80),
    _nmap("train", "-sF -Pn --top-ports 150 --max-rate 100", "broker", "ehr", seconds=40),
    _nmap("train", "-sV -Pn -T4 --top-ports 40", "ris", "files", seconds=100),
    _nmap("train", "-sT -Pn -p502,4840 --max-rate 8 --max-retries 0 --disable-arp-ping", _BUILDING, seconds=80,
          by="workstation", match={"proto": "tcp", "resp_port": [502, 4840]}),
    _own("train", "dicom titles, one after the other", "dicom_enumerate", "pacs", titles=120, rate=4),
    _own("train", "mqtt topics, anonymous", "mqtt_enumerate", "broker", count=90, rate=2),
    _own("train", "snmp communities, three hosts", "snmp_guess", "plc", "printer", "dns", communities=60, rate=8),
    _own("train", "reverse names of every network", "dns_reverse", "dns", rate=20, seconds=50),
    _own("train", "banners of a network, http", "banner_grab", _CLINICAL, ports=[80, 443, 8080], say="http", rate=12,
         threads=8),
    _own("train", "bacnet who-is and coap, one address after the other", "udp_ask", _BUILDING, kinds=["bacnet", "coap"],
         rate=12, threads=8),
    _own("train", "modbus units, a connection each", "modbus_units", "plc", units=100, rate=4),
    _own("train", "route traces into a network", "trace", _OFFICE, hops=5, probes=2, rate=12, limit=60),
)  # fmt: skip

_VALIDATION = (
    _nmap("validation", "-sS -Pn -T5 -p1-500 --max-retries 1 --max-rate 250", "ehr", "pump", seconds=40),
    _nmap("validation", "-sT -Pn --scan-delay 700ms --top-ports 50", "files", "monitor", seconds=90),
    _nmap("validation", f"-sn -PS443,22 -PA80 --max-rate 40 {_SWEEP}", _OFFICE, seconds=60),
    _nmap("validation", "-sX -Pn --top-ports 120 --max-rate 60", "ris", "files", seconds=40),
    _nmap("validation", "-O -Pn --top-ports 80 --max-rate 150", "printer", "pacs", seconds=60),
    _nmap("validation", "-sS -Pn -p104 --max-rate 4 --max-retries 0", "far:7", seconds=80),
    _nmap("validation", "-sT -Pn -p23,102 --max-rate 6 --max-retries 0 --disable-arp-ping", _CLINICAL, seconds=100,
          by="printer", match={"proto": "tcp", "resp_port": [23, 102]}),
    _own("validation", "onesixtyone over two networks", "onesixtyone", _OFFICE, _BUILDING, communities=2, wait_ms=40,
         seconds=60),
    _own("validation", "guessed names and the whole zone", "dns_names", "dns", count=500, rate=9, transfer=True),
    _own("validation", "dicom titles on all servers, slow", "dicom_enumerate", "pacs", "viewer", "modality", titles=30,
         rate=1.2, seconds=90),
    _own("validation", "mqtt topics, long listening", "mqtt_enumerate", "broker", count=100, rate=3, threads=12,
         listen=4.0),
    _own("validation", "banners of cameras and printers, silent", "banner_grab", _BUILDING, ports=[554, 23], rate=5,
         threads=4, seconds=100),
)  # fmt: skip

_TEST = (
    _nmap("test", "-sS -Pn -f --top-ports 200 --max-rate 150", "workstation", "modality", seconds=60),
    _nmap("test", "-sA -Pn --top-ports 150 --max-rate 90", "ehr", "files", seconds=40),
    _nmap("test", "-sN -Pn -p20-180 --max-rate 50", "broker", "monitor", seconds=40),
    _nmap("test", "-sU -Pn -p53,123,161,500,5683,47808 --scan-delay 400ms --max-retries 0", "files", "plc", "printer",
          "hmi", "monitor", "dns", seconds=60),
    _nmap("test", "-sV --version-intensity 2 -Pn -p22,23,80,443,502,9100,1883", "plc", "printer", "hmi", "broker",
          "files", seconds=100),
    _nmap("test", "-sS -Pn -p2575,8883 --scan-delay 250ms --max-retries 0 --disable-arp-ping", "far:9", "far:3",
          seconds=90),
    _nmap("test", "-sS -Pn -p3389,5900 --max-rate 9 --max-retries 0 --disable-arp-ping", _OFFICE, seconds=90,
          by="plc", match={"proto": "tcp", "resp_port": [3389, 5900]}),
    _own("test", "pings in random order, slow", "ping_sweep", _CLINICAL, rate=3, seconds=100),
    _own("test", "smb users and shares without a password", "smb_enumerate", "files", "workstation", users=30,
         pause=0.5, seconds=90),
    _own("test", "names by mdns, ssdp, netbios and sip", "udp_ask", _OFFICE, kinds=["mdns", "ssdp", "netbios", "sip"],
         rate=25, threads=16, seconds=60),
    _own("test", "modbus units, twenty a connection", "modbus_units", "plc", units=247, per_connection=20, rate=0.5,
         seconds=90),
    _own("test", "dicom associations, fast, no echo", "dicom_enumerate", "pacs", titles=300, rate=12, threads=4,
         echo=False, seconds=40),
    _own("test", "snmp communities, one host, slow", "snmp_guess", "broker", "printer", communities=100, rate=1.5,
         threads=2, seconds=90),
    _own("test", "banners of two networks, help", "banner_grab", _CLINICAL, "far:5", ports=[25, 1883], say="help",
         rate=20, threads=32, seconds=60),
)  # fmt: skip

RECON = (*_TRAIN, *_VALIDATION, *_TEST)
