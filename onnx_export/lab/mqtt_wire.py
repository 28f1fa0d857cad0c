"""The few MQTT 3.1.1 packets that attacks write themselves: connect, subscribe, publish."""

from __future__ import annotations

import socket
import ssl
import struct
import time
from typing import TYPE_CHECKING

from .plan import PASSWORD, USER

if TYPE_CHECKING:
    from .context import Context


def _text(value: str | bytes) -> bytes:
    raw = value.encode() if isinstance(value, str) else value
    return struct.pack(">H", len(raw)) + raw


def _packet(kind: int, body: bytes) -> bytes:
    size, left = b"", len(body)
    while True:
        left, digit = left // 128, left % 128
        size += bytes([digit | (0x80 if left else 0)])
        if not left:
            return bytes([kind]) + size + body


def connect(
    ctx: Context, address: str, port: int = 1883, login: bool | tuple[str, str] = True, timeout: float = 4
) -> socket.socket:
    """Connect (TLS on 8883) and log in: True with the lab's account, False anonymously; OSError where refused."""
    s = socket.create_connection((address, port), timeout)
    try:
        if port == 8883:
            s = ssl._create_unverified_context().wrap_socket(s)
        user, password = (USER, PASSWORD) if login is True else login or ("", "")
        flags = 0xC2 if user else 0x02
        body = b"\0\4MQTT\4" + bytes([flags]) + b"\0\x3c" + _text(f"mqtt-{ctx.rng.randrange(16**6):06x}")
        s.sendall(_packet(0x10, body + (_text(user) + _text(password) if user else b"")))
        answer = s.recv(4)
    except OSError:
        s.close()
        raise
    if len(answer) < 4 or answer[3]:
        s.close()
        raise ConnectionRefusedError("the broker refused the login")
    return s


def subscribe(s: socket.socket, topic: str) -> None:
    """Subscribe at quality 0 and wait for the acknowledgement."""
    s.sendall(_packet(0x82, b"\0\1" + _text(topic) + b"\0"))
    s.recv(100)


def publish(s: socket.socket, topic: str, message: bytes) -> None:
    """Publish at quality 0."""
    s.sendall(_packet(0x30, _text(topic) + message))


def leave(s: socket.socket) -> None:
    """Say goodbye."""
    s.sendall(b"\xe0\0")


def listen_for(s: socket.socket, seconds: float) -> None:
    """Take what the broker sends for this long."""
    until = time.time() + seconds
    while (left := until - time.time()) > 0:
        s.settimeout(left)
        try:
            if not s.recv(65536):
                return
        except TimeoutError:
            return
