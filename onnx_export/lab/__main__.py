"""Command line of the lab: `list` the scenarios, `record` one, make a data set of recordings, play one live."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from . import commands as tools
from . import sandbox
from .catalog import SCENARIOS


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m onnx_export.lab", description="Record the hospital test network.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="the scenarios")
    for name in ("record", "inside"):
        command = commands.add_parser(name, help="record a scenario (root)" if name == "record" else argparse.SUPPRESS)
        command.add_argument("--seed", type=int, required=True, help="addresses, names and timings are drawn from it")
        command.add_argument("--scenario", choices=sorted(SCENARIOS), required=True, metavar="NAME")
        command.add_argument("--out", type=Path, required=True, metavar="DIR")
        command.add_argument("--title", help="file name without ending (default: the scenario's name)")
        command.add_argument("--snaplen", type=int, default=0, help="bytes kept of a packet (0: all)")
        command.add_argument("--keep-log", action="store_true", help="keep what the tools printed")
        if name == "inside":
            command.add_argument("--live", choices=("show", "zeek"), help=argparse.SUPPRESS)
    live = commands.add_parser("live", help="play a scenario with a timeline on the screen (root)")
    live.add_argument("--seed", type=int, required=True)
    live.add_argument("--scenario", choices=sorted(SCENARIOS), required=True, metavar="NAME")
    live.add_argument("--out", type=Path, default=Path("lab-live"), metavar="DIR", help="default: ./lab-live")
    live.add_argument("--zeek", action="store_true", help="run Zeek and pyad on the lab's tap and show their notices")
    tools.add(commands)
    return parser


def main() -> int:
    """Run; 1 where this machine cannot record."""
    args = _parser().parse_args()
    if run := getattr(args, "run", None):
        return int(run(args))
    if args.command == "list":
        for name, scenario in SCENARIOS.items():
            kinds = sorted({a.label for a in scenario.attacks}) or ["benign only"]
            sys.stdout.write(f"{name:24} {scenario.duration_s:4.0f} s  {', '.join(kinds)}\n")
        return 0
    if faults := sandbox.missing():
        sys.stderr.write("lab: cannot record here: " + "; ".join(faults) + "\n")
        return 1
    args.out.mkdir(parents=True, exist_ok=True)
    if args.command == "live":
        os.environ["PYAD_LAB_OUTER_PID"] = str(os.getpid())
        sandbox.enter(["--seed", str(args.seed), "--scenario", args.scenario, "--out", str(args.out),
                       "--live", "zeek" if args.zeek else "show"])  # fmt: skip
    if args.command == "record":
        for warning in sandbox.warnings():
            sys.stderr.write(f"lab: {warning}\n")
        sandbox.enter(sys.argv[2:])
    from .record import record

    out, more = args.out.resolve(), {}
    if args.live:
        from .live import Timeline

        more["on_event"] = Timeline(out / "zeek" if args.live == "zeek" else None)
    record(args.scenario, args.seed, out, args.snaplen, args.title or args.scenario, args.keep_log, **more)
    return 0


if __name__ == "__main__":
    sys.exit(main())
