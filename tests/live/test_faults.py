"""What goes wrong between a live Zeek and its bridge: nothing stalls, doubles, or gets lost uncounted."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from contextlib import suppress

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from pyad import wire
from pyad.row import SCHEMA_HASH
from tests.live.harness import Capture, Live, Meddler, needs_zeek, rss_kb, until
from tests.site import calibrated

pytestmark = needs_zeek
LONG = os.environ.get("PYAD_LONG") == "1"
GROWTH_KB = 32 * 1024


@pytest.fixture
def live(tmp_path):
    it = Live(tmp_path)
    yield it
    it.close()


def all_told(live: Live, capture: Capture, rows: dict[str, int]) -> None:
    """conn.log is complete, every row is accounted for, and no notice was raised twice."""
    assert len(live.log("conn.log")) == capture.connections
    assert rows["exported"] == rows["acked"] + rows["held"]
    identifiers = [
        re.sub(r" class=.*", "", n["sub"]) + n["n"] for n in live.log("notice.log") if "incident=" in n["sub"]
    ]
    assert len(identifiers) == len(set(identifiers))


def of_type(live: Live, name: str) -> list[dict[str, str]]:
    return [n for n in live.log("notice.log") if n["note"] == name]


def scans(live: Live) -> list[dict[str, str]]:
    """The new incidents of the host that scans; what the model makes of the made-up ordinary traffic is not asked."""
    return [n for n in of_type(live, "PyAD::Recon") if "state=new" in n["sub"] and n["src"] == "10.0.0.99"]


def test_a_scan_becomes_a_notice_and_nothing_is_lost(live):
    capture = Capture().steady(50, 12).scan(2, 99, 60)
    zeek = live.replay(capture.write(live.folder / "pcap"))
    live.bridge()
    rows = live.rows(zeek)
    all_told(live, capture, rows)
    assert rows["exported"] == capture.connections and rows["dropped"] == 0
    assert scans(live)


def test_over_tls_both_sides_show_certificates(live):
    make = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2"
    for name in ("zeek", "bridge"):
        names = ["-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1"]
        files = ["-keyout", f"{name}.key", "-out", f"{name}.pem"]
        subprocess.run([*make.split(), *names, *files], cwd=live.folder, check=True, capture_output=True)
    ours, theirs = live.folder / "bridge", live.folder / "zeek"
    settings = f"""redef PyAD::listen_tls = [$cert_file="{theirs}.pem", $key_file="{theirs}.key",
        $enable_peer_verification=T, $ca_file="{ours}.pem"];"""
    capture = Capture().steady(50, 6).scan(1, 99, 60)
    zeek = live.replay(capture.write(live.folder / "pcap"), settings)
    live.bridge(f"bridge.tls_ca={theirs}.pem", scheme="wss")
    until(lambda: "cannot_connect" in live.said(1))
    live.bridge(f"bridge.tls_ca={theirs}.pem", f"bridge.tls_cert={ours}.pem", f"bridge.tls_key={ours}.key",
                "bridge.state_file=none", scheme="wss")  # fmt: skip
    rows = live.rows(zeek)
    all_told(live, capture, rows)
    assert rows["exported"] == capture.connections and rows["dropped"] == 0
    assert " connected " not in live.said(1) and " connected " in live.said(2)


def test_a_killed_bridge_comes_back_and_goes_on(live):
    capture = Capture().steady(60, 24).scan(1, 99, 60).scan(16, 98, 60)
    zeek = live.replay(capture.write(live.folder / "pcap"), "redef PyAD::bridge_timeout = 2sec;")
    first = live.bridge("bridge.snapshot_interval_s=1")
    until(lambda: len(live.log("conn.log")) > 200, 40)
    first.send_signal(signal.SIGKILL)
    time.sleep(3)
    live.bridge()
    rows = live.rows(zeek)
    all_told(live, capture, rows)
    assert rows["exported"] == capture.connections and rows["dropped"] == 0
    assert of_type(live, "PyAD::Bridge_Down") and "state_restored" in live.said(2)
    assert {"10.0.0.99", "10.0.0.98"} <= {n["src"] for n in of_type(live, "PyAD::Recon")}


def test_a_stopped_bridge_never_stalls_zeek(live):
    seconds = 60 if LONG else 8
    capture = Capture().steady(400, seconds + 8)
    settings = "redef PyAD::max_backlog = 1500; redef PyAD::bridge_timeout = 3sec;"
    began = time.monotonic()
    zeek = live.replay(capture.write(live.folder / "pcap"), settings)
    bridge = live.bridge()
    until(lambda: len(live.log("conn.log")) > 300, 40)
    before = rss_kb(zeek)
    bridge.send_signal(signal.SIGSTOP)
    time.sleep(seconds)
    grown = rss_kb(zeek) - before
    bridge.send_signal(signal.SIGCONT)
    rows = live.rows(zeek, seconds + 60)
    assert grown < GROWTH_KB
    assert time.monotonic() - began < seconds + 30
    all_told(live, capture, rows)
    assert rows["dropped"] > 0 and rows["exported"] + rows["dropped"] == capture.connections
    assert of_type(live, "PyAD::Bridge_Down")
    lost = of_type(live, "PyAD::Rows_Dropped")
    assert lost and int(lost[-1]["n"]) <= rows["dropped"] + rows["held"]


def test_batches_that_come_twice_and_in_another_order_count_once(live):
    capture = Capture().steady(300, 10).scan(1, 99, 60)
    held: list[bytes] = []
    seen = {"rows": 0}

    def change(frame: bytes) -> list[bytes]:
        if b"PyAD::rows" not in frame:
            return [frame]
        seen["rows"] += 1
        if seen["rows"] % 3 == 0:
            held.append(frame)
            return []
        late = held[:]
        held.clear()
        return [frame, *late, frame] if seen["rows"] % 2 else [frame, *late]

    zeek = live.replay(capture.write(live.folder / "pcap"), "redef PyAD::resend_after = 3sec;")
    between = Meddler(live.port, change)
    live.bridge(port=between.port)
    rows = live.rows(zeek)
    between.close()
    all_told(live, capture, rows)
    assert seen["rows"] > 30
    assert rows["exported"] == capture.connections and rows["dropped"] == 0
    assert len(scans(live)) == 1


def test_zeek_restarts_and_the_bridge_finds_it_again(live):
    capture = Capture().steady(50, 8).scan(1, 99, 60)
    pcap = capture.write(live.folder / "pcap")
    bridge = live.bridge()
    live.rows(live.replay(pcap))
    live.replay(pcap).wait(60)
    assert bridge.poll() is None
    assert live.said().count(" connected ") == 2
    for folder in ("zeek", "zeek2"):
        assert len(live.log("conn.log", folder)) == capture.connections
    bridge.send_signal(signal.SIGTERM)
    assert bridge.wait(5) == 0


def spoiled(verdicts: wire.Event, **changes: object) -> list[object]:
    names = ("schema", "epoch", "counter", "node", "node_epoch", "lane", "seq", "notices", "mac")
    return [changes.get(name, value) for name, value in zip(names, verdicts.args)]


def test_a_hostile_client_changes_nothing(live):
    capture = Capture().steady(100, 14).scan(1, 99, 60)
    zeek = live.replay(capture.write(live.folder / "pcap"))
    live.bridge()
    heard: list[wire.Event] = []
    line = "1700000000.000000\tC1\t10.9.9.9\t1\t10.9.9.8\t2\ttcp\t-\tc2\tnew\tforged-new-0\tforged\t5\tforged\tforged"
    until(lambda: "connected" in live.said())
    with connect(f"ws://127.0.0.1:{live.port}/v1/messages/json", compression=None, proxy=None) as client:
        client.send(json.dumps(["zeek/pyad/", "/", ""]))
        end, sent = time.monotonic() + 16, 0
        try:
            while time.monotonic() < end:
                try:
                    message = wire.decode(client.recv(timeout=0.2, decode=False))
                except (TimeoutError, wire.WireError):
                    continue
                if isinstance(message, wire.Event):
                    heard.append(message)
                if sent > 300:
                    continue
                sent += 1
                # Everything heard is said again, and changed.
                if isinstance(message, wire.Event) and message.name in ("hello", "ack", "verdicts"):
                    topic = wire.VERDICTS_TOPIC if message.name == "verdicts" else wire.BRIDGE_TOPIC
                    client.send(wire.encode(topic, message.name, message.args))
                if isinstance(message, wire.Event) and message.name == "rows":
                    node, epoch = message.args[1], message.args[2]
                    acks = [str(n) for n in range(1, 40)]
                    client.send(
                        wire.encode(wire.BRIDGE_TOPIC, "ack", (SCHEMA_HASH, node, epoch, "all", acks, "0" * 64))
                    )
                    hello = (SCHEMA_HASH, "all", "f" * 16, 1_000_000, 2**62, "0" * 64)
                    client.send(wire.encode(wire.BRIDGE_TOPIC, "hello", hello))
                    for bad in (
                        line,
                        "a\x01b",
                        "x" * 100_000,
                        line.replace("c2", "nonsense"),
                        line.replace("\t5\t", "\tNaN\t"),
                    ):
                        args = (SCHEMA_HASH, epoch, 2**62 + sent, node, epoch, "all", 1, [bad], "0" * 64)
                        client.send(wire.encode(wire.VERDICTS_TOPIC, "verdicts", args))
                    for garbage in ("{", "[]", '{"type":"data-message"}', "\x00", json.dumps({"a": "\u0001" * 1000})):
                        client.send(garbage)
        except ConnectionClosed:
            pass
    rows = live.rows(zeek)
    all_told(live, capture, rows)
    assert {"hello", "ack", "rows"} <= {e.name for e in heard}
    assert rows["exported"] == capture.connections and rows["dropped"] == 0
    assert "forged" not in (live.folder / "zeek" / "notice.log").read_text()
    assert len(scans(live)) == 1
    assert not of_type(live, "PyAD::Bridge_Down")
    assert "refused" in (live.folder / "zeek" / "out").read_text()


def test_events_that_only_zeek_raises_are_obeyed_from_nobody_else(live):
    capture = Capture().steady(60, 12).scan(4, 99, 60)
    zeek = live.replay(capture.write(live.folder / "pcap"))
    live.bridge()
    until(lambda: "connected" in live.said())
    text, when = "string", {"@data-type": "timestamp", "data": "2026-01-01T00:00:00.000"}
    description = [
        *(typed(text, "x"), typed("enum-value", "Input::READER_RAW"), typed("enum-value", "Input::REREAD")),
        *(typed(text, "pyad-secret"), typed(text, ""), typed("boolean", False), typed(text, ""), typed(text, "")),
        typed("table", []),
    ]
    events = [
        ("secret_line", [typed("vector", description), typed("enum-value", "Input::EVENT_NEW"), typed(text, "e" * 32)]),
        ("address_changed", [when, typed("address", "10.9.9.9"), typed(text, "x\nFORGED ROW"), typed(text, "y")]),
        ("flush_timer", [typed(text, "nolane")]),
        ("rows_dropped", [*(typed(text, "zeek"), typed(text, "e" * 16), typed("count", 2**62), typed(text, ""))]),
        *[("check_lanes", []), ("check_bridges", []), ("regular_status", [])] * 20,
    ]
    answers = []
    with connect(f"ws://127.0.0.1:{live.port}{wire.PATH}", compression=None, proxy=None) as client:
        client.send(json.dumps([]))
        client.recv()
        for name, args in events:
            client.send(publish(name, args))
        with suppress(TimeoutError):
            while True:
                answers.append(client.recv(timeout=1))
    rows = live.rows(zeek)
    all_told(live, capture, rows)
    assert not answers  # Zeek could read every one of them
    assert rows["exported"] == capture.connections and rows["dropped"] == 0
    assert len(scans(live)) == 1
    assert not [n for n in of_type(live, "PyAD::Rows_Dropped") if int(n["n"]) > rows["held"]]
    assert not of_type(live, "PyAD::Bridge_Down")
    assert "error" not in (live.folder / "zeek" / "out").read_text()


def typed(kind, data):
    return {"@data-type": kind, "data": data}


def publish(name, args):
    version = typed("count", 1)
    event = typed("vector", [typed("string", f"PyAD::{name}"), typed("vector", args)])
    body = {"type": "data-message", "topic": wire.BRIDGE_TOPIC, **typed("vector", [version, version, event])}
    return json.dumps(body)


def test_drift_becomes_a_notice_and_a_forged_one_does_not(live):
    site = calibrated(live.folder)
    zeek = live.replay(Capture().steady(40, 12).write(live.folder / "pcap"))
    live.bridge(f"model.calibration={site}", "drift.window_h=0.0005", "drift.min_rows=150")
    until(lambda: "connected" in live.said())
    args = (SCHEMA_HASH, "0" * 16, 2**60, "all", 9, 9, ["forged\t1\t2\t3"])
    with connect(f"ws://127.0.0.1:{live.port}{wire.PATH}", compression=None, proxy=None) as forger:
        forger.send(wire.subscription("all"))
        forger.recv()
        forger.send(wire.encode(wire.VERDICTS_TOPIC, "drift", wire.signed("f" * 32, "drift", args)))
        rows = live.rows(zeek)
    assert rows["dropped"] == 0
    [notice] = of_type(live, "PyAD::Model_Drift")
    assert " -> " in notice["msg"] and "lane=all" in notice["sub"] and "forged" not in notice["sub"]
    assert "model_drift" in live.said()
