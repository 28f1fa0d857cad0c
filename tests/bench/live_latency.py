"""From the end of a connection in a live Zeek to the line in notice.log: Zeek, bridge and model on this machine.

    python -m tests.bench.live_latency [--rate 2000] [--seconds 20]

For whoever has a Zeek. Zeek replays generated traffic as if it happened now, at `rate` connections a second; a few
scanning hosts in it begin an incident each, with notices from the first connection on. The time of a connection's end
is when Zeek takes it out of its table; the line is looked for every millisecond.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

from tests.live.harness import Capture, Live

SETTINGS = """
event connection_state_remove(c: connection) &priority=10
	{ if ( c$id$resp_p == 22/tcp ) print fmt("end %s %.6f", c$uid, time_to_double(current_time())); }
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=float, default=2000.0, help="connections a second")
    parser.add_argument("--seconds", type=float, default=20.0)
    arguments = parser.parse_args()
    capture = Capture().steady(arguments.rate, arguments.seconds)
    for i in range(int(arguments.seconds * 4)):
        capture.scan(1 + i / 4, 2000 + i, 12)
    with tempfile.TemporaryDirectory() as folder:
        live = Live(Path(folder))
        try:
            zeek = live.zeek(capture.write(live.folder / "pcap"), SETTINGS)
            live.bridge("incidents.min_conns.recon=1", "incidents.max_new_per_hour=0", "bridge.state_file=none")
            seen: dict[str, float] = {}
            read, rest = 0, ""
            log = live.folder / "zeek" / "notice.log"
            while zeek.poll() is None:
                if log.exists() and log.stat().st_size > read:
                    now = time.time()
                    with log.open() as file:
                        file.seek(read)
                        new = file.read()
                        read = file.tell()
                    lines = (rest + new).split("\n")
                    rest = lines.pop()
                    for line in lines:
                        fields = line.split("\t")
                        if len(fields) > 12 and "state=closed" not in fields[12]:
                            seen.setdefault(fields[1], now)
                time.sleep(0.001)
            out = (live.folder / "zeek" / "out").read_text().splitlines()
            ends = {f[1]: float(f[2]) for f in (line.split() for line in out) if f and f[0] == "end"}
            rows = next(line for line in out if line.startswith("rows "))
        finally:
            live.close()
    waits = sorted(1e3 * (seen[uid] - ends[uid]) for uid in seen.keys() & ends.keys())
    print(f"{arguments.rate:g} connections/s for {arguments.seconds:g} s")
    print(f"rows exported, answered, dropped, waiting: {rows[5:]}")
    print(f"{len(waits)} notices: p50 {statistics.median(waits):.0f} ms, p90 {waits[int(0.9 * len(waits))]:.0f} ms, "
          f"p99 {waits[int(0.99 * len(waits))]:.0f} ms, worst {waits[-1]:.0f} ms")  # fmt: skip


if __name__ == "__main__":
    main()
