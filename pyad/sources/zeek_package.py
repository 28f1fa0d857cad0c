"""pyad's Zeek package in a Zeek that reads captures: rows out of it, notices back into it, in lock-step."""

from __future__ import annotations

import secrets
import socket
import threading
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from pyad.errors import InputError, PyadError, printable
from pyad.link import Link, LinkSettings
from pyad.logline import Level
from pyad.paths import shared_folder
from pyad.row import Rows
from pyad.row_text import RowDecoder
from pyad.sources.base import ReadReport
from pyad.sources.zeek_process import Run, Stream

BATCH_ROWS = 500
_WINDOW = 4  # batches that Zeek is ahead of the verdicts
_START_S = 60.0  # Zeek reads its scripts in a second or so; a busy machine may need more
_RETRY_S = 0.02
_JOIN_S = 10.0
_MAX_FRAME = 16 << 20
_NO_ROWS = Rows({})


class ZeekPackage:
    """One for all Zeek runs of a replay; each run gets a port and a secret of its own.

    long_conn_first_s, long_conn_interval_s: when a connection that lasts gives rows. report: gets the link's warnings.
    """

    def __init__(self, long_conn_first_s: float, long_conn_interval_s: float, report: ReadReport) -> None:
        self._first_s = long_conn_first_s
        self._interval_s = long_conn_interval_s
        self._report = report
        self._port = 0
        self._secret = ""

    def settings(self) -> str:
        """What the Zeek script of a new run says of the package."""
        self._port, self._secret = _free_port(), secrets.token_hex(32)
        return (
            f"@load {shared_folder('zeek-scripts') / 'replay.zeek'}\n"
            f"redef PyAD::listen_port = {self._port}/tcp;\n"
            f'redef PyAD::secret = "{self._secret}";\n'
            f"redef PyAD::batch_rows = {BATCH_ROWS};\n"
            f"redef PyAD::replay_window = {_WINDOW};\n"
            f"redef PyAD::long_conn_first = {self._first_s:.6f}sec;\n"
            f"redef PyAD::long_conn_interval = {self._interval_s:.6f}sec;\n"
        )

    def converse(
        self, run: Run, stream: Stream, report: ReadReport
    ) -> Generator[Rows, Sequence[str] | None, InputError | None]:
        """Run Zeek to its end. Yields the rows of each batch and takes the notices they gave; then rows of length 0."""
        with _running(run) as zeek:
            link = Link(LinkSettings(self._secret, window=_WINDOW, require_mac="always"), self._warn)
            decoder = RowDecoder()
            socket_ = self._connect(zeek)
            if socket_ is not None:
                with socket_:
                    yield from _talk(socket_, link, decoder, stream, report)
            zeek.wait()
            for reason, n in decoder.bad.items():
                report.skip(f"rows from Zeek: {reason}", n=n)
        if zeek.problem is None and not link.flushed:
            return InputError(
                stream.name, "", "zeek ended before all its connections were told of", "what it told of before is kept"
            )
        return zeek.problem

    def _warn(self, level: Level, event: str, /, **fields: Any) -> None:
        if level != "info":
            self._report.warnings.append(" ".join([event, *(f"{k}={v}" for k, v in fields.items())]))

    def _connect(self, zeek: _Zeek) -> Any:
        """The WebSocket connection, or None where Zeek ends before it listens."""
        from websockets.sync.client import connect

        deadline = time.monotonic() + _START_S
        while not zeek.ended:
            try:
                return connect(
                    f"ws://127.0.0.1:{self._port}/v1/messages/json",
                    additional_headers={"X-Application-Name": "pyad"},
                    max_size=_MAX_FRAME,
                    compression=None,
                    proxy=None,
                    open_timeout=_START_S,
                    close_timeout=1.0,
                )
            except (OSError, TimeoutError) as error:
                if time.monotonic() > deadline:
                    raise PyadError(
                        f"zeek does not listen on 127.0.0.1:{self._port} ({printable(str(error))}); "
                        "use --engine dpkt, or look what keeps it"
                    ) from None
            time.sleep(_RETRY_S)
        return None


def _talk(
    socket_: Any, link: Link, decoder: RowDecoder, stream: Stream, report: ReadReport
) -> Generator[Rows, Sequence[str] | None, None]:
    """Frames to rows and answers to frames, until Zeek closes the connection."""
    from websockets.exceptions import ConnectionClosed

    frames = link.connected(time.monotonic())
    with suppress(ConnectionClosed):
        while True:
            for frame in frames:
                socket_.send(frame)
            frames = []
            for work in link.take():
                if work.flush:
                    notices = yield _NO_ROWS
                else:
                    rows = decoder.decode(work.rows, "")
                    report.rows += len(rows)
                    notices = yield Rows(rows.columns, stream.sources(rows.number("ts")))
                frames += link.done(work, notices or (), time.monotonic())
            if not frames:
                now = time.monotonic()
                with suppress(TimeoutError):
                    frames += link.receive(socket_.recv(timeout=link.next_tick(now), decode=False), time.monotonic())
                frames += link.tick(time.monotonic())
    link.disconnected()


class _Zeek(threading.Thread):
    """Zeek being fed, in a thread: this thread talks with it meanwhile. ended: it has; problem: what it ended with."""

    def __init__(self, run: Run) -> None:
        super().__init__(name="pyad-feeds-zeek", daemon=True)
        self.ended = False
        self.problem: InputError | None = None
        self._run = run
        self._error: BaseException | None = None

    def run(self) -> None:
        """Feed it to its end."""
        try:
            self.problem = self._run.feed_and_wait()
        except BaseException as error:
            self._error = error
        finally:
            self.ended = True

    def wait(self) -> None:
        """Until it has ended; raises what went wrong with the feeding."""
        self.join()
        if self._error is not None:
            raise self._error

    def end(self) -> None:
        """End it, whatever it does."""
        if not self.ended:
            self._run.end()
            self.join(_JOIN_S)


@contextmanager
def _running(run: Run) -> Iterator[_Zeek]:
    zeek = _Zeek(run)
    zeek.start()
    try:
        yield zeek
    finally:
        zeek.end()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
