"""Captures through Zeek and the bridge: every connection of conn.log has its verdict, and runs agree.

    python -m tests.bench.zeek_sweep FOLDER_OR_CAPTURE… [--runs N] [--against-dpkt] [--no-counters]

For whoever has a Zeek: prints one line per capture that is not as it should be, and the totals.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import io
import sys
import tempfile
from collections import Counter
from pathlib import Path
from unittest import mock

from tqdm import tqdm

from pyad.config import load_config
from pyad.errors import PyadError
from pyad.replay import replay
from pyad.sources import detect
from pyad.sources.zeek_package import ZeekPackage

NO_COUNTERS = "redef PyAD::count_applications = F;\n"


def captures(paths: list[Path]) -> list[Path]:
    found = []
    for path in paths:
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            with contextlib.suppress(PyadError):
                if file.is_file() and detect(file) == "pcap":
                    found.append(file)
    return found


def lines(log: Path) -> list[list[str]]:
    if not log.is_file():
        return []
    with log.open(encoding="utf-8", errors="surrogateescape") as text:
        return [line.rstrip("\n").split("\t") for line in text if not line.startswith("#")]


def uids(log: Path, partial_at: int | None, proto_at: int) -> Counter[str]:
    """Connections by uid; rows of open connections and of changed addresses left out."""
    return Counter(f[1] for f in lines(log) if (partial_at is None or f[partial_at] == "-") and f[proto_at] != "arp")


def run(capture: Path, engine: str, out: Path) -> tuple[int, str]:
    config = load_config(environment={}, options={"input.engine": engine, "output.verdicts": "all"})
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        try:
            code = replay([capture], config, out)
        except PyadError as error:
            return 1, str(error)
    return code, said.getvalue().strip().rpartition("\n")[2] if code else ""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("paths", nargs="+", type=Path)
    parser.add_argument("--runs", type=int, default=1, help="of each capture; their notices must be the same")
    parser.add_argument("--against-dpkt", action="store_true", help="compare decisions with the dpkt engine's")
    parser.add_argument("--no-counters", action="store_true", help="nothing of the applications, as with dpkt")
    arguments = parser.parse_args()
    if arguments.no_counters:
        settings = ZeekPackage.settings
        silent = mock.patch.object(ZeekPackage, "settings", lambda self: settings(self) + NO_COUNTERS)
        silent.start()
    total: Counter[str] = Counter()
    differing: Counter[tuple[str, str]] = Counter()
    for capture in tqdm(captures(arguments.paths), disable=not sys.stderr.isatty()):
        total["captures"] += 1
        notices = set()
        for _ in range(arguments.runs):
            with tempfile.TemporaryDirectory() as folder:
                out = Path(folder) / "out"
                code, said = run(capture, "zeek", out)
                theirs = uids(out / "zeek" / "conn.log", None, 6)
                ours = uids(out / "pyad.log", 7, 6)
                notices.add(hashlib.sha256(repr(sorted(lines(out / "notice.log"))).encode()).hexdigest())
                total["runs"] += 1
                total["connections"] += sum(theirs.values())
                total["verdicts"] += sum(ours.values())
                total["notices"] += len(lines(out / "notice.log"))
                if code:
                    total["captures not read to their end"] += 1
                    print(f"{capture}: exit {code}: {said}")
                if theirs != ours:
                    total["captures with missing or doubled verdicts"] += 1
                    missing, more = sum((theirs - ours).values()), sum((ours - theirs).values())
                    print(f"{capture}: {missing} connections without a verdict, {more} verdicts without a connection")
                if arguments.against_dpkt:
                    compare(capture, out, Path(folder) / "dpkt", total, differing)
        if len(notices) > 1:
            total["captures whose runs differ"] += 1
            print(f"{capture}: {len(notices)} different notice.logs in {arguments.runs} runs")
    for what, n in total.items():
        print(f"{n:>10,} {what}")
    for (zeek, dpkt), n in differing.most_common(20):
        print(f"{n:>10,} decided {zeek} from Zeek's row, {dpkt} from the dpkt engine's")
    return int(any(n for what, n in total.items() if what.startswith("captures ")))


def compare(capture: Path, out: Path, other: Path, total: Counter[str], differing: Counter[tuple[str, str]]) -> None:
    """Decisions of the two engines, joined on start, addresses and ports."""
    run(capture, "dpkt", other)
    ours, theirs = (decisions(folder / "pyad.log") for folder in (out, other))
    for key in ours.keys() & theirs.keys():
        for one, two in zip(ours[key], theirs[key]):
            total["compared with dpkt"] += 1
            if one != two:
                total["decided differently"] += 1
                differing[one, two] += 1


def decisions(log: Path) -> dict[tuple[str, ...], list[str]]:
    found: dict[tuple[str, ...], list[str]] = {}
    for f in lines(log):
        if f[7] == "-" and f[6] != "arp":
            found.setdefault((f[0], *f[2:7]), []).append(f[12])
    return found


if __name__ == "__main__":
    sys.exit(main())
