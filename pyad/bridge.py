"""The live shell around link and pipeline, with asyncio: connects, reads, scores in a thread, answers."""

from __future__ import annotations

import asyncio
import random
import ssl
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, WebSocketException

from pyad import __version__, wire
from pyad.config import BridgeSettings
from pyad.desk import Desk, LiveLog
from pyad.errors import UsageError, printable
from pyad.link import Link
from pyad.logline import Log
from pyad.streams import Work

STATUS_INTERVAL_S = 60.0
DRAIN_S = 3.0  # what is queued when a signal comes is finished within this
_FIRST_BACKOFF_S = 0.1
_STEADY_S = 5.0  # a connection that lasted this long was sound: the next try comes at once
_FLUSH_S, _CLOSE_S = 0.3, 0.5
_MAX_MESSAGE = 16 << 20  # bytes; a larger one ends the connection, one over wire.MAX_FRAME is only counted
_MAX_UNSENT = 10_000  # frames; Zeek takes none any more
_PING_S, _PONG_S = 5.0, 10.0
_GOING_AWAY = 1001

_Faults = (OSError, WebSocketException, TimeoutError, EOFError)


class Bridge:
    """One running bridge: connects for ever, until `stop`.

    save: writes a snapshot of pipeline and link (None for no snapshots); called where nothing else touches them.
    live_log: pyad.log, reopened on SIGHUP; hosts: how many hosts are remembered, for the status line.
    """

    def __init__(
        self,
        settings: BridgeSettings,
        link: Link,
        desk: Desk,
        log: Log,
        save: Callable[[dict[str, Any]], None] | None = None,
        live_log: LiveLog | None = None,
        hosts: Callable[[], int] = lambda: 0,
    ) -> None:
        self._settings = settings
        self._link = link
        self._desk = desk
        self._log = log
        self._save = save
        self._live_log = live_log
        self._hosts = hosts
        self._tls = tls_context(settings)
        self._work = asyncio.Event()  # something for the scorer
        self._stopping = asyncio.Event()
        self._unsent: asyncio.Queue[str] = asyncio.Queue()
        self._thread = ThreadPoolExecutor(1, "pyad-scorer")
        self._reopen = False
        self._unsaved = False
        self._saved_at = time.monotonic()
        self._lags_s: list[float] = []
        self._last_fault = ""

    def stop(self) -> None:
        """Finish what is queued, then end `run`."""
        self._stopping.set()
        self._work.set()

    def reopen_log(self) -> None:
        """Begin a new pyad.log."""
        self._reopen = True
        self._work.set()

    async def run(self) -> None:
        """Serve until `stop`, then write the snapshot."""
        scorer = asyncio.create_task(self._score())
        status = asyncio.create_task(self._tell_status())
        connection = asyncio.create_task(self._connect_for_ever(scorer))
        try:
            # Both end after `stop`; before it they end only by a fault of our own, which ends the process.
            done, _ = await asyncio.wait([scorer, connection], return_when=asyncio.FIRST_EXCEPTION)
            for task in done:
                task.result()
        finally:
            self._stopping.set()
            for task in (scorer, status, connection):
                task.cancel()
            await asyncio.gather(scorer, status, connection, return_exceptions=True)
            await self._in_thread(self._finish)
            self._thread.shutdown(wait=False)

    def _finish(self) -> None:
        if self._live_log is not None:
            self._live_log.close()
        self._snapshot(self._link.memory())

    # Connections

    async def _connect_for_ever(self, scorer: asyncio.Task[None]) -> None:
        backoff_s = _FIRST_BACKOFF_S
        while not self._stopping.is_set():
            began = time.monotonic()
            try:
                await self._until_stopped(self._connection(scorer))
            except _Faults as error:
                self._tell_fault(error)
            finally:
                self._link.disconnected()
            if time.monotonic() - began >= _STEADY_S:
                backoff_s = _FIRST_BACKOFF_S
            await self._until_stopped(asyncio.sleep(backoff_s * random.uniform(0.5, 1.0)))  # noqa: S311 (no secret)
            backoff_s = min(backoff_s * 2, self._settings.backoff_max_s)
        await asyncio.wait([scorer], timeout=DRAIN_S)  # where there is no connection, it ends at once

    async def _until_stopped(self, what: Awaitable[None]) -> None:
        """Await `what`; when `stop` comes before the connection is up (or while waiting for the next), drop it."""
        task = asyncio.ensure_future(what)
        stop = asyncio.ensure_future(self._stopping.wait())
        try:
            await asyncio.wait([task, stop], return_when=asyncio.FIRST_COMPLETED)
            if not task.done() and not self._link.joined:
                task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        finally:
            stop.cancel()
            task.cancel()

    async def _connection(self, scorer: asyncio.Task[None]) -> None:
        """One connection from its start to its end."""
        limit_s = self._settings.connect_timeout_s
        websocket = await connect(
            self._settings.url,
            ssl=self._tls,
            additional_headers={"X-Application-Name": wire.APPLICATION},
            user_agent_header=f"pyad/{__version__}",
            compression=None,
            proxy=None,
            open_timeout=limit_s,
            close_timeout=_CLOSE_S,
            ping_interval=_PING_S,
            ping_timeout=_PONG_S,
            max_size=_MAX_MESSAGE,
        )
        self._unsent = asyncio.Queue()
        tasks: list[asyncio.Task[None]] = []
        try:
            self._send(self._link.connected(time.monotonic()))
            tasks.append(asyncio.create_task(self._write(websocket)))
            await self._join(websocket, limit_s)
            self._last_fault = ""
            tasks += [asyncio.create_task(self._read(websocket)), asyncio.create_task(self._beat())]
            stop = asyncio.create_task(self._end(scorer))
            tasks.append(stop)
            await _first_of(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await websocket.close()

    async def _join(self, websocket: ClientConnection, limit_s: float) -> None:
        try:
            async with asyncio.timeout(limit_s):
                while not self._link.joined:
                    self._take(await websocket.recv(decode=False))
        except TimeoutError:
            raise TimeoutError(f"no answer to the subscription within {limit_s:g} s") from None

    async def _end(self, scorer: asyncio.Task[None]) -> None:
        """Wait for `stop`, then until what is queued is scored and sent, and the state saved."""
        await self._stopping.wait()
        await asyncio.wait([scorer], timeout=DRAIN_S)
        self._send(self._link.settle())
        with suppress(TimeoutError):
            async with asyncio.timeout(_FLUSH_S):
                await self._unsent.join()
        await self._in_thread(self._finish)

    async def _read(self, websocket: ClientConnection) -> None:
        while not self._stopping.is_set():
            self._take(await websocket.recv(decode=False))
        await asyncio.Event().wait()  # the rest is `_end`'s

    async def _write(self, websocket: ClientConnection) -> None:
        while True:
            frame = await self._unsent.get()
            await websocket.send(frame)
            self._unsent.task_done()

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(self._link.next_tick(time.monotonic()))
            self._send(self._link.tick(time.monotonic()))
            self._look_for_work()
            if self._unsent.qsize() > _MAX_UNSENT:
                raise ConnectionError("Zeek takes no messages any more")

    def _take(self, frame: str | bytes) -> None:
        raw = frame if isinstance(frame, bytes) else frame.encode()
        self._send(self._link.receive(raw, time.monotonic()))
        self._look_for_work()

    def _send(self, frames: Sequence[str]) -> None:
        for frame in frames:
            self._unsent.put_nowait(frame)

    def _tell_fault(self, error: Exception) -> None:
        """Each new way to fail once; Zeek may be away for days."""
        if isinstance(error, ConnectionClosed) and error.rcvd is not None and error.rcvd.code == _GOING_AWAY:
            self._log("info", "zeek_closed", url=self._settings.url, todo="it ends or restarts; pyad connects again")
            return
        what = printable(" ".join(str(error).split()) or type(error).__name__)
        if what == self._last_fault:
            return
        self._last_fault = what
        if self._link.joined:
            self._log("warn", "connection_lost", url=self._settings.url, error=what)
        else:
            todo = "is Zeek running, with pyad's package loaded, and listening there? pyad tries again for ever"
            self._log("warn", "cannot_connect", url=self._settings.url, error=what, todo=todo)

    # Scoring

    def _look_for_work(self) -> None:
        if self._link.waiting:
            self._work.set()

    async def _score(self) -> None:
        """Score what waits, all of it together, until `stop` and nothing is left."""
        while True:
            works = self._link.take()
            if not works and self._stopping.is_set():
                return
            if not works:
                self._work.clear()
                await self._between()
                if not (self._link.waiting or self._stopping.is_set() or self._reopen):
                    await self._wait_for_work()
                continue
            notices = await self._in_thread(lambda works=works: self._desk.handle(works))  # type: ignore[misc]
            self._answer(works, notices)
            await self._between()

    def _answer(self, works: Sequence[Work], notices: Sequence[Sequence[str]]) -> None:
        now = time.monotonic()
        for work, texts in zip(works, notices, strict=True):
            self._send(self._link.done(work, texts, now))
            self._lags_s.append(now - work.received)
        self._send(self._link.tell_drift(self._desk.drift))
        self._unsaved = True

    async def _between(self) -> None:
        """What must not happen while rows are scored: a new log, a snapshot."""
        if self._reopen and self._live_log is not None:
            self._reopen = False
            await self._in_thread(self._live_log.reopen)
        self._reopen = False
        if self._snapshot_due_s() <= 0 and not self._stopping.is_set():
            memory = self._link.memory()  # taken here, where frames are received as well
            await self._in_thread(lambda: self._snapshot(memory))

    async def _wait_for_work(self) -> None:
        due_s = self._snapshot_due_s()
        with suppress(TimeoutError):
            async with asyncio.timeout(None if due_s == float("inf") else max(due_s, 0.0)):
                await self._work.wait()

    def _snapshot_due_s(self) -> float:
        """Seconds until the next regular snapshot."""
        if self._save is None or not self._settings.snapshot_interval_s or not self._unsaved:
            return float("inf")
        return self._saved_at + self._settings.snapshot_interval_s - time.monotonic()

    def _snapshot(self, memory: dict[str, Any]) -> None:
        if self._save is None or not self._unsaved:
            return
        self._saved_at = time.monotonic()
        try:
            self._save(memory)
        except Exception as error:  # without it detection goes on all the same
            self._log("error", "state_not_saved", file=self._settings.state_file, error=error)
        else:
            self._unsaved = False
            took_ms = (time.monotonic() - self._saved_at) * 1e3
            self._log("info", "state_saved", file=self._settings.state_file, ms=took_ms)

    async def _in_thread(self, what: Callable[[], Any]) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._thread, what)

    async def _tell_status(self) -> None:
        rows, notices = self._desk.rows, self._desk.notices
        while True:
            await asyncio.sleep(STATUS_INTERVAL_S)
            lags_s, self._lags_s = self._lags_s, []
            counts = self._link.counts
            new = self._desk.rows - rows
            self._log(
                "info", "status", rows=self._desk.rows, rows_s=new / STATUS_INTERVAL_S, notices=self._desk.notices,
                new_notices=self._desk.notices - notices, lag_ms=1e3 * sum(lags_s) / max(len(lags_s), 1),
                max_lag_ms=1e3 * max(lags_s, default=0.0), waiting=self._link.waiting, hosts=self._hosts(),
                repeats=counts.repeats, dropped=counts.dropped, lost=counts.lost, unsent=counts.unsent,
                bad_rows=self._desk.bad_rows, failed=self._desk.failed,
                refused=sum(self._link.refused.counts.values()), connected=self._link.joined,
            )  # fmt: skip
            rows, notices = self._desk.rows, self._desk.notices


async def _first_of(*tasks: asyncio.Task[None]) -> None:
    """Wait until one of the tasks ends; what it raised is raised."""
    done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in done:
        task.result()


def tls_context(settings: BridgeSettings) -> ssl.SSLContext | None:
    """How to speak TLS, None for ws://. Raises UsageError, naming the file, where certificates cannot be used."""
    files = {name: getattr(settings, name) for name in ("tls_ca", "tls_cert", "tls_key")}
    if not settings.url.startswith("wss:"):
        given = next((name for name, file in files.items() if file), None)
        if given:
            raise UsageError(f"bridge.{given} is set but bridge.url is not wss://: the connection would not use it")
        return None
    if files["tls_key"] and not files["tls_cert"]:
        raise UsageError("bridge.tls_key is set without bridge.tls_cert")
    try:
        context = ssl.create_default_context(cafile=files["tls_ca"] or None)
        if files["tls_cert"]:
            context.load_cert_chain(files["tls_cert"], files["tls_key"] or None, password=_no_password)
    except (OSError, ValueError) as error:
        shown = ", ".join(printable(file) for file in files.values() if file)
        what = getattr(error, "strerror", None) or str(error)
        raise UsageError(f"TLS with {shown}: {printable(what)}; see bridge.tls_ca, tls_cert and tls_key") from None
    return context


def _no_password() -> str:
    raise ValueError("the key has a password; a service needs one without")
