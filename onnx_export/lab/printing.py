"""Network printing: IPP over HTTP on port 631 and LPD on port 515, both sides."""

from __future__ import annotations

import contextlib
import http.client
import os
import socket
import struct
import threading
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Any

from . import habits, web
from .servers import serve

if TYPE_CHECKING:
    from .context import Context

IPP, LPD = 631, 515
PRINT_JOB, VALIDATE, JOB_STATE, PRINTER = 0x0002, 0x0004, 0x0009, 0x000B
_WANTED = ("printer-state", "printer-state-reasons", "queued-job-count", "marker-levels", "media-ready", "all")


def _attribute(tag: int, name: str, *values: bytes) -> bytes:
    made = b""
    for place, value in enumerate(values):  # further values carry an empty name
        label = b"" if place else name.encode()
        made += struct.pack(">BH", tag, len(label)) + label + struct.pack(">H", len(value)) + value
    return made


def ipp(operation: int, number: int, uri: str, user: str, more: bytes = b"", version: bytes = b"\x02\x00") -> bytes:
    """One IPP request (RFC 8011) with its operation attributes."""
    return (version + struct.pack(">HI", operation, number) + b"\x01"
            + _attribute(0x47, "attributes-charset", b"utf-8") + _attribute(0x48, "attributes-natural-language", b"en")
            + _attribute(0x45, "printer-uri", uri.encode()) + _attribute(0x42, "requesting-user-name", user.encode())
            + more + b"\x03")  # fmt: skip


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "CUPS/2.4"
    sys_version = ""
    timeout = 60
    detail = 12
    jobs = 0

    def do_POST(self) -> None:
        body = self.rfile.read(min(int(self.headers.get("Content-Length") or 0), 20_000_000))
        if len(body) < 8 or not self.path.startswith(("/ipp", "/printers")):
            self.send_error(400 if self.path.startswith("/ipp") else 404)
            return
        operation, number = struct.unpack(">HI", body[2:8])
        answer = body[:2] + struct.pack(">HI", 0, number) + b"\x01" + _attribute(0x47, "attributes-charset", b"utf-8")
        answer += _attribute(0x48, "attributes-natural-language", b"en")
        if operation == PRINTER:
            answer += b"\x04" + _attribute(0x23, "printer-state", struct.pack(">I", 3))
            answer += _attribute(0x44, "printer-state-reasons", b"none")
            for n in range(self.detail if b"all" in body[:600] else 3):
                answer += _attribute(0x44, f"media-supported-{n}", b"iso_a4_210x297mm", b"na_letter_8.5x11in")
        elif operation in (PRINT_JOB, JOB_STATE):
            type(self).jobs += operation == PRINT_JOB
            answer += b"\x02" + _attribute(0x21, "job-id", struct.pack(">I", self.jobs))
            answer += _attribute(0x23, "job-state", struct.pack(">I", 5 if operation == PRINT_JOB else 9))
        answer += b"\x03"
        self.send_response(200)
        self.send_header("Content-Type", "application/ipp")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, format: str, *args: Any) -> None:
        """No access log."""


def ipp_server(ctx: Context) -> None:
    """A printer's IPP side: attributes, validation, jobs and their state."""
    _Handler.detail = ctx.rng.randint(10, 120)
    _Handler.server_version = ctx.rng.choice(["CUPS/2.4", "HP HTTP Server", "KM-MFP-http/V0.0.1", "Xerox_MicroServer"])
    server = web._Server(("", IPP), _Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    ctx.pause(1e9, 0)


def ipp_client(ctx: Context, period: float = 600, status: float = 0.7) -> None:
    """A desktop: looks at its printer, in `status` of all visits only that; else prints and follows the job."""
    printer = habits.some(ctx, "printer")
    period, keep = habits.around(ctx, period, 1.8), ctx.rng.random() < 0.5
    agent = ctx.rng.choice(["CUPS/2.4.2 (Linux) IPP/2.0", "CUPS/2.3.4 (macOS) IPP/2.0", "Internet Print Provider"])
    version, path = (
        ctx.rng.choice([b"\x01\x01", b"\x02\x00"]),
        ctx.rng.choice(["/ipp/print", "/printers/floor2", "/ipp"]),
    )
    wanted, kind = (
        ctx.rng.sample(_WANTED, 2),
        ctx.rng.choice([b"application/pdf", b"image/urf", b"application/postscript"]),
    )
    number = 0
    while printer is not None and ctx.pause(period, 0.8):
        uri, link = f"ipp://{printer.ip}:{IPP}{path}", http.client.HTTPConnection(printer.ip, IPP, timeout=10)

        def post(operation: int, more: bytes = b"", document: bytes = b"", uri: str = uri,
                 link: http.client.HTTPConnection = link) -> None:  # fmt: skip
            nonlocal number
            number += 1
            link.request(
                "POST",
                path,
                ipp(operation, number, uri, ctx.host.name, more, version) + document,
                {"Content-Type": "application/ipp", "User-Agent": agent},
            )
            link.getresponse().read()
            if not keep:
                link.close()

        with contextlib.suppress(OSError, http.client.HTTPException):
            post(PRINTER, _attribute(0x44, "requested-attributes", *(w.encode() for w in wanted)))
            if ctx.rng.random() > status:
                job = _attribute(0x42, "job-name", b"report") + _attribute(0x49, "document-format", kind)
                if ctx.rng.random() < 0.5:
                    post(VALIDATE, job)
                post(PRINT_JOB, job, os.urandom(int(ctx.rng.randint(4_000, 400_000) * ctx.plan.volume)))
                for _ in range(ctx.rng.randint(0, 4)):
                    ctx.pause(5, 0.5)
                    post(JOB_STATE, _attribute(0x21, "job-id", struct.pack(">I", 1)))
        link.close()


def lpd_server(ctx: Context) -> None:
    """The line printer daemon of a printer (RFC 1179): jobs, and the state of a queue."""

    def talk(s: socket.socket) -> None:
        lines = s.makefile("rb")
        order = lines.readline(300)
        if order[:1] != b"\x02":
            s.sendall(b"lp is ready\nno entries\n")
            return
        s.sendall(b"\0")
        while part := lines.readline(300):
            s.sendall(b"\0")
            if part[:1] not in (b"\x02", b"\x03"):
                return
            left = int(part[1:].split(b" ")[0]) + 1
            while left > 0 and (data := lines.read(min(left, 65536))):
                left -= len(data)
            s.sendall(b"\0")

    serve(ctx, LPD, talk)


def lpd_client(ctx: Context, period: float = 900) -> None:
    """A server that prints labels and lists the old way; some look at the queue first, some use a low source port."""
    printer = habits.some(ctx, "printer")
    period, low, looks = habits.around(ctx, period, 1.8), ctx.rng.random() < 0.4, ctx.rng.random() < 0.3
    queue, size = ctx.rng.choice(["lp", "raw", "label", "PASSTHRU"]), ctx.rng.choice([600, 3_000, 40_000])
    number = ctx.rng.randrange(900)
    while printer is not None and ctx.pause(period, 0.7):
        number = number % 999 + 1
        with contextlib.suppress(OSError):
            if looks:
                with socket.create_connection((printer.ip, LPD), 5) as s:
                    s.sendall(f"\x04{queue}\n".encode())
                    s.recv(1000)
            source = ("", ctx.rng.randint(721, 731)) if low else None
            with socket.create_connection((printer.ip, LPD), 5, source) as s:
                data = os.urandom(max(80, int(size * ctx.rng.uniform(0.3, 2) * ctx.plan.volume)))
                name = f"{number:03}{ctx.host.name}"
                control = f"H{ctx.host.name}\nPward\nJlabel\nldfA{name}\nUdfA{name}\nNlabel\n".encode()
                _job(s, queue, [(f"\x02{len(control)} cfA{name}\n", control), (f"\x03{len(data)} dfA{name}\n", data)])


def _job(s: socket.socket, queue: str, files: list[tuple[str, bytes]]) -> None:
    s.sendall(f"\x02{queue}\n".encode())
    s.recv(1)
    for order, data in files:
        s.sendall(order.encode())
        s.recv(1)
        s.sendall(data + b"\0")
        s.recv(1)
