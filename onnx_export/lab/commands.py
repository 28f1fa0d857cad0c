"""The lab's commands around recordings: each with its arguments and the function that does it."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

from . import stored


def add(commands: Any) -> None:
    """Add the sub-commands; each sets `run`, a function of the arguments that gives the exit code."""
    rows = commands.add_parser("rows", help="labelled connection rows from recordings")
    _recordings(rows)
    rows.add_argument("--out", type=Path, required=True, metavar="DIR", help="for TITLE.jsonl.gz and recordings.yaml")
    rows.add_argument("--engine", choices=("zeek", "dpkt"), default="zeek", help="default: zeek, with our package")
    rows.add_argument("--jobs", type=int, default=min(2, os.cpu_count() or 1), help="recordings at a time (default: 2)")
    rows.set_defaults(run=_rows)
    stats = commands.add_parser("stats", help="rows, device-days and classes of a data set")
    stats.add_argument("--json", action="store_true", help="for programs")
    _folder(stats)
    stats.set_defaults(run=_stats)
    check = commands.add_parser("check", help="every attack is there, no label is stolen, groups share nothing")
    check.add_argument("paths", type=Path, nargs="+", metavar="DIR", help="folder of recordings or of rows")
    check.set_defaults(run=_check)
    protocols = commands.add_parser("protocols", help="what Zeek and tshark call the protocols in recordings")
    _recordings(protocols)
    protocols.add_argument("--engine", choices=("auto", "zeek", "dpkt"), default="auto")
    protocols.set_defaults(run=_protocols)
    policies = commands.add_parser("policies", help="what Zeek's own policies find of the attacks in recordings")
    _recordings(policies)
    policies.add_argument("--group", choices=(*stored.GROUPS, "all"), default="test")
    policies.set_defaults(run=_policies)
    shortcuts = commands.add_parser("shortcuts", help="what addresses, ports or time alone would tell (train extra)")
    _folder(shortcuts)
    shortcuts.add_argument("--cap", type=int, default=300, help="rows of one capture and class (default: 300)")
    shortcuts.add_argument("--seed", type=int, default=1)
    shortcuts.set_defaults(run=_shortcuts)
    stretch = commands.add_parser("stretch", help="packet times of a compressed recording back to real schedules")
    stretch.add_argument("source", type=Path, metavar="IN.pcap")
    stretch.add_argument("target", type=Path, metavar="OUT.pcap")
    stretch.add_argument("--factor", type=float, required=True, help="by which the clock was compressed")
    stretch.add_argument("--hold", type=float, default=0.2, metavar="S", help="longest gap that stays (default: 0.2)")
    stretch.set_defaults(run=_stretch)


def _recordings(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("recordings", type=Path, nargs="+", metavar="RECORDINGS", help="folder of TITLE.pcap, …")


def _folder(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, nargs="?", default=stored.LAB_ROWS, metavar="DIR",
                        help="folder of TITLE.jsonl.gz (default: the committed one)")  # fmt: skip


def _rows(args: argparse.Namespace) -> int:
    from . import rows

    return rows.build(args.recordings, args.out, args.engine, args.jobs)


def _stats(args: argparse.Namespace) -> int:
    from . import stats

    return stats.run(args.folder, args.json)


def _check(args: argparse.Namespace) -> int:
    from . import check

    return check.run(args.paths)


def _protocols(args: argparse.Namespace) -> int:
    from . import protocols

    return protocols.run(args.recordings, args.engine)


def _policies(args: argparse.Namespace) -> int:
    from . import policies

    return policies.run(args.recordings, args.group)


def _shortcuts(args: argparse.Namespace) -> int:
    from . import shortcuts

    return shortcuts.run(args.folder, args.cap, args.seed)


def _stretch(args: argparse.Namespace) -> int:
    from .stretch import stretch

    stretch(args.source, args.target, args.factor, args.hold)
    return 0
