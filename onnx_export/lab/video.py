"""Cameras and their recorder: RTSP sessions with RTP inside the connection or beside it over UDP."""

from __future__ import annotations

import contextlib
import hashlib
import select
import socket
import struct
import threading
import time
from typing import TYPE_CHECKING

from . import habits
from .plan import PASSWORD, USER
from .servers import serve

if TYPE_CHECKING:
    from .context import Context
    from .plan import Host

PORT = 554
_REALM = "IP Camera"
_CHALLENGE = f'WWW-Authenticate: Digest realm="{_REALM}", nonce="5f2a9c"\r\n'


def _proof(user: str, password: str, method: str, url: str) -> str:
    def md5(text: str) -> str:
        return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()

    answer = md5(f"{md5(f'{user}:{_REALM}:{password}')}:5f2a9c:{md5(f'{method}:{url}')}")
    return f'Digest username="{user}", realm="{_REALM}", nonce="5f2a9c", uri="{url}", response="{answer}"'


class _Stream:
    """The packets of one video: a big picture every two seconds or so, small ones between."""

    def __init__(self, ctx: Context, rate: float, quality: float) -> None:
        self.ctx, self.quality = ctx, quality
        self.number, self.stamp, self.source = ctx.rng.randrange(65536), ctx.rng.randrange(2**31), ctx.rng.randbytes(4)
        self.group = max(2, int(rate * ctx.rng.uniform(1, 3)))

    def packet(self) -> bytes:
        self.number = (self.number + 1) & 0xFFFF
        whole = self.number % self.group < 3
        self.stamp = (self.stamp + 6000) & 0xFFFFFFFF
        size = self.ctx.rng.randint(900, 1380) if whole else self.ctx.rng.randint(60, 500)
        head = struct.pack(">BBHI", 0x80, 0xE0 if not whole else 0x60, self.number, self.stamp) + self.source
        return head + b"\x7c\x85" + self.ctx.rng.randbytes(max(20, int(size * self.quality)))

    def report(self) -> bytes:
        now = time.time() + 2208988800
        return (
            struct.pack(">BBH", 0x80, 200, 6)
            + self.source
            + struct.pack(">IIIII", int(now), 0, self.stamp, self.number, self.number * 700)
        )


def camera_server(ctx: Context, rate: float = 15) -> None:
    """An RTSP camera on port 554: Digest login, SDP, RTP interleaved or over UDP at `rate` packets a second."""
    rate, quality = habits.around(ctx, rate, 1.6), ctx.rng.uniform(0.3, 1)
    server = ctx.rng.choice(["Rtsp Server/3.0", "GStreamer RTSP server", "LiveMedia 2023.05", "Hipcam RealServer/V1.0"])
    sound = ctx.rng.random() < 0.3

    def talk(s: socket.socket) -> None:
        wall = habits.beat(ctx, rate) / habits.compress(ctx)
        stream, target, playing, due, told = _Stream(ctx, rate, quality), None, False, 0.0, time.time()
        pending = b""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as media:
            while time.time() < ctx.end:
                wait = max(0.0, due - time.time()) if playing else 60.0
                if select.select([s], [], [], wait)[0]:
                    data = s.recv(4096)
                    if not data:
                        return
                    pending += data
                    while b"\r\n\r\n" in pending:
                        raw, pending = pending.split(b"\r\n\r\n", 1)
                        lines = raw.lstrip(b"$\0\1").decode("latin-1").split("\r\n")
                        method, url = [*lines[0].split(" "), "", ""][:2]
                        heads = {k.lower(): v for k, _, v in (x.partition(": ") for x in lines[1:])}
                        status, more, body = "200 OK", "", ""
                        open_ = method in ("OPTIONS", "")
                        if not open_ and heads.get("authorization") != _proof(USER, PASSWORD, method, url):
                            status, more = "401 Unauthorized", _CHALLENGE
                        elif method == "OPTIONS":
                            more = "Public: OPTIONS, DESCRIBE, SETUP, TEARDOWN, PLAY, GET_PARAMETER\r\n"
                        elif method == "DESCRIBE":
                            body = _sdp(ctx.host.ip, sound)
                            more = f"Content-Base: {url}/\r\nContent-Type: application/sdp\r\n"
                        elif method == "SETUP":
                            asked = heads.get("transport", "")
                            if "client_port=" in asked:
                                port = int(asked.split("client_port=")[1].split("-")[0])
                                target = (s.getpeername()[0], port)
                                own = media.getsockname()[1] or 0
                                if not own:
                                    media.bind(("", 0))
                                    own = media.getsockname()[1]
                                asked += f";server_port={own}-{own + 1}"
                            more = f"Transport: {asked}\r\nSession: {stream.source.hex()};timeout=60\r\n"
                        elif method == "PLAY":
                            playing, due = True, time.time()
                            more = (
                                f"Session: {stream.source.hex()}\r\nRTP-Info: url={url}/track1;seq={stream.number}\r\n"
                            )
                        if body:
                            more += f"Content-Length: {len(body)}\r\n"
                        s.sendall(
                            f"RTSP/1.0 {status}\r\nCSeq: {heads.get('cseq', '1')}\r\nServer: {server}\r\n"
                            f"{more}\r\n{body}".encode()
                        )
                        if method == "TEARDOWN":
                            return
                if playing and time.time() >= due:
                    due = max(due + wall, time.time() - 1)  # a camera that was held up does not make good for all of it
                    _send(s, media, target, 0, stream.packet())
                    if time.time() - told > 5:
                        told = time.time()
                        _send(s, media, target, 1, stream.report())

    serve(ctx, PORT, talk)


def _send(s: socket.socket, media: socket.socket, target: tuple[str, int] | None, channel: int, data: bytes) -> None:
    if target is None:
        s.sendall(struct.pack(">BBH", 0x24, channel, len(data)) + data)
    else:
        with contextlib.suppress(OSError):  # nobody listens any more
            media.sendto(data, (target[0], target[1] + channel))


def _sdp(address: str, sound: bool) -> str:
    return (
        f"v=0\r\no=- 1 1 IN IP4 {address}\r\ns=camera\r\nc=IN IP4 0.0.0.0\r\nt=0 0\r\na=control:*\r\n"
        "m=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\na=fmtp:96 packetization-mode=1\r\na=control:track1\r\n"
        + ("m=audio 0 RTP/AVP 0\r\na=control:track2\r\n" if sound else "")
    )


def nvr_client(ctx: Context, period: float = 30, session: float = 1800) -> None:
    """The recorder: one stream of each camera, started anew after each `session`; `period` is the gap between.

    Over TCP or UDP, with keep-alives by OPTIONS or GET_PARAMETER, by camera as drawn; a login is sometimes mistyped.
    """
    for camera in ctx.plan.role("camera"):
        threading.Thread(target=_watch, args=(ctx, camera, period, session, True), daemon=True).start()
    ctx.pause(1e9, 0)


def video_viewer(ctx: Context, period: float = 1200, session: float = 120) -> None:
    """Somebody looks at one camera for a while, now and then."""
    if cameras := ctx.plan.role("camera"):
        _watch(ctx, ctx.rng.choice(cameras), period, session, False)


def _watch(ctx: Context, camera: Host, period: float, session: float, recorder: bool) -> None:
    udp = ctx.rng.random() < 0.4
    path = ctx.rng.choice(["/Streaming/Channels/101", "/live/ch0", "/h264/main", "/axis-media/media.amp", "/stream1"])
    agent = ctx.rng.choice(["LibVLC/3.0.20", "Lavf60.3.100", "NVR-Client 4.2", "GStreamer/1.22"])
    keep, wrong = ctx.rng.choice(["OPTIONS", "GET_PARAMETER"]), 0.05 if recorder else 0.15
    if not ctx.pause(ctx.rng.uniform(0, min(period, 20))):
        return
    while True:
        password = PASSWORD if ctx.rng.random() > wrong else "12345"
        s = ctx.connect(camera.ip, PORT)
        if s is not None:
            with s, contextlib.suppress(OSError, ValueError, IndexError):
                _play(
                    ctx, s, f"rtsp://{camera.ip}:{PORT}{path}", agent, keep, password, udp, habits.around(ctx, session)
                )
        if not ctx.pause(period, 0.5):
            return


def _play(ctx: Context, s: socket.socket, url: str, agent: str, keep: str, password: str, udp: bool, length: float
          ) -> None:  # fmt: skip
    count, proven = 0, False

    def ask(method: str, target: str, more: str = "", wait: bool = True) -> str:
        nonlocal count
        count += 1
        proof = f"Authorization: {_proof(USER, password, method, target)}\r\n" if proven else ""
        s.sendall(f"{method} {target} RTSP/1.0\r\nCSeq: {count}\r\nUser-Agent: {agent}\r\n{proof}{more}\r\n".encode())
        return s.recv(4096).decode("latin-1") if wait else ""

    s.settimeout(10)
    ask("OPTIONS", url)
    if " 401" in ask("DESCRIBE", url, "Accept: application/sdp\r\n"):
        proven = True
        if " 401" in ask("DESCRIBE", url, "Accept: application/sdp\r\n"):
            return
    media, control, port = _pair(ctx)
    with media, control:
        how = f"RTP/AVP;unicast;client_port={port}-{port + 1}" if udp else "RTP/AVP/TCP;unicast;interleaved=0-1"
        said = ask("SETUP", f"{url}/track1", f"Transport: {how}\r\n")
        session = said.split("Session: ")[1].split(";")[0] if "Session: " in said else ""
        ask("PLAY", url, f"Session: {session}\r\nRange: npt=0.000-\r\n", wait=False)
        ends, alive = time.time() + length / habits.compress(ctx), time.time()
        while (now := time.time()) < min(ends, ctx.end):
            ready = select.select([s, media, control], [], [], 1.0)[0]
            for one in ready:
                if not one.recv(65536):
                    return
            if now - alive > 25:
                alive = now
                ask(keep, url, f"Session: {session}\r\n", wait=False)
        ask("TEARDOWN", url, f"Session: {session}\r\n", wait=False)
        with contextlib.suppress(OSError):
            s.settimeout(2)
            while s.recv(65536):
                pass


def _pair(ctx: Context) -> tuple[socket.socket, socket.socket, int]:
    """UDP sockets on an even port and the one after it, for RTP and RTCP."""
    while True:
        port = ctx.rng.randrange(20_000, 60_000, 2)
        media, control = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
        try:
            media.bind(("", port))
            control.bind(("", port + 1))
        except OSError:
            media.close()
            control.close()
            continue
        return media, control, port
