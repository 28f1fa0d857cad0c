"""Software updates and telemetry: a package mirror, its clients, and devices that call their vendor's cloud."""

from __future__ import annotations

import contextlib
import http.client
import threading
import zlib
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Any

from . import habits, web
from .plan import ZONE

if TYPE_CHECKING:
    from .context import Context

_FILLER = bytes(range(256)) * 256


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "Apache/2.4 (Debian)"
    sys_version = ""
    timeout = 30
    scale = 1.0

    def do_GET(self) -> None:
        draw, status = zlib.crc32(self.path.encode()), 200
        if self.path.startswith("/pool/"):
            size = int((100_000 + draw % 2_900_000) * self.scale)
        elif self.path.startswith("/dists/"):
            size = int(20_000 * self.scale) + draw % 90_000
            if self.headers.get("If-Modified-Since") and draw % 5:
                status, size = 304, 0
        else:
            status, size = 404, 280
        if (part := self.headers.get("Range", "")).startswith("bytes=") and status == 200:
            first, _, last = part[6:].partition("-")
            status, size = 206, max(0, min(size, int(last or size) + 1) - int(first))
        self.send_response(status)
        if status != 304:
            self.send_header("Content-Type", "application/octet-stream")
            self.send_header("Content-Length", str(size))
        self.send_header("Last-Modified", "Thu, 01 Jan 2026 00:00:00 GMT")
        self.end_headers()
        if self.command != "HEAD":
            for at in range(0, size, len(_FILLER)):
                self.wfile.write(_FILLER[: size - at])

    do_HEAD = do_GET

    def log_message(self, format: str, *args: Any) -> None:
        """No access log."""


def update_server(ctx: Context) -> None:
    """The package mirror: indices, packages of 0.1 to 3 MB (times the plan's volume), ranges, 304 for the unchanged."""
    _Handler.scale = ctx.plan.volume
    _Handler.server_version = ctx.rng.choice(["Apache/2.4 (Debian)", "nginx/1.22.1", "Microsoft-IIS/10.0"])
    server = web._Server(("", 80), _Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    ctx.pause(1e9, 0)


def update_client(ctx: Context, period: float = 14_400, at: float = 300, packages: int = 6) -> None:
    """Looks for updates `at` seconds after the start, then every `period`; sometimes fetches packages.

    From the house's mirror, some machines from a site outside; plainly, in ranges, or one connection for each file.
    """
    own, style = ctx.rng.random() < 0.75, ctx.rng.choice(["plain", "plain", "ranges", "each"])
    agent = ctx.rng.choice(
        ["Debian APT-HTTP/1.3 (2.6.1)", "Windows-Update-Agent/10.0", "Microsoft BITS/7.8", "Wget/1.21"]
    )
    name, address = habits.outside(ctx)
    folder = ctx.rng.choice(["bookworm", "stable", "win11", "device"])
    wait = habits.around(ctx, at, 2)
    while ctx.pause(wait, 0.5):
        wait = period
        if own:
            name, address = f"updates.{ZONE}", ctx.plan.one("updates").ip
        ctx.resolve(name)
        heads: dict[str, str] = {"User-Agent": agent, "Host": name}
        link = http.client.HTTPConnection(address, 80, timeout=20)
        indices = [f"/dists/{folder}/{part}" for part in ("InRelease", "main/Packages.gz", "security/Packages.gz")]
        wanted = [f"/pool/{folder}/p{ctx.rng.randrange(300)}.deb" for _ in range(ctx.rng.randint(0, packages))]
        if not own:  # sites outside know pages, not packages
            indices, wanted = ["/api/updates"], [f"/static/{ctx.rng.randrange(99)}.cab" for _ in wanted]
        with contextlib.suppress(OSError, http.client.HTTPException):
            for path in indices:
                link.request("GET", path, headers=heads | {"If-Modified-Since": "Thu, 01 Jan 2026 00:00:00 GMT"})
                link.getresponse().read()
            for path in wanted if ctx.rng.random() < 0.6 else []:
                parts = (
                    [{}]
                    if style != "ranges"
                    else [{"Range": f"bytes={n * 65536}-{n * 65536 + 65535}"} for n in range(4)]
                )
                for part in parts:
                    link.request("GET", path, headers=heads | part)
                    link.getresponse().read()
                if style == "each":
                    link.close()
                ctx.pause(1, 0.9)
        link.close()


def vendor_cloud(ctx: Context, period: float = 300) -> None:
    """A device that reports to its vendor: a small TLS message to one site at a steady beat, now and then a log.

    The beat, the sizes and whether the connection stays open are drawn; it looks like a beacon and is none.
    """
    period, jitter, keep = habits.around(ctx, period, 2.5), ctx.rng.choice([0.01, 0.1, 0.5]), ctx.rng.random() < 0.25
    size, big = ctx.rng.choice([0, 60, 300, 1500]), ctx.rng.choice([0.0, 0.02, 0.1])
    name, address = habits.outside(ctx)
    agent = ctx.rng.choice(["okhttp/3.12", "curl/7.88", "Go-http-client/1.1", "AHC/2.1", "ESP32 HTTP Client/1.0"])
    made: http.client.HTTPConnection
    if ctx.rng.random() < 0.85:
        made = http.client.HTTPSConnection(address, 443, timeout=10, context=habits.tls_client(ctx))
    else:
        made = http.client.HTTPConnection(address, 80, timeout=10)
    while ctx.pause(period, jitter):
        ctx.resolve(name)
        body = ctx.rng.randbytes(ctx.rng.randint(20_000, 200_000) if ctx.rng.random() < big else size)
        with contextlib.suppress(OSError, http.client.HTTPException):
            method, path = ("POST", "/api/telemetry") if body else ("GET", "/api/check")
            made.request(method, path, body or None, {"User-Agent": agent, "Host": name})
            made.getresponse().read()
        if not keep:
            habits.part(ctx, made)
