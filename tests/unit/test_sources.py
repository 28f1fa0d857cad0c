"""Which files are read, in which order, by which reader."""

import gzip
import json
import os
import struct
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import zstandard

import pyad.sources
from pyad.errors import InputError, UsageError
from pyad.flow.options import FlowOptions
from pyad.row import from_tuples
from pyad.sources import detect, expand, first_time, read
from pyad.sources.base import MAX_REASONS, OTHER_REASONS, ReadReport
from tests.logs import LINE, NAMES, TSV, TYPES, as_json, header

OPTIONS = FlowOptions()


def pcap(at, magic=0xA1B2C3D4, order="<", fraction=250000):
    return (
        struct.pack(order + "IHHiIII", magic, 2, 4, 0, 0, 65535, 1)
        + struct.pack(order + "IIII", at, fraction, 4, 4)
        + b"\0\0\0\0"
    )


def pcapng(at, order="<", resolution=None):
    def block(kind, body):
        body += b"\0" * (-len(body) % 4)
        return struct.pack(order + "II", kind, len(body) + 12) + body + struct.pack(order + "I", len(body) + 12)

    ticks = {None: 10**6, 9: 10**9, 0x8A: 2**10}[resolution] * at
    options = b"" if resolution is None else struct.pack(order + "HHB3xHH", 9, 1, resolution, 0, 0)
    return (
        block(0x0A0D0D0A, struct.pack(order + "IHHq", 0x1A2B3C4D, 1, 0, -1))
        + block(1, struct.pack(order + "HHI", 1, 0, 0) + options)
        + block(4, b"\0" * 8)
        + block(6, struct.pack(order + "IIIII", 0, ticks >> 32, ticks & 0xFFFFFFFF, 4, 4) + b"\0" * 4)
    )


def conn(at, line=LINE):
    return header() + line.replace("1700000000.123456", f"{at}.000000") + "\n"


def put(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize(
    "content",
    [
        pcap(5),
        pcap(5, order=">"),
        pcap(5, 0xA1B23C4D, fraction=250000000),
        pcap(5, 0xA1B23C4D, ">", 250000000),
        gzip.compress(pcap(5)),
        zstandard.ZstdCompressor().compress(pcap(5)),
    ],
)
def test_captures_by_magic_and_their_first_time(tmp_path, content):
    path = put(tmp_path / "x.log", content)
    assert detect(path) == "pcap"
    assert first_time(path) == 5.25


@pytest.mark.parametrize("resolution", [None, 9, 0x8A])
@pytest.mark.parametrize("order", ["<", ">"])
def test_pcapng_and_its_first_time(tmp_path, order, resolution):
    path = put(tmp_path / "x", pcapng(1700000000, order, resolution))
    assert detect(path) == "pcap"
    assert first_time(path) == 1700000000


@pytest.mark.parametrize("content", [pcap(5)[:24], pcap(5)[:30], pcapng(5)[:40], pcapng(5)[:30] + b"\xff" * 40])
def test_captures_that_end_early_have_no_first_time(tmp_path, content):
    path = put(tmp_path / "x", content)
    assert detect(path) == "pcap"
    assert first_time(path) is None


@pytest.mark.parametrize(
    "content", [TSV, as_json(), "\n" + TSV, "### a remark\n" + TSV, "\ufeff" + TSV, "\t".join(NAMES) + "\n"]
)
def test_logs_by_content(tmp_path, content):
    assert detect(put(tmp_path / "x.pcap", content)) == "conn_log"
    assert detect(put(tmp_path / "y.pcap", gzip.compress(content.encode()))) == "conn_log"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "empty"),
        (b"hello world\n", "begins 'hello world'"),
        (b"\x1b[2J\xff\x00", "neither a capture nor a conn.log"),
        (b"[\n{}]", "jq -c"),
        (b"BZh91AY", "bzip2"),
        (b"\xfd7zXZ\0", "xz"),
        (b"snoop\0\0\0", "editcap"),
        (b"\x1f\x8b\x08\0", "cut short"),
    ],
)
def test_what_is_neither_is_named(tmp_path, content, says):
    with pytest.raises(InputError) as error:
        detect(put(tmp_path / "x", content))
    assert says in str(error.value)
    assert str(error.value).isprintable()


def test_folder_in_order_of_time_whatever_the_names(tmp_path):
    """Rotated logs of several days, one captured before them, some compressed, one with only a header."""
    folder = tmp_path / "logs"
    expected = [
        put(folder / "z.pcap.gz", gzip.compress(pcap(500))),
        put(folder / "2026-01-02" / "conn.23:00:00-00:00:00.log.gz", gzip.compress(conn(1000).encode())),
        put(folder / "2026-01-01" / "conn.00:00:00-01:00:00.log.gz", gzip.compress(conn(2000).encode())),
        put(folder / "conn-2026-01-03.log", conn(3000)),
        put(folder / "conn-4.json", as_json().replace("1700000000.123456", "4000.5")),
        put(folder / "conn.empty.log", header()),
    ]
    put(folder / ".conn.log.swp", conn(1))
    report = ReadReport()
    assert expand([folder], report) == expected
    assert not report.warnings
    assert expand([expected[3], folder])[0] == expected[3]


def test_other_logs_in_a_folder_are_left_out_with_one_note(tmp_path):
    names, types = [*NAMES[:7], "query"], [*TYPES[:7], "string"]
    line = "\t".join([*LINE.split("\t")[:7], "example.org"])
    put(tmp_path / "dns.log", header(names, types, "dns") + line + "\n")
    put(tmp_path / "conn_long.log", TSV.replace("#path\tconn", "#path\tconn_long"))
    put(tmp_path / "conn_summary.json", as_json())
    put(tmp_path / "other.json", as_json())
    put(tmp_path / "conn.json", "".join(f'{{"_path":"conn_long",{line[1:]}\n' for line in as_json().splitlines()))
    put(
        tmp_path / "http.log",
        json.dumps({k: v for k, v in json.loads(as_json().splitlines()[0]).items() if k in NAMES[:7]}),
    )
    put(tmp_path / "stderr.log", "warning: x\n")
    # Has a connection's addresses and a duration, but no protocol.
    kept_out = [n for n in NAMES if n not in ("proto", "orig_bytes")]
    put(tmp_path / "files.log", header(kept_out, ["string"] * len(kept_out), "files") + "x\n")
    put(tmp_path / "audit.json", '{"ts":1,"user":"x"}\n')
    put(tmp_path / "nothing.log", b"")
    kept = put(tmp_path / "conn.log", TSV)
    report = ReadReport()
    assert expand([tmp_path], report) == [kept]
    assert len(report.warnings) == 1
    assert "and 4 more" in report.warnings[0]
    for name in ("audit.json", "conn.json", "conn_long.log", "conn_summary.json", "dns.log", "files.log"):
        assert name in report.warnings[0]


@pytest.mark.parametrize(
    ("name", "text"),
    [("x.log", TSV.replace("#path\tconn", "#path\tconn_long")), ("y", as_json().replace("{", '{"_path":"conn_long",'))],
)
def test_named_explicitly_any_connection_log_is_read_with_a_warning(tmp_path, name, text):
    report = ReadReport()
    rows = list(read(expand([put(tmp_path / name, text)]), "dpkt", report, OPTIONS))
    assert sum(map(len, rows)) == 2
    assert len(report.warnings) == 1 and "conn_long.log, not conn.log" in report.warnings[0]


def test_the_folder_that_is_written_to_is_left_out_of_a_walk(tmp_path):
    kept = put(tmp_path / "conn.log", TSV)
    put(tmp_path / "out" / "zeek" / "conn.log", TSV)
    put(tmp_path / "out" / "dns.log", "x")
    report = ReadReport()
    assert expand([tmp_path], report, tmp_path / "a" / ".." / "out") == [kept]
    assert not report.warnings


def test_what_an_earlier_replay_wrote_is_no_input(tmp_path):
    kept = put(tmp_path / "conn.log", TSV)
    for name in ("pyad.log", "summary.json", "zeek/conn.log"):
        put(tmp_path / "earlier" / name, TSV)
    assert expand([tmp_path]) == [kept]


def test_rotated_logs_are_in_order_of_the_first_end_for_logs_rotate_by_removal(tmp_path):
    long = LINE.replace("0.500000", "5000.0")
    later = put(tmp_path / "conn.1.log", conn(1000, long))
    earlier = put(tmp_path / "conn.2.log", conn(3000))
    assert expand([tmp_path]) == [earlier, later]
    assert first_time(later) == 6000


def test_nothing_to_read(tmp_path):
    with pytest.raises(UsageError):
        expand([])
    with pytest.raises(InputError, match="no such file"):
        expand([tmp_path / "none"])
    with pytest.raises(InputError, match=r"no capture or conn\.log in this folder"):
        expand([tmp_path])
    put(tmp_path / "dns.log", "x")
    with pytest.raises(InputError, match=r"holds dns\.log"):
        expand([tmp_path])


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_unreadable_file_in_a_folder_is_a_problem(tmp_path):
    put(tmp_path / "conn.1.log", TSV)
    put(tmp_path / "conn.2.log", TSV).chmod(0)
    report = ReadReport()
    rows = list(read(expand([tmp_path]), "dpkt", report, OPTIONS))
    assert sum(map(len, rows)) == 2
    assert "not allowed" in str(report.problems[0])


def fake_engine(monkeypatch, calls):
    def read_captures(paths, report, options):
        calls.append(paths)
        yield from_tuples(("ts",), [(1.0,)], str(paths[0]))

    module = types.ModuleType("pyad.sources.pcap")
    module.read_captures = read_captures
    monkeypatch.setitem(sys.modules, "pyad.sources.pcap", module)


def test_captures_that_follow_one_another_are_one_stream(tmp_path, monkeypatch):
    calls = []
    fake_engine(monkeypatch, calls)
    a, b, c = (put(tmp_path / name, pcap(5)) for name in "abc")
    log = put(tmp_path / "conn.log", TSV)
    report = ReadReport()
    sources = [str(s) for rows in read([a, b, log, c], "dpkt", report, OPTIONS) for s in rows.source]
    assert calls == [[a, b], [c]]
    assert sources == [str(a), str(log), str(log), str(c)]


def test_a_bad_input_does_not_stop_the_others(tmp_path):
    bad, good = put(tmp_path / "bad", "hello\n"), put(tmp_path / "conn.log", TSV)
    report = ReadReport()
    rows = list(read([bad, tmp_path / "none", good], "dpkt", report, OPTIONS))
    assert sum(map(len, rows)) == 2
    assert report.files == 3
    assert [("neither" in str(p), "no such file" in str(p)) for p in report.problems] == [(True, False), (False, True)]


def test_engine_names(tmp_path, monkeypatch):
    with pytest.raises(UsageError, match="engine 'snort'"):
        list(read([], "snort", ReadReport(), OPTIONS))
    calls = []
    fake_engine(monkeypatch, calls)
    monkeypatch.setattr(pyad.sources.shutil, "which", lambda _: None)
    list(read([put(tmp_path / "a", pcap(5))], "auto", ReadReport(), OPTIONS))
    assert calls


def test_zeek_gets_a_folder_for_each_run(tmp_path, monkeypatch):
    seen = []

    def read_with_zeek(
        paths, report, folder_of, fmt="tsv", *, local_nets, private_nets_are_local, max_lateness_s, package
    ):
        seen.append((paths, folder_of(paths[0]), fmt, local_nets, max_lateness_s))
        yield from ()

    module = types.ModuleType("pyad.sources.zeek_process")
    module.read_with_zeek, module.runs_package = read_with_zeek, lambda: False
    monkeypatch.setitem(sys.modules, "pyad.sources.zeek_process", module)
    monkeypatch.setitem(sys.modules, "pyad.sources.zeek_package", types.ModuleType("pyad.sources.zeek_package"))
    sys.modules["pyad.sources.zeek_package"].ZeekPackage = None
    monkeypatch.setattr(pyad.sources.shutil, "which", lambda _: "/usr/bin/zeek")
    a, b = (put(tmp_path / name, pcap(5)) for name in "ab")
    log = put(tmp_path / "conn.log", TSV)
    options = FlowOptions(local_nets=("192.0.2.0/24",), max_lateness_s=7.0)
    out = Path("out")
    list(read([a], "auto", ReadReport(), options, zeek_out=out, zeek_format="json"))
    list(read([a, b, log, b], "zeek", ReadReport(), options, zeek_out=out))
    list(read([a, b], "zeek", ReadReport(), options))
    assert seen == [
        ([a], out, "json", options.local_nets, 7.0),
        ([a, b], out / "1-a", "tsv", options.local_nets, 7.0),
        ([b], out / "2-b", "tsv", options.local_nets, 7.0),
        ([a, b], None, "tsv", options.local_nets, 7.0),
    ]


def test_report_counts_and_warns_a_few_times_only():
    report = ReadReport()
    for i in range(10):
        report.skip("reason", f"warning {i}")
    assert report.skipped["reason"] == 10
    assert report.warnings == ["warning 0", "warning 1", "warning 2"]


def test_a_report_names_a_limited_number_of_reasons():
    report, other = ReadReport(), ReadReport()
    for i in range(500):
        report.skip(f"reason {i}")
    other.skip("one more", n=7)
    report.add(other)
    assert len(report.skipped) == MAX_REASONS + 1
    assert report.skipped[OTHER_REASONS] == 507 - MAX_REASONS


@pytest.mark.parametrize(("at", "begins"), [(2_208_988_800, 2_208_988_800), (2**33, None), (2**44, None)])
def test_a_capture_begins_at_a_time_that_can_be(tmp_path, at, begins):
    assert first_time(put(tmp_path / "x", pcapng(at))) == begins


def test_rows_of_several_logs_in_order(tmp_path):
    files = [put(tmp_path / f"{n}.log", conn(n)) for n in (3, 1, 2)]
    rows = list(read(files, "dpkt", ReadReport(), OPTIONS))
    assert np.concatenate([r.number("ts") for r in rows]).tolist() == [3, 1, 2]
