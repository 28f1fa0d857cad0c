"""The recordings the data set is made of, and a command that makes them, several at a time."""

from __future__ import annotations

import fnmatch
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from .catalog import BY_CLASS

_DAYS = {"train": 2, "validation": 1, "test": 2}  # benign days of each group
_PER_CLASS = {"train": 3, "validation": 1, "test": 2}
_MORE = {"validation": {"web_attack": 1, "flood": 1}}  # recordings beside those
_CAMPAIGNS = {"train": 4, "validation": 1, "test": 1}
_FIRST_SEED = {"train": 100, "validation": 400, "test": 700}
DAY_HASTE, DAY_SECONDS = 144.0, 600.0  # twenty-four hours in ten minutes
ATTACK_SECONDS = 100.0


@dataclass(frozen=True)
class Recording:
    """One capture to make; `haste` and `seconds` 0 mean the scenario's own."""

    title: str
    scenario: str
    group: str
    seed: int
    haste: float = 0.0
    seconds: float = 0.0

    def arguments(self, out: Path) -> list[str]:
        """What `record` is called with."""
        return ["record", "--scenario", self.scenario, "--group", self.group, "--seed", str(self.seed),
                "--title", self.title, "--haste", str(self.haste), "--seconds", str(self.seconds),
                "--out", str(out)]  # fmt: skip


def recordings() -> list[Recording]:
    """Every recording of the data set. No seed, and so no device, is used twice."""
    found = []
    for group, first in _FIRST_SEED.items():
        seed = first
        for count, name, haste, seconds in (
            (_DAYS[group], "day", DAY_HASTE, DAY_SECONDS),
            *((_PER_CLASS[group], label, 0.0, ATTACK_SECONDS) for label in BY_CLASS),
            (_CAMPAIGNS[group], "campaign", 0.0, ATTACK_SECONDS),
            *((more, label, 0.0, ATTACK_SECONDS) for label, more in _MORE.get(group, {}).items()),
        ):
            for _ in range(count):
                title = f"{name.replace('_', '-')}-{seed}"
                found.append(Recording(title, name, group, seed, haste, seconds))
                seed += 1
    return found


def run(out: Path, jobs: int, only: str) -> int:
    """Record what is not there yet, `jobs` at a time, and stretch the days to real-life pace; 1 if one failed."""
    from tqdm import tqdm

    wanted = [r for r in recordings() if fnmatch.fnmatchcase(r.title, only)]
    waiting = [r for r in wanted if not (out / f"{r.title}.done").exists()]
    running: dict[subprocess.Popen[bytes], Recording] = {}
    failed: list[str] = []
    out.mkdir(parents=True, exist_ok=True)
    with tqdm(total=len(wanted), initial=len(wanted) - len(waiting), disable=not sys.stderr.isatty()) as bar:
        while waiting or running:
            while waiting and len(running) < jobs:
                recording = waiting.pop(0)
                with (out / f"{recording.title}.said").open("wb") as said:
                    process = subprocess.Popen(
                        [sys.executable, "-m", __package__, *recording.arguments(out)], stdout=said, stderr=said
                    )
                running[process] = recording
                time.sleep(3)  # building two networks at once gains nothing
            for process in [p for p in running if p.poll() is not None]:
                recording = running.pop(process)
                if process.returncode == 0 and _finish(out, recording):
                    bar.update()
                else:
                    failed.append(recording.title)
            time.sleep(0.5)
    for title in failed:
        sys.stderr.write(f"lab: {title} was not recorded; {out / (title + '.said')} says why\n")
    return int(bool(failed))


def _finish(out: Path, recording: Recording) -> bool:
    """Stretch a day; mark the recording as complete."""
    capture = out / f"{recording.title}.pcap"
    if not capture.exists():
        return False
    if recording.scenario == "day":
        from .stretch import stretch

        recorded = capture.with_suffix(".recorded")  # kept: stretching cannot be undone
        capture.rename(recorded)
        stretch(recorded, capture, recording.haste)
    (out / f"{recording.title}.done").touch()
    return True
