"""The bridge against a fake Zeek over real sockets, most of it in this process, the command in one of its own."""

import asyncio
import contextlib
import functools
import shutil
import ssl
import subprocess
import threading
import time

import pytest
from websockets.sync.client import connect as connect_sync

from pyad import bridge as bridge_module
from pyad import wire
from pyad.bridge import Bridge, tls_context
from pyad.config import Config, load_config
from pyad.desk import Desk, LiveLog
from pyad.errors import PyadError, UsageError
from pyad.link import Link, LinkSettings
from pyad.service import _is_loopback
from tests.fake_zeek import SECRET, FakeZeek, Peer, frame
from tests.stub_pipeline import StubPipeline, text


def asynchronous(test):
    @functools.wraps(test)
    def run(*args, **kwargs):
        async def limited():
            async with asyncio.timeout(20):
                await test(*args, **kwargs)

        asyncio.run(limited())

    return run


class Running:
    """A bridge in this process: `async with Running(url) as it`; leaving stops it. told: its log."""

    def __init__(self, url, pipeline=None, out=None, memory=None, **settings):
        sets = {"url": url, "hello_interval_s": 0.1, "connect_timeout_s": 1, "backoff_max_s": 0.2} | settings
        self.settings = load_config(None, {}, options={f"bridge.{k}": v for k, v in sets.items()}).bridge
        self.told = []
        self.pipeline = pipeline or StubPipeline()
        limits = LinkSettings(SECRET, window=self.settings.window, hello_interval_s=self.settings.hello_interval_s)
        self.link = Link(limits, self.log)
        if memory is not None:
            self.link.restore(memory)
        self.live_log = LiveLog(out, "tsv", "all", "m-1", self.log) if out else None
        self.desk = Desk(self.pipeline, self.log, self.live_log)
        self.saved = []

    def log(self, level, event, /, **fields):
        self.told.append((level, event, fields))

    def events(self, event):
        return [fields for _, e, fields in self.told if e == event]

    async def __aenter__(self):
        self.bridge = Bridge(self.settings, self.link, self.desk, self.log, self.saved.append, self.live_log)
        self.task = asyncio.create_task(self.bridge.run())
        return self

    async def __aexit__(self, *_):
        self.stop_took_s = -time.monotonic()
        self.bridge.stop()
        await self.task
        self.stop_took_s += time.monotonic()


async def soon(condition, within_s=5.0):
    async with asyncio.timeout(within_s):
        while not condition():
            await asyncio.sleep(0.005)


@asynchronous
async def test_rows_in_verdicts_and_acknowledgements_out():
    async with FakeZeek() as zeek, Running(zeek.url) as it:
        await zeek.add([text("C1"), text("N1")])
        await zeek.add([text("C2")])
        await zeek.until(lambda: zeek.peer.acked == [1, 2])
        [notices] = zeek.peer.applied.values()
        assert notices[0].split("\t")[1] == "N1" and not zeek.peer.refused
        assert zeek.headers[0]["X-Application-Name"] == "pyad"
        assert zeek.subscriptions == [["zeek/pyad/rows/all/", "zeek/pyad/status/"]]
        await zeek.until(lambda: zeek.peer.hellos >= 3)
    assert it.saved[-1]["streams"][0][3:5] == [3, 2]
    assert it.stop_took_s < 1.0
    assert it.events("connected")[0]["zeek"] == "9.1.0-dev"


@asynchronous
async def test_what_waits_while_a_batch_is_scored_is_scored_together_and_the_heart_beats_on():
    pipeline = StubPipeline(takes_s=0.4)
    async with FakeZeek() as zeek, Running(zeek.url, pipeline, hello_interval_s=0.05):
        for n in range(10):
            await zeek.add([text(f"C{n}")])
        await zeek.until(lambda: len(zeek.peer.acked) == 10)
        assert len(pipeline.pushes) <= 3 and zeek.peer.hellos >= 6
        assert zeek.peer.times_sent.most_common(1)[0][1] == 1


@asynchronous
async def test_it_connects_again_and_again_and_nothing_is_scored_or_told_twice():
    pipeline = StubPipeline()
    async with FakeZeek() as zeek, Running(zeek.url, pipeline) as it:
        for n in range(30):
            await zeek.add([text(f"C{n}"), text(f"N{n}")])
            if n % 10 == 5:
                await zeek.until(lambda: zeek.socket is not None)
                await zeek.socket.close(1001)
        await zeek.until(lambda: not zeek.peer.batches)
        assert zeek.connections >= 3 and len(it.events("zeek_closed")) >= 3
    assert sorted(pipeline.uids) == sorted([f"{k}{n}" for n in range(30) for k in "CN"])
    assert len(zeek.peer.applied) == 30


@asynchronous
async def test_it_waits_for_a_zeek_that_is_not_there_yet_and_tells_so_once():
    async with FakeZeek() as zeek:
        port = zeek.port
    async with Running(f"ws://127.0.0.1:{port}") as it:
        await asyncio.sleep(0.5)
        assert len(it.events("cannot_connect")) == 1 and "again for ever" in it.events("cannot_connect")[0]["todo"]
        async with FakeZeek(port=port) as zeek:
            await zeek.add([text("C1")])
            await zeek.until(lambda: zeek.peer.acked == [1])


@asynchronous
async def test_a_subscription_that_is_not_taken_is_given_up_and_tried_again():
    async with FakeZeek(acks_subscription=False) as zeek, Running(zeek.url, connect_timeout_s=0.1) as it:
        await zeek.until(lambda: zeek.connections >= 2)
        assert "no answer to the subscription within 0.1 s" in it.events("cannot_connect")[0]["error"]


@asynchronous
async def test_frames_that_break_parsers_do_not_break_the_bridge():
    async with FakeZeek() as zeek, Running(zeek.url) as it:
        await zeek.until(lambda: zeek.peer.hellos)
        bad = [
            b"\xff\xfe",
            b'{"a":"\\v"}',
            b"[" * 200_000,
            b"{}",
            b"x" * (3 << 20),
            frame("hello", ("s", "", "", 0, 0, "")),
        ]
        await zeek.send(*bad)
        await zeek.socket.send(b"\x00\x01binary")
        await zeek.add([text("C1"), "junk"])
        await zeek.until(lambda: zeek.peer.acked == [1])
        assert zeek.connections == 1 and sum(it.link.refused.counts.values()) == len(bad) + 1
        assert it.desk.bad_rows == 1
        assert all("\xff" not in str(fields) for _, _, fields in it.told)


@asynchronous
async def test_a_frame_without_bounds_ends_the_connection_but_not_the_bridge():
    async with FakeZeek() as zeek, Running(zeek.url) as it:
        await zeek.until(lambda: zeek.peer.hellos)
        await zeek.send(b"x" * (17 << 20))
        await zeek.until(lambda: zeek.connections == 2)
        await zeek.until(lambda: zeek.peer.session == it.link.session)
        await zeek.add([text("C1")])
        await zeek.until(lambda: zeek.peer.acked == [1])


@asynchronous
async def test_a_stop_finishes_what_is_queued():
    pipeline = StubPipeline(takes_s=0.2)
    async with FakeZeek() as zeek:
        async with Running(zeek.url, pipeline) as it:
            await zeek.until(lambda: zeek.peer.hellos)
            for n in range(5):
                await zeek.add([text(f"C{n}")])
            await soon(lambda: it.link.counts.batches == 5)
        assert zeek.peer.acked == [1, 2, 3, 4, 5] and it.saved


@asynchronous
async def test_a_stop_does_not_wait_for_a_zeek_that_hangs():
    async with FakeZeek() as zeek:
        async with Running(zeek.url) as it:
            await zeek.until(lambda: zeek.peer.hellos)
            zeek.hangs = True
            await asyncio.sleep(0.15)
        assert it.stop_took_s < 2.0


@asynchronous
async def test_a_stop_while_connecting():
    """To a server that takes the connection and says nothing at all."""
    server = await asyncio.start_server(lambda *_: asyncio.sleep(60), "127.0.0.1", 0)
    url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with Running(url, connect_timeout_s=30) as it:
        await asyncio.sleep(0.2)
    assert it.stop_took_s < 1.0
    server.close()


@asynchronous
async def test_a_stop_before_anything():
    async with Running("ws://127.0.0.1:1") as it:
        pass
    assert it.stop_took_s < 1.0 and it.saved == []


@asynchronous
async def test_a_fault_of_our_own_ends_the_bridge_instead_of_leaving_it_deaf():
    async with FakeZeek() as zeek:
        it = Running(zeek.url)
        it.desk.handle = lambda works: 1 / 0
        await it.__aenter__()
        await zeek.add([text("C1")])
        with pytest.raises(ZeroDivisionError):
            await it.task


@asynchronous
async def test_snapshots_while_it_runs_and_what_is_remembered_is_not_scored_again():
    pipeline = StubPipeline()
    async with FakeZeek() as zeek:
        async with Running(zeek.url, pipeline, snapshot_interval_s=0.1) as it:
            await zeek.add([text("N1")])
            await soon(lambda: it.saved)
            await asyncio.sleep(0.3)
            assert len(it.saved) == 1  # nothing new, nothing to write
            assert it.events("state_saved")
        async with Running(zeek.url, pipeline, memory=it.saved[0]):
            zeek.peer.batches[1] = [text("N1")]  # as if the acknowledgement had not arrived
            await zeek.until(lambda: zeek.peer.acked == [1, 1])
    assert pipeline.uids == ["N1"] and len(zeek.peer.applied) == 1


@asynchronous
async def test_a_state_that_cannot_be_saved_is_told():
    async with FakeZeek() as zeek, Running(zeek.url) as it:
        it.bridge._save = lambda _: (_ for _ in ()).throw(PyadError("disk full"))
        await zeek.add([text("C1")])
        await zeek.until(lambda: zeek.peer.acked == [1])
    assert str(it.events("state_not_saved")[0]["error"]) == "disk full"


@asynchronous
async def test_a_new_log_on_request(tmp_path):
    async with FakeZeek() as zeek, Running(zeek.url, out=tmp_path) as it:
        await zeek.add([text("C1")])
        await zeek.until(lambda: zeek.peer.acked == [1])
        it.bridge.reopen_log()
        await soon(lambda: len(list(tmp_path.iterdir())) == 2)
        await zeek.add([text("C2")])
        await zeek.until(lambda: zeek.peer.acked == [1, 2])
    assert "C2" in (tmp_path / "pyad.log").read_text()


@asynchronous
async def test_a_status_line(monkeypatch):
    monkeypatch.setattr(bridge_module, "STATUS_INTERVAL_S", 0.1)
    async with FakeZeek() as zeek, Running(zeek.url) as it:
        await zeek.add([text("C1"), text("N1")])
        await soon(lambda: any(f["rows"] == 2 for f in it.events("status")))
        status = it.events("status")[-1]
        assert status["notices"] == 1 and status["connected"] is True and status["max_lag_ms"] < 1000
        assert status["repeats"] == status["unsent"] == 0


def test_a_plain_loop_drives_the_same_link():
    """As a replay does, with the synchronous client."""
    ready, over, zeek = threading.Event(), threading.Event(), FakeZeek(Peer())

    async def serve():
        async with zeek:
            ready.set()
            await zeek.until(lambda: zeek.peer.session)
            for n in range(5):
                await zeek.add([text(f"N{n}")])
            await zeek.until(lambda: not zeek.peer.batches)
            zeek.peer.total_rows = 5
            await zeek.send(zeek.peer.flush())
            await zeek.until(lambda: zeek.peer.flushed)
            over.set()

    server = threading.Thread(target=asyncio.run, args=(serve(),))
    server.start()
    ready.wait(5)
    link = Link(LinkSettings(SECRET, window=4), lambda *_, **__: None)
    desk = Desk(StubPipeline(), lambda *_, **__: None)
    with connect_sync(zeek.url, proxy=None, compression=None) as websocket:
        for one in link.connected(time.monotonic()):
            websocket.send(one)
        while not link.flushed:
            frames = []
            with contextlib.suppress(TimeoutError):
                raw = websocket.recv(timeout=link.next_tick(time.monotonic()), decode=False)
                frames += link.receive(raw, time.monotonic())
            frames += link.tick(time.monotonic())
            works = link.take()
            for work, notices in zip(works, desk.handle(works)):
                frames += link.done(work, notices, time.monotonic())
            for one in frames:
                websocket.send(one)
        assert over.wait(5)
    server.join(5)
    assert [notices[0].split("\t")[1] for notices in zeek.peer.applied.values()] == [
        *(f"N{n}" for n in range(5)),
        "NEND",
    ]


def test_tls_settings_are_checked_before_anything_starts(tmp_path):
    def settings(**given):
        return load_config(None, {}, options={f"bridge.{k}": v for k, v in given.items()}).bridge

    assert tls_context(Config().bridge) is None
    assert isinstance(tls_context(settings(url="wss://zeek:1")), ssl.SSLContext)
    with pytest.raises(UsageError, match=r"tls_ca is set but bridge.url is not wss://"):
        tls_context(settings(tls_ca="/x"))
    with pytest.raises(UsageError, match=r"/nope.*No such file.*bridge.tls_ca"):
        tls_context(settings(url="wss://zeek:1", tls_ca="/nope"))
    with pytest.raises(UsageError, match=r"without bridge\.tls_cert"):
        tls_context(settings(url="wss://zeek:1", tls_key="/x"))
    junk = tmp_path / "junk.pem"
    junk.write_text("junk")
    with pytest.raises(UsageError, match=r"junk\.pem"):
        tls_context(settings(url="wss://zeek:1", tls_cert=str(junk)))


@asynchronous
async def test_tls_with_certificates_on_both_sides(tmp_path):
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("makes its certificate with openssl")
    key, cert = tmp_path / "key.pem", tmp_path / "cert.pem"
    make = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=zeek"
    command = [openssl, *make.split(), "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(cert)]
    subprocess.run(command, check=True, capture_output=True)
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(cert))
    server.load_cert_chain(cert, key)
    server.verify_mode = ssl.CERT_REQUIRED
    files = {"tls_ca": str(cert), "tls_cert": str(cert), "tls_key": str(key)}
    async with FakeZeek(tls=server) as zeek:
        async with Running(zeek.url, **files):
            await zeek.add([text("C1")])
            await zeek.until(lambda: zeek.peer.acked == [1])
        async with Running(zeek.url) as stranger:  # does not know who made the certificate
            await soon(lambda: stranger.events("cannot_connect"))
            assert "CERTIFICATE_VERIFY_FAILED" in stranger.events("cannot_connect")[0]["error"]


def test_the_loopback_is_known():
    for url in ("ws://127.0.0.1:1/x", "ws://localhost:1", "ws://[::1]:1"):
        assert _is_loopback(url)
    assert not _is_loopback("ws://10.0.0.1:1" + wire.PATH)
