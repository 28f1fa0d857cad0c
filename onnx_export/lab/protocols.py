"""Are the protocols what they claim to be: what Zeek and tshark call each one, counted over the benign connections."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from . import stored
from .rows import labelled

# What a lab server on this port speaks.
_CLAIMS = {
    "tcp": {
        20: "FTP data", 21: "FTP", 22: "SSH", 23: "telnet", 53: "DNS", 80: "HTTP", 104: "DICOM", 11112: "DICOM",
        139: "SMB", 443: "HTTPS", 445: "SMB", 502: "Modbus/TCP", 514: "syslog", 515: "LPD", 554: "RTSP", 631: "IPP",
        873: "rsync", 1883: "MQTT", 2575: "HL7 v2 (MLLP)", 3389: "RDP", 6667: "IRC", 8080: "HTTP", 8443: "HTTPS",
        8883: "MQTT over TLS", 9100: "raw printing", 10000: "backup stream",
    },
    "udp": {
        53: "DNS", 67: "DHCP", 68: "DHCP", 123: "NTP", 137: "NetBIOS names", 161: "SNMP", 443: "QUIC", 514: "syslog",
        1900: "SSDP", 5353: "mDNS", 5355: "LLMNR", 5683: "CoAP", 5684: "CoAP over DTLS", 47808: "BACnet",
    },
    "icmp": {}, "arp": {},
}  # fmt: skip
_GENERIC = frozenset(("TCP", "UDP", "IPv4", "IPv6", "ICMP", "ICMPv6", "Data", ""))
_FIELDS = ("ip.src", "ip.dst", "ipv6.src", "ipv6.dst", "ip.proto", "tcp.srcport", "tcp.dstport", "udp.srcport",
           "udp.dstport", "_ws.col.Protocol")  # fmt: skip
Key = tuple[str, frozenset[tuple[str, int]]]


def run(recordings: list[Path], engine: str) -> int:
    """Print the table over all recordings; 1 where there is none. engine: auto is zeek where it is on PATH."""
    captures = stored.captures(recordings)
    if not captures:
        sys.stderr.write(f"lab: no TITLE.pcap with TITLE.labels.yaml in {' '.join(map(str, recordings))}\n")
        return 1
    if shutil.which("tshark") is None:
        sys.stderr.write("lab: tshark is missing; Debian package tshark\n")
        return 1
    if engine == "auto":
        engine = "zeek" if shutil.which("zeek") else "dpkt"
    table: dict[str, list[Any]] = defaultdict(lambda: [0, Counter(), Counter()])
    for capture in captures:
        said = dissected(capture)
        for row in labelled(capture, engine, stored.read_scenario(capture)):
            if row["label"] != "benign" or row.get("partial") or row["proto"] == "arp":
                continue
            if row["proto"] in ("tcp", "udp") and not (row.get("orig_bytes") or row.get("resp_bytes")):
                continue  # nothing was said that could be recognised
            name = claim(row)
            if name.startswith("other") and (protocol := said.get(_key(row))):
                name = f"{protocol} (changing ports/{row['proto']})"
            line = table[name]
            line[0] += 1
            line[1][row.get("service") or "-"] += 1
            line[2][said.get(_key(row), "-")] += 1
    sys.stdout.write(markdown(table, engine))
    return 0


def claim(row: dict[str, Any]) -> str:
    """What a connection should be by the server's port (the originator's where only that one is known)."""
    proto = row["proto"]
    known = _CLAIMS.get(proto, {})
    if proto == "icmp":
        return "ICMP"
    port = next((p for p in (row["id.resp_p"], row["id.orig_p"]) if p in known), None)
    return f"other {proto}" if port is None else f"{known[port]} ({port}/{proto})"


def dissected(capture: Path) -> dict[Key, str]:
    """5-tuple, either way round → the most specific protocol tshark sees in it."""
    command = ["tshark", "-n", "-r", str(capture), "-Y", "tcp or udp", "-T", "fields"]
    command += [part for name in _FIELDS for part in ("-e", name)] + ["-E", "occurrence=f"]
    found: dict[Key, Counter[str]] = defaultdict(Counter)
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as tshark:
        for line in tshark.stdout or ():
            src, dst, src6, dst6, _, tcp, tcp_to, udp, udp_to, protocol = line.rstrip("\n").split("\t")
            if protocol not in _GENERIC:
                ends = ((src or src6, int(tcp or udp or 0)), (dst or dst6, int(tcp_to or udp_to or 0)))
                found["tcp" if tcp else "udp", frozenset(ends)][protocol] += 1
    return {key: names.most_common(1)[0][0] for key, names in found.items()}


def _key(row: dict[str, Any]) -> Key:
    return row["proto"], frozenset(((row["id.orig_h"], row["id.orig_p"]), (row["id.resp_h"], row["id.resp_p"])))


def markdown(table: dict[str, list[Any]], engine: str) -> str:
    """Protocol, connections, service by Zeek, protocol by tshark; shares where they are not of one mind."""
    whose = "Zeek" if engine == "zeek" else "pyad's own engine"
    lines = [f"| protocol (port) | connections | service, by {whose} | by tshark |", "|---|---:|---|---|"]
    for name, (n, services, protocols) in sorted(table.items(), key=lambda item: -item[1][0]):
        lines.append(f"| {name} | {n} | {_shares(services, n)} | {_shares(protocols, n)} |")
    lines += ["", "Benign connections with payload; \u201c-\u201d: not recognised, or cut off before it could be."]
    return "\n".join(lines) + "\n"


def _shares(counts: Counter[str], total: int) -> str:
    return ", ".join(_parts(counts, total))


def _parts(counts: Counter[str], total: int) -> Iterator[str]:
    shown = [(name, n) for name, n in counts.most_common() if n / total >= 0.005][:4]
    for name, n in shown:
        yield name if n == total else f"{name} {n / total:.0%}" if n / total < 0.995 else f"{name} >99%"
