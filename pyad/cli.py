"""The `pyad` command: arguments in, exit code out."""

from __future__ import annotations

import argparse
import io
import os
import sys
import traceback
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from pyad import __version__, doctor, replay
from pyad.allow_list import parse_network
from pyad.config import Config, describe, load_config
from pyad.errors import PyadError, UsageError, printable
from pyad.explain import digits
from pyad.paths import bundle_names, find_bundle
from pyad.sources import ENGINES
from pyad.verdict import ATTACK_CLASSES

# Settings that have an option of their own name.
_OPTIONS = (
    *("input.engine", "model.bundle", "model.calibration", "model.provider", "output.format", "output.verdicts"),
    *("verdict.alerts_per_day", "bridge.url", "bridge.lane", "bridge.state_file"),
)
INTERRUPTED = 130  # 128 + SIGINT, as shells have it


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code (0 done, 1 the input or the site is wrong, 2 usage)."""
    arguments = _parser().parse_args(argv)
    try:
        code: int = arguments.run(arguments)
        _write()
    except PyadError as error:
        _complain(str(error))
        return error.exit_code
    except BrokenPipeError:  # in the midst of rows: whoever read them has enough
        _close_stdout()
        return 0
    except KeyboardInterrupt:
        _complain("interrupted; what was finished before is kept")
        return INTERRUPTED
    except OSError as error:
        place = f"{printable(str(error.filename))}: " if error.filename else "reading or writing: "
        if arguments.debug:
            traceback.print_exc()
        _complain(f"{place}{error.strerror or printable(str(error))}")
        return 1
    except Exception as error:
        if arguments.debug:
            traceback.print_exc()
        what = printable(" ".join(str(error).split()))
        _complain(f"unexpected {type(error).__name__}: {what}; run again with --debug to see where it happened")
        return 1
    return code


def _complain(text: str) -> None:
    sys.stderr.write(f"pyad: {text}\n")


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")


def _write(text: str = "") -> None:
    """To standard output at once, as far as anyone reads it: a reader that has gone changes no exit code."""
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        _close_stdout()


def _close_stdout() -> None:
    # Python would complain about the broken pipe once more when it flushes at exit.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _parser() -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--debug", action="store_true", help="show where an unexpected error happened")
    settings = argparse.ArgumentParser(add_help=False, parents=[common])
    settings.add_argument("--config", type=Path, metavar="FILE", help="settings in YAML")
    settings.add_argument(
        "--set", action="append", default=[], metavar="SECTION.KEY=VALUE", help="one setting, over the others"
    )
    model = argparse.ArgumentParser(add_help=False)
    model.add_argument("--bundle", metavar="NAME", help="bundle that comes with pyad, or a folder (default: default)")
    model.add_argument("--provider", choices=("auto", "cpu", "cuda"), help="where the model runs (default: auto)")
    site = argparse.ArgumentParser(add_help=False)
    site.add_argument("--calibration", metavar="FILE", help="the site's own thresholds, made by pyad calibrate")
    inputs = argparse.ArgumentParser(add_help=False)
    inputs.add_argument("files", nargs="+", type=Path, metavar="FILE", help="capture, conn.log, folder of either, or -")
    inputs.add_argument(
        "--engine",
        choices=ENGINES,
        help="what turns packets into rows (default: auto: zeek where it is installed, else dpkt)",
    )
    parser = argparse.ArgumentParser(
        prog="pyad",
        description="Deep-learning anomaly detector for Zeek.",
        epilog="exit codes: 0 done, 1 the input or the site is wrong, 2 usage",
    )
    parser.add_argument("--version", action="version", version=f"pyad {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    _add_replay(commands.add_parser(
        "replay",
        parents=[inputs, model, site, settings],
        help="detect in captures and logs",
        description="Read captures and conn.logs and write notice.log, pyad.log and summary.json. Files of these "
        "names in the output folder are replaced; inputs never are.",
        epilog="settings, as SECTION.KEY=VALUE, in a --config file (SECTION: {KEY: VALUE}) or as environment "
        f"variables (PYAD_SECTION__KEY):\n{describe()}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    ))  # fmt: skip
    _add_rows(commands.add_parser(
        "rows",
        parents=[inputs, settings],
        help="print the connections as Zeek's conn.log",
        description="Print what the detector sees, one line per finished connection, as Zeek's conn.log.",
    ))  # fmt: skip
    _add_calibrate(commands.add_parser(
        "calibrate",
        parents=[inputs, model, settings],
        help="set thresholds from your own logs",
        description="Read conn.logs or captures of ordinary days and set the thresholds so that they would have given "
        "so many new incidents a day. Writes a small file for --calibration. Incidents in the logs must be spoken for: "
        "nothing is written before.",
    ))  # fmt: skip
    _add_run(commands.add_parser(
        "run",
        parents=[model, site, settings],
        help="detect live, with Zeek",
        description="Connect to a running Zeek that has pyad's package loaded, judge its connections as they end and "
        "have Zeek raise the notices. Runs until SIGTERM or Ctrl-C; SIGHUP begins a new pyad.log.",
        epilog="the settings are those that `pyad replay --help` lists, mostly bridge.*; Zeek and pyad read the same "
        "secret file, which pyad makes if it is not there (PYAD_SECRET_FILE names another one for both)",
    ))  # fmt: skip
    _add_model(commands.add_parser("model", help="verify or show a bundle"), common)
    check = commands.add_parser(
        "doctor", parents=[model, site, settings], help="is everything in place, and what to do if not"
    )
    check.add_argument("--out", type=Path, default=Path("pyad-out"), metavar="DIR", help="folder a replay would write")
    check.add_argument(
        "--live",
        action=argparse.BooleanOptionalAction,
        help="also look at the running Zeek and bridge (default: if something listens at bridge.url)",
    )
    check.set_defaults(run=lambda a: doctor.run(_config(a), a.out, a.live))
    commands.add_parser("version", parents=[common], help="print the version").set_defaults(run=_version)
    return parser


def _add_replay(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--out", type=Path, default=Path("pyad-out"), metavar="DIR", help="folder to write to (default: ./pyad-out)"
    )
    parser.add_argument("--format", choices=("tsv", "json"), help="of the logs, as Zeek writes them (default: tsv)")
    parser.add_argument(
        "--verdicts", choices=("decided", "all"), help="rows in pyad.log (default: decided: only what was found)"
    )
    parser.add_argument("--fail-on-notice", action="store_true", help="exit code 1 when there is a notice")
    parser.set_defaults(run=_replay)


def _add_calibrate(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--out", type=Path, default=Path("pyad-site.yaml"), metavar="FILE", help="default: ./pyad-site.yaml"
    )
    parser.add_argument(
        "--alerts-per-day", metavar="N", help="new incidents a day, of all devices (default: 1; verdict.alerts_per_day)"
    )
    parser.add_argument(
        "--exclude-host",
        action="append",
        default=[],
        metavar="ADDRESS",
        help="leave out what this host or subnet took part in; may be given several times",
    )
    parser.add_argument(
        "--keep-incidents", action="store_true", help="the incidents in these logs are ordinary traffic of this site"
    )
    parser.set_defaults(run=_calibrate)


def _add_run(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--url", help="Zeek's WebSocket API (default: ws://127.0.0.1:27759)")
    parser.add_argument("--lane", help="rows to take: all, or with sharding a proxy's name (default: all)")
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder for a pyad.log of our own (default: none)")
    parser.add_argument("--format", choices=("tsv", "json"), help="of pyad.log (default: tsv)")
    parser.add_argument(
        "--verdicts", choices=("decided", "all"), help="rows in pyad.log (default: decided: only what was found)"
    )
    parser.add_argument(
        "--state",
        dest="state_file",
        metavar="FILE",
        help="what is remembered of hosts from one run to the next; none for nothing (default: /var/lib/pyad/state)",
    )
    parser.set_defaults(run=_run)


def _add_rows(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--format", choices=("json", "tsv"), default="json", help="default: json")
    parser.add_argument(
        "--all", action="store_true", help="also rows of open connections and of changed addresses (ARP)"
    )
    parser.add_argument(
        "--against", type=Path, metavar="CONN_LOG", help="compare with this log instead; exit code 1 where they differ"
    )
    parser.set_defaults(run=lambda a: replay.rows(a.files, _config(a), a.format, a.all, a.against))


def _add_model(parser: argparse.ArgumentParser, common: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(metavar="ACTION", required=True)
    for name, text, run in (
        ("verify", "check that a bundle is whole, safe and fits this pyad", _verify),
        (
            "show",
            "show what a bundle is: graphs, thresholds, what it was trained on (default: the default bundle)",
            _show,
        ),
    ):
        action = commands.add_parser(name, parents=[common], help=text, description=text)
        action.add_argument("bundle", nargs="?", metavar="BUNDLE", help="name or folder")
        action.set_defaults(run=run)


def _config(arguments: argparse.Namespace) -> Config:
    """The configuration with the command line's own options over it."""
    options = {}
    for key in _OPTIONS:
        value = getattr(arguments, key.partition(".")[2], None)
        if value is not None:
            options[key] = value
    return load_config(arguments.config, sets=arguments.set, options=options)


def _replay(arguments: argparse.Namespace) -> int:
    # The summary is held back until the exit code is known.
    with redirect_stdout(io.StringIO()) as summary:
        code = replay.replay(arguments.files, _config(arguments), arguments.out, arguments.fail_on_notice)
    _write(summary.getvalue())
    return code


def _calibrate(arguments: argparse.Namespace) -> int:
    from pyad.calibrate import Answers, calibrate

    try:
        excluded = tuple(map(parse_network, arguments.exclude_host))
    except ValueError as error:
        raise UsageError(f"--exclude-host: {printable(str(error))}; name an address or a subnet") from None
    answers = Answers(arguments.keep_incidents, excluded)
    return calibrate(arguments.files, _config(arguments), arguments.out, answers)


def _run(arguments: argparse.Namespace) -> int:
    from pyad import service

    return service.run(_config(arguments), arguments.out)


def _version(_: argparse.Namespace) -> int:
    _say(f"pyad {__version__}")
    return 0


def _verify(arguments: argparse.Namespace) -> int:
    from pyad.bundle import load_bundle
    from pyad.model import Model

    bundle = load_bundle(find_bundle(arguments.bundle or "default"))
    Model(bundle, "cpu", max_streams=8)
    _say(f"{bundle.label}: ok")
    return 0


def _show(arguments: argparse.Namespace) -> int:
    from pyad.bundle import load_bundle

    bundle = load_bundle(find_bundle(arguments.bundle or "default"))
    _say(f"name       {bundle.label}")
    _say(f"folder     {bundle.path}")
    _say(f"licence    {printable(str(bundle.yaml.get('licence', '-')))}")
    for name, digest in bundle.sha256.items():
        _say(f"graph      {name + '.onnx':<13} sha256 {digest}")
    _say(f"features   {len(bundle.features)}")
    for name in ATTACK_CLASSES:
        _say(f"class      {name:<13} from probability {digits(bundle.thresholds[name])}")
    _say(f"class      {'novel':<13} under novelty p {digits(float(bundle.novelty.get('level', 0)))}")
    for name, about in _trained_on(bundle.yaml):
        _say(f"trained    {name:<13} {about}")
    _say(f"bundles    that come with pyad: {', '.join(bundle_names()) or 'none'}")
    _say("more       in MODEL_CARD.md there: what it was trained on and what it scores")
    return 0


def _trained_on(manifest: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(set, its terms and connections) of a bundle's training data; whatever is not as expected is left out."""
    training = manifest.get("training")
    sets = training.get("sets") if isinstance(training, dict) else None
    found = []
    for name, about in sets.items() if isinstance(sets, dict) else ():
        if isinstance(about, dict) and isinstance(about.get("rows"), dict):
            rows = sum(n for n in about["rows"].values() if isinstance(n, int))
            found.append(
                (printable(str(name), 40), f"{rows} connections, {printable(str(about.get('terms', '-')), 100)}")
            )
    return found
