"""A Zeek cluster on loopback with pyad's package and bridges: manager, logger, two proxies, two workers.

The workers read captures at the pace of their packets, once the cluster and every bridge is up.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import IO

from websockets.sync.client import connect

from pyad import wire
from pyad.row import SCHEMA_HASH
from tests.traffic import frame, write_pcap

PACKAGE = Path(__file__).parents[2] / "zeek-scripts"
_WAITING = Path(__file__).with_name("cluster.zeek")
NO_ZEEK = "zeek is not on PATH; binary packages: https://docs.zeek.org (Installing Zeek)"
SECRET = "0123456789abcdef0123456789abcdef"
BACKENDS = ("zeromq", "broker")
PROXIES, WORKERS = ("proxy-1", "proxy-2"), ("worker-1", "worker-2")
NODES = ("manager", "logger-1", *PROXIES, *WORKERS)
SCANNER = "10.0.9.66"
_FIRST_PORT, _PORTS, _PROXY_PORTS, _MOST_S = 28200, 9, 1001, 90

_LAYOUT = """
redef Cluster::manager_is_logger = F;
redef Cluster::nodes = {{
	["manager"] = [$node_type=Cluster::MANAGER, $ip=127.0.0.1, $p={0}/tcp],
	["logger-1"] = [$node_type=Cluster::LOGGER, $ip=127.0.0.1, $p={1}/tcp, $manager="manager"],
	["proxy-1"] = [$node_type=Cluster::PROXY, $ip=127.0.0.1, $p={2}/tcp, $manager="manager"],
	["proxy-2"] = [$node_type=Cluster::PROXY, $ip=127.0.0.1, $p={3}/tcp, $manager="manager"],
	["worker-1"] = [$node_type=Cluster::WORKER, $ip=127.0.0.1, $p={4}/tcp, $manager="manager"],
	["worker-2"] = [$node_type=Cluster::WORKER, $ip=127.0.0.1, $p={5}/tcp, $manager="manager"],
}};
"""

_OF_BACKEND = {
    "broker": """
@load frameworks/cluster/backend/broker
redef Broker::disable_ssl = T;
""",
    "zeromq": """
@load frameworks/cluster/backend/zeromq
redef Cluster::Backend::ZeroMQ::listen_xpub_endpoint = "tcp://127.0.0.1:{6}";
redef Cluster::Backend::ZeroMQ::connect_xsub_endpoint = "tcp://127.0.0.1:{6}";
redef Cluster::Backend::ZeroMQ::listen_xsub_endpoint = "tcp://127.0.0.1:{7}";
redef Cluster::Backend::ZeroMQ::connect_xpub_endpoint = "tcp://127.0.0.1:{7}";
@if ( Cluster::local_node_type() == Cluster::MANAGER )
redef Cluster::Backend::ZeroMQ::run_proxy_thread = T;
@endif
""",
}


def free_ports() -> list[int]:
    """Ports one after the other that are free, the last for the manager's WebSocket server, as are the proxies'."""
    for first in range(_FIRST_PORT, 60000, _PORTS):
        ports = list(range(first, first + _PORTS))
        if all(map(_is_free, [*ports, *(ports[-1] + _PROXY_PORTS + i for i in range(len(PROXIES)))])):
            return ports
    raise OSError("no free ports")


def _is_free(port: int) -> bool:
    with socket.socket() as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            s.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


class Cluster:
    """The nodes and bridges as processes; everything they write is under `folder`.

    captures: one per worker. script: more Zeek script for all nodes. with_secret: the nodes that can read the secret.
    """

    def __init__(
        self,
        folder: Path,
        backend: str,
        captures: Iterable[Path],
        script: str = "",
        with_secret: Iterable[str] = NODES,
    ) -> None:
        self.folder = folder
        self._backend = backend
        self._captures = dict(zip(WORKERS, captures, strict=True))
        self._script = script
        self._with_secret = set(with_secret)
        self._ports = free_ports()
        self._killed: set[str] = set()
        self.nodes: dict[str, subprocess.Popen[bytes]] = {}
        self.bridges: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Cluster:
        shared = self.folder / "shared"
        shared.mkdir(parents=True)
        (shared / "cluster-layout.zeek").write_text(_LAYOUT.format(*self._ports))
        (shared / "backend.zeek").write_text(_OF_BACKEND[self._backend].format(*self._ports))
        (shared / "test.zeek").write_text(f"@load {_WAITING}\n{self._script}")
        (shared / "secret").write_text(SECRET)
        (shared / "secret").chmod(0o640)
        for name in NODES:
            self.start_node(name)
        return self

    def __exit__(self, *_: object) -> None:
        processes = [*self.bridges.values(), *self.nodes.values()]
        for process in processes:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
        for process in processes:
            process.wait()

    def start_node(self, name: str) -> None:
        self._killed.discard(name)
        folder, shared = self.folder / name, self.folder / "shared"
        folder.mkdir(exist_ok=True)
        env = {
            **os.environ,
            "CLUSTER_NODE": name,
            "ZEEKPATH": f"{shared}:{_zeek_path()}",
            "PYAD_LISTEN_PORT": str(self._ports[8]),
            "PYAD_SECRET_FILE": str(self.folder / "shared" / "secret")
            if name in self._with_secret
            else "/nowhere/secret",
        }
        command = ["zeek", "-C"]
        if name in self._captures:
            command += ["--pseudo-realtime=1", "-r", str(self._captures[name])]
        command += ["backend.zeek", str(PACKAGE), "test.zeek"]
        with (folder / "stderr").open("ab") as err:
            self.nodes[name] = _start(command, folder, env, err)

    def kill_node(self, name: str) -> None:
        """The node is gone at once, as with a crash."""
        os.killpg(self.nodes[name].pid, signal.SIGKILL)
        self.nodes[name].wait()
        self._killed.add(name)

    def start_bridge(self, lane: str = "all", *options: str) -> None:
        port = self._websocket_port(lane)
        folder = self.folder / f"bridge-{lane}"
        folder.mkdir(exist_ok=True)
        command = [sys.executable, "-m", "pyad", "run", "--lane", lane, "--url", f"ws://127.0.0.1:{port}"]
        command += ["--state", "none", "--out", str(folder), "--format", "json", "--verdicts", "all", *options]
        root = str(Path(__file__).parents[2])
        env = {**os.environ, "PYTHONPATH": root, "PYAD_SECRET_FILE": str(self.folder / "shared" / "secret")}
        with (folder / "stderr").open("ab") as err:
            self.bridges[lane] = _start(command, folder, env, err)

    def _websocket_port(self, node: str) -> int:
        """A proxy's, or the manager's."""
        return self._ports[8] + (PROXIES.index(node) + _PROXY_PORTS if node in PROXIES else 0)

    def log(self, node: str, name: str) -> list[dict]:
        """The lines of a JSON log so far; a line half written is left out."""
        path = self.folder / node / name
        if not path.exists():
            return []
        whole = path.read_text().rpartition("\n")[0]
        return [json.loads(line) for line in whole.splitlines()]

    def connections(self) -> Counter[str]:
        """How often each connection is in conn.log."""
        return Counter(line["uid"] for line in self.log("logger-1", "conn.log"))

    def judged(self, *lanes: str) -> Counter[str]:
        """How often each connection came to a bridge; all bridges unless lanes are named."""
        uids: Counter[str] = Counter()
        for lane in lanes or self.bridges:
            uids.update(line["uid"] for line in self.log(f"bridge-{lane}", "pyad.log"))
        return uids

    def hosts(self, lane: str) -> set[str]:
        """The originators that a bridge was told of."""
        return {line["id.orig_h"] for line in self.log(f"bridge-{lane}", "pyad.log")}

    def statuses(self, at: str = "manager") -> dict[str, dict[str, str]]:
        """What the nodes say of themselves when asked by a client of the WebSocket server `at` a node."""
        port = self._websocket_port(at)
        said: dict[str, dict[str, str]] = {}
        with connect(f"ws://127.0.0.1:{port}{wire.PATH}") as websocket:
            websocket.send(json.dumps([wire.STATUS_TOPIC]))
            websocket.recv(5)
            websocket.send(wire.encode(wire.BRIDGE_TOPIC, "status_request", (SCHEMA_HASH,)))
            with suppress(TimeoutError):
                while len(said) < len(NODES):
                    event = wire.decode(websocket.recv(2, decode=False))
                    if isinstance(event, wire.Event):
                        said[event.args[1]] = wire.facts(event.args[4])
        return said

    def notices(self) -> list[dict]:
        return [n for n in self.log("logger-1", "notice.log") if n["note"].startswith("PyAD::")]

    def until(self, what: Callable[[], object], seconds: float) -> None:
        end = time.monotonic() + seconds
        while not what():
            assert time.monotonic() < end and not self._ended(), self.errors()
            time.sleep(0.1)

    def _ended(self) -> list[str]:
        """Nodes and bridges that should run and do not."""
        everything = {**self.nodes, **self.bridges}
        return [name for name, process in everything.items() if process.poll() is not None and name not in self._killed]

    def errors(self) -> str:
        """What the processes said, for a test that fails."""
        files = sorted(self.folder.glob("*/stderr"))
        return "\n".join(f"--- {file.parent.name}\n{file.read_text()[-2000:]}" for file in files)


def _start(command: list[str], folder: Path, env: dict[str, str], err: IO[bytes]) -> subprocess.Popen[bytes]:
    """A process in a group of its own. The time limit is for when the test itself is killed."""
    limited = ["timeout", "-s", "KILL", str(_MOST_S), *command]
    return subprocess.Popen(limited, cwd=folder, env=env, stdout=err, stderr=err, start_new_session=True)


def _zeek_path() -> str:
    config = shutil.which("zeek-config")
    if config is None:
        config = str(Path(str(shutil.which("zeek"))).resolve().with_name("zeek-config"))
    return subprocess.run([config, "--zeekpath"], capture_output=True, text=True, check=True).stdout.strip()


def capture(path: Path, worker: int, seconds: float = 6.0, per_second: int = 150, hosts: int = 40) -> tuple[Path, int]:
    """Short connections of many hosts, and on worker 0 a scan: the capture and how many connections are in it."""
    out: list[tuple[float, bytes]] = []
    n = round(seconds * per_second)
    for i in range(n):
        t = 1_700_000_000.0 + i / per_second
        client, server = f"10.0.{worker}.{1 + i % hosts}", f"10.1.0.{1 + i % 7}"
        there, back = (client, 20_000 + i, server, 80), (server, 80, client, 20_000 + i)
        steps = [
            frame(*there, 2, 0, 0),
            frame(*back, 18, 0, 1),
            frame(*there, 16, 1, 1),
            frame(*there, 17, 1, 1),
            frame(*back, 17, 1, 2),
            frame(*there, 16, 2, 2),
        ]
        out += [(t + j * 0.001, step) for j, step in enumerate(steps)]
    scanned = round(seconds * 50) if worker == 0 else 0
    for i in range(scanned):
        t = 1_700_000_000.0 + i / 50
        out.append((t, frame(SCANNER, 50_000 + i, "10.1.0.9", 1 + i, 2, 0, 0)))
        out.append((t + 0.0001, frame("10.1.0.9", 1 + i, SCANNER, 50_000 + i, 20, 0, 1)))
    return write_pcap(path, sorted(out, key=lambda p: p[0])), n + scanned
