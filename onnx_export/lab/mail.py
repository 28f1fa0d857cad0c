"""Staff mail: a small SMTP and IMAP server, and programs that send, poll and wait for new mail."""

from __future__ import annotations

import base64
import contextlib
import imaplib
import os
import smtplib
import socket
import ssl
import threading
from typing import TYPE_CHECKING

from . import habits
from .plan import PASSWORD, USER, ZONE
from .servers import serve, tls_context

if TYPE_CHECKING:
    from .context import Context

SMTP, SUBMISSION, IMAP, IMAPS = 25, 587, 143, 993
_FILLER = b"Lorem ipsum dolor sit amet, consectetur adipiscing elit.\r\n"


def mail_server(ctx: Context) -> None:
    """SMTP on 25 and 587 (STARTTLS, AUTH PLAIN), IMAP on 143 (STARTTLS) and 993, for the lab's user."""
    tls, name = tls_context(ctx), ctx.rng.choice(["Postfix", "Exim 4.96", "Microsoft ESMTP MAIL Service"])
    for port in (SMTP, SUBMISSION):
        threading.Thread(target=serve, args=(ctx, port, lambda s: _smtp(ctx, s, tls, name)), daemon=True).start()
    threading.Thread(target=serve, args=(ctx, IMAP, lambda s: _imap(ctx, s, tls)), daemon=True).start()
    habits.serve_tls(ctx, IMAPS, lambda s: _imap(ctx, s, None))


def _smtp(ctx: Context, s: socket.socket, tls: ssl.SSLContext, name: str) -> None:
    s.sendall(f"220 mail.{ZONE} ESMTP {name}\r\n".encode())
    lines, bad = s.makefile("rb"), 0
    while line := lines.readline(2000):
        word, rest = line[:4].upper(), line[4:].strip()
        if word == b"EHLO":
            s.sendall(f"250-mail.{ZONE}\r\n250-STARTTLS\r\n250-AUTH PLAIN\r\n250 8BITMIME\r\n".encode())
        elif word == b"STAR":
            s.sendall(b"220 go ahead\r\n")
            s = tls.wrap_socket(s, server_side=True)
            lines = s.makefile("rb")
        elif word == b"AUTH":
            proof = base64.b64decode(rest.split(b" ")[-1] + b"==").split(b"\0")[1:]
            good = proof == [USER.encode(), PASSWORD.encode()]
            s.sendall(b"235 ok\r\n" if good else b"535 authentication failed\r\n")
            bad += not good
            if bad >= ctx.plan.login_tries:
                return
        elif word == b"DATA":
            s.sendall(b"354 go\r\n")
            while (part := lines.readline(70_000)) and part != b".\r\n":
                pass
            s.sendall(b"250 queued\r\n")
        elif word == b"QUIT":
            s.sendall(b"221 bye\r\n")
            return
        else:
            s.sendall(b"250 ok\r\n" if word in {b"HELO", b"MAIL", b"RCPT", b"RSET", b"NOOP"} else b"502 no\r\n")


def _imap(ctx: Context, s: socket.socket, tls: ssl.SSLContext | None) -> None:
    s.settimeout(1800)
    s.sendall(b"* OK IMAP4rev1 ready\r\n")
    lines, bad = s.makefile("rb"), 0
    while line := lines.readline(2000):
        tag, _, rest = line.strip().partition(b" ")
        word, _, rest = rest.partition(b" ")
        word, more, end = word.upper(), b"", b" OK done\r\n"
        if word == b"CAPABILITY":
            more = b"* CAPABILITY IMAP4rev1 IDLE STARTTLS\r\n"
        elif word == b"LOGIN" and rest.split(b" ", 1)[-1].strip(b'"') != PASSWORD.encode():
            bad, end = bad + 1, b" NO [AUTHENTICATIONFAILED] no\r\n"
        elif word == b"SELECT":
            more = b"* %d EXISTS\r\n* 0 RECENT\r\n" % ctx.rng.randint(5, 3000)
        elif word in (b"UID", b"SEARCH"):
            more = b"* SEARCH " + b" ".join(b"%d" % n for n in range(ctx.rng.randint(0, 4))) + b"\r\n"
        elif word == b"FETCH":
            body = _FILLER * max(1, int(ctx.rng.choice([5, 40, 700, 3000]) * ctx.plan.volume))
            more = b"* 1 FETCH (BODY[] {%d}\r\n%s)\r\n" % (len(body), body)
        elif word == b"IDLE":
            s.sendall(b"+ idling\r\n")
            while (said := lines.readline(100)) and not said.upper().startswith(b"DONE"):
                s.sendall(b"* OK still here\r\n")
        elif word == b"LOGOUT":
            more = b"* BYE bye\r\n"
        s.sendall(more + tag + end)
        if word == b"STARTTLS" and tls is not None:
            s = tls.wrap_socket(s, server_side=True)
            lines = s.makefile("rb")
        if word == b"LOGOUT" or bad >= ctx.plan.login_tries:
            return


def mail_reader(ctx: Context, period: float = 300, to: str = "files") -> None:
    """A mail program: polls over IMAP, or stays connected and waits (IDLE); sometimes a stale password once."""
    waits, plain, period = ctx.rng.random() < 0.4, ctx.rng.random() < 0.5, habits.around(ctx, period, 2)
    dialect, server = habits.tls_client(ctx), ctx.plan.one(to).ip
    while ctx.pause(period, ctx.rng.uniform(0.02, 0.6)):
        for password in ["old", PASSWORD] if ctx.rng.random() < 1 / 40 else [PASSWORD]:
            with contextlib.suppress(OSError, imaplib.IMAP4.error):
                box: imaplib.IMAP4
                if plain:
                    box = imaplib.IMAP4(server, IMAP, timeout=10)
                    box.starttls(dialect)
                else:
                    box = imaplib.IMAP4_SSL(server, IMAPS, ssl_context=dialect, timeout=10)
                try:
                    _read(ctx, box, password, waits)
                    habits.part(ctx, box.sock)
                finally:
                    box.shutdown()


def _read(ctx: Context, box: imaplib.IMAP4, password: str, waits: bool) -> None:
    box.login(USER, password)
    box.select()
    for _ in range(ctx.rng.randint(4, 30) if waits else 1):
        found = box.search(None, "UNSEEN")[1][0]
        if found and found.split() and ctx.rng.random() < 0.6:
            box.fetch("1", "(BODY[])")
        if waits:  # the connection stays; the server says now and then that it is there
            box.send(b"X IDLE\r\n")
            box.readline()
            for _ in range(ctx.rng.randint(1, 5)):
                if not ctx.pause(60, 0.6):
                    return
                box.send(b"NOOP\r\n")
                box.readline()
            box.send(b"DONE\r\n")
            box.readline()
    box.logout()


def mail_sender(ctx: Context, period: float = 1800, to: str = "files", port: int = SUBMISSION) -> None:
    """Sends mail: staff by submission with a login, machines (alarms, scans to mail) on port 25 without."""
    period, big = habits.around(ctx, period, 2), ctx.rng.choice([0.05, 0.3])
    dialect, server, tls = habits.tls_client(ctx), ctx.plan.one(to).ip, port == SUBMISSION or ctx.rng.random() < 0.3
    while ctx.pause(period, 0.8):
        with contextlib.suppress(OSError, smtplib.SMTPException), smtplib.SMTP(server, port, timeout=10) as link:
            link.ehlo(ctx.host.name)
            if tls:
                link.starttls(context=dialect)
            if port == SUBMISSION:
                if ctx.rng.random() < 1 / 25:
                    with contextlib.suppress(smtplib.SMTPAuthenticationError):
                        link.login(USER, "typo")
                link.login(USER, PASSWORD)
            size = ctx.rng.randint(20_000, 400_000) if ctx.rng.random() < big else ctx.rng.randint(200, 6_000)
            body = base64.encodebytes(os.urandom(max(100, int(size * ctx.plan.volume)))).decode()
            people = [f"p{ctx.rng.randrange(300)}@{ZONE}" for _ in range(ctx.rng.choice([1, 1, 1, 3]))]
            link.sendmail(f"{ctx.host.name}@{ZONE}", people, f"Subject: report\r\n\r\n{body}")
