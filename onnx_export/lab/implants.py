"""What a compromised host says to its master: beacons, bots, remote sessions; nothing is ever executed."""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
import struct
import threading
import time
from typing import TYPE_CHECKING

from .context import ask
from .impostor import mqtt_connect, mqtt_publish
from .management import ping
from .plan import TLS_PORTS
from .timed import ask_udp, beats, say

if TYPE_CHECKING:
    from .context import Context

_AGENTS = ("Mozilla/5.0 (Windows NT 10.0; Win64; x64)", "curl/8.5.0", "Microsoft-CryptoAPI/10.0", "Go-http-client/1.1")


def web_beacon(
    ctx: Context,
    targets: list[str],
    seconds: float = 120,
    port: int = 80,
    period: float = 5,
    jitter: float = 0.2,
    method: str = "GET",
    size: int = 0,
    path: str = "/api/check",
    missed: float = 0.0,
    task: float = 0.1,
    delay: float = 0,
) -> None:
    """One small HTTP request (TLS on 443) a period; `task` of them bring a page more, `missed` never happen."""
    import http.client

    agent = ctx.rng.choice(_AGENTS)
    for _ in beats(ctx, seconds, period, jitter, delay):
        if ctx.rng.random() < missed:
            continue
        target = ctx.rng.choice(targets)
        made = (http.client.HTTPSConnection(target, port, timeout=5, context=ssl._create_unverified_context())
                if port in TLS_PORTS else http.client.HTTPConnection(target, port, timeout=5))  # fmt: skip
        body = os.urandom(int(size * ctx.rng.uniform(0.5, 1.5))) if method == "POST" else None
        try:
            for number in range(1 + (ctx.rng.random() < task)):
                where = f"/static/{ctx.rng.randrange(99)}" if number else path
                made.request(method, where, body, {"User-Agent": agent, "Cookie": os.urandom(12).hex()})
                made.getresponse().read()
        except (OSError, http.client.HTTPException):
            pass
        finally:
            made.close()


def dns_check(
    ctx: Context,
    targets: list[str],
    seconds: float = 120,
    period: float = 4,
    jitter: float = 0.3,
    kind: int = 16,
    digits: int = 8,
    zone: str = "t.relay.example",
    burst: int = 1,
) -> None:
    """A few questions a period with a random label of this many digits below a zone; now and then a long answer."""
    for _ in beats(ctx, seconds, period, jitter):
        for _ in range(burst):
            name = f"{ctx.rng.randrange(16**digits):0{digits}x}.{zone}"
            if ctx.rng.random() < 0.1:
                name, kind_now = "txt.big.example", 16
            else:
                kind_now = kind
            ask(targets[0], name, kind_now, ctx.rng)


def dga(
    ctx: Context,
    targets: list[str],
    seconds: float = 120,
    period: float = 20,
    burst: int = 15,
    letters: str = "abcdefghijklmnopqrstuvwxyz",
    length: int = 14,
    gap: float = 0.3,
    tops: tuple[str, ...] = ("com", "net", "org"),
) -> None:
    """Look-ups of generated names that do not exist, in bursts, until the next try."""
    for _ in beats(ctx, seconds, period):
        for _ in range(burst):
            size = ctx.rng.randint(length - 4, length + 4)
            name = "".join(ctx.rng.choice(letters) for _ in range(size)) + "." + ctx.rng.choice(tops)
            ask(targets[0], name, 1, ctx.rng)
            if not ctx.pause(gap, 0.8):
                return


def fast_flux(
    ctx: Context, targets: list[str], seconds: float = 120, period: float = 6, port: int = 8080, every: int = 3
) -> None:
    """A beacon that goes to another of the targets every few beats, as a quickly changing name makes it."""
    at = 0
    for number in beats(ctx, seconds, period):
        at = ctx.rng.randrange(len(targets)) if number % every == 0 else at
        request = f"GET /g{ctx.rng.randrange(10**6)} HTTP/1.1\r\nHost: {os.urandom(5).hex()}.example\r\n\r\n"
        say(ctx, targets[at], port, [request.encode()])


def mqtt_beacon(
    ctx: Context, targets: list[str], seconds: float = 120, port: int = 1883, period: float = 8, hold: float = 2,
    size: int = 40,
) -> None:  # fmt: skip
    """Log in at an MQTT server outside, subscribe for orders, publish a sign of life, go."""
    for _ in beats(ctx, seconds, period):
        if s := ctx.connect(targets[0], port, 3):
            with s, contextlib.suppress(OSError):
                s.settimeout(3)
                s.sendall(mqtt_connect(os.urandom(4).hex(), user="n", password="n"))
                s.recv(4)
                s.sendall(b"\x82\x08\0\1\0\3cmd\0")
                s.recv(100)
                s.sendall(mqtt_publish("alive", os.urandom(size)))
                ctx.pause(hold)
                s.sendall(b"\xe0\0")


def irc_bot(
    ctx: Context,
    targets: list[str],
    seconds: float = 120,
    port: int = 6667,
    bots: int = 1,
    session: float = 60,
    reconnect: float = 5,
) -> None:
    """Bots that join a channel, answer PING and lines of text, drop out and come back."""

    def one() -> None:
        for _ in beats(ctx, seconds, reconnect):
            if s := ctx.connect(targets[0], port, 3):
                with s, contextlib.suppress(OSError):
                    nick = os.urandom(4).hex()
                    s.sendall(f"NICK b{nick}\r\nUSER b 0 * :b\r\nJOIN #c\r\n".encode())
                    until = min(ctx.end, time.time() + session * ctx.rng.uniform(0.4, 1.3))
                    while time.time() < until:
                        s.settimeout(max(0.5, until - time.time()))
                        if not (data := s.recv(4096)):
                            break
                        if b"PING" in data:
                            s.sendall(b"PONG :srv\r\n")
                        elif b"PRIVMSG" in data:
                            s.sendall(b"PRIVMSG #c :ok " + os.urandom(ctx.rng.randint(4, 60)).hex().encode() + b"\r\n")

    _together(one, bots)


def remote_session(
    ctx: Context,
    targets: list[str],
    seconds: float = 120,
    port: int = 4444,
    session: float = 60,
    reconnect: float = 4,
    answer: int = 800,
    at_once: int = 1,
) -> None:
    """A reverse shell's shape: a long connection home, lines in, bursts of random bytes back; no shell is there."""

    def one() -> None:
        for _ in beats(ctx, seconds, reconnect):
            if s := ctx.connect(targets[0], port, 3):
                with s, contextlib.suppress(OSError):
                    s.settimeout(25)
                    until = time.time() + session * ctx.rng.uniform(0.3, 1.4)
                    while time.time() < min(until, ctx.end) and s.recv(4096):
                        s.sendall(os.urandom(int(1 + ctx.rng.expovariate(1 / answer))))

    _together(one, at_once)


def _together(one: object, count: int) -> None:
    threads = [threading.Thread(target=one, daemon=True) for _ in range(min(count, 8))]  # type: ignore[arg-type]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def long_poll(
    ctx: Context, targets: list[str], seconds: float = 120, port: int = 8080, per_connection: int = 1, gap: float = 0.5
) -> None:
    """Requests the server holds open for some seconds, one after the other."""
    for _ in beats(ctx, seconds, gap):
        if s := ctx.connect(targets[0], port, 3):
            with s, contextlib.suppress(OSError):
                s.settimeout(20)
                for _ in range(per_connection):
                    s.sendall(b"GET /hold HTTP/1.1\r\nHost: cdn.relay.example\r\nAccept: */*\r\n\r\n")
                    if not s.recv(65536):
                        break


def web_socket(
    ctx: Context, targets: list[str], seconds: float = 120, port: int = 8080, session: float = 30, beat: float = 3
) -> None:
    """A WebSocket with a small frame a beat; a new one when the old is over."""
    for _ in beats(ctx, seconds, 2):
        if s := ctx.connect(targets[0], port, 3):
            with s, contextlib.suppress(OSError):
                s.settimeout(5)
                key = os.urandom(8).hex().encode() + b"=="
                s.sendall(b"GET /ws HTTP/1.1\r\nHost: cdn.relay.example\r\nUpgrade: websocket\r\n"
                          b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                          b"Sec-WebSocket-Key: " + key + b"\r\n\r\n")  # fmt: skip
                s.recv(4096)
                for _ in beats(ctx, session, beat):
                    size = ctx.rng.randint(4, 100)
                    s.sendall(bytes([0x82, 0x80 | size]) + os.urandom(4 + size))
                    s.recv(4096)


def udp_peers(
    ctx: Context, targets: list[str], seconds: float = 120, port: int = 16464, period: float = 2, known: int = 6,
    size: int = 60, one_port: bool = False,
) -> None:  # fmt: skip
    """Peer-to-peer chatter: datagrams to known peers (the targets and more of the internet), some silent."""
    peers = [*targets, *ctx.rng.sample(ctx.plan.internet[-5:], min(known, 5))] if len(targets) < known else targets
    for _ in beats(ctx, seconds, period):
        body = os.urandom(max(8, int(size * ctx.rng.uniform(0.4, 1.6))))
        ask_udp(ctx.rng.choice(peers), port, body, 0.7, port if one_port else 0)


def icmp_beacon(ctx: Context, targets: list[str], seconds: float = 120, period: float = 4, jitter: float = 0.1) -> None:
    """Echo requests with a steady beat to addresses that no one else has a reason to ping."""
    for _ in beats(ctx, seconds, period, jitter):
        ping(ctx.rng.choice(targets))


def fetch_file(
    ctx: Context, targets: list[str], seconds: float = 30, port: int = 8080, kilobytes: int = 90, period: float = 6,
    tool: str = "python", delay: float = 0,
) -> None:  # fmt: skip
    """Download a file of random bytes again and again (several builds, as droppers do), with a tool or plainly."""
    for number in beats(ctx, seconds, period, delay=delay):
        path = f"/bin/{kilobytes:03d}/{number}"
        if tool == "python":
            if s := ctx.connect(targets[0], port, 3):
                with s, contextlib.suppress(OSError):
                    s.settimeout(5)
                    s.sendall(f"GET {path} HTTP/1.0\r\n\r\n".encode())
                    left = kilobytes * 1000
                    while left > 0 and (data := s.recv(65536)):
                        left -= len(data)
            continue
        url = f"http://{targets[0]}:{port}{path}"
        ctx.command(["busybox", "wget", "-q", "-O", "/dev/null", url] if tool == "wget" else
                    ["curl", "-s", "-m", "10", "-o", "/dev/null", url], 15)  # fmt: skip


def probe_nets(
    ctx: Context, targets: list[str], seconds: float = 40, rate: float = 15, ports: tuple[int, ...] = (23, 2323),
    delay: float = 0,
) -> None:  # fmt: skip
    """An infected device looks for others: connections to a few ports of random addresses of some nets."""
    for _ in beats(ctx, seconds, 1 / rate, 0.6, delay):
        net = ctx.rng.choice(targets).split("/")[0].rsplit(".", 1)[0]
        port = ports[0] if ctx.rng.random() < 0.5 else ctx.rng.choice(ports)
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as s:
            s.settimeout(0.15)
            with contextlib.suppress(OSError):
                s.connect((f"{net}.{ctx.rng.randrange(2, 254)}", port))
                s.recv(100)


def telnet_guess(
    ctx: Context, targets: list[str], seconds: float = 60, period: float = 0.5, tries: int = 2, delay: float = 0
) -> None:
    """Factory passwords tried over telnet, a few a connection."""
    pairs = [(b"root", b"root"), (b"admin", b"admin"), (b"root", b"12345"), (b"guest", b""), (b"support", b"support")]
    for _ in beats(ctx, seconds, period, 0.5, delay):
        parts = [b"\xff\xfd\x01"]
        for user, word in ctx.rng.choices(pairs, k=tries):
            parts += [user + b"\r\n", word + b"\r\n"]
        say(ctx, ctx.rng.choice(targets), 23, parts, timeout=2)


def keep_alive(
    ctx: Context, targets: list[str], seconds: float = 120, port: int = 4444, period: float = 10, delay: float = 0,
    words: int = 2,
) -> None:  # fmt: skip
    """A bot's command traffic over raw TCP: two bytes and a name, a little back, again after a while."""
    for _ in beats(ctx, seconds, period, 0.15, delay):
        say(ctx, targets[0], port, [struct.pack(">H", 0x3366)] + [os.urandom(6)] * words, timeout=4)
