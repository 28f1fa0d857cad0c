"""FHIR over TLS: a server with patients and observations, and the systems that read and write them."""

from __future__ import annotations

import contextlib
import http.client
import json
import threading
import time
import zlib
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

from . import habits, web
from .servers import tls_context

if TYPE_CHECKING:
    from .context import Context

_KINDS = ("Patient", "Observation", "Encounter", "MedicationRequest", "DiagnosticReport", "Device", "ServiceRequest")
_CODES = ("8867-4", "8310-5", "59408-5", "8480-6", "8462-4", "9279-1", "2339-0", "718-7", "6690-2")
_TOKEN_S = 600  # real-life seconds for which a token is good


def _resource(kind: str, number: int) -> dict[str, Any]:
    """A resource whose content, and so its size, follows from its number."""
    draw = zlib.crc32(f"{kind}/{number}".encode())
    made: dict[str, Any] = {
        "resourceType": kind, "id": str(number),
        "meta": {"versionId": str(draw % 9), "lastUpdated": f"2026-01-{draw % 28 + 1:02}T08:00:00Z"},
    }  # fmt: skip
    if kind == "Patient":
        made |= {
            "name": [{"family": f"Test{draw % 997}", "given": ["Lab"] * (draw % 3 + 1)}],
            "identifier": [{"system": "urn:oid:1.2.3", "value": f"T{number}"}],
            "birthDate": f"19{draw % 90 + 10}-04-01",
            "address": [{"line": [f"Street {n}"], "city": "Lab"} for n in range(draw % 4)],
        }
    elif kind == "Observation":
        made |= {
            "status": "final", "subject": {"reference": f"Patient/{draw % 400}"},
            "code": {"coding": [{"system": "http://loinc.org", "code": _CODES[draw % len(_CODES)]}]},
            "valueQuantity": {"value": draw % 2000 / 10, "unit": "1"},
        }  # fmt: skip
    else:
        made |= {
            "status": "active",
            "subject": {"reference": f"Patient/{draw % 400}"},
            "text": {"div": "x" * (draw % 4000)},
        }
    return made


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "nginx"
    sys_version = ""
    timeout = 60
    indent: int | None = None
    token_s = float(_TOKEN_S)

    def _answer(self, status: int, content: dict[str, Any], **headers: str) -> None:
        body = json.dumps(content, indent=self.indent).encode()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Type", "application/fhir+json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _outcome(self, status: int, code: str, **headers: str) -> None:
        issue = [{"severity": "error", "code": code, "diagnostics": self.path[:80]}]
        self._answer(status, {"resourceType": "OperationOutcome", "issue": issue}, **headers)

    def _allowed(self) -> bool:
        given = (self.headers.get("Authorization") or "").removeprefix("Bearer lab-")
        with contextlib.suppress(ValueError):
            if time.time() - float(given) < self.token_s:
                return True
        self._outcome(401, "login", WWW_Authenticate='Bearer realm="fhir", error="invalid_token"')
        return False

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        parts = url.path.strip("/").split("/")[1:]
        if parts == ["metadata"]:
            rest = [{"mode": "server", "resource": [{"type": kind} for kind in _KINDS]}]
            self._answer(200, {"resourceType": "CapabilityStatement", "fhirVersion": "4.0.1", "rest": rest})
        elif not self._allowed():
            return
        elif not parts or parts[0] not in _KINDS:
            self._outcome(404, "not-supported")
        elif len(parts) == 1:
            count = min(int((parse_qs(url.query).get("_count") or ["20"])[0]), 200)
            first = zlib.crc32(url.query.encode()) % 9000
            found = [{"resource": _resource(parts[0], first + n)} for n in range(first % (count + 1))]
            self._answer(200, {"resourceType": "Bundle", "type": "searchset", "total": len(found), "entry": found})
        elif parts[1].isdigit() and int(parts[1]) < 10_000:
            self._answer(200, _resource(parts[0], int(parts[1])))
        else:
            self._outcome(404, "not-found")

    def do_POST(self) -> None:
        body = self.rfile.read(min(int(self.headers.get("Content-Length") or 0), 2_000_000))
        if self.path.endswith("/token"):
            self._answer(
                200, {"access_token": f"lab-{time.time():.3f}", "token_type": "Bearer", "expires_in": _TOKEN_S}
            )
        elif self._allowed():
            try:
                entries = json.loads(body).get("entry", [])
            except (ValueError, AttributeError):
                self._outcome(400, "invalid")
                return
            if entries:
                done = [{"response": {"status": "201 Created"}} for _ in entries]
                self._answer(200, {"resourceType": "Bundle", "type": "transaction-response", "entry": done})
            else:
                self._answer(201, {}, Location=f"{self.path}/{zlib.crc32(body) % 10_000}")

    def log_message(self, format: str, *args: Any) -> None:
        """No access log."""


def fhir_server(ctx: Context, port: int = 443) -> None:
    """FHIR R4 over TLS: read, search, create, transaction; 401 without a fresh token, 404 for what is not there."""
    _Handler.indent = ctx.rng.choice([None, None, 2])
    _Handler.server_version = ctx.rng.choice(["nginx", "Jetty(10.0)", "Microsoft-IIS/10.0"])
    _Handler.token_s = _TOKEN_S / habits.compress(ctx)
    server = web._Server(("", port), _Handler)
    server.tls = tls_context(ctx)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    ctx.pause(1e9, 0)


def fhir_client(ctx: Context, period: float = 60, style: str = "") -> None:
    """Reads a chart, polls what changed, or posts observations; now and then its token has run out.

    `style` is chart, poll, post or mixed; it is drawn where it is not given.
    """
    style = style or ctx.rng.choice(["chart", "poll", "post", "mixed"])
    keep = ctx.rng.random() < 0.4
    base = ctx.rng.choice(["/fhir", "/r4", "/api/fhir"])
    agent = ctx.rng.choice(
        ["HAPI-FHIR/6.8", "python-requests/2.31", "Java/17", "Mirth/4.4", "okhttp/4.9", "Mozilla/5.0"]
    )
    count, entries = ctx.rng.choice([5, 10, 20, 50]), ctx.rng.randint(1, 40)
    period = habits.around(ctx, period, 1.6)
    jitter = 0.9 if style == "chart" else ctx.rng.uniform(0.02, 0.5)
    dialect = habits.tls_client(ctx)
    server = ctx.plan.one("fhir").ip
    token, link = "", http.client.HTTPSConnection(server, 443, timeout=10, context=dialect)

    def send(method: str, path: str, content: Any = None) -> int:
        body = None if content is None else json.dumps(content).encode()
        headers = {"User-Agent": agent, "Accept": "application/fhir+json", "Authorization": f"Bearer {token}"}
        if body is not None:
            headers["Content-Type"] = "application/fhir+json"
        link.request(method, base + path, body, headers)
        answer = link.getresponse()
        said = answer.read()
        if path == "/token":
            tokens.append(json.loads(said)["access_token"])
        return answer.status

    tokens: list[str] = []
    while ctx.pause(period, jitter):
        try:
            for method, path, content in _work(ctx, style, count, entries):
                if send(method, path, content) == 401:
                    send("POST", "/token", {"grant_type": "client_credentials"})
                    token = tokens.pop()
                    send(method, path, content)
                if style == "chart":
                    ctx.pause(2, 0.9)
        except (OSError, http.client.HTTPException, ValueError, KeyError):
            link.close()
        if not keep or ctx.rng.random() < 0.05:
            habits.part(ctx, link)


def _work(ctx: Context, style: str, count: int, entries: int) -> list[tuple[str, str, Any]]:
    """The requests of one visit."""
    number = ctx.rng.randrange(10_200)  # the last two hundred do not exist
    if style == "mixed":
        style = ctx.rng.choice(["chart", "poll", "post"])
    if style == "poll":
        return [
            ("GET", f"/{kind}?_lastUpdated=gt{number}&_count={count}", None) for kind in ctx.rng.sample(_KINDS[1:], 1)
        ]
    if style == "post":
        readings = [{"resource": _resource("Observation", number + n)} for n in range(ctx.rng.randint(1, entries))]
        return [("POST", "", {"resourceType": "Bundle", "type": "transaction", "entry": readings})]
    done: list[tuple[str, str, Any]] = [("GET", f"/Patient/{number}", None)]
    for kind in ctx.rng.sample(_KINDS[1:], ctx.rng.randint(1, 4)):
        done.append(("GET", f"/{kind}?patient={number}&_count={count}", None))
    if ctx.rng.random() < 0.1:
        done.insert(0, ("GET", "/metadata", None))
    if ctx.rng.random() < 0.2:
        done.append(("POST", "/Observation", _resource("Observation", number)))
    return done
