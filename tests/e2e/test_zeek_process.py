"""Rows through a Zeek subprocess: with a stand-in zeek always, with the real one where it is installed."""

import gzip
import io
import json
import math
import os
import shutil
import struct
import sys
import time
from pathlib import Path

import pytest

from pyad.errors import PyadError
from pyad.row import concat
from pyad.sources.base import ReadReport
from pyad.sources.zeek_process import read_with_zeek

# A zeek that counts the packets it is given and writes a conn.log line for each; FAKE_ZEEK says how it misbehaves.
FAKE_ZEEK = """#!{python}
import json, os, signal, struct, subprocess, sys, time

args = sys.argv[1:]
with open({record!r}, "a") as out:
    out.write(json.dumps({{"args": args, "cwd": os.getcwd(), "env": sorted(os.environ)}}) + "\\n")
how = open({how!r}).read().split()
source, script = args[args.index("-r") + 1], open(args[-1]).read()
if "no-mac" in how and "mac-logging" in script:
    sys.exit(f"fatal error in {{args[-1]}}, line 1: can't find policy/protocols/conn/mac-logging")
data = (sys.stdin.buffer if source == "-" else open(source, "rb")).read()
as_json = "use_json = T" in script
names = "ts uid id.orig_h id.orig_p id.resp_h id.resp_p proto duration conn_state".split()
kinds = "time string addr port addr port enum interval string".split()
print("warning: just so that there is something here", file=sys.stderr)
at, n = 24, 0
if "nothing" not in how:
    with open("conn.log", "w") as log:
        if not as_json:
            log.write("#separator \\\\x09\\n#set_separator\\t,\\n#empty_field\\t(empty)\\n")
            log.write("#unset_field\\t-\\n#path\\tconn\\n")
            log.write("#fields\\t" + "\\t".join(names) + "\\n#types\\t" + "\\t".join(kinds) + "\\n")
        while at + 16 <= len(data):
            sec, frac, size, _ = struct.unpack_from("<IIII", data, at)
            at, n = at + 16 + size, n + 1
            row = [sec + frac / 1e6, f"C{{n}}", "10.0.0.1", 1024 + n, "10.0.0.2", 80, "tcp", 0.5, "SF"]
            log.write((json.dumps(dict(zip(names, row))) if as_json else "\\t".join(map(str, row))) + "\\n")
        if "cut" in how:
            log.write("1.0\\tC99\\t10.0.")
    with open("dns.log", "w") as log:
        log.write("x\\n")
if "hang" in how:
    subprocess.Popen(["sleep", "60"])
    time.sleep(60)
if "crash" in how:
    os.kill(os.getpid(), signal.SIGSEGV)
if "fail" in how:
    print("1.0 fatal error: problem with trace file \\x1b[31m (truncated)", file=sys.stderr)
    print("1.0 received termination signal", file=sys.stderr)
    sys.exit(1)
if "noise" in how:
    sys.stderr.write("noise " * 200000)
"""


def capture(packets=3, start=1_700_000_000, link_type=1):
    out = io.BytesIO()
    out.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, link_type))
    for n in range(packets):
        out.write(struct.pack("<IIII", start + n, 250_000, 60, 60) + bytes(60))
    return out.getvalue()


class Fake:
    def __init__(self, tmp_path, monkeypatch):
        self._how, self._record = tmp_path / "how", tmp_path / "record"
        folder = tmp_path / "bin"
        folder.mkdir()
        zeek = folder / "zeek"
        zeek.write_text(FAKE_ZEEK.format(python=sys.executable, how=str(self._how), record=str(self._record)))
        zeek.chmod(0o755)
        monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
        self.behave("")

    def behave(self, how):
        self._how.write_text(how)

    def calls(self):
        return [json.loads(line) for line in self._record.read_text().splitlines()]


@pytest.fixture
def zeek(tmp_path, monkeypatch):
    return Fake(tmp_path, monkeypatch)


@pytest.fixture
def pcap(tmp_path):
    path = tmp_path / "some.pcap"
    path.write_bytes(capture())
    return path


def read(path, out_dir=None, **kwargs):
    report = ReadReport()
    if out_dir is not None:
        kwargs["folder_of"] = lambda _: out_dir
    parts = list(read_with_zeek([path] if isinstance(path, Path) else path, report, **kwargs))
    return (concat(parts) if parts else None), report


def test_rows_are_the_conn_log_named_after_the_capture(zeek, pcap):
    rows, report = read(pcap)
    assert rows.text("uid").tolist() == ["C1", "C2", "C3"]
    assert rows.number("ts").tolist() == [1_700_000_000.25, 1_700_000_001.25, 1_700_000_002.25]
    assert set(rows.source) == {str(pcap)}
    assert (report.files, report.rows, report.problems) == (1, 3, [])
    assert report.bytes == pcap.stat().st_size
    call = zeek.calls()[0]
    assert call["args"][:3] == ["-C", "-D", "-r"]
    assert not Path(call["cwd"]).exists(), "the temporary folder is gone"


@pytest.mark.parametrize("fmt", ["tsv", "json"])
def test_logs_stay_in_the_chosen_folder_and_format(zeek, pcap, tmp_path, fmt):
    out = tmp_path / "new" / "out"
    rows, _ = read(pcap, out_dir=out, fmt=fmt)
    assert len(rows) == 3
    assert sorted(p.name for p in out.iterdir()) == ["conn.log", "dns.log"]
    assert (out / "conn.log").read_text().startswith("#separator" if fmt == "tsv" else "{")
    zeek.behave("nothing")
    rows, report = read(pcap, out_dir=out, fmt=fmt)
    assert rows is None, "a conn.log of an earlier run is not taken for this one's"
    assert report.problems == []


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_compressed_captures_are_unpacked_for_zeek(zeek, tmp_path, suffix):
    import zstandard

    pack = gzip.compress if suffix == ".gz" else zstandard.ZstdCompressor().compress
    path = tmp_path / f"some.pcap{suffix}"
    path.write_bytes(pack(capture(500)))
    rows, report = read(path)
    assert len(rows) == 500
    assert report.bytes == path.stat().st_size
    assert report.problems == []
    assert zeek.calls()[0]["args"][3] == "-"


def test_compressed_capture_cut_short_keeps_its_rows(zeek, tmp_path):
    path = tmp_path / "cut.pcap.gz"
    path.write_bytes(gzip.compress(capture(500), mtime=0)[:-40])
    rows, report = read(path)
    assert len(rows) > 0
    assert len(report.problems) == 1
    assert "cut short" in str(report.problems[0])


@pytest.mark.parametrize("name", ["-C", "-", "kind::name.pcap", "a b;$(x)'.pcap", "-r", "\udcff\n.pcap"])
def test_any_file_name_is_only_a_file_name(zeek, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / name if name == "-" else Path(name)
    path.write_bytes(capture())
    rows, report = read(path)
    assert (len(rows), report.problems) == (3, [])


def test_environment_is_clean(zeek, pcap, monkeypatch):
    monkeypatch.setenv("CLUSTER_NODE", "worker-1")
    monkeypatch.setenv("ZEEK_LOG_SUFFIX", "txt")
    monkeypatch.setenv("LANG", "de_DE.UTF-8")
    read(pcap)
    env = zeek.calls()[0]["env"]
    assert "LC_ALL" in env
    assert not {"CLUSTER_NODE", "ZEEK_LOG_SUFFIX", "LANG"} & set(env)


@pytest.mark.parametrize("how", ["fail", "fail cut", "crash cut"])
def test_failure_keeps_the_rows_before_it(zeek, pcap, how):
    zeek.behave(how)
    rows, report = read(pcap)
    assert len(rows) == 3
    assert len(report.problems) == 1
    said = str(report.problems[0])
    assert str(pcap) in said
    if "fail" in how:
        assert "exit 1" in said
        assert "fatal error: problem with trace file \\x1b[31m (truncated)" in said
    else:
        assert "signal 11" in said


def test_much_on_stderr_is_no_failure(zeek, pcap):
    zeek.behave("noise")
    rows, report = read(pcap)
    assert (len(rows), report.problems) == (3, [])


def test_time_limit_ends_zeek_and_what_it_started(zeek, pcap):
    zeek.behave("hang")
    began = time.monotonic()
    rows, report = read(pcap, time_limit_s=1.5)
    assert time.monotonic() - began < 20
    assert len(rows) == 3
    assert "1.5 s" in str(report.problems[0])


def test_zeek_without_the_mac_script(zeek, pcap):
    zeek.behave("no-mac")
    rows, report = read(pcap)
    assert (len(rows), report.problems) == (3, [])
    assert len(report.warnings) == 1


def test_local_networks_reach_zeek(zeek, pcap, tmp_path):
    read(pcap, local_nets=["192.0.2.1/24", "2001:db8::/32"], private_nets_are_local=False, out_dir=tmp_path / "o")
    with pytest.raises(PyadError, match="not a network"):
        read(pcap, local_nets=["10.0.0.0/8 }; system('x'"])


def test_file_that_is_not_there(zeek, tmp_path):
    rows, report = read(tmp_path / "none.pcap")
    assert rows is None
    assert "no such file" in str(report.problems[0])


def test_unwritable_output_folder(zeek, pcap, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(PyadError, match="cannot be written"):
        read(pcap, out_dir=tmp_path / "file" / "out")


def test_no_zeek_says_where_to_get_it(pcap, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    with pytest.raises(PyadError, match=r"docs\.zeek\.org.*--engine dpkt"):
        read(pcap)


def test_zeek_that_cannot_be_started(pcap, tmp_path, monkeypatch):
    zeek = tmp_path / "zeek"
    zeek.write_bytes(b"\x00\x01\x02")
    zeek.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(PyadError, match="cannot be started"):
        read(pcap)


def put(tmp_path, **captures):
    paths = []
    for name, content in captures.items():
        paths.append(tmp_path / f"{name}.pcap")
        paths[-1].write_bytes(content)
    return paths


def test_captures_that_follow_one_another_are_one_run(zeek, tmp_path):
    start = 1_700_000_000
    paths = put(tmp_path, a=capture(2), b=gzip.compress(capture(2, start + 2)), c=capture(1, start + 4))
    rows, report = read(paths)
    assert len(zeek.calls()) == 1 and zeek.calls()[0]["args"][3] == "-"
    assert rows.number("ts").tolist() == [start + n + 0.25 for n in range(5)]
    assert [Path(s).stem for s in rows.source] == ["a", "a", "b", "b", "c"]
    assert (report.files, report.rows, report.problems) == (3, 5, [])
    assert report.bytes == sum(p.stat().st_size for p in paths)


def test_another_link_type_or_an_earlier_time_is_a_new_run(zeek, tmp_path):
    start = 1_700_000_000
    paths = put(
        tmp_path, a=capture(2), b=capture(2, start + 2), raw=capture(2, start + 4, 101), eth=capture(2, start + 6),
        late=capture(2, start - 500), old=capture(2, start - 5000),
    )  # fmt: skip
    folders = []
    rows, report = read(paths, folder_of=lambda first: folders.append(first.stem))
    assert folders == ["a", "raw", "eth", "old"]
    assert (len(rows), report.files, report.problems) == (12, 6, [])
    assert [Path(s).stem for s in rows.source[-2:]] == ["old", "old"]


def test_bad_captures_among_others_are_left_out(zeek, tmp_path):
    start = 1_700_000_000
    absurd = struct.pack("<IIII", 2**32 - 1, 0, 60, 60) + bytes(60)
    paths = put(
        tmp_path, no=b"hello world, this is text", a=capture(2), cut=capture(3, start + 2)[:-7], empty=capture(0),
        b=capture(2, start + 6) + absurd,
    )  # fmt: skip
    rows, report = read([*paths, tmp_path / "none.pcap"])
    assert len(zeek.calls()) == 1
    assert len(rows) == 2 + 2 + 2
    assert [str(p).split(": ")[0].split("/")[-1] for p in report.problems] == ["no.pcap", "cut.pcap", "none.pcap"]
    assert report.skipped == {"absurd packet time": 1}
    assert report.files == 6


def test_a_zeek_that_fails_goes_on_with_the_next_capture(zeek, tmp_path):
    zeek.behave("no-mac")
    rows, report = read(put(tmp_path, a=capture(2), b=capture(2, 1_700_000_002)))
    assert (len(rows), report.files, len(report.warnings), report.problems) == (4, 2, 1, [])
    zeek.behave("fail")
    rows, report = read(put(tmp_path, a=capture(2), b=capture(2, 1_700_000_002, 101)))
    assert len(rows) == 4
    assert ["a.pcap" in str(p) for p in report.problems] == [True, False]


real = pytest.mark.skipif(
    shutil.which("zeek") is None,
    reason="no zeek on PATH: install one of the packages at https://docs.zeek.org (Installing Zeek) to run these",
)


def tcp_connection(client_port=40000, start=1_700_000_000):
    """A whole HTTP exchange as a pcap, Ethernet and IPv4, checksums left out."""

    def frame(from_client, seq, ack, flags, payload=b""):
        macs = bytes.fromhex("02000000000102000000000208 00".replace(" ", ""))
        macs = macs if not from_client else macs[6:12] + macs[:6] + macs[12:]
        ends = (b"\x0a\x00\x00\x01", b"\x0a\x00\x00\x02")
        src, dst = ends if from_client else ends[::-1]
        ports = (client_port, 80) if from_client else (80, client_port)
        ip = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 40 + len(payload), 0, 0x4000, 64, 6, 0, src, dst)
        return macs + ip + struct.pack(">HHIIBBHHH", *ports, seq, ack, 0x50, flags, 65535, 0, 0) + payload

    request = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
    reply = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
    frames = [
        frame(True, 100, 0, 0x02), frame(False, 500, 101, 0x12), frame(True, 101, 501, 0x10),
        frame(True, 101, 501, 0x18, request), frame(False, 501, 101 + len(request), 0x18, reply),
        frame(True, 101 + len(request), 501 + len(reply), 0x11),
        frame(False, 501 + len(reply), 102 + len(request), 0x11),
        frame(True, 102 + len(request), 502 + len(reply), 0x10),
    ]  # fmt: skip
    out = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1)
    for n, data in enumerate(frames):
        out += struct.pack("<IIII", start, 1000 * n, len(data), len(data)) + data
    return out


@real
@pytest.mark.parametrize("name", ["c.pcap", "c.pcap.gz", "-C", "a::b.pcap"])
@pytest.mark.parametrize("fmt", ["tsv", "json"])
def test_real_zeek(tmp_path, monkeypatch, name, fmt):
    monkeypatch.chdir(tmp_path)
    Path(name).write_bytes(gzip.compress(tcp_connection()) if name.endswith(".gz") else tcp_connection())
    rows, report = read(Path(name), fmt=fmt, out_dir=tmp_path / "out")
    assert report.problems == []
    assert len(rows) == 1
    row = next(rows.records())
    assert row["conn_state"] == "SF"
    assert row["service"] == "http"
    assert (row["orig_l2_addr"], row["resp_l2_addr"]) == ("02:00:00:00:00:01", "02:00:00:00:00:02")
    assert row["uid"] == next(read(Path(name))[0].records())["uid"], "the same capture gives the same uids"


@real
@pytest.mark.parametrize("at", [2, 5])
def test_real_zeek_on_a_connection_over_two_captures(tmp_path, at):
    whole = tcp_connection()
    border = 24
    for _ in range(at):
        border += 16 + struct.unpack_from("<I", whole, border + 8)[0]
    rows, report = read(put(tmp_path, a=whole[:border], b=whole[:24] + whole[border:]))
    alone, _ = read(put(tmp_path, whole=whole))
    assert report.problems == []
    assert list(rows.records()) == list(alone.records())
    assert [Path(s).stem for s in rows.source] == ["a"]


@real
def test_real_zeek_on_a_capture_cut_short(tmp_path):
    path = tmp_path / "cut.pcap"
    path.write_bytes(tcp_connection()[:-7])
    rows, report = read(path)
    assert len(rows) == 1  # the connection open at the cut is written as at the end of any capture
    assert len(report.problems) == 1
    assert "cut short" in str(report.problems[0])


@real
def test_real_zeek_on_something_else(tmp_path):
    path = tmp_path / "not.pcap"
    path.write_bytes(b"this is not a capture at all")
    rows, report = read(path)
    assert rows is None
    assert len(report.problems) == 1


@real
def test_real_zeek_with_local_networks(tmp_path):
    path = tmp_path / "c.pcap"
    path.write_bytes(tcp_connection())
    rows, _ = read(path, private_nets_are_local=False)
    assert math.isnan(rows.number("local_orig")[0]), "without any local network Zeek does not say"
    rows, _ = read(path, local_nets=["10.0.0.1/32", "fd00::/8"], private_nets_are_local=False)
    assert (rows.number("local_orig").tolist(), rows.number("local_resp").tolist()) == ([1.0], [0.0])
