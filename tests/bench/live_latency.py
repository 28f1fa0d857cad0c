"""How long an analyst waits: Zeek on a live interface, bridge and model, all on this machine.

    python -m tests.bench.live_latency [--rate 2000] [--seconds 20]
    python -m tests.bench.live_latency --long
    python -m tests.bench.live_latency --capture tests/data/hospital.pcap

For root on Linux with a Zeek: everything runs in a network namespace of its own, and traffic goes over a pair of
virtual interfaces there, so all clocks are the wall clock.

Without --long: from the end of a connection to its line in notice.log, at `rate` connections a second. A few scanning
hosts begin an incident each, with notices from the first connection on. A connection's end is when Zeek takes it out of
its table; the line is looked for every millisecond.

With --long: from the first packet of connections that last (a session that calls home every few seconds, uploads that
drip, sessions kept open with hardly a byte) to the first line. The threshold of c2 is set to 0, so that the first row
decides: what is measured is when that row comes, and its way to the log; what a model says of it is for its card.

With --capture: a capture is played at its own pace, with the settings as they come; from the first packet of each
labelled attack (NAME.labels.yaml) to the first line of its class.
"""

from __future__ import annotations

import argparse
import math
import os
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import dpkt
import yaml

from pyad.verdict import ATTACK_CLASSES
from tests.live.harness import Capture, Live

SETTINGS = """
event connection_state_remove(c: connection) &priority=10
	{ if ( c$id$resp_p == 22/tcp ) print fmt("end %s %.6f", c$uid, time_to_double(current_time())); }
"""
INSIDE = "PYAD_BENCH_NAMESPACE"
SENT_ON, SEEN_ON = "sent0", "seen0"
UID, ORIG, NOTE, SUB = 1, 2, 10, 12  # columns of notice.log


def enter_namespace() -> None:
    """Start anew in a network namespace of its own, with a pair of interfaces and loopback."""
    if INSIDE not in os.environ:
        if os.geteuid() != 0 or shutil.which("unshare") is None or shutil.which("ip") is None:
            raise SystemExit("this needs root, and unshare and ip (util-linux, iproute2), for a network namespace")
        command = ["unshare", "--net", "--fork", sys.executable, "-m", "tests.bench.live_latency", *sys.argv[1:]]
        os.execvpe("unshare", command, os.environ | {INSIDE: "1"})
    for step in (
        "link set lo up",
        f"link add {SENT_ON} type veth peer name {SEEN_ON}",
        f"link set {SENT_ON} up",
        f"link set {SEEN_ON} up",
    ):
        subprocess.run(["ip", *step.split()], check=True)


def send(packets: list[tuple[float, bytes]]) -> float:
    """Send each frame at its time, counted from now. Returns the wall clock's time of the start."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as wire:
        wire.bind((SENT_ON, 0))
        begin = time.time()
        for at, frame in packets:
            wait = begin + at - time.time()
            if wait > 0:
                time.sleep(wait)
            wire.send(frame)
    return begin


class NoticeLog:
    """Follows notice.log: uid or originator (column `by`) → when its first line was seen, closing lines left out."""

    def __init__(self, path: Path, by: int) -> None:
        self.seen: dict[str, float] = {}
        self._by = by
        self._path = path
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow)
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()

    def _follow(self) -> None:
        read, rest = 0, ""
        while not self._stop.wait(0.001):
            if not self._path.exists() or self._path.stat().st_size <= read:
                continue
            now = time.time()
            with self._path.open() as file:
                file.seek(read)
                new = file.read()
                read = file.tell()
            lines = (rest + new).split("\n")
            rest = lines.pop()
            for line in lines:
                fields = line.split("\t")
                if len(fields) > SUB and "state=closed" not in fields[SUB]:
                    self.seen.setdefault(fields[self._by], now)


def measure(
    packets: list[tuple[float, bytes]], wait_s: float, by: int, *sets: str
) -> tuple[dict[str, float], float, str]:
    """Play the packets to a live Zeek with a bridge: first lines by column, when it began, what Zeek printed."""
    with tempfile.TemporaryDirectory() as folder:
        live = Live(Path(folder))
        log = NoticeLog(live.folder / "zeek" / "notice.log", by)
        try:
            zeek = live.zeek(["-i", SEEN_ON], SETTINGS)
            live.bridge("bridge.state_file=none", *sets)
            live.connected()
            begin = send(packets)
            time.sleep(wait_s)
            zeek.send_signal(signal.SIGTERM)
            zeek.wait(30)
            return log.seen, begin, (live.folder / "zeek" / "out").read_text()
        finally:
            log.stop()
            live.close()


def rows(out: str) -> str:
    """What Zeek printed of its rows at its end."""
    return "rows exported, answered, dropped, waiting: " + re.findall(r"^rows (.*)$", out, re.MULTILINE)[0]


def ends(rate: float, seconds: float) -> None:
    capture = Capture().steady(rate, seconds)
    for i in range(int(seconds * 4)):
        capture.scan(1 + i / 4, 2000 + i, 12)
    # Zeek gives up on an unanswered SYN after five seconds.
    seen, _, out = measure(capture.packets(), 8, UID, "incidents.min_conns.recon=1", "incidents.max_new_per_hour=0")
    ended = {uid: float(ts) for uid, ts in re.findall(r"^end (C\w+) ([\d.]+)$", out, re.MULTILINE)}
    waits = sorted(1e3 * (seen[uid] - ended[uid]) for uid in seen.keys() & ended.keys())
    print(f"{rate:g} connections/s for {seconds:g} s")
    print(rows(out))
    print(f"{len(waits)} notices: p50 {statistics.median(waits):.0f} ms, p90 {waits[int(0.9 * len(waits))]:.0f} ms, "
          f"p99 {waits[int(0.99 * len(waits))]:.0f} ms, worst {waits[-1]:.0f} ms")  # fmt: skip


def long_lived() -> None:
    capture = Capture()
    for i in range(20):
        capture.lasting(at=i / 4, src=3000 + i, port=40_000 + i, every_s=(2, 5, 9, 15)[i % 4], for_s=95)
    alarm = ("verdict.thresholds.c2=0.0", "incidents.min_conns.c2=1", "incidents.max_new_per_hour=0")
    seen, begin, out = measure(capture.packets(), 2, ORIG, *alarm)
    hosts = [f"10.0.{(3000 + i) >> 8}.{(3000 + i) & 255}" for i in range(20)]
    waits = sorted(seen[host] - begin - i / 4 for i, host in enumerate(hosts) if host in seen)
    print(rows(out))
    print(f"{len(waits)} of 20 connections noticed: after {waits[0]:.1f} to {waits[-1]:.1f} s, median "
          f"{statistics.median(waits):.1f} s")  # fmt: skip


def played(path: Path) -> None:
    with path.open("rb") as file:
        packets = [(float(ts), frame) for ts, frame in dpkt.pcap.Reader(file)]
    started = packets[0][0]
    labels = yaml.safe_load(path.with_suffix(".labels.yaml").read_text(encoding="utf-8"))
    first: dict[str, float] = {}
    for rule in (rule for entry in labels["entries"] for rule in entry["rules"]):
        if rule["label"] in ATTACK_CLASSES:
            hosts = {socket.inet_aton(address) for address in rule["orig"]}
            # Ethernet and IPv4: the source address is at 26.
            at = next(ts for ts, frame in packets if ts >= rule["after"] and frame[26:30] in hosts)
            first[rule["label"]] = min(at - started, first.get(rule["label"], math.inf))
    seen, begin, out = measure([(ts - started, frame) for ts, frame in packets], 10, NOTE)
    print(rows(out))
    for label, at in first.items():
        told = seen.get(f"PyAD::{label.title()}")
        print(f"{label}: " + ("no notice" if told is None else f"{told - begin - at:.1f} s after its first packet"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=float, default=2000.0, help="connections a second")
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--long", action="store_true", help="connections that last instead")
    parser.add_argument("--capture", type=Path, help="play this at its own pace instead")
    arguments = parser.parse_args()
    enter_namespace()
    if arguments.long:
        long_lived()
    elif arguments.capture:
        played(arguments.capture)
    else:
        ends(arguments.rate, arguments.seconds)


if __name__ == "__main__":
    main()
