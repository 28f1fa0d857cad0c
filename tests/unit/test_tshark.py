"""The tshark engine on captures written here: services and counters, agreement with our own engine, failures."""

import asyncio
import gzip
import os
import shutil
import struct
import threading
import time
from contextlib import suppress
from itertools import islice
from pathlib import Path

import pytest

from pyad.errors import InputError, PyadError
from pyad.flow.options import FlowOptions
from pyad.flow.tshark import read_with_tshark
from pyad.row import concat
from pyad.sources.base import ReadReport
from pyad.sources.pcap import read_captures

needs_tshark = pytest.mark.skipif(
    shutil.which("tshark") is None, reason="no tshark on PATH: apt install tshark to run these"
)
CLIENT, SERVER = "10.0.0.1", "10.0.0.2"
START = 1_700_000_000.0


class Recorder:
    """Frames as a pcap; TCP conversations are kept by their ports."""

    def __init__(self):
        self.frames = []
        self.now = START
        self._next = {}

    def ip(self, src, dst, proto, payload):
        address = {h: bytes(map(int, h.split("."))) for h in (src, dst)}
        macs = b"\x02\0\0\0\0" + address[dst][-1:] + b"\x02\0\0\0\0" + address[src][-1:] + b"\x08\0"
        head = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(payload), 0, 0x4000, 64, proto, 0)
        self.now += 0.001
        self.frames.append((self.now, macs + head + address[src] + address[dst] + payload))

    def udp(self, src, dst, sport, dport, payload):
        self.ip(src, dst, 17, struct.pack(">HHHH", sport, dport, 8 + len(payload), 0) + payload)

    def segment(self, from_client, ports, flags, payload=b""):
        own, other = (ports, from_client), (ports, not from_client)
        seq, ack = self._next.setdefault(own, 1000), self._next.setdefault(other, 1000)
        ends, (sport, dport) = (CLIENT, SERVER), ports
        if not from_client:
            ends, sport, dport = (SERVER, CLIENT), dport, sport
        tcp = struct.pack(">HHIIBBHHH", sport, dport, seq, ack if flags & 16 else 0, 0x50, flags, 65535, 0, 0)
        self.ip(*ends, 6, tcp + payload)
        self._next[own] = seq + len(payload) + (1 if flags & 3 else 0)

    def talk(self, port, *turns, client_port=40000):
        """A whole connection; each turn is (from the client, bytes)."""
        ports = (client_port, port)
        self.segment(True, ports, 2)
        self.segment(False, ports, 18)
        self.segment(True, ports, 16)
        for from_client, data in turns:
            self.segment(from_client, ports, 24, data)
            self.segment(not from_client, ports, 16)
        self.segment(True, ports, 17)
        self.segment(False, ports, 17)
        self.segment(True, ports, 16)

    def pcap(self):
        out = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262144, 1)
        for ts, data in self.frames:
            out += struct.pack("<IIII", int(ts), round(ts % 1 * 1e6), len(data), len(data)) + data
        return out

    def pcapng(self):
        def block(kind, body):
            size = 12 + len(body) + -len(body) % 4
            return struct.pack("<II", kind, size) + body + bytes(-len(body) % 4) + struct.pack("<I", size)

        out = block(0x0A0D0D0A, struct.pack("<IHHq", 0x1A2B3C4D, 1, 0, -1)) + block(1, struct.pack("<HHI", 1, 0, 0))
        for ts, data in self.frames:
            us = round(ts * 1e6)
            out += block(6, struct.pack("<IIIII", 0, us >> 32, us & 0xFFFFFFFF, len(data), len(data)) + data)
        return out


def dns(name, number, answer=False, rcode=0):
    flags = (0x8180 | rcode) if answer else 0x0100
    labels = b"".join(bytes([len(x)]) + x.encode() for x in name.split("."))
    return struct.pack(">HHHHHH", number, flags, 1, 0, 0, 0) + labels + b"\0\0\x01\0\x01"


def modbus(number, body):
    return struct.pack(">HHHB", number, 0, len(body) + 1, 1) + body


def mixed():
    """Seven connections, one per protocol whose counters are told below."""
    r = Recorder()
    r.udp(CLIENT, SERVER, 5000, 53, dns("www.example.org", 1))
    r.udp(SERVER, CLIENT, 53, 5000, dns("www.example.org", 1, answer=True, rcode=3))
    r.udp(CLIENT, SERVER, 5000, 53, dns("a-much-longer-name-than-that.example.org", 2))
    r.udp(SERVER, CLIENT, 53, 5000, dns("a-much-longer-name-than-that.example.org", 2, answer=True))
    login = b"GET /x HTTP/1.1\r\nHost: h\r\nAuthorization: Basic YTpi\r\n\r\n"
    r.talk(
        80,
        (True, login),
        (False, b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n"),
        (True, login),
        (False, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"),
        (True, b"GET /none HTTP/1.1\r\nHost: h\r\n\r\n"),
        (False, b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"),
    )
    guesses = [(True, b"USER a\r\n"), (False, b"331 ?\r\n"), (True, b"PASS b\r\n"), (False, b"530 no\r\n")]
    r.talk(21, (False, b"220 hello\r\n"), *guesses, *guesses)
    r.talk(
        502,
        (True, modbus(1, b"\x06\x00\x01\x00\x02")),
        (False, modbus(1, b"\x06\x00\x01\x00\x02")),
        (True, modbus(2, b"\x03\x00\x01\x00\x02")),
        (False, modbus(2, b"\x83\x02")),
    )
    connect = b"\x10\x10\x00\x04MQTT\x04\xc2\x00\x3c\x00\x01c\x00\x01u"
    r.talk(1883, (True, connect + b"\x00\x01p"[:0]), (False, b"\x20\x02\x00\x05"), client_port=40001)
    r.talk(1883, (True, b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x3c\x00\x01c"), (False, b"\x20\x02\x00\x00"),
           (True, b"\x30\x05\x00\x01tok" * 3), client_port=40002)  # fmt: skip
    hl7 = b"\x0bMSH|^~\\&|A|B|C|D|20240101||ADT^A01|1|P|2.3\rPID|1||1\r\x1c\r"
    r.talk(2575, (True, hl7))
    return r


def read(path, options=None):
    report = ReadReport()
    parts = list(read_with_tshark(path, report, options or FlowOptions()))
    return (concat(parts) if parts else None), report


def own_engine(path, options=None):
    report = ReadReport()
    parts = list(read_captures([path], report, options or FlowOptions()))
    return (concat(parts) if parts else None), report


def written(tmp_path, data, name="c.pcap"):
    path = tmp_path / name
    path.write_bytes(data)
    return path


def by_port(rows):
    return {(r["id.resp_p"], r["id.orig_p"]): r for r in rows.records()}


@needs_tshark
@pytest.mark.parametrize("kind", ["pcap", "pcap.gz", "pcapng", "pcapng.gz"])
def test_services_and_counters(tmp_path, kind):
    data = mixed().pcapng() if "ng" in kind else mixed().pcap()
    path = written(tmp_path, gzip.compress(data) if kind.endswith("gz") else data, f"c.{kind}")
    rows, report = read(path)
    assert report.problems == []
    assert report.packets == len(mixed().frames)
    found = by_port(rows)
    names = found[53, 5000]
    assert names["service"] == "dns"
    assert (names["dns_queries"], names["dns_nxdomain"], names["dns_longest_qname"]) == (2, 1, 40)
    web = found[80, 40000]
    assert web["service"] == "http"
    assert (web["requests"], web["error_replies"]) == (3, 2)
    assert (web["auth_failures"], web["auth_successes"]) == (1, 1)
    assert "dns_queries" not in web
    assert (found[21, 40000]["service"], found[21, 40000]["auth_failures"]) == ("ftp", 2)
    plc = found[502, 40000]
    assert (plc["service"], plc["ics_writes"], plc["ics_exceptions"]) == ("modbus", 1, 1)
    refused, publisher = found[1883, 40001], found[1883, 40002]
    assert (refused["mqtt_refused"], refused["auth_failures"]) == (1, 1)
    assert (publisher["mqtt_publishes"], publisher["mqtt_refused"]) == (3, 0)
    assert found[2575, 40000]["service"] == "hl7"
    assert all(r["conn_state"] == "SF" for r in found.values())


@needs_tshark
def test_rotated_files_are_one_stream(tmp_path):
    whole, first, second = mixed(), mixed(), mixed()
    at = 14  # in the middle of the HTTP connection
    first.frames, second.frames = first.frames[:at], second.frames[at:]
    parts = [written(tmp_path, r.pcap(), f"{n}.pcap") for n, r in enumerate((first, second))]
    report = ReadReport()
    rows = concat(list(read_with_tshark(parts, report, FlowOptions())))
    assert (report.files, report.problems) == (2, [])
    one, _ = read(written(tmp_path, whole.pcap()))
    assert [tuple(r.get(n) for n in COMPARED) for r in rows.records()] == [
        tuple(r.get(n) for n in COMPARED) for r in one.records()
    ]
    assert by_port(rows)[80, 40000]["requests"] == 3


# What both engines must say alike.
COMPARED = (
    *("ts", "uid", "id.orig_h", "id.orig_p", "id.resp_h", "id.resp_p", "proto", "duration", "orig_bytes"),
    *("resp_bytes", "conn_state", "history", "orig_pkts", "orig_ip_bytes", "resp_pkts", "resp_ip_bytes"),
)


def agreement(path):
    """(rows that agree, rows of our own engine) on one capture."""
    own, _ = own_engine(path)
    if own is None:
        return 0, 0
    other, _ = read(path)
    mine = [tuple(r.get(n) for n in COMPARED) for r in own.records()]
    theirs = set() if other is None else {tuple(r.get(n) for n in COMPARED) for r in other.records()}
    return sum(r in theirs for r in mine), len(mine)


@needs_tshark
def test_agrees_with_our_own_engine(tmp_path):
    assert agreement(written(tmp_path, mixed().pcap())) == (7, 7)


def parity_captures():
    folder = os.environ.get("PYAD_DATA")
    return sorted(Path(folder, "parity").glob("*.pcap*")) if folder else []


@needs_tshark
@pytest.mark.skipif(not parity_captures(), reason="PYAD_DATA names no folder with parity/ captures")
def test_agrees_on_the_parity_captures():
    agree = total = 0
    for path in parity_captures():
        a, n = agreement(path)
        agree, total = agree + a, total + n
    assert agree >= 0.95 * total > 0


HOSPITAL = Path(__file__).parents[1] / "data" / "hospital.pcap"


@needs_tshark
@pytest.mark.skipif(not HOSPITAL.exists(), reason="tests/data/hospital.pcap is not recorded yet")
def test_agrees_on_the_hospital_capture():
    agree, total = agreement(HOSPITAL)
    assert agree >= 0.95 * total > 0


def _children() -> set[str]:
    """Process IDs of this process's children, zombies among them; other tests may have left some of their own."""
    stats = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # that process has ended meanwhile
            stats.append(path.read_text())
    parents = {stat.split(" ", 1)[0]: stat.rsplit(")", 1)[1].split()[1] for stat in stats}
    return {pid for pid, parent in parents.items() if parent == str(os.getpid())}


@needs_tshark
def test_nothing_is_left_running(tmp_path):
    from pyad.flow.tshark_process import dissect

    path = written(tmp_path, mixed().pcap())
    threads, children = threading.active_count(), _children()
    frames = dissect(path)
    assert len(list(islice(frames, 3))) == 3
    frames.close()
    read(path)
    deadline = time.monotonic() + 5  # the thread that waited for a process outlives it for a moment
    while threading.active_count() > threads and time.monotonic() < deadline:
        time.sleep(0.01)
    assert threading.active_count() <= threads
    assert _children() <= children
    with pytest.raises(RuntimeError):
        asyncio.get_running_loop()


@needs_tshark
def test_capture_cut_short_keeps_its_rows_and_is_told_once(tmp_path):
    path = written(tmp_path, mixed().pcap()[:-20])
    rows, report = read(path)
    assert len(rows) == 7
    assert len(report.problems) == 1
    assert str(path) in str(report.problems[0])


@pytest.fixture
def fake_tshark(tmp_path, monkeypatch):
    """A tshark that gives a line for each of the first two frames and then does what it is told."""
    folder = tmp_path / "bin"
    folder.mkdir()
    script = folder / "tshark"

    def behave(how):
        script.write_text(
            "#!/bin/sh\n"
            'case "$*" in *"-r /dev/null "*)\n'
            '  printf "tshark: Some fields aren\'t valid:\\n\\tdicom.pdu.type\\n" >&2; exit 1;; esac\n'
            'case "$*" in *dicom.pdu.type*) exit 3;; esac\n'
            """echo '{"index":{}}'\n"""
            """echo '{"timestamp":"1700000000001","layers":{"frame_protocols":["eth:ip:udp:dns"],"""
            """"dns_flags_response":["0"],"dns_qry_name_len":["15"]}}'\n"""
            """echo '{"timestamp":"1700000000002","layers":[]}'\n""" + how
        )
        script.chmod(0o755)

    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return behave


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("kill -9 $$", "exit -9"),
        ("printf 'odd \\033[31m\\377 thing' >&2; exit 2", "odd \\x1b[31m"),
        ('printf \'{"timestamp":"1700000000003","lay\'; exit 1', "exit 1"),
        ("exit 0", "stopped early"),
    ],
)
def test_tshark_that_fails_leaves_the_rows(tmp_path, fake_tshark, how, said):
    fake_tshark(how)
    rows, report = read(written(tmp_path, mixed().pcap()))
    assert len(rows) == 7, "the rows are our own engine's"
    assert by_port(rows)[53, 5000]["dns_queries"] == 1
    assert len(report.problems) == 1
    assert said in str(report.problems[0])


@pytest.mark.parametrize(
    "line", ["garbage", '{"timestamp":', '{"timestamp":"1700000000003","layers":7}', "\\0\\377", "[" * 5000]
)
def test_garbage_from_tshark_is_no_fact(tmp_path, fake_tshark, line):
    fake_tshark(f"printf '{line}\\n'; exit 1")
    rows, report = read(written(tmp_path, mixed().pcap()))
    assert len(rows) == 7
    assert len(report.problems) == 1


def test_tshark_out_of_step_is_no_longer_believed(tmp_path, fake_tshark):
    fake_tshark("""for n in 1 2 3 4 5; do echo '{"timestamp":"1600000000000","layers":{}}'; done; exit 0""")
    rows, report = read(written(tmp_path, mixed().pcap()))
    assert len(rows) == 7
    assert "otherwise" in str(report.problems[0])


def test_no_tshark_says_how_to_get_it(tmp_path, monkeypatch):
    path = written(tmp_path, mixed().pcap())
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(PyadError, match="apt install tshark"):
        read(path)


@needs_tshark
def test_not_a_capture(tmp_path):
    rows, report = read(written(tmp_path, b"nothing of the kind, and long enough to look at"))
    assert rows is None
    assert [type(p) for p in report.problems] == [InputError]
