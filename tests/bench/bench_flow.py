"""How fast the flow engine is: packets/s on long connections, new connections/s on a SYN flood, beside dpkt's objects.

`make bench` calls `measure()`. All captures are made here from a seed.
"""

from __future__ import annotations

import random
import struct
import tempfile
import time
import tracemalloc
from dataclasses import dataclass
from pathlib import Path

import dpkt

from pyad.flow.options import FlowOptions
from pyad.sources.base import ReadReport
from pyad.sources.pcap import read_captures

_ETHERNET = bytes.fromhex("020000000001 020000000002 0800".replace(" ", ""))


@dataclass(frozen=True)
class FlowSpeed:
    """One measurement: `per_s` of `unit`, the baseline's figure (0: none), rows made, peak Python memory in MB."""

    name: str
    unit: str
    per_s: float
    baseline_per_s: float
    rows: int
    peak_mb: float

    @property
    def ratio(self) -> float:
        """How many times as fast as the baseline; 0 where there is none."""
        return self.per_s / self.baseline_per_s if self.baseline_per_s else 0.0


def _tcp(src: bytes, dst: bytes, sport: int, dport: int, seq: int, ack: int, flags: int, payload: bytes) -> bytes:
    ip = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 40 + len(payload), 0, 0x4000, 64, 6, 0, src, dst)
    tcp = struct.pack(">HHIIBBHHH", sport, dport, seq & 0xFFFFFFFF, ack & 0xFFFFFFFF, 0x50, flags, 8192, 0, 0)
    return _ETHERNET + ip + tcp + payload


def _record(ts: float, frame: bytes) -> bytes:
    return struct.pack("<IIII", int(ts), int(ts % 1 * 1e6), len(frame), len(frame)) + frame


def _header(link_type: int = 1) -> bytes:
    return struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262144, link_type)


def many_packets(path: Path, packets: int = 200_000, connections: int = 200, seed: int = 1) -> int:
    """Write a capture of `connections` TCP connections with `packets` packets in all; how many it really holds.

    Half of the data packets are followed by a pure acknowledgement; payloads are 0 to 1,400 bytes long.
    """
    rng = random.Random(seed)
    written = 0
    ts = 1_700_000_000.0
    payload = bytes(1400)
    state: list[list[int]] = []
    with path.open("wb") as f:
        f.write(_header())

        def put(i: int, flags: int, length: int, from_orig: bool) -> None:
            nonlocal ts, written
            ends = (bytes((10, 0, i >> 8, i & 255)), bytes((192, 168, 0, 1 + i % 7)), 30000 + i, 80)
            side, other = (0, 1) if from_orig else (1, 0)
            src, dst, sport, dport = ends if from_orig else (ends[1], ends[0], ends[3], ends[2])
            seq, ack = state[i][side], state[i][other]
            f.write(_record(ts, _tcp(src, dst, sport, dport, seq, ack, flags, payload[:length])))
            state[i][side] += length + (1 if flags & 3 else 0)
            ts += 0.00002
            written += 1

        for i in range(connections):
            state.append([rng.getrandbits(32), rng.getrandbits(32)])
            put(i, 2, 0, True)
            put(i, 18, 0, False)
            put(i, 16, 0, True)
        while written < packets - 3 * connections:
            i = rng.randrange(connections)
            down = rng.random() < 0.7
            put(i, 24, rng.randrange(1, 1400), not down)
            if rng.random() < 0.5:
                put(i, 16, 0, down)
        for i in range(connections):
            put(i, 17, 0, True)
            put(i, 17, 0, False)
            put(i, 16, 0, True)
    return written


def syn_flood(path: Path, connections: int = 60_000, per_s: int = 5_000, seed: int = 2) -> int:
    """Write a capture of one SYN from each of `connections` spoofed sources, `per_s` of them a second."""
    rng = random.Random(seed)
    with path.open("wb") as f:
        f.write(_header())
        for n in range(connections):
            src = rng.getrandbits(32).to_bytes(4, "big")
            frame = _tcp(src, b"\xc0\xa8\x00\x01", rng.randrange(1024, 65536), 80, rng.getrandbits(32), 0, 2, b"")
            f.write(_record(1_700_000_000 + n / per_s, frame))
    return connections


def run_engine(path: Path) -> tuple[float, int]:
    """Seconds and rows of one run of the flow engine."""
    report = ReadReport()
    start = time.perf_counter()
    rows = sum(len(part) for part in read_captures([path], report, FlowOptions()))
    return time.perf_counter() - start, rows


def run_dpkt(path: Path) -> float:
    """Seconds that dpkt alone takes to read and decode the same packets."""
    start = time.perf_counter()
    with path.open("rb") as f:
        for _, data in dpkt.pcap.Reader(f):
            dpkt.ethernet.Ethernet(data)
    return time.perf_counter() - start


def peak_mb(path: Path) -> float:
    """Highest memory that Python held during a run of the flow engine, in MB (a slow, separate run)."""
    tracemalloc.start()
    try:
        run_engine(path)
        return tracemalloc.get_traced_memory()[1] / 1e6
    finally:
        tracemalloc.stop()


def measure(scale: float = 1.0, repeats: int = 3) -> list[FlowSpeed]:
    """Both measurements, the best of `repeats` interleaved runs of engine and baseline; `scale` sizes the captures."""
    results = []
    with tempfile.TemporaryDirectory() as folder:
        for name, unit, make, size in (
            ("many packets", "packets", many_packets, 200_000),
            ("SYN flood", "connections", syn_flood, 60_000),
        ):
            path = Path(folder) / f"{name}.pcap"
            count = make(path, max(2_000, int(size * scale)))
            best, base, rows = float("inf"), float("inf"), 0
            for _ in range(repeats):
                took, rows = run_engine(path)
                best = min(best, took)
                base = min(base, run_dpkt(path))
            results.append(FlowSpeed(name, unit, count / best, count / base, rows, peak_mb(path)))
    return results


def main() -> None:
    """Print both measurements."""
    for speed in measure():
        print(
            f"{speed.name}: {speed.per_s:,.0f} {speed.unit}/s, {speed.ratio:.1f} times dpkt's objects alone "
            f"({speed.baseline_per_s:,.0f}/s); {speed.rows:,} rows, peak {speed.peak_mb:.0f} MB"
        )


if __name__ == "__main__":
    main()
