"""`pyad run` as a process of its own: signals, exit codes, files, and the real model."""

import asyncio
import contextlib
import os
import signal
import sys
import time
from pathlib import Path

from pyad import wire
from pyad.row import concat
from pyad.sources.base import ReadReport
from pyad.sources.conn_log import read_conn_log
from tests.fake_zeek import SECRET, FakeZeek, row_texts
from tests.site import calibrated, changed
from tests.traffic import connections, write_log


def asynchronous(test):
    def run(tmp_path):
        async def limited():
            async with asyncio.timeout(60):
                await test(tmp_path)

        asyncio.run(limited())

    return run


class Command:
    """`pyad run` with a secret, a state and a log in `folder`. lines: what it said so far."""

    def __init__(self, folder: Path, url: str, *options: str, secret: str | None = SECRET):
        self.folder, self.lines = folder, []
        self.secret = folder / "secret"
        if secret:
            self.secret.write_text(secret)
            self.secret.chmod(0o640)
        self.command = [sys.executable, "-m", "pyad", "run", "--url", url, *options]

    async def __aenter__(self):
        env = {
            **os.environ,
            "PYAD_SECRET_FILE": str(self.secret),
            "PYAD_BRIDGE__STATE_FILE": str(self.folder / "state"),
        }
        self.process = await asyncio.create_subprocess_exec(*self.command, env=env, stderr=asyncio.subprocess.PIPE)
        self.reader = asyncio.create_task(self._read())
        return self

    async def __aexit__(self, *_):
        if self.process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self.process.kill()
        await self.process.wait()
        await self.reader

    async def _read(self):
        async for line in self.process.stderr:
            self.lines.append(line.decode())

    async def says(self, event: str):
        while not any(line.split(" ")[2:3] == [event] for line in self.lines):
            assert self.process.returncode is None, self.lines
            await asyncio.sleep(0.01)

    async def ends(self, number: int) -> tuple[int, float]:
        """Send a signal; the exit code and how long the end took (s)."""
        start = time.monotonic()
        self.process.send_signal(number)
        code = await self.process.wait()
        await self.reader
        return code, time.monotonic() - start


@asynchronous
async def test_without_zeek_it_waits_makes_the_secret_and_ends_when_told(tmp_path):
    async with Command(tmp_path, "ws://127.0.0.1:1", secret=None) as it:
        await it.says("cannot_connect")
        code, took_s = await it.ends(signal.SIGTERM)
    assert code == 0 and took_s < 2, it.lines
    assert len(it.secret.read_text()) == 65 and it.secret.stat().st_mode & 0o777 == 0o640
    for event in ("starting", "secret_made", "ready", "stopping", "stopped"):
        await it.says(event)
    fingerprint = wire.fingerprint(it.secret.read_text().strip())
    assert any(f"secret={fingerprint}" in line for line in it.lines)


@asynchronous
async def test_a_zeek_that_hangs_does_not_keep_it(tmp_path):
    async with FakeZeek() as zeek, Command(tmp_path, zeek.url, "--state", "none") as it:
        await zeek.until(lambda: zeek.peer.hellos, 30)
        zeek.hangs = True
        code, took_s = await it.ends(signal.SIGINT)
        assert code == 0 and took_s < 5, it.lines


@asynchronous
async def test_without_a_usable_secret_it_says_what_to_do(tmp_path):
    async with Command(tmp_path, "ws://127.0.0.1:1", secret="short") as it:
        assert await it.process.wait() == 1
        await it.reader
    assert "openssl rand" in it.lines[-1]


@asynchronous
async def test_a_scan_and_a_flood_become_verdicts_and_the_next_run_goes_on(tmp_path):
    log = write_log(tmp_path / "conn.log", connections())
    texts = row_texts(concat(list(read_conn_log(log, ReadReport()))))
    batches = [texts[i : i + 100] for i in range(0, len(texts), 100)]
    out = tmp_path / "out"
    async with FakeZeek() as zeek:
        async with Command(tmp_path, zeek.url, "--out", str(out), "--verdicts", "all") as it:
            for rows in batches:
                await zeek.add(rows)
            await zeek.until(lambda: len(zeek.peer.acked) == len(batches), 30)
            code, took_s = await it.ends(signal.SIGTERM)
        assert code == 0 and took_s < 4, it.lines
        assert not zeek.peer.refused and (tmp_path / "state").exists()
        classes = {text.split("\t")[8] for texts in zeek.peer.applied.values() for text in texts}
        assert classes & {"recon", "flood"}, classes
        lines = [line for line in (out / "pyad.log").read_text().splitlines() if not line.startswith("#")]
        assert len(lines) == len(texts)
        applied = len(zeek.peer.applied)
        zeek.peer.batches[1] = batches[0]  # the first acknowledgement was lost, as it were
        async with Command(tmp_path, zeek.url) as it:
            await zeek.until(lambda: len(zeek.peer.acked) == len(batches) + 1, 30)
            await it.ends(signal.SIGTERM)
        assert any("state_restored" in line for line in it.lines), it.lines
        assert any("rows=0" in line for line in it.lines if " stopped " in line) and len(zeek.peer.applied) == applied


@asynchronous
async def test_a_state_that_is_none_is_put_aside(tmp_path):
    (tmp_path / "state").write_bytes(b"junk")
    async with FakeZeek() as zeek, Command(tmp_path, zeek.url) as it:
        await zeek.until(lambda: zeek.peer.hellos, 30)
        assert (await it.ends(signal.SIGTERM))[0] == 0
    assert any("state_refused" in line for line in it.lines)
    assert (tmp_path / "state.refused").read_bytes() == b"junk"


@asynchronous
async def test_drift_from_the_sites_own_reference_reaches_zeek_and_the_next_run_goes_on(tmp_path):
    site = calibrated(tmp_path)
    log = write_log(tmp_path / "conn.log", changed(connections(7, 2000, 0, 0)))
    texts = row_texts(concat(list(read_conn_log(log, ReadReport()))))
    options = ["--calibration", str(site), "--set", "drift.window_h=0.5", "--set", "drift.min_rows=500"]
    async with FakeZeek() as zeek:
        for part, drifts in ((texts[:400], 0), (texts[400:], 1)):
            batches = [part[i : i + 100] for i in range(0, len(part), 100)]
            acked = len(zeek.peer.acked) + len(batches)
            async with Command(tmp_path, zeek.url, *options) as it:
                for rows in batches:
                    await zeek.add(rows)
                await zeek.until(lambda: len(zeek.peer.acked) >= acked, 30)  # noqa: B023
                await it.ends(signal.SIGTERM)
            assert bool(zeek.peer.drifts) == bool(drifts), it.lines
        assert not zeek.peer.refused
        lane, conns, hours, moved = zeek.peer.drifts[0]
    assert any(" model_drift " in line for line in it.lines) and (lane, hours) in (("all", 0), ("all", 1))
    assert conns >= 500 and 0 < len(moved) <= 5 and all(len(m.split("\t")) == 4 for m in moved)
