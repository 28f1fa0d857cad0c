"""What the package costs Zeek: with the package and a reading bridge against bare Zeek, in interleaved pairs.

    python -m tests.bench.zeek_cost CAPTURES [--times 4] [--pairs 20] [--no-bridge] [--instructions]

For whoever has a Zeek. The bridge here only reads and answers, so that Zeek's own cost is what is measured; Zeek waits
for it at the start and is not slowed down after. With --no-bridge nobody connects: what the package costs then.
CPU time is what is compared; with --instructions it is the instructions that all of Zeek's threads execute, counted by
valgrind's callgrind, which no other load on the machine disturbs (one pair says most of it, and takes minutes). What
Zeek takes to start is taken off both sides, so that the length of the capture does not matter. What a row costs depends
on how many go together, that is on how busy Zeek is: --times plays the captures several times at once, each time under
other addresses.
"""

from __future__ import annotations

import argparse
import os
import random
import secrets
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from operator import itemgetter
from pathlib import Path

from tqdm import tqdm

from pyad.errors import InputError
from pyad.flow.capture import read_packets
from pyad.link import Link, LinkSettings
from pyad.paths import shared_folder

SCRIPT = """
redef PyAD::secret = "{secret}";
redef PyAD::listen_port = {port}/tcp;
redef PyAD::bridge_timeout = {timeout}secs;
redef Log::default_rotation_interval = 0secs;
global begun = F;
global ended = F;
event zeek_init() {{ suspend_processing(); }}
event PyAD::hello(schema: string, lane: string, session: string, window: count, counter: count, mac: string)
	&priority=-5
	{{ if ( ! begun ) {{ begun = T; continue_processing(); }} }}
function finish()
	{{
	local lane = PyAD::lanes["all"];

	# The reader answers eight batches at once; fewer wait for ever.
	if ( ended && lane$sent == lane$seq && lane$in_flight < 8 )
		terminate();
	}}
hook PyAD::batch_acked(lane: PyAD::Lane, seq: count) &priority=-5 {{ finish(); }}
event Pcap::file_done(path: string) {{ ended = T; PyAD::flush_buffer(PyAD::lanes["all"]); finish(); }}
event zeek_done() &priority=-5
	{{
	local lane = PyAD::lanes["all"];
	print fmt("%d %d %d %d", lane$exported, lane$acked, lane$dropped, lane$seq);
	}}
"""


START, SPREAD_S, SPAN_S = 1_700_000_000.0, 60.0, 120.0
ETHERNET = 1  # link type
# EtherType → where its two addresses begin, how long they are, which of their bytes tells networks apart.
ADDRESSES = {0x0800: (12, 16, 4, 2), 0x0806: (14, 24, 4, 2), 0x86DD: (8, 24, 16, 7)}
VLAN_TAGS = (0x8100, 0x88A8)
SILENCE = bytes(12) + b"\x88\xb5" + bytes(46)  # a frame of the EtherType for experiments (IEEE 802)


class Meter:
    """Runs Zeek and says what it took: CPU seconds of all its threads, or millions of instructions."""

    def __init__(self, instructions: bool) -> None:
        self.instructions = instructions
        self.unit = "M instructions" if instructions else "s CPU"

    def run(self, command: list[str], folder: Path, env: dict[str, str]) -> tuple[float, str]:
        """What the command took, and what it printed."""
        counted = folder / "counted"
        if self.instructions:
            command = ["valgrind", "--tool=callgrind", "--fair-sched=yes", f"--callgrind-out-file={counted}", *command]
        with (folder / "said").open("w+") as said:
            process = subprocess.Popen(command, cwd=folder, env=env, stdout=said, stderr=subprocess.DEVNULL)
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            if process.returncode:
                raise SystemExit(f"zeek failed with exit code {process.returncode}")
            said.seek(0)
            printed = said.read().strip()
        if not self.instructions:
            return usage.ru_utime + usage.ru_stime, printed
        totals = [line.split()[1] for line in counted.read_text().splitlines() if line.startswith("totals:")]
        return sum(map(float, totals)) / 1e6, printed


def read_rows(port: int, secret: str, beat_s: float, stop: threading.Event) -> None:
    """A bridge that answers every batch with nothing."""
    from websockets.exceptions import ConnectionClosed
    from websockets.sync.client import connect

    settings = LinkSettings(secret, require_mac="never", hello_interval_s=beat_s, acks_at_once=8)
    link = Link(settings, lambda *_, **__: None)
    while not stop.is_set():
        with suppress(OSError):
            client = connect(
                f"ws://127.0.0.1:{port}/v1/messages/json",
                compression=None,
                proxy=None,
                max_size=1 << 24,
                ping_interval=None,
            )
            break
        time.sleep(0.01)
    else:
        return
    with client, suppress(ConnectionClosed):
        frames, due = link.connected(time.monotonic()), 0.0
        while not stop.is_set():
            for frame in frames:
                client.send(frame)
            now, frames = time.monotonic(), []
            if now >= due:  # like the bridge: what acknowledges less than eight batches waits for the heartbeat
                frames = link.tick(now)
                due = now + link.next_tick(now)
            with suppress(TimeoutError):
                frames += link.receive(client.recv(timeout=max(due - now, 0.0), decode=False), time.monotonic())
            for work in link.take():
                frames += link.done(work, (), time.monotonic())


def moved(frame: bytes, network: int) -> bytes:
    """The frame with its hosts in another network: a number XORed into IPv4 and IPv6 addresses that are no groups."""
    at = 12
    while len(frame) >= at + 2 and int.from_bytes(frame[at : at + 2], "big") in VLAN_TAGS:
        at += 4
    *starts, size, byte = ADDRESSES.get(int.from_bytes(frame[at : at + 2], "big"), (0, 0, 0, 0))
    if not network or not size or len(frame) < at + 2 + starts[1] + size:
        return frame
    changed = bytearray(frame)
    for start in (at + 2 + s for s in starts):
        if changed[start] < (224 if size == 4 else 255):
            changed[start + byte] ^= network
    return bytes(changed)


def overlay(captures: list[Path], copy: Path, times: int = 1) -> Path:
    """The first two minutes of all captures laid over one another, their starts spread over a minute.

    All of that so many times at once, each time in networks of its own. Ten minutes follow in silence, so that
    connections end as in life and not with Zeek: those that end with Zeek get into conn.log, but no bridge is sent them
    any more. What is not Ethernet is left out.
    """
    packets: list[tuple[float, int, bytes]] = []
    for i, capture in enumerate(captures):
        first = None
        with suppress(InputError):  # some are cut short; what can be read counts
            for link_type, batch in read_packets(capture):
                for ts, length, data in batch if link_type == ETHERNET else ():
                    first = ts if first is None else first
                    if 0 <= ts - first < SPAN_S:
                        for n in range(times):
                            late = (i + n / times) * SPREAD_S / len(captures)
                            packets.append((START + ts - first + late, length, moved(data, n)))
    packets.sort(key=itemgetter(0))
    end = packets[-1][0] if packets else START
    # Zeek ends at most 300 connections a packet; these are enough for 180,000.
    packets += [(end + 400 + i / 3, len(SILENCE), SILENCE) for i in range(600)]
    with copy.open("wb") as file:
        file.write(pcap_header())
        for ts, length, data in packets:
            file.write(struct.pack("<IIII", int(ts), int(ts % 1 * 1e6), len(data), length) + data)
    return copy


def pcap_header() -> bytes:
    return struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262144, 1)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def with_package(meter: Meter, capture: Path, bridge: bool) -> tuple[float, str]:
    with tempfile.TemporaryDirectory() as name:
        folder, port, secret, stop = Path(name), free_port(), secrets.token_hex(16), threading.Event()
        script = folder / "cost.zeek"
        command = ["zeek", "-C", "-D", "-r", str(capture), str(shared_folder("zeek-scripts"))]
        if not bridge:
            return meter.run(command, folder, dict(os.environ))
        # Under valgrind Zeek is some fifty times slower; one heartbeat a second would be fifty.
        slow = 50.0 if meter.instructions else 1.0
        script.write_text(SCRIPT.format(secret=secret, port=port, timeout=10 * slow))
        reader = threading.Thread(target=read_rows, args=(port, secret, slow, stop))
        reader.start()
        try:
            return meter.run([*command, str(script)], folder, os.environ | {"PYAD_LISTEN_PORT": str(port)})
        finally:
            stop.set()
            reader.join()


def bare(meter: Meter, capture: Path) -> float:
    with tempfile.TemporaryDirectory() as name:
        return meter.run(["zeek", "-C", "-D", "-r", str(capture)], Path(name), dict(os.environ))[0]


def interval(values: list[float], seed: int = 1) -> tuple[float, float]:
    """95 % interval of the median, by bootstrap."""
    draw = random.Random(seed)
    medians = sorted(statistics.median(draw.choices(values, k=len(values))) for _ in range(2000))
    return medians[50], medians[1949]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("captures", type=Path, nargs="+", help="captures, or folders of them: laid over one another")
    parser.add_argument("--times", type=int, default=1, help="play them so many times at once")
    parser.add_argument("--pairs", type=int, default=20)
    parser.add_argument("--no-bridge", action="store_true")
    parser.add_argument("--instructions", action="store_true")
    arguments = parser.parse_args()
    meter, bridge = Meter(arguments.instructions), not arguments.no_bridge
    captures = [
        file
        for path in arguments.captures
        for file in (sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path])
    ]
    with tempfile.TemporaryDirectory() as folder:
        empty = Path(folder) / "empty.pcap"
        empty.write_bytes(pcap_header())
        capture = overlay(captures, Path(folder) / "overlay.pcap", arguments.times)
        starts = 1 if meter.instructions else 5
        start = statistics.median(bare(meter, empty) for _ in range(starts))
        start_more = statistics.median(with_package(meter, empty, bridge)[0] for _ in range(starts))
        ratios, extra, alone, said = [], [], [], ""
        for _ in tqdm(range(arguments.pairs), disable=not sys.stderr.isatty()):
            without = bare(meter, capture) - start
            package, said = with_package(meter, capture, bridge)
            package -= start_more
            ratios.append(package / without - 1)
            extra.append(package - without)
            alone.append(without)
    more, low, high = (100 * ratio for ratio in (statistics.median(ratios), *interval(ratios)))
    print(f"bare Zeek           {statistics.median(alone):,.2f} {meter.unit}, and {start:,.2f} to start")
    print(f"with the package    {more:+.1f} % (95 % interval {low:+.1f} to {high:+.1f} %, {len(ratios)} pairs)")
    if said:
        exported, acked, dropped, batches = map(int, said.split()[-4:])
        each = 1e6 * statistics.median(extra) / exported
        print(f"per row             {each:,.1f} {'instructions' if meter.instructions else 'us'} of {exported:,} rows,"
              f" {exported / max(batches, 1):.1f} to a batch")  # fmt: skip
        print(f"                    {acked:,} answered, {dropped:,} dropped")
    return 0


if __name__ == "__main__":
    sys.exit(main())
