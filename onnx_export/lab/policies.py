"""What Zeek's own policies find of the attacks in recordings: those that come with it and name an attacker."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tqdm import tqdm

from onnx_export.tables import markdown

from . import stored

# Notice → what it says of whom its `src` names. Zeek's scan detection is a package of its own since 5.0.
NOTICES = {
    "SSH::Password_Guessing": "brute_force",
    "FTP::Bruteforcing": "brute_force",
    "HTTP::SQL_Injection_Attacker": "web_attack",
    "Traceroute::Detected": "recon",
}
SCRIPTS = (
    "protocols/ssh/detect-bruteforcing",
    "protocols/ftp/detect-bruteforcing",
    "protocols/http/detect-sql-injection",
    "misc/detect-traceroute",
)
_LATE_S = 65.0  # their statistics are over minutes; a notice comes at the end of one at the latest


def run(recordings: list[Path], group: str) -> int:
    """Print a table by class: attacks, those found, notices that no attack explains; 1 where Zeek or captures lack."""
    captures = [c for c in stored.captures(recordings) if group in ("all", stored.read_scenario(c).get("group"))]
    if not captures or shutil.which("zeek") is None:
        what = (
            f"no recording of group {group} in {' '.join(map(str, recordings))}" if not captures else "no zeek on PATH"
        )
        sys.stderr.write(f"lab: {what}\n")
        return 1
    attacks: Counter[str] = Counter()
    found: Counter[str] = Counter()
    by_notice: dict[str, Counter[str]] = defaultdict(Counter)
    for capture in tqdm(captures, disable=None):
        known = stored.known_attacks(stored.read_scenario(capture))
        attacks.update(a["label"] for a in known)
        told = list(notices(capture))
        for attack in known:
            found[attack["label"]] += any(explains(attack, notice) for notice in told)
        for notice in told:
            right = any(explains(attack, notice) for attack in known)
            by_notice[notice["note"]]["right" if right else "false"] += 1
    by_class = markdown(["class", "attacks", "found"], [[c, n, found[c]] for c, n in sorted(attacks.items())])
    lines = [[name, by_notice[name]["right"], by_notice[name]["false"]] for name in NOTICES]
    sys.stdout.write(f"{by_class}\n\n{markdown(['notice', 'of an attacker', 'of others'], lines)}\n\n")
    sys.stdout.write(f"{len(captures)} recordings of group {group}\n")
    return 0


def notices(capture: Path) -> Iterator[dict[str, Any]]:
    """What Zeek's policies raise on a capture: note, ts (s), src. Raises RuntimeError where Zeek fails."""
    with tempfile.TemporaryDirectory() as folder:
        command = ["zeek", "-C", "-r", str(capture.resolve()), "LogAscii::use_json=T", *SCRIPTS]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"zeek failed on {capture}: {done.stderr.strip()[-300:]}")
        log = Path(folder) / "notice.log"
        for line in log.read_text(encoding="utf-8").splitlines() if log.exists() else ():
            notice = json.loads(line)
            if notice["note"] in NOTICES:
                yield notice


def explains(attack: dict[str, Any], notice: dict[str, Any]) -> bool:
    """Whether a notice is of an attack: its class, one of its attackers, its time."""
    return (
        NOTICES[notice["note"]] == attack["label"]
        and notice.get("src") in attack["by"]
        and attack["start"] <= notice["ts"] <= attack["end"] + _LATE_S
    )
