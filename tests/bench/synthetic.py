"""Conn.log rows of a made-up hospital, seeded: material for the benchmarks, no statement about detection."""

from __future__ import annotations

import random
from pathlib import Path

FIELDS = (
    "ts uid id.orig_h id.orig_p id.resp_h id.resp_p proto service duration orig_bytes resp_bytes conn_state local_orig "
    "local_resp missed_bytes history orig_pkts orig_ip_bytes resp_pkts resp_ip_bytes tunnel_parents"
).split()
TYPES = (
    "time string addr port addr port enum string interval count count string bool bool count string count count count "
    "count set[string]"
).split()
_KINDS = (
    ("tcp", 443, "ssl", "SF", "ShADadFf"),
    ("tcp", 80, "http", "SF", "ShADadFf"),
    ("udp", 53, "dns", "SF", "Dd"),
    ("tcp", 104, "dicom", "SF", "ShADadFf"),
    ("tcp", 2575, "hl7", "S1", "ShADad"),
    ("udp", 123, "ntp", "SF", "Dd"),
    ("tcp", 22, "-", "S0", "S"),
    ("tcp", 1883, "mqtt", "RSTO", "ShADadR"),
)


def write_conn_log(path: Path, rows: int, hosts: int = 400, seed: int = 1) -> None:
    """A TSV conn.log of `rows` connections among `hosts` hosts."""
    rng = random.Random(seed)
    t = 1_700_000_000.0
    with path.open("w") as file:
        file.write("#separator \\x09\n#set_separator\t,\n#empty_field\t(empty)\n#unset_field\t-\n#path\tconn\n")
        file.write("\t".join(("#fields", *FIELDS)) + "\n" + "\t".join(("#types", *TYPES)) + "\n")
        for i in range(rows):
            t += rng.expovariate(200.0)
            proto, port, service, state, history = rng.choice(_KINDS)
            host, server = rng.randrange(hosts), rng.randrange(40)
            sent, got = rng.randrange(40, 4000), rng.randrange(40, 90000)
            values = (
                *(f"{t:.6f}", f"C{i:x}", f"10.1.{host >> 8}.{host & 255}", rng.randrange(1024, 65535)),
                *(f"10.2.0.{server}", port, proto, service, f"{rng.expovariate(1.0):.6f}", sent, got, state, "T", "T"),
                *(0, history, sent // 900 + 3, sent + 200, got // 900 + 2, got + 200, "-"),
            )
            file.write("\t".join(map(str, values)) + "\n")
        file.write("#close\t2023-11-14-22-13-20\n")
