"""Command line of the lab: `list` the scenarios, `record` one or all, make a data set of recordings, play one live."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any

from . import campaign, sandbox
from . import commands as tools
from .catalog import BY_CLASS, FIXED, GROUPS, NAMES


def _scenario(command: argparse.ArgumentParser) -> None:
    command.add_argument("--seed", type=int, required=True, help="addresses, names and timings are drawn from it")
    command.add_argument("--scenario", choices=NAMES, required=True, metavar="NAME", help="see `list`")
    command.add_argument("--group", choices=GROUPS, default="train", help="whose attack settings to draw from")
    command.add_argument("--haste", type=float, default=0, help="how much faster than life schedules run")
    command.add_argument("--seconds", type=float, default=0, help="length of the recording")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m onnx_export.lab", description="Record the hospital test network.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="the scenarios, and what each group of them has")
    for name in ("record", "inside"):
        command = commands.add_parser(name, help="record a scenario (root)" if name == "record" else argparse.SUPPRESS)
        _scenario(command)
        command.add_argument("--out", type=Path, required=True, metavar="DIR")
        command.add_argument("--title", help="file name without ending (default: the scenario's name)")
        command.add_argument("--snaplen", type=int, default=0, help="bytes kept of a packet (0: all)")
        command.add_argument("--keep-log", action="store_true", help="keep what the tools printed")
        if name == "inside":
            command.add_argument("--live", choices=("show", "zeek"), help=argparse.SUPPRESS)
    every = commands.add_parser("campaign", help="record the whole data set, what is not there yet (root)")
    every.add_argument("--out", type=Path, required=True, metavar="DIR")
    every.add_argument("--jobs", type=int, default=2, help="recordings at a time; five overload two cores")
    every.add_argument("--only", default="*", metavar="GLOB", help="titles to record")
    live = commands.add_parser("live", help="play a scenario with a timeline on the screen (root)")
    _scenario(live)
    live.add_argument("--out", type=Path, default=Path("lab-live"), metavar="DIR", help="default: ./lab-live")
    live.add_argument("--zeek", action="store_true", help="run Zeek and pyad on the lab's tap and show their notices")
    tools.add(commands)
    return parser


def _list() -> int:
    for name in NAMES:
        if name in FIXED:
            sys.stdout.write(f"{name:12} fixed, {FIXED[name].duration_s:.0f} s\n")
        elif name in BY_CLASS:
            counts = ", ".join(f"{sum(v.group == g for v in BY_CLASS[name])} {g}" for g in GROUPS)
            sys.stdout.write(f"{name:12} drawn from attack settings: {counts}\n")
        else:
            what = "benign, a day and a night" if name == "day" else "an attack in stages, and others beside it"
            sys.stdout.write(f"{name:12} {what}\n")
    return 0


def main() -> int:
    """Run; 1 where this machine cannot record."""
    args = _parser().parse_args()
    if run := getattr(args, "run", None):
        return int(run(args))
    if args.command == "list":
        return _list()
    if faults := sandbox.missing():
        sys.stderr.write("lab: cannot record here: " + "; ".join(faults) + "\n")
        return 1
    args.out.mkdir(parents=True, exist_ok=True)
    if args.command in ("record", "campaign"):
        for warning in sandbox.warnings():
            sys.stderr.write(f"lab: {warning}\n")
    if args.command == "campaign":
        return campaign.run(args.out.resolve(), args.jobs, args.only)
    if args.command == "live":
        os.environ["PYAD_LAB_OUTER_PID"] = str(os.getpid())
        sandbox.enter([
            "--seed", str(args.seed), "--scenario", args.scenario, "--group", args.group, "--haste", str(args.haste),
            "--seconds", str(args.seconds), "--out", str(args.out), "--live", "zeek" if args.zeek else "show",
        ])  # fmt: skip
    if args.command == "record":
        sandbox.enter(sys.argv[2:])
    from .record import record

    out = args.out.resolve()
    more: dict[str, Any] = {}
    if args.live:
        from .live import Timeline

        more["on_event"] = Timeline(out / "zeek" if args.live == "zeek" else None)
    record(args.scenario, args.group, args.seed, out, args.title or args.scenario, snaplen=args.snaplen,
           keep_log=args.keep_log, haste=args.haste, duration_s=args.seconds, **more)  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main())
