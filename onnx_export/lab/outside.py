"""Servers that attacks talk to on the internet's addresses: command servers and drops, all harmless stand-ins."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
import socket
import subprocess
import time
from typing import TYPE_CHECKING, Any

from . import sandbox
from .servers import serve

if TYPE_CHECKING:
    from .context import Context

_SOCKET_KEY = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455


def irc_server(ctx: Context, port: int = 6667, period: float = 12) -> None:
    """IRC enough for bots: register, join, PING, a line of text in the channel now and then."""

    def talk(s: socket.socket) -> None:
        s.settimeout(max(1.0, period))
        nick, data = b"bot", b""
        while time.time() < ctx.end:
            try:
                chunk = s.recv(4096)
            except TimeoutError:
                word = ctx.rng.choice([b"!status", b"!sleep 60", b"!version", b"!uptime"])
                s.sendall(ctx.rng.choice([b"PING :srv\r\n", b":op!op@srv PRIVMSG #c :" + word + b"\r\n"]))
                continue
            if not chunk:
                return
            data += chunk
            *lines, data = data.split(b"\r\n")
            for line in lines:
                if line.startswith(b"NICK "):
                    nick = line[5:60]
                elif line.startswith(b"USER "):
                    s.sendall(b":srv 001 " + nick + b" :Welcome\r\n:srv 376 " + nick + b" :End of /MOTD\r\n")
                elif line.startswith(b"JOIN "):
                    s.sendall(b":" + nick + b"!b@h " + line[:60] + b"\r\n:srv 332 " + nick + b" #c :!idle\r\n")
                elif line.startswith(b"PING"):
                    s.sendall(b":srv PONG srv\r\n")

    serve(ctx, port, talk)


def session_server(ctx: Context, port: int = 4444) -> None:
    """The far end of a remote session: sends lines as a person types them, reads what comes back."""

    def talk(s: socket.socket) -> None:
        s.settimeout(20)
        while time.time() < ctx.end:
            s.sendall(b"x" * ctx.rng.randint(3, 40) + b"\n")
            if not s.recv(65536) or not ctx.pause(ctx.rng.choice([0.4, 1, 2, 6]), 0.6):
                return

    serve(ctx, port, talk)


def control_server(ctx: Context, port: int = 8080) -> None:
    """HTTP of a command server: beacons, held polls (/hold), WebSockets, downloads (/bin/KB), uploads."""

    def talk(s: socket.socket) -> None:
        data = b""
        while time.time() < ctx.end:
            while b"\r\n\r\n" not in data:
                if not (chunk := s.recv(65536)) or len(data) > 100_000:
                    return
                data += chunk
            head, data = data.split(b"\r\n\r\n", 1)
            fields = dict(line.split(b": ", 1) for line in head.lower().split(b"\r\n")[1:] if b": " in line)
            left = min(int(fields.get(b"content-length", b"0")), 50_000_000) - len(data)
            while left > 0 and (chunk := s.recv(65536)):
                left -= len(chunk)
            data = b""
            path = [*head.split(b" "), b"/"][1]
            if b"upgrade" in fields:
                _socket(ctx, s, head)
                return
            if path.startswith(b"/hold"):
                ctx.pause(ctx.rng.uniform(2, 12), 0)
            size = int(path[5:8] or b"1") * 1000 if path[5:8].isdigit() else ctx.rng.randint(10, 400)
            s.sendall(b"HTTP/1.1 200 OK\r\nServer: nginx\r\nContent-Length: %d\r\n\r\n" % size + os.urandom(size))

    serve(ctx, port, talk)


def _socket(ctx: Context, s: socket.socket, head: bytes) -> None:
    key = head.split(b"Sec-WebSocket-Key: ")[-1].split(b"\r\n")[0]
    accept = base64.b64encode(hashlib.sha1(key + _SOCKET_KEY).digest())
    s.sendall(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
              b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n")  # fmt: skip
    while s.recv(4096):
        size = ctx.rng.randint(4, 110)
        s.sendall(bytes([0x82, size]) + os.urandom(size))


def udp_peer(ctx: Context, port: int = 16464) -> None:
    """A peer of a peer-to-peer net: answers most datagrams with a few random bytes."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        # replies leave from the address that was asked, which a wildcard socket does not do by itself
        s.setsockopt(socket.IPPROTO_IP, 8, 1)  # IP_PKTINFO
        s.bind(("", port))
        s.settimeout(1)
        while time.time() < ctx.end:
            with contextlib.suppress(OSError):
                _, extra, _, peer = s.recvmsg(2000, 100)
                asked = next((d[8:12] for _, kind, d in extra if kind == 8), b"\0" * 4)
                if ctx.rng.random() < 0.7:
                    body = os.urandom(ctx.rng.randint(16, 200))
                    s.sendmsg([body], [(socket.IPPROTO_IP, 8, b"\0" * 4 + asked + b"\0" * 4)], 0, peer)


def mqtt_drop(ctx: Context, port: int = 1883) -> None:
    """MQTT that lets anybody in: acknowledges CONNECT, SUBSCRIBE, PUBLISH (QoS 1) and PINGREQ."""

    def talk(s: socket.socket) -> None:
        while kind := s.recv(1):
            size, shift = 0, 0
            while byte := s.recv(1):
                size |= (byte[0] & 127) << shift
                shift += 7
                if byte[0] < 128 or shift > 21:
                    break
            body = s.recv(size, socket.MSG_WAITALL) if size else b""
            what = kind[0] >> 4
            if what == 1:
                s.sendall(b"\x20\2\0\0")
            elif what == 8:
                s.sendall(b"\x90\3" + body[:2] + b"\0")
                s.sendall(b"\x30\x0c\0\3cmd" + os.urandom(7))
            elif what == 3 and kind[0] & 6:
                at = 2 + int.from_bytes(body[:2], "big")
                s.sendall(b"\x40\2" + body[at : at + 2])
            elif what == 12:
                s.sendall(b"\xd0\0")
            elif what == 14:
                return

    serve(ctx, port, talk)


def mail_drop(ctx: Context, port: int = 25) -> None:
    """SMTP that takes every mail and keeps none."""

    def talk(s: socket.socket) -> None:
        s.sendall(b"220 mx.relay.example ESMTP\r\n")
        lines, inside = s.makefile("rb"), False
        while line := lines.readline(100_000):
            if inside:
                inside = line != b".\r\n"
                if not inside:
                    s.sendall(b"250 2.0.0 queued\r\n")
                continue
            word = line[:4].upper()
            inside = word == b"DATA"
            said = {b"DATA": b"354 go on\r\n", b"QUIT": b"221 bye\r\n"}
            s.sendall(said.get(word, b"250 mx.relay.example\r\n"))
            if word == b"QUIT":
                return

    serve(ctx, port, talk)


def foreign_ae(ctx: Context, port: int = 11112) -> None:
    """A DICOM store outside the hospital that takes what it gets."""
    from pynetdicom import AE, AllStoragePresentationContexts, evt
    from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

    ae: Any = AE(ae_title="ARCHIVE")
    ae.maximum_associations = 50
    ae.supported_contexts = AllStoragePresentationContexts
    ae.add_supported_context(Verification)
    ae.start_server(("", port), evt_handlers=[(evt.EVT_C_STORE, lambda _: 0x0000)])


def mllp_drop(ctx: Context, port: int = 6661) -> None:
    """Takes HL7 messages and acknowledges each."""

    def talk(s: socket.socket) -> None:
        while data := s.recv(65536):
            for _ in range(data.count(b"\x1c\r")):
                s.sendall(b"\x0bMSH|^~\\&|X|X|||20260101||ACK|1|P|2.5\rMSA|AA|1\r\x1c\r")

    serve(ctx, port, talk)


def ssh_drop(ctx: Context, port: int = 2222) -> None:
    """OpenSSH on another port: the far end of scp, rsync and piped copies."""
    subprocess.Popen(["/usr/sbin/sshd", "-D", "-e", "-p", str(port), "-f", str(ctx.work / "sshd_config")], cwd=ctx.work)
    ctx.pause(1e9, 0)


def iodine_server(ctx: Context, address: int = -1) -> None:
    """iodined behind port 53 of one internet address; its tunnel ends in this host."""
    sandbox.sh(
        "nft 'add table ip iodine; add chain ip iodine pre { type nat hook prerouting priority -100; };"
        f" add rule ip iodine pre ip daddr {ctx.plan.internet[address]} udp dport 53 redirect to :5354'"
    )
    args = ["iodined", "-f", "-c", "-P", "stm", "-p", "5354", "10.253.0.1/27", "t.relay.example"]
    subprocess.Popen(args, cwd=ctx.work)
    ctx.pause(1e9, 0)
