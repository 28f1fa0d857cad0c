"""The web server of the lab: pages, an application interface, a login form, a protected area."""

from __future__ import annotations

import base64
import socket
import threading
import time
import zlib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, unquote, unquote_plus

from .plan import PASSWORD, TLS_PORTS, USER
from .servers import tls_context

if TYPE_CHECKING:
    import ssl

    from .context import Context

_GOOD = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
_FILLER = bytes(range(32, 127)) * 8000


def _fault(text: str) -> int | None:
    """The status a careless application gives odd input (500) and a front end gives odder one (403); else None."""
    plain = unquote(text)
    if ".." in plain or "<script" in plain or "\0" in plain:
        return 403
    if "'" in plain or any(mark in plain for mark in ("`", "$(", "; ", "|")):
        return 500
    return 414 if len(text) > 1500 else None


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "Apache/2.4"
    sys_version = ""
    page_limit = 24_000
    timeout = 30

    def _answer(self, status: int, size: int, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(size))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(_FILLER[:size])

    def do_GET(self) -> None:
        path = self.path.split("?")[0]
        if path.startswith("/admin"):
            if self.headers.get("Authorization") == _GOOD:
                self._answer(200, 4000)
            else:
                self._answer(401, 400, WWW_Authenticate='Basic realm="admin"')
        elif (fault := _fault(self.path)) is not None:
            self._answer(fault, 180 + zlib.crc32(self.path.encode()) % 300)
        elif path.startswith("/upload/"):
            self._answer(403, 310)
        elif path.startswith("/search"):
            self._answer(200, 700 + zlib.crc32(self.path.encode()) % self.page_limit // 3)
        elif path in {"/", "/robots.txt", "/form", "/upload"} or path.startswith(
            ("/app/", "/static/", "/api/", "/login")
        ):
            limit = 900 if path.startswith("/api/") else self.page_limit
            self._answer(200, 300 + zlib.crc32(path.encode()) % limit)
        else:
            self._answer(404, 270)

    do_HEAD = do_GET

    def do_OPTIONS(self) -> None:
        self._answer(405, 0, Allow="GET, HEAD, POST")

    do_TRACE = do_PUT = do_DELETE = do_OPTIONS

    def do_POST(self) -> None:
        body = self.rfile.read(min(int(self.headers.get("Content-Length") or 0), 50_000_000))
        if self.path.startswith("/login"):
            form = parse_qs(body[:4000].decode("latin-1"))
            if form.get("user") == [USER] and form.get("pass") == [PASSWORD]:
                self._answer(302, 0, Location="/app/")
            else:
                self._answer(200, 64)
        elif self.path == "/upload":  # what is sent is read and forgotten
            self._answer(413 if len(body) > 5_000_000 else 403 if b".asp" in body[:300] else 201, 90)
        elif self.path.startswith("/form"):  # weak only to look at: nothing of it is ever run
            fault = _fault(unquote_plus(body[:4000].decode("latin-1")))
            self._answer(fault or 200, 240 if fault else 500 + len(body) % 700)
        else:
            self._answer(200, 40)

    def log_message(self, format: str, *args: Any) -> None:
        """No access log."""


class _Server(ThreadingHTTPServer):
    request_queue_size = 256
    tls: ssl.SSLContext | None = None

    def finish_request(self, request: Any, client_address: Any) -> None:
        if self.tls is not None:  # the handshake belongs in the connection's own thread
            request.settimeout(20)
            request = self.tls.wrap_socket(request, server_side=True)
        super().finish_request(request, client_address)
        if self.tls is not None:
            request.close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Broken handshakes and resets are part of the network's life."""


def http_server(ctx: Context, port: int) -> None:
    """HTTP, or HTTPS on port 443."""
    _Handler.page_limit = max(500, int(24_000 * ctx.plan.volume))
    server = _Server(("", port), _Handler)
    server.tls = tls_context(ctx) if port in TLS_PORTS else None
    threading.Thread(target=server.serve_forever, daemon=True).start()
    while time.time() < ctx.end:
        time.sleep(1)
    server.socket.shutdown(socket.SHUT_RDWR)
