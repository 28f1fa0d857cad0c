"""Made-up traffic for end-to-end tests: connections of a small network with a scan and a flood, as log or capture."""

from __future__ import annotations

import json
import random
import struct
from pathlib import Path

SCANNER, FLOODER, VICTIM = "10.0.9.66", "10.0.9.77", "10.0.1.2"
START = 1_700_000_000.0


def connections(seed: int = 1, background: int = 1200, scanned: int = 300, flooded: int = 1500) -> list[dict]:
    """Rows as conn.log has them, in the order in which they end."""
    r = random.Random(seed)
    rows = []

    def add(ts, orig, orig_p, resp, resp_p, state, history, duration, sizes, service=None):
        ob, rb, op, rp = sizes
        rows.append({
            "ts": round(ts, 6), "uid": f"C{len(rows):06d}", "id.orig_h": orig, "id.orig_p": orig_p, "id.resp_h": resp,
            "id.resp_p": resp_p, "proto": "tcp", "conn_state": state, "history": history, "orig_pkts": op,
            "resp_pkts": rp, "orig_ip_bytes": op * 40 + ob, "resp_ip_bytes": rp * 40 + rb, "missed_bytes": 0,
            "local_orig": True, "local_resp": True,
            **({"service": service} if service else {}),
            **({"duration": round(duration, 6), "orig_bytes": ob, "resp_bytes": rb} if duration is not None else {}),
        })  # fmt: skip

    for _ in range(background):
        port, service = r.choice([(80, "http"), (443, "ssl"), (104, None), (2575, None), (1883, "mqtt")])
        sizes = (r.randrange(100, 2000), r.randrange(200, 20_000), r.randrange(4, 12), r.randrange(4, 20))
        add(START + r.uniform(0, 3600), f"10.0.0.{r.randrange(1, 20)}", r.randrange(32768, 60999),
            f"10.0.1.{r.randrange(1, 6)}", port, "SF", "ShADadFf", r.expovariate(1), sizes, service)  # fmt: skip
    for i in range(scanned):
        add(START + 1000 + i * 0.02, SCANNER, 50_000 + i, VICTIM, 1 + i, "REJ", "Sr", 0.0001, (0, 0, 1, 1))
    for i in range(flooded):
        add(START + 2000 + i * 0.003, FLOODER, 1024 + i, VICTIM, 80, "S0", "S", None, (0, 0, 1, 0))
    return sorted(rows, key=lambda row: row["ts"] + row.get("duration", 0))


def write_log(path: Path, rows: list[dict]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def packets(seed: int = 1, scanned: int = 300, flooded: int = 1500) -> list[tuple[float, bytes]]:
    """Ethernet frames of handshakes in the background, a scan and a flood, in time order."""
    r = random.Random(seed)
    out = []
    for i in range(200):
        t = START + i * 2.0 + r.random()
        client, server, port = f"10.0.0.{1 + i % 19}", f"10.0.1.{1 + i % 5}", 33_000 + i
        there, back = (client, port, server, 80), (server, 80, client, port)
        steps = [
            frame(*there, 2, 0, 0),
            frame(*back, 18, 0, 1),
            frame(*there, 24, 1, 1, b"GET / HTTP/1.1\r\n\r\n"),
            frame(*back, 24, 1, 19, b"HTTP/1.1 200 OK\r\n\r\n"),
            frame(*there, 17, 19, 20),
            frame(*back, 17, 20, 20),
        ]
        out += [(t + j * 0.01, step) for j, step in enumerate(steps)]
    for i in range(scanned):
        t = START + 100 + i * 0.02
        out.append((t, frame(SCANNER, 50_000 + i, VICTIM, 1 + i, 2, 0, 0)))
        out.append((t + 0.0001, frame(VICTIM, 1 + i, SCANNER, 50_000 + i, 20, 0, 1)))
    out += [(START + 200 + i * 0.003, frame(FLOODER, 1024 + i, VICTIM, 80, 2, 0, 0)) for i in range(flooded)]
    return sorted(out, key=lambda p: p[0])


def frame(orig: str, orig_p: int, resp: str, resp_p: int, flags: int, seq: int, ack: int, data: bytes = b"") -> bytes:
    tcp = struct.pack("!HHIIBBHHH", orig_p, resp_p, seq, ack, 5 << 4, flags, 8192, 0, 0) + data
    address = [bytes(map(int, a.split("."))) for a in (orig, resp)]
    ip = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(tcp), 0, 0, 64, 6, 0) + address[0] + address[1]
    return b"\x02\x00\x00" + address[1][1:] + b"\x02\x00\x00" + address[0][1:] + b"\x08\x00" + ip + tcp


def write_pcap(path: Path, frames: list[tuple[float, bytes]], linktype: int = 1) -> Path:
    parts = [struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, linktype)]
    for t, data in frames:
        whole, part = divmod(round(t * 1e6), 1_000_000)
        parts.append(struct.pack("<IIII", whole, part, len(data), len(data)) + data)
    path.write_bytes(b"".join(parts))
    return path
