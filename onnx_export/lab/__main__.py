"""Command line of the lab: `record` one scenario, `list` them."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from . import sandbox
from .catalog import GROUPS, NAMES


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m onnx_export.lab", description="Record the hospital test network.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="the scenarios")
    for name in ("record", "inside"):
        command = commands.add_parser(name, help="record a scenario (root)" if name == "record" else argparse.SUPPRESS)
        command.add_argument("--seed", type=int, required=True, help="addresses, names and timings are drawn from it")
        command.add_argument("--scenario", choices=NAMES, required=True, metavar="NAME")
        command.add_argument("--group", choices=GROUPS, default="train", help="whose attack settings to draw from")
        command.add_argument("--haste", type=float, default=0, help="how much faster than life schedules run")
        command.add_argument("--seconds", type=float, default=0, help="length of the recording")
        command.add_argument("--out", type=Path, required=True, metavar="DIR")
        command.add_argument("--title", help="file name without ending (default: the scenario's name)")
        command.add_argument("--snaplen", type=int, default=0, help="bytes kept of a packet (0: all)")
        command.add_argument("--keep-log", action="store_true", help="keep what the tools printed")
    return parser


def main() -> int:
    """Run; 1 where this machine cannot record."""
    args = _parser().parse_args()
    if args.command == "list":
        sys.stdout.write("\n".join(NAMES) + "\n")
        return 0
    if faults := sandbox.missing():
        sys.stderr.write("lab: cannot record here: " + "; ".join(faults) + "\n")
        return 1
    args.out.mkdir(parents=True, exist_ok=True)
    if args.command == "record":
        for warning in sandbox.warnings():
            sys.stderr.write(f"lab: {warning}\n")
        sandbox.enter(sys.argv[2:])
    from .record import record

    record(args.scenario, args.group, args.seed, args.out.resolve(), args.title or args.scenario,
           snaplen=args.snaplen, keep_log=args.keep_log, haste=args.haste, duration_s=args.seconds)  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main())
