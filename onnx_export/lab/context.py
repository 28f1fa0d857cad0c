"""What a running task of a host may use: its host, the plan, its own randomness and the clock."""

from __future__ import annotations

import random
import socket
import struct
import subprocess
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .roles import STAFF_NIGHT

if TYPE_CHECKING:
    from pathlib import Path

    from .plan import Host, Plan


@dataclass
class Context:
    """Handed to every behaviour and attack; `pause` is how they wait and learn to stop."""

    host: Host
    plan: Plan
    rng: random.Random
    begin: float  # epoch seconds, as is `end`
    end: float
    work: Path
    haste: float = 1.0  # everyday schedules run this many times as fast as the seconds they are written in
    cache: dict[str, tuple[str | None, float]] = field(default_factory=dict)

    def hour(self) -> float:
        """The hour of the day in the hospital, 0 to 24."""
        return (self.plan.begins_at + (time.time() - self.begin) * self.haste / 3600) % 24

    def pause(self, seconds: float, jitter: float = 0.3) -> bool:
        """Sleep about this long by the hospital's clock, longer for staff at night; False when all is over."""
        night = STAFF_NIGHT.get(self.host.role, 1.0) if not 6.5 <= self.hour() < 20 else 1.0
        wait = max(0.0, seconds * night / self.haste * (1 + jitter * self.rng.uniform(-1, 1)))
        left = self.end - time.time()
        time.sleep(max(0.0, min(wait, left)))
        return time.time() < self.end

    def connect(self, address: str, port: int, timeout: float = 5.0) -> socket.socket | None:
        """A TCP connection, or None where nobody answers."""
        try:
            return socket.create_connection((address, port), timeout)
        except OSError:
            return None

    def resolve(self, name: str, kind: int = 1) -> str | None:
        """Ask the hospital's resolver (answers are kept 1 to 10 minutes), as an application would."""
        if name in self.cache and self.cache[name][1] > time.time():
            return self.cache[name][0]
        found = ask(self.plan.one("dns").ip, name, kind, self.rng)
        self.cache[name] = (found, time.time() + self.rng.uniform(60, 600) / self.haste)
        return found

    def command(self, args: list[str], timeout: float = 60.0, stdin: str | None = None) -> int:
        """Run a tool to its end or to the timeout; its exit status (124 when stopped)."""
        limit = max(1.0, min(timeout, self.end - time.time()))
        try:
            return subprocess.run(
                args, timeout=limit, check=False, input=stdin, text=True, stdout=subprocess.DEVNULL
            ).returncode
        except subprocess.TimeoutExpired:
            return 124


def question(name: str, kind: int, rng: random.Random) -> bytes:
    """One DNS question as it goes on the wire."""
    labels = b"".join(bytes([len(p)]) + p.encode() for p in name.rstrip(".").split("."))
    return struct.pack(">HHHHHH", rng.randrange(65536), 0x0100, 1, 0, 0, 0) + labels + struct.pack(">BHH", 0, kind, 1)


def ask(server: str, name: str, kind: int, rng: random.Random, timeout: float = 2.0) -> str | None:
    """Send one question; the last A record of the answer, if any."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.settimeout(timeout)
        try:
            s.sendto(question(name, kind, rng), (server, 53))
            answer = s.recv(4096)
        except OSError:
            return None
    has_record = struct.unpack(">H", answer[6:8])[0] > 0
    return socket.inet_ntoa(answer[-4:]) if has_record and kind == 1 else None
