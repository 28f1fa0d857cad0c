"""What the package costs Zeek: CPU time with the package and a reading bridge against bare Zeek, in interleaved pairs.

    python -m tests.bench.zeek_cost CAPTURE [--pairs 20] [--no-bridge]

For whoever has a Zeek. The bridge here only reads and answers, so that Zeek's own cost is what is measured; Zeek waits
for it at the start and is not slowed down after. With --no-bridge nobody connects: what the package costs then.
"""

from __future__ import annotations

import argparse
import os
import random
import secrets
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path

from tqdm import tqdm

from pyad.link import Link, LinkSettings
from pyad.paths import shared_folder

SCRIPT = """
redef PyAD::secret = "{secret}";
redef PyAD::listen_port = {port}/tcp;
redef Log::default_rotation_interval = 0secs;
global begun = F;
global ended = F;
event zeek_init() {{ suspend_processing(); }}
event PyAD::hello(schema: string, lane: string, session: string, window: count, counter: count, mac: string)
	&priority=-5
	{{ if ( ! begun ) {{ begun = T; continue_processing(); }} }}
event Pcap::file_done(path: string) {{ terminate(); }}
event zeek_done()
	{{
	local lane = PyAD::lanes["all"];
	print fmt("%d %d %d", lane$exported, lane$acked, lane$dropped);
	}}
"""


def cpu_s(command: list[str], folder: Path, env: dict[str, str]) -> tuple[float, str]:
    """User and system seconds of a process with all its threads, and what it printed."""
    with (folder / "said").open("w+") as said:
        process = subprocess.Popen(command, cwd=folder, env=env, stdout=said, stderr=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise SystemExit(f"zeek failed with exit code {process.returncode}")
        said.seek(0)
        return usage.ru_utime + usage.ru_stime, said.read().strip()


def read_rows(port: int, secret: str, stop: threading.Event) -> None:
    """A bridge that answers every batch with nothing."""
    from websockets.exceptions import ConnectionClosed
    from websockets.sync.client import connect

    link = Link(LinkSettings(secret, require_mac="never"), lambda *_, **__: None)
    while not stop.is_set():
        with suppress(OSError):
            client = connect(f"ws://127.0.0.1:{port}/v1/messages/json", compression=None, proxy=None, max_size=1 << 24)
            break
        time.sleep(0.01)
    else:
        return
    with client, suppress(ConnectionClosed):
        frames = link.connected(time.monotonic())
        while not stop.is_set():
            for frame in frames:
                client.send(frame)
            now = time.monotonic()
            frames = link.tick(now)
            with suppress(TimeoutError):
                frames += link.receive(client.recv(timeout=link.next_tick(now), decode=False), time.monotonic())
            for work in link.take():
                frames += link.done(work, (), time.monotonic())


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def with_package(capture: Path, bridge: bool) -> tuple[float, str]:
    with tempfile.TemporaryDirectory() as name:
        folder, port, secret, stop = Path(name), free_port(), secrets.token_hex(16), threading.Event()
        script = folder / "cost.zeek"
        command = ["zeek", "-C", "-D", "-r", str(capture), str(shared_folder("zeek-scripts"))]
        if not bridge:
            return cpu_s(command, folder, dict(os.environ))
        script.write_text(SCRIPT.format(secret=secret, port=port))
        reader = threading.Thread(target=read_rows, args=(port, secret, stop))
        reader.start()
        try:
            return cpu_s([*command, str(script)], folder, os.environ | {"PYAD_LISTEN_PORT": str(port)})
        finally:
            stop.set()
            reader.join()


def bare(capture: Path) -> float:
    with tempfile.TemporaryDirectory() as name:
        return cpu_s(["zeek", "-C", "-D", "-r", str(capture)], Path(name), dict(os.environ))[0]


def interval(values: list[float], seed: int = 1) -> tuple[float, float]:
    """95 % interval of the median, by bootstrap."""
    draw = random.Random(seed)
    medians = sorted(statistics.median(draw.choices(values, k=len(values))) for _ in range(2000))
    return medians[50], medians[1949]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("capture", type=Path)
    parser.add_argument("--pairs", type=int, default=20)
    parser.add_argument("--no-bridge", action="store_true")
    arguments = parser.parse_args()
    capture = arguments.capture.resolve()
    with tempfile.TemporaryDirectory() as empty:
        start = cpu_s(["zeek", "-e", "event zeek_init() { terminate(); }"], Path(empty), dict(os.environ))[0]
    ratios, extra, alone, said = [], [], [], ""
    for _ in tqdm(range(arguments.pairs), disable=not sys.stderr.isatty()):
        without = bare(capture)
        package, said = with_package(capture, not arguments.no_bridge)
        ratios.append(package / without - 1)
        extra.append(package - without)
        alone.append(without)
    low, high = interval(ratios)
    print(f"bare Zeek           {statistics.median(alone):.2f} s CPU, {start:.2f} s of it to start")
    more, low, high = (100 * ratio for ratio in (statistics.median(ratios), low, high))
    print(f"with the package    {more:+.1f} % (95 % interval {low:+.1f} to {high:+.1f} %)")
    if said:
        exported, acked, dropped = map(int, said.split()[-3:])
        print(f"per row             {1e6 * statistics.median(extra) / exported:.1f} us of {exported:,} rows exported")
        print(f"                    {acked:,} answered, {dropped:,} dropped, in {len(ratios)} pairs")
    return 0


if __name__ == "__main__":
    sys.exit(main())
