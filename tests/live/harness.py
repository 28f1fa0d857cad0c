"""A live Zeek on generated traffic, a bridge beside it, and what they wrote; for whoever has a Zeek."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import dpkt
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect
from websockets.sync.server import ServerConnection, serve

from pyad.paths import shared_folder

NO_ZEEK = "zeek is not on PATH; binary packages: https://docs.zeek.org (Installing Zeek)"
needs_zeek = pytest.mark.skipif(shutil.which("zeek") is None, reason=NO_ZEEK)

BEGIN = 1_700_000_000.0
# Prints what became of the rows when Zeek ends, and ends it when the capture does.
SCRIPT = """
event zeek_init() { if ( getenv("PYAD_WAIT") != "" ) suspend_processing(); }
global begun = F;
event PyAD::hello(schema: string, lane: string, session: string, window: count, counter: count, mac: string)
	&priority=-5
	{ if ( ! begun && PyAD::exporting ) { begun = T; if ( is_processing_suspended() ) continue_processing(); } }
event the_end() { terminate(); }
event Pcap::file_done(path: string) { PyAD::flush_buffer(PyAD::lanes["all"]); schedule 2sec { the_end() }; }
event zeek_done()
	{
	local l = PyAD::lanes["all"];
	print fmt("rows %d %d %d %d", l$exported, l$acked, l$dropped, l$held);
	}
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def until(what: Callable[[], object], limit_s: float = 20.0) -> None:
    """Wait until `what` is true. Fails after limit_s."""
    end = time.monotonic() + limit_s
    while not what():
        assert time.monotonic() < end, f"not within {limit_s:g} s"
        time.sleep(0.02)


class Capture:
    """A capture being made: whole TCP connections and unanswered SYNs, each at its time."""

    def __init__(self) -> None:
        self._packets: list[tuple[float, bytes]] = []
        self.connections = 0

    def tcp(self, at: float, src: int, dst: int, port: int, dport: int = 80, answered: bool = True) -> None:
        """One connection from 10.0.src to 10.1.dst at `at` s; answered: with 100 bytes each way, closed in 20 ms."""
        self.connections += 1
        a, b = bytes([10, 0, src >> 8, src & 255]), bytes([10, 1, dst >> 8, dst & 255])
        steps = [(a, b, 2, 0, 0, b"")]
        if answered:
            x, y = b"x" * 100, b"y" * 100
            steps += [(b, a, 18, 0, 1, b""), (a, b, 16, 1, 1, b""), (a, b, 24, 1, 1, x), (b, a, 24, 1, 101, y)]
            steps += [(a, b, 17, 101, 101, b""), (b, a, 17, 101, 102, b""), (a, b, 16, 102, 102, b"")]
        for i, (s, d, flags, seq, ack, data) in enumerate(steps):
            self._packet(at + i * 0.003, s, d, (port, dport) if s == a else (dport, port), flags, seq, ack, data)

    def steady(self, per_s: float, for_s: float) -> Capture:
        """Ordinary connections of 20 clients to 5 servers."""
        for i in range(int(per_s * for_s)):
            self.tcp(i / per_s, i % 20, 200 + i % 5, 1024 + i % 60_000)
        return self

    def scan(self, at: float, source: int, targets: int, per_s: float = 100.0) -> Capture:
        """SYNs from one host to many that do not answer."""
        for i in range(targets):
            self.tcp(at + i / per_s, source, 1000 + i, 40_000 + i, dport=22, answered=False)
        return self

    def lasting(self, at: float, src: int, port: int, every_s: float, for_s: float) -> Capture:
        """One connection that stays open, with 20 bytes out and 10 back every now and then."""
        self.connections += 1
        a, b = bytes([10, 0, src >> 8, src & 255]), bytes([10, 1, 0, 250])
        steps: list[tuple[float, bytes, bytes, int, int, int, bytes]] = [
            (0.0, a, b, 2, 0, 0, b""), (0.003, b, a, 18, 0, 1, b""), (0.006, a, b, 16, 1, 1, b"")
        ]  # fmt: skip
        for i in range(int(for_s / every_s)):
            out, back = 1 + 20 * i, 1 + 10 * i
            steps.append((0.01 + i * every_s, a, b, 24, out, back, b"x" * 20))
            steps.append((0.02 + i * every_s, b, a, 24, back, out + 20, b"y" * 10))
            steps.append((0.03 + i * every_s, a, b, 16, out + 20, back + 10, b""))
        for after, s, d, flags, seq, ack, data in steps:
            self._packet(at + after, s, d, (port, 443) if s == a else (443, port), flags, seq, ack, data)
        return self

    def packets(self) -> list[tuple[float, bytes]]:
        """(s since the beginning, frame), in order."""
        return [(ts - BEGIN, frame) for ts, frame in sorted(self._packets, key=lambda p: p[0])]

    def write(self, path: Path) -> Path:
        with path.open("wb") as file:
            writer = dpkt.pcap.Writer(file)
            for ts, frame in self.packets():
                writer.writepkt(frame, BEGIN + ts)
        return path

    def _packet(
        self, at: float, s: bytes, d: bytes, ports: tuple[int, int], flags: int, seq: int, ack: int, data: bytes
    ) -> None:
        segment = dpkt.tcp.TCP(sport=ports[0], dport=ports[1], flags=flags, seq=1000 + seq, data=data)
        segment.ack = 1000 + ack if flags & 16 else 0
        packet = dpkt.ip.IP(src=s, dst=d, p=6, ttl=64, data=segment)
        packet.len = len(packet)
        frame = dpkt.ethernet.Ethernet(src=b"\2\0" + s, dst=b"\2\0" + d, type=0x0800, data=packet)
        self._packets.append((BEGIN + at, bytes(frame)))


class Live:
    """One Zeek and its bridges in a folder. Everything that was started is ended by `close`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.secret = secrets.token_hex(16)
        (folder / "secret").touch(mode=0o640)
        (folder / "secret").write_text(self.secret + "\n")
        self._running: list[subprocess.Popen[bytes]] = []
        self._n = 0

    def replay(
        self, capture: Path, settings: str = "", speed: float = 1.0, wait: bool = True
    ) -> subprocess.Popen[bytes]:
        """Start Zeek on a capture as if it happened now; wait: it begins when a bridge is there."""
        return self.zeek([f"--pseudo-realtime={speed:g}", "-r", str(capture)], settings, wait)

    def zeek(self, source: list[str], settings: str = "", wait: bool = False) -> subprocess.Popen[bytes]:
        """Start Zeek on what its arguments `source` say."""
        logs = self.folder / "zeek"
        if logs.exists():
            logs = self.folder / "zeek2"
        logs.mkdir()
        script = self.folder / "live.zeek"
        script.write_text(SCRIPT + settings)
        env = os.environ | {"PYAD_LISTEN_PORT": str(self.port), "PYAD_SECRET_FILE": str(self.folder / "secret")}
        command = ["zeek", "-C", *source, str(shared_folder("zeek-scripts")), str(script)]
        return self._start(command, logs, env | ({"PYAD_WAIT": "1"} if wait else {}), logs / "out")

    def connected(self) -> None:
        """Wait until the first bridge and Zeek have found each other."""
        until(lambda: " connected " in self.said())
        time.sleep(1.5)  # a heartbeat

    def bridge(self, *sets: str, port: int | None = None, scheme: str = "ws") -> subprocess.Popen[bytes]:
        self._n += 1
        command = [sys.executable, "-m", "pyad", "run", "--url", f"{scheme}://127.0.0.1:{port or self.port}"]
        for one in (
            f"bridge.secret_file={self.folder / 'secret'}",
            f"bridge.state_file={self.folder / 'state'}",
            *sets,
        ):
            command += ["--set", one]
        return self._start(command, self.folder, dict(os.environ), self.folder / f"bridge{self._n}")

    def said(self, n: int = 1) -> str:
        return (self.folder / f"bridge{n}").read_text()

    def rows(self, process: subprocess.Popen[bytes], limit_s: float = 60.0) -> dict[str, int]:
        """Wait for Zeek's end; what became of its rows."""
        process.wait(limit_s)
        text = next(t for t in (self.folder / "zeek" / "out").read_text().splitlines() if t.startswith("rows "))
        return dict(zip(("exported", "acked", "dropped", "held"), map(int, text.split()[1:])))

    def log(self, name: str, folder: str = "zeek") -> list[dict[str, str]]:
        path = self.folder / folder / name
        if not path.exists():
            return []
        lines = path.read_text().splitlines()
        names = next(line for line in lines if line.startswith("#fields")).split("\t")[1:]
        return [dict(zip(names, line.split("\t"))) for line in lines if not line.startswith("#")]

    def close(self) -> None:
        for process in self._running:
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.kill()
            process.wait(10)

    def _start(self, command: list[str], cwd: Path, env: dict[str, str], out: Path) -> subprocess.Popen[bytes]:
        with out.open("wb") as said:
            process = subprocess.Popen(command, cwd=cwd, env=env, stdout=said, stderr=subprocess.STDOUT)
        self._running.append(process)
        return process


class Meddler:
    """Stands between bridge and Zeek, and hands on what Zeek says as `change` (frame → frames) would have it."""

    def __init__(self, to: int, change: Callable[[bytes], list[bytes]]) -> None:
        self._change = change
        self._url = f"ws://127.0.0.1:{to}/v1/messages/json"
        self._server = serve(self._between, "127.0.0.1", 0, compression=None, max_size=1 << 24)
        self.port = int(self._server.socket.getsockname()[1])
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def _between(self, bridge: ServerConnection) -> None:
        try:
            with connect(self._url, compression=None, proxy=None, max_size=1 << 24) as zeek:
                threading.Thread(target=self._onward, args=(bridge, zeek), daemon=True).start()
                while True:
                    for frame in self._change(zeek.recv(decode=False)):
                        bridge.send(frame, text=True)
        except (ConnectionClosed, OSError):
            bridge.close()

    @staticmethod
    def _onward(bridge: ServerConnection, zeek: ClientConnection) -> None:
        with contextlib.suppress(ConnectionClosed):
            while True:
                zeek.send(bridge.recv(decode=False), text=True)
        zeek.close()

    def close(self) -> None:
        self._server.shutdown()


def rss_kb(process: subprocess.Popen[bytes]) -> int:
    for line in Path(f"/proc/{process.pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1])
    return 0
