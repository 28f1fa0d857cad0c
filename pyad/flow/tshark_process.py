"""Runs tshark through pyshark on one capture and gives the fields of every frame, in order, as they come."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import pyshark
from packaging.version import Version

from pyad.errors import InputError, PyadError, printable

# What tshark is asked for; those that the installed version does not know are left out.
FIELDS: tuple[str, ...] = (
    "frame.protocols", "_ws.expert.severity", "_ws.expert.group", "tcp.len", "tcp.analysis.retransmission",
    "dns.flags.response", "dns.flags.rcode", "dns.qry.name.len", "nbns.flags.response", "nbns.flags.rcode",
    "tls.handshake.type", "tls.handshake.version", "tls.handshake.extensions.supported_version",
    "tls.alert_message.desc", "dtls.handshake.type", "dtls.handshake.version",
    "dtls.handshake.extensions.supported_version", "dtls.alert_message.desc", "x509af.utcTime",
    "ssh.message_code", "http.request.method", "http.response.code", "http.authorization",
    "http.proxy_authorization", "ftp.request.command", "ftp.response.code", "smtp.req.command",
    "smtp.response.code", "pop.request.command", "pop.response.indicator", "imap.request.command",
    "imap.response.status", "sip.Method", "sip.Status-Code", "sip.Authorization",
    "sip.Proxy-Authorization", "mqtt.msgtype", "mqtt.conack.val",
    "mqtt.puback.reason_code", "mqtt.suback.reason_code", "mqtt.suback.qos",
    "ldap.protocolOp", "ldap.resultCode", "smb.cmd", "smb.nt_status", "smb.flags.response", "smb2.cmd",
    "smb2.nt_status", "smb2.flags.response", "kerberos.msg_type", "kerberos.error_code", "radius.code",
    "telnet.data", "mysql.error_code", "pgsql.code", "pgsql.authtype", "vnc.auth_result", "rdp.neg_type",
    "snmp.data", "snmp.error_status", "dicom.pdu.type", "modbus.func_code", "modbus.exception_code",
    "dnp3.al.func", "dnp3.al.iin.fcni", "dnp3.al.iin.obju", "dnp3.al.iin.pioor",
    "bacapp.type", "bacapp.confirmed_service", "s7comm.param.func", "iec60870_asdu.typeid",
)  # fmt: skip

# Dissect as Zeek sees traffic: streams put together in order, checksums not judged (zeek -C).
PREFERENCES = {
    "tcp.desegment_tcp_streams": "TRUE",
    "tcp.reassemble_out_of_order": "TRUE",
    "tcp.check_checksum": "FALSE",
    "udp.check_checksum": "FALSE",
    "ip.check_checksum": "FALSE",
    "ip.defragment": "TRUE",
    "ipv6.defragment": "TRUE",
}
# tshark forgets its connections after so many packets, so that its memory does not grow with the capture.
# What spans that point may miss a counter; the rows themselves do not come from tshark.
SESSION_PACKETS = 100_000
EXIT_WAIT_S = 30.0

_READ_BYTES = 1 << 18
# (time in ms since epoch, or None where tshark has none; field name → texts)
Frame = tuple[float | None, dict[str, list[str]]]


def require_tshark() -> str:
    """The path of tshark. Raises PyadError that says how to get it."""
    found = shutil.which("tshark")
    if found is None:
        raise PyadError(
            "tshark is not on PATH; install it (Debian, Ubuntu: apt install tshark) "
            "or use --engine dpkt, which needs no other program"
        )
    return found


@lru_cache(maxsize=4)
def known_fields(tshark: str) -> tuple[str, ...]:
    """FIELDS without those that this tshark does not know. Raises PyadError where tshark cannot be run."""
    asked = [option for name in FIELDS for option in ("-e", name)]
    try:
        # The fields are checked before the file is opened, and this one is never a capture.
        probe = subprocess.run(
            [tshark, "-n", "-r", "/dev/null", "-T", "ek", *asked],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=60,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        reason = printable(str(error))
        raise PyadError(f"tshark does not run ({reason}); reinstall it or use --engine dpkt") from None
    lines = probe.stderr.decode("utf-8", "replace").splitlines()
    unknown = {line.strip() for line in lines if line.startswith("\t")}
    return tuple(name for name in FIELDS if name not in unknown)


def dissect(path: Path) -> Iterator[Frame]:
    """The frames of a capture (pcap or pcapng, plain or gzip), in file order: their time (ms) and their fields.

    Names of fields have underscores for dots, values are lists of text. Raises PyadError where there is no tshark,
    InputError where it fails (the frames before that are given). tshark ends with the iterator, also where that is
    closed early.
    """
    if not path.is_file():
        raise InputError(str(path), "", "no such file", "tshark reads files only; check the path")
    tshark = require_tshark()
    capture = _Capture(path, tshark, known_fields(tshark))
    frames = 0
    try:
        for batch in capture:
            yield from batch
            frames += len(batch)
    finally:
        capture.end()
    if capture.exit_code:
        what = f"tshark failed (exit {capture.exit_code}) and said: {printable(capture.last_error_line)}"
        raise InputError(str(path), f"frame {frames + 1}", what, "what it dissected before is kept")


class _Capture(pyshark.FileCapture):  # type: ignore[misc]
    """pyshark's file capture, giving plain fields in batches, on an event loop of its own.

    pyshark would look for tshark in a config.ini of the current folder, ask it for its version and its whole
    field table at each start, kill it at the end of its output, and make an object per field.
    """

    _eof_reached: bool  # pyshark's: all output was read

    def __init__(self, path: Path, tshark: str, fields: tuple[str, ...]) -> None:
        self.exit_code = 0
        self.last_error_line = ""
        self._tshark = tshark
        super().__init__(
            # Absolute, so that no name is taken for an option or for standard input.
            input_file=path.absolute(),
            keep_packets=False,
            use_ek=True,
            eventloop=asyncio.new_event_loop(),
            override_prefs=PREFERENCES,
            custom_parameters=["-M", str(SESSION_PACKETS), *(o for f in fields for o in ("-e", f))],
        )

    def end(self) -> None:
        """End tshark where it still runs, and free the event loop."""
        self._packet_generator.close()
        self.close()
        self.eventloop.close()

    def _get_tshark_path(self) -> str:
        return self._tshark

    def _get_tshark_version(self) -> Version:
        return Version("3.0.0")  # the oldest with these preferences; it is only asked whether it writes `ek`

    def _setup_tshark_output_parser(self) -> _BatchParser:
        return _BatchParser()

    async def _handle_process_stderr_forever(self, stderr: asyncio.StreamReader) -> None:
        tail = b""
        while block := await stderr.read(_READ_BYTES):
            tail = (tail + block)[-2048:]
        lines = tail.decode("utf-8", "replace").strip().splitlines()
        self.last_error_line = lines[-1] if lines else ""

    def _created_new_process(self, _parameters: Any, process: asyncio.subprocess.Process, **_names: Any) -> None:
        self._running_processes.add(process)  # how one ends that ended at once is told in the end, like any other

    async def _cleanup_subprocess(self, process: asyncio.subprocess.Process) -> None:
        if self._eof_reached:
            try:
                await asyncio.wait_for(process.wait(), EXIT_WAIT_S)
            except TimeoutError:
                self._eof_reached = False
        if process.returncode is None:
            process.kill()
            await process.wait()
            return
        if self._eof_reached:
            self.exit_code = process.returncode


class _BatchParser:
    """tshark's lines → frames, a batch per read; pyshark makes one object per turn of the event loop."""

    async def get_packets_from_stream(
        self, stream: asyncio.StreamReader, existing_data: bytes, got_first_packet: bool = True
    ) -> tuple[list[Frame] | None, bytes]:
        block = await stream.read(_READ_BYTES)
        if not block:
            raise EOFError
        *lines, rest = (existing_data + block).split(b"\n")
        return [_frame(line) for line in lines if line and not line.startswith(b'{"index"')] or None, rest


def _frame(line: bytes) -> Frame:
    """One line's time and fields; a line that is not what it should be is a frame without any, to stay in step."""
    try:
        parsed: Any = json.loads(line.decode("utf-8", "replace"))
        layers, ms = parsed.get("layers"), parsed.get("timestamp")
        time_ms = float(ms) if isinstance(ms, str) and ms.isdecimal() else None
    except (ValueError, RecursionError, AttributeError):
        return None, {}
    if not isinstance(layers, dict) or not all(type(texts) is list for texts in layers.values()):
        return time_ms, {}
    return time_ms, layers
