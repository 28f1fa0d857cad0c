"""A scenario on the screen while it plays: what was started, by whom, against whom, and what the detector says."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from pyad.paths import shared_folder
from pyad.sources.zeek_process import zeek_settings

from . import sandbox, stored
from .network import SWITCH

if TYPE_CHECKING:
    from .plan import Host, Plan
    from .scenario import Attack

TAP = "tap1"
OUTER_PID = "PYAD_LAB_OUTER_PID"  # this process, as the machine outside the lab's namespaces numbers it
_READY_S = 60.0
_AFTER_S = 8.0  # Zeek tells of an unanswered SYN 5 s later
_NOTICE_OF = {
    "flood": "Flood", "recon": "Recon", "brute_force": "Brute_Force", "web_attack": "Web_Attack",
    "spoofing": "Spoofing", "c2": "C2", "exfiltration": "Exfiltration", "exploit": "Exploit",
}  # fmt: skip
_COLOURS = {"attack": "31;1", "ended": "33", "notice": "32;1", "lab": "2"}


@dataclass
class _Watched:
    """An attack that was started. first: s until the first notice of its class; others: other notices on it."""

    attack: Attack
    by: list[Host]
    targets: list[str]
    start: float
    first: float | None = None
    others: dict[str, float] = field(default_factory=dict)


class Timeline:
    """Called by the recorder with what happens; writes it to `out` as it comes.

    kinds: ready(plan) before anybody works, start(at, end), attack(attack, by, targets, at), ended(attack, at),
    tick() several times a second, over(at) after the end. Starts no thread: the recorder forks.
    """

    def __init__(self, logs: Path | None, out: IO[str] | None = None) -> None:
        self._out = out or sys.stdout
        self._colour = self._out.isatty()
        self._logs = logs  # where Zeek runs, or None where somebody else watches
        self._start = time.time()
        self._watched: list[_Watched] = []
        self._children: list[subprocess.Popen[bytes]] = []
        self._read = 0

    def __call__(self, kind: str, **facts: Any) -> None:
        """Take one event."""
        getattr(self, f"_on_{kind}")(**facts)

    def _on_ready(self, plan: Plan) -> None:
        self._say("lab", f"{len(plan.hosts)} hosts; every frame passes {tap()} in the namespace `{SWITCH}`")
        if self._logs is None:
            for line in how_to_attach():
                self._say("lab", line)
        else:
            self._watch(self._logs)

    def _on_start(self, at: float, end: float) -> None:
        self._start = at
        self._say("lab", f"the hospital is at work, until {_clock(end - at)}")

    def _on_attack(self, attack: Attack, by: list[Host], targets: list[str], at: float) -> None:
        self._watched.append(_Watched(attack, by, targets, at))
        who, whom = _some([f"{h.name} {h.ip}" for h in by]), _some(targets)
        self._say("attack", f"{who} > {whom}: {attack.detail}  [expect {attack.label}]", at)

    def _on_ended(self, attack: Attack, at: float) -> None:
        self._say("ended", f"{attack.label}: {attack.detail}", at)

    def _on_tick(self) -> None:
        for notice in self._new_notices():
            self._take(notice, time.time())

    def _on_over(self, at: float) -> None:
        self._say("lab", "everybody stops", at)
        if self._logs is None:
            return
        deadline = time.time() + _AFTER_S
        while time.time() < deadline:
            self._on_tick()
            time.sleep(0.2)
        for child in self._children:
            with suppress(ProcessLookupError):
                os.kill(child.pid, signal.SIGTERM)
            time.sleep(2.0)
        self._on_tick()
        self._write("\n" + table(self._watched))

    def _watch(self, logs: Path) -> None:
        """Start Zeek with our package on the tap, and the bridge beside it; returns when they have met."""
        logs.mkdir(parents=True, exist_ok=True)
        for earlier in logs.glob("*.log"):  # of the scenario before, whose notices are not this one's
            earlier.unlink()
        sandbox.sh(f"ip -n {SWITCH} link set lo up")
        script = logs / "live.zeek"
        script.write_text(zeek_settings("json", stored.INSIDE, private_nets_are_local=False))
        secret = logs / "secret"
        env = os.environ | {"PYAD_SECRET_FILE": str(secret)}
        inside = ["ip", "netns", "exec", SWITCH]
        bridge = [sys.executable, "-m", "pyad", "run", "--state", "none"]
        zeek = ["zeek", "-C", "-i", tap(), str(shared_folder("zeek-scripts")), str(script)]
        self._spawn([*inside, *bridge], env, logs / "bridge.out", Path.cwd())
        _until(secret.exists, "the bridge made no secret")
        self._spawn([*inside, *zeek], env, logs / "zeek.out", logs)
        _until(lambda: _met(logs / "bridge.out"), f"Zeek and the bridge did not meet; see {logs}/*.out")
        self._say("lab", f"zeek and pyad watch; their logs are in {logs}")

    def _spawn(self, command: list[str], env: dict[str, str], said: Path, folder: Path) -> None:
        if folder == Path.cwd():
            env = env | {"PYTHONPATH": str(folder)}
        with said.open("wb") as out:
            self._children.append(subprocess.Popen(command, env=env, cwd=folder, stdout=out, stderr=out))

    def _new_notices(self) -> list[dict[str, Any]]:
        path = None if self._logs is None else self._logs / "notice.log"
        if path is None or not path.exists():
            return []
        with path.open("rb") as file:
            file.seek(self._read)
            data = file.read()
        whole = data.rfind(b"\n") + 1
        self._read += whole
        return [json.loads(line) for line in data[:whole].splitlines() if line.startswith(b"{")]

    def _take(self, notice: dict[str, Any], at: float) -> None:
        name = str(notice.get("note", ""))
        if not name.startswith("PyAD::"):
            return
        self._say("notice", f"{name}  {notice.get('msg', '')}", at)
        name = name.removeprefix("PyAD::")
        for watched in self._watched:
            if not concerns(notice, watched.by, watched.targets):
                continue
            if name == _NOTICE_OF[watched.attack.label]:
                watched.first = at - watched.start if watched.first is None else watched.first
            else:
                watched.others.setdefault(name, at - watched.start)

    def _say(self, kind: str, text: str, at: float | None = None) -> None:
        line = f"{_clock((at or time.time()) - self._start)}  {kind:<6}  {text}"
        self._write(f"\033[{_COLOURS[kind]}m{line}\033[0m\n" if self._colour else f"{line}\n")

    def _write(self, text: str) -> None:
        self._out.write(text)
        self._out.flush()  # a fork must find nothing in the buffer


def concerns(notice: dict[str, Any], by: list[Host], targets: list[str]) -> bool:
    """Whether a notice is about an attack: an attacker is an end of it, or nobody of the lab attacks a target."""
    src, dst = str(notice.get("src", "")), str(notice.get("dst", ""))
    attackers = {h.ip for h in by}
    if {src, dst} & attackers:
        return True
    return dst in targets and bool(src) and not stored.is_inside(src)


def table(watched: list[_Watched]) -> str:
    """Each attack with the class expected and the time to its first notice, or that there was none."""
    lines = [f"{'attack':<44} {'expected':<13} first notice"]
    for w in sorted(watched, key=lambda w: w.start):
        found = "not found" if w.first is None else f"after {w.first:.1f} s"
        if w.first is None and w.others:
            found += " as such; " + ", ".join(f"{name} after {s:.1f} s" for name, s in w.others.items())
        lines.append(f"{w.attack.detail[:44]:<44} {w.attack.label:<13} {found}")
    return "\n".join(lines) + "\n"


def how_to_attach() -> list[str]:
    """The lines that run Zeek and the bridge on the lab's tap, from another terminal of this machine."""
    pid = os.environ.get(OUTER_PID, "PID")
    enter = f"nsenter -t {pid} -m -n --wd=/tmp ip netns exec {SWITCH}"
    return [
        "watch it from another terminal, as root:",
        f"  nsenter -t {pid} -m -n ip -n {SWITCH} link set lo up",
        f"  {enter} env PYAD_SECRET_FILE=/tmp/lab-secret {sys.executable} -m pyad run --state none",
        f"  {enter} env PYAD_SECRET_FILE=/tmp/lab-secret zeek -C -i {tap()} {shared_folder('zeek-scripts')}",
        "notices come to /tmp/notice.log",
    ]


def tap() -> str:
    """The interface that sees every frame once."""
    shown = sandbox.sh(f"ip -n {SWITCH} -o link show {TAP}", check=False)
    return TAP if shown else "br0"


def _met(said: Path) -> bool:
    return b"connected" in said.read_bytes()


def _until(what: Any, or_else: str) -> None:
    end = time.monotonic() + _READY_S
    while not what():
        if time.monotonic() > end:
            raise SystemExit(f"lab: {or_else}")
        time.sleep(0.1)


def _clock(seconds: float) -> str:
    return f"{'-' if seconds <= -1 else ''}{int(abs(seconds)) // 60:02}:{int(abs(seconds)) % 60:02}"


def _some(items: list[str]) -> str:
    return ", ".join(items[:3]) + (f" and {len(items) - 3} more" if len(items) > 3 else "")
