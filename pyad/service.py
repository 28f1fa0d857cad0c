"""`pyad run`: everything a bridge needs set up in order, signals, the state from one run to the next."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pyad import __version__, wire
from pyad.bridge import Bridge, tls_context
from pyad.config import Config
from pyad.desk import Desk, LiveLog
from pyad.detector import LoadedDetector, load_detector
from pyad.errors import PyadError
from pyad.link import Link, LinkSettings
from pyad.logline import Log, stderr_log
from pyad.pipeline import Pipeline
from pyad.secret import read_or_create

EXIT_S = 4.7  # after a signal the process ends within this, come what may


def run(config: Config, out: Path | None) -> int:
    """The command: set everything up, serve until SIGTERM or SIGINT. Returns the exit code.

    Raises PyadError for what makes going on impossible: no secret, no model.
    """
    settings, log = config.bridge, stderr_log(time.time)
    with _ending_quietly():
        log("info", "starting", pyad=__version__, url=settings.url, lane=settings.lane)
        tls_context(settings)
        secret, made = read_or_create(Path(settings.secret_file))
        if made:
            todo = "let Zeek's user read it: chgrp GROUP FILE, with a group that Zeek's user is in"
            log("info", "secret_made", file=settings.secret_file, todo=todo)
        loaded = load_detector(config)
        for warning in loaded.warnings:
            log("warn", "model", text=warning)
        pipeline = Pipeline(
            loaded.detector,
            config.model.batch_rows,
            config.input.max_lateness_s,
            explain_all=config.output.verdicts == "all" and out is not None,
            observers=[loaded.drift] if loaded.drift else (),
        )
        link = Link(
            LinkSettings(
                secret,
                settings.lane,
                settings.window,
                settings.require_mac,
                settings.hello_interval_s,
                settings.url,
                acks_at_once=max(min(settings.window // 4, 8), 1),
            ),
            log,
        )
        state = Path(settings.state_file) if settings.state_file else None
        if state is not None:
            _restore(state, pipeline, loaded, link, log)
        live_log = None
        if out is not None:
            live_log = LiveLog(out, config.output.format, config.output.verdicts, loaded.label, log)
        log(
            "info",
            "ready",
            model=loaded.label,
            calibration=loaded.calibration or "-",
            provider=loaded.provider,
            secret=wire.fingerprint(secret),
        )
        if settings.url.startswith("ws:") and not _is_loopback(settings.url):
            log("warn", "not_encrypted", url=settings.url, todo="use wss:// with certificates off this machine")
    save = None if state is None else lambda memory: _save(state, pipeline, loaded, memory)
    return asyncio.run(_serve(config, link, Desk(pipeline, log, live_log, loaded.drift), log, save, live_log, loaded))


async def _serve(
    config: Config,
    link: Link,
    desk: Desk,
    log: Log,
    save: Callable[[dict[str, Any]], None] | None,
    live_log: LiveLog | None,
    loaded: LoadedDetector,
) -> int:
    hosts = getattr(loaded.detector.extractor, "hosts", ())
    bridge = Bridge(config.bridge, link, desk, log, save, live_log, lambda: len(hosts))
    loop = asyncio.get_running_loop()
    signals = 0

    def end(number: int) -> None:
        nonlocal signals
        signals += 1
        if signals > 1:
            os._exit(128 + number)
        log("info", "stopping", signal=signal.Signals(number).name)
        last = threading.Timer(EXIT_S, _exit_now, [log])
        last.daemon = True
        last.start()
        bridge.stop()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end, number)
    loop.add_signal_handler(signal.SIGHUP, bridge.reopen_log)
    await bridge.run()
    log("info", "stopped", rows=desk.rows, notices=desk.notices)
    return 0


def _exit_now(log: Log) -> None:
    log("warn", "stopped", todo="something did not end in time and was left; Zeek sends what was not answered again")
    os._exit(0)


@contextmanager
def _ending_quietly() -> Iterator[None]:
    """While nothing is under way yet, a signal ends the process at once, with exit code 0."""
    if threading.current_thread() is not threading.main_thread():
        yield  # Python lets only the main thread handle signals
        return
    numbers = (signal.SIGTERM, signal.SIGINT)
    before = [signal.signal(number, lambda *_: os._exit(0)) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before):
            signal.signal(number, handler)


def _restore(state: Path, pipeline: Pipeline, loaded: LoadedDetector, link: Link, log: Log) -> None:
    """Go on where an earlier run ended; a state that does not fit is put aside."""
    if not state.exists():
        return
    from pyad.snapshot import load_snapshot

    try:
        remembered = load_snapshot(state, pipeline, loaded)
        link.restore(remembered)
    except (PyadError, ValueError) as error:
        aside = state.with_name(state.name + ".refused")
        with suppress(OSError):
            state.replace(aside)
        todo = f"hosts are learned anew; the old state is kept as {aside.name}"
        log("warn", "state_refused", file=state, error=error, todo=todo)
    else:
        log("info", "state_restored", file=state)
        if loaded.drift is not None and not loaded.drift.restore(remembered.get("drift")):
            log(
                "info",
                "drift_begins_anew",
                todo="nothing: it is compared with another reference now, or the first time",
            )


def _save(state: Path, pipeline: Pipeline, loaded: LoadedDetector, memory: dict[str, Any]) -> None:
    from pyad.snapshot import save_snapshot

    state.parent.mkdir(parents=True, exist_ok=True)
    drift = {"drift": loaded.drift.memory()} if loaded.drift else {}
    save_snapshot(state, pipeline, loaded, memory | drift)


def _is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
