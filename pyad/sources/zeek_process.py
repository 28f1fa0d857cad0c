"""Runs Zeek itself on a capture and reads the rows from the conn.log it writes.

Captures that follow one another are one Zeek run, fed as one pcap stream: a connection may begin in one and end in the
next. A capture of another link type, or one from before those already read, begins a new run.
"""

from __future__ import annotations

import ipaddress
import os
import re
import shutil
import signal
import struct
import subprocess
import tempfile
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import IO, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from pyad.errors import InputError, PyadError, printable
from pyad.flow.capture import MAX_RECORD, Packet, read_packets
from pyad.flow.formats import ABSURD_TIME, MAX_TIME_S
from pyad.row import Rows
from pyad.sources.base import ReadReport
from pyad.sources.conn_log import read_conn_log
from pyad.sources.sniff import first_packet
from pyad.sources.stored import STDIN, read_blocks

# Zeek's own columns for link-layer addresses and VLANs; a Zeek built without them runs without.
OPTIONAL_SCRIPTS = ("policy/protocols/conn/mac-logging", "policy/protocols/conn/vlan-logging")
# What Zeek needs of the environment; the rest (locale, a cluster node's name, a log suffix) may change its logs.
_ENVIRONMENT = ("PATH", "HOME", "TMPDIR", "LD_LIBRARY_PATH", "ZEEKPATH", "ZEEK_PLUGIN_PATH")
_STDERR_TAIL_BYTES = 8192
_PACKAGE_NEEDS = 8  # Zeek's major version
_VERSION_S = 30.0
_RECORD = struct.Struct("<IIII").pack
_MISSING_SCRIPT = re.compile(r"can't find (?:policy/)?protocols/conn/(?:mac|vlan)-logging")


def read_with_zeek(
    paths: Sequence[Path],
    report: ReadReport,
    folder_of: Callable[[Path], Path | None] = lambda _: None,
    fmt: Literal["tsv", "json"] = "tsv",
    *,
    local_nets: Sequence[str] = (),
    private_nets_are_local: bool = True,
    max_lateness_s: float = 600.0,
    time_limit_s: float | None = None,
    package: Package | None = None,
) -> Generator[Rows, Sequence[str] | None, None]:
    """Rows of captures (pcap or pcapng, plain, gzip or zstd; a single `-` is standard input) in Zeek's order.

    folder_of: keeps all logs of the Zeek run that begins with this capture in that folder, in `fmt`; an earlier
        run's logs in it are overwritten, so each needs a folder of its own. None: they are deleted after reading.
    local_nets: networks (CIDR) that count as local, besides the private ones unless `private_nets_are_local`
        is False.
    max_lateness_s: a capture that begins so much before the end of those before it begins a new run.
    time_limit_s: each Zeek run is ended after so many seconds.
    package: run pyad's package in that Zeek. Then the rows come from it while Zeek runs, with application counters,
        changes of address and rows of open connections; the consumer may send the notices that the rows just yielded
        gave (pyad.wire.notice_text), which that Zeek raises; rows of length 0 mark the end of a Zeek run. None: the
        rows are those of the conn.log Zeek wrote.

    Raises PyadError where Zeek is not installed, a network is not one, or a folder cannot be written. A capture
    that Zeek cannot read (further) is an InputError in `report.problems`; rows before it are yielded, and a new run
    goes on with the next capture.
    """
    zeek = require_zeek()
    settings = zeek_settings(fmt, local_nets, private_nets_are_local)
    done = 0
    while done < len(paths):
        rest = paths[done:]
        with ExitStack() as stack:
            scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="pyad-zeek-")))
            out_dir = folder_of(rest[0])
            folder = scratch / "logs" if out_dir is None else out_dir.absolute()
            script = scratch / "pyad-replay.zeek"
            for scripts in (OPTIONAL_SCRIPTS, ()):
                prepare_folder(folder)
                script.write_text("".join(f"@load {name}\n" for name in scripts) + settings, encoding="ascii")
                stream = Stream(rest, max_lateness_s, report.on_bytes)
                run = Run(zeek, stream, script, folder, time_limit_s)
                if package is None:
                    problem = run.feed_and_wait()
                else:
                    script.write_text(script.read_text(encoding="ascii") + package.settings(), encoding="ascii")
                    problem = yield from package.converse(run, stream, report)
                if not (scripts and run.exit_code and _MISSING_SCRIPT.search(run.stderr) and rest[0] != STDIN):
                    break
                report.warnings.append("this Zeek lacks the scripts that log MAC addresses and VLANs; rows have none")
            done += max(len(stream.begun), 1)
            report.files += max(len(stream.begun), 1)
            report.bytes += stream.report.bytes
            report.packets += stream.report.packets
            report.add(stream.report)
            if package is None:
                yield from _rows(folder / "conn.log", stream, report, complete=problem is None)
            if problem is not None and (len(rest) > 1 or not stream.report.problems):
                report.problems.append(problem)  # else Zeek only says the same of what it was fed


def require_zeek() -> str:
    """The path of zeek. Raises PyadError that says how to get it."""
    found = shutil.which("zeek")
    if found is None:
        raise PyadError(
            "zeek is not on PATH; binary packages are described at https://docs.zeek.org (Installing Zeek); "
            "--engine dpkt needs no Zeek"
        )
    return found


def runs_package() -> bool:
    """Whether the zeek on PATH is new enough for pyad's package, which needs 8.0."""
    try:
        told = subprocess.run(
            [require_zeek(), "--version"], capture_output=True, timeout=_VERSION_S, check=False, text=True
        ).stdout
    except (OSError, subprocess.TimeoutExpired):
        return False
    major = told.strip().rpartition(" ")[2].partition(".")[0]
    return major.isdecimal() and int(major) >= _PACKAGE_NEEDS


def zeek_settings(fmt: str, local_nets: Sequence[str], private_nets_are_local: bool) -> str:
    """The Zeek script that makes Zeek's logs what this run needs, whatever the site's Zeek is set to."""
    lines = [
        f"redef LogAscii::use_json = {'T' if fmt == 'json' else 'F'};",
        "redef LogAscii::json_timestamps = JSON::TS_EPOCH;",
        "redef Log::default_rotation_interval = 0secs;",
    ]
    for text in local_nets:
        try:
            net = ipaddress.ip_network(text, strict=False)
        except ValueError:
            raise PyadError(f"{printable(text)}: not a network; write it as 10.0.0.0/8 or fd00::/8") from None
        address = f"[{net.network_address}]" if net.version == 6 else str(net.network_address)
        lines.append(f"redef Site::local_nets += {{ {address}/{net.prefixlen} }};")
    if not private_nets_are_local:
        lines += ["@ifdef ( Site::private_address_space_is_local )"]
        lines += ["redef Site::private_address_space_is_local = F;", "@endif"]
    return "\n".join(lines) + "\n"


def prepare_folder(folder: Path) -> None:
    """An existing folder without a conn.log of an earlier run, which would be taken for this one's."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "conn.log").unlink(missing_ok=True)
    except OSError as error:
        where = printable(str(folder))
        raise PyadError(f"{where}: cannot be written ({error.strerror}); give another --out folder") from None


def _rows(log: Path, stream: Stream, report: ReadReport, complete: bool) -> Iterator[Rows]:
    """The rows of the conn.log Zeek wrote, if any (no connection, no file), named after their captures."""
    if not log.is_file():
        return
    inner = ReadReport()
    for rows in read_conn_log(log, inner):
        report.rows += len(rows)
        yield Rows(rows.columns, stream.sources(rows.number("ts")))
    if not complete:
        inner.problems.clear()  # the log may end in the middle of a line, and the problem is already told
    report.add(inner)


class Package(Protocol):
    """pyad's Zeek package in the Zeek that reads (pyad.sources.zeek_package)."""

    def settings(self) -> str:
        """What the Zeek script of a new run says of it."""

    def converse(
        self, run: Run, stream: Stream, report: ReadReport
    ) -> Generator[Rows, Sequence[str] | None, InputError | None]:
        """Run Zeek to its end; the problem there was, if any."""


class Stream:
    """The captures one Zeek run reads, as one pcap: what is whole of a damaged one reaches Zeek, and no more.

    begun: (capture, time of its first packet) of those that were read, in order. report: of this reading.
    """

    def __init__(self, paths: Sequence[Path], max_lateness_s: float, on_bytes: Callable[[int], object] | None) -> None:
        self.begun: list[tuple[Path, float]] = []
        self.report = ReadReport(on_bytes=on_bytes)
        self._paths = paths
        self._max_lateness_s = max_lateness_s

    @property
    def name(self) -> str:
        """The capture that is being read, or was last."""
        return str(self.begun[-1][0] if self.begun else self._paths[0])

    def blocks(self) -> Iterator[bytes]:
        """The bytes for Zeek. Ends before a capture that cannot be part of the stream; faults go to the report."""
        if self._paths[0] != STDIN:
            yield from self._joined()
            return
        self.begun.append((self._paths[0], 0.0))
        try:
            yield from read_blocks(self._paths[0], self.report)
        except InputError as error:
            self.report.problems.append(error)

    def _joined(self) -> Iterator[bytes]:
        link_type = None
        newest = 0.0
        for path in self._paths:
            kind, begins = first_packet(path) or (link_type, newest)
            if link_type is not None and (kind != link_type or begins < newest - self._max_lateness_s):
                return
            self.begun.append((path, begins))
            try:
                for kind, packets in read_packets(path, self.report.consumed):
                    if link_type is None:
                        link_type = kind
                        yield _pcap_header(link_type)
                    elif kind != link_type:
                        self.report.skip("another link type than the capture begins with", n=len(packets))
                        continue
                    if 0 <= packets[-1][0] < MAX_TIME_S:
                        newest = max(newest, packets[-1][0])
                    self.report.packets += len(packets)
                    yield self._records(packets)
            except InputError as error:
                self.report.problems.append(error)
        if link_type is None:  # nothing in any of them, which Zeek need not complain of
            yield _pcap_header(1)

    def _records(self, packets: Sequence[Packet]) -> bytes:
        parts: list[bytes] = []
        for ts, wire, data in packets:
            if 0 <= ts < MAX_TIME_S:
                parts += (_RECORD(*divmod(round(ts * 1e6), 1_000_000), len(data), wire), data)
            else:
                self.report.skip(ABSURD_TIME)
        return b"".join(parts)

    def sources(self, ts: NDArray[np.float64]) -> NDArray[np.object_]:
        """The name of the capture in which a connection that began at `ts` (s) did so; object array (rows,)."""
        # Zeek tells microseconds; both times were rounded.
        begins = np.maximum.accumulate([at for _, at in self.begun]) - 1e-6
        names = np.array([str(path) for path, _ in self.begun], dtype=object)
        return names[np.maximum(np.searchsorted(begins, ts, side="right") - 1, 0)]


def _pcap_header(link_type: int) -> bytes:
    return struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, MAX_RECORD, link_type)


class Run:
    """One Zeek process on one stream: started, fed, waited for, and in any case ended."""

    def __init__(self, zeek: str, stream: Stream, script: Path, folder: Path, limit_s: float | None) -> None:
        self._command = [zeek, "-C", "-D", "-r"]  # -D: the same capture gives the same uids
        self._stream = stream
        self._script = script
        self._folder = folder
        self._limit_s = limit_s
        self._timed_out = False
        self._process: subprocess.Popen[bytes] | None = None
        self._tail = b""
        self.exit_code = 0

    @property
    def stderr(self) -> str:
        """The end of what Zeek wrote to standard error."""
        return self._tail.decode("utf-8", "replace")

    def feed_and_wait(self) -> InputError | None:
        """Run to the end; the problem there was, if any."""
        try:
            process = subprocess.Popen(
                [*self._command, "-", str(self._script)],
                cwd=self._folder,
                env={k: os.environ[k] for k in _ENVIRONMENT if k in os.environ} | {"LC_ALL": "C", "TZ": "UTC"},
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                start_new_session=True,  # its own group, so that helpers it starts end with it
            )
        except OSError as error:
            raise PyadError(f"zeek cannot be started ({error.strerror}); reinstall it or use --engine dpkt") from None
        self._process = process
        timer = threading.Timer(self._limit_s or 0.0, self._give_up, [process])
        reader = threading.Thread(target=self._keep_tail, args=[process.stderr], daemon=True)
        reader.start()
        if self._limit_s is not None:
            timer.start()
        try:
            if process.stdin is not None:
                self._feed(process.stdin)
            self.exit_code = process.wait()
        finally:
            timer.cancel()
            if process.poll() is None:
                _end(process)
            reader.join(timeout=5.0)
            process.wait()
        return self._problem()

    def end(self) -> None:
        """End the process, from another thread than the one that feeds it."""
        if self._process is not None:
            _end(self._process)

    def _feed(self, stdin: IO[bytes]) -> None:
        with suppress(BrokenPipeError), stdin:  # Zeek ended first: its exit code and last line say why
            for block in self._stream.blocks():
                stdin.write(block)

    def _keep_tail(self, stream: IO[bytes]) -> None:
        with stream:
            while block := stream.read1(_STDERR_TAIL_BYTES):  # type: ignore[attr-defined]
                self._tail = (self._tail + block)[-_STDERR_TAIL_BYTES:]

    def _give_up(self, process: subprocess.Popen[bytes]) -> None:
        self._timed_out = True
        _end(process)

    def _problem(self) -> InputError | None:
        name = self._stream.name
        if self._timed_out:
            hint = "allow more time, or use --engine dpkt; rows Zeek wrote before are kept"
            return InputError(name, "", f"zeek was not done after {self._limit_s:g} s and was ended", hint)
        if self.exit_code == 0:
            return None
        lines = [line.strip() for line in self.stderr.splitlines() if line.strip()]
        errors = [line for line in lines if "error" in line]
        said = printable((errors or lines or ["nothing"])[-1])
        how = f"signal {-self.exit_code}" if self.exit_code < 0 else f"exit {self.exit_code}"
        return InputError(name, "", f"zeek failed ({how}) and said: {said}", "rows it wrote before are kept")


def _end(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
