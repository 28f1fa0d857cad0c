"""Logs as Zeek writes them: format, escapes, numbers, and what happens when the disk is full."""

import io
import json
import math
import os
import re
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pyad.errors import PyadError, UsageError
from pyad.row import FIELDS, Rows, concat, from_tuples
from pyad.sinks.notice_log import NOTICE_FIELDS
from pyad.sinks.zeek_log import ZeekLogWriter, write_rows
from pyad.sinks.zeek_values import json_text, tsv_text, zeek_double
from pyad.sources.base import ReadReport
from pyad.sources.conn_log import read_conn_log

ALL_TYPES = [
    ("t", "time"), ("i", "interval"), ("d", "double"), ("c", "count"), ("n", "int"), ("p", "port"), ("b", "bool"),
    ("a", "addr"), ("e", "enum"), ("s", "string"), ("v", "vector[double]"), ("w", "set[string]"),
]  # fmt: skip


def write(records, fields=ALL_TYPES, fmt="tsv", log_path="x"):
    out = io.StringIO()
    with ZeekLogWriter(out, log_path, fields, fmt, opened=0.0) as log:
        for record in records:
            log.write(record)
    return out.getvalue()


def data(text):
    return [line.split("\t") for line in text.splitlines() if not line.startswith("#")]


def test_header_and_close_are_zeeks():
    lines = write([], [("ts", "time"), ("who", "set[string]")], log_path="test").splitlines()
    assert lines[:5] == [
        "#separator \\x09",
        "#set_separator\t,",
        "#empty_field\t(empty)",
        "#unset_field\t-",
        "#path\ttest",
    ]
    assert lines[5].startswith("#open\t19")
    assert len(lines[5].split("\t")[1]) == len("1970-01-01-00-00-00")
    assert lines[6:8] == ["#fields\tts\twho", "#types\ttime\tset[string]"]
    assert lines[8].startswith("#close\t")
    assert len(lines) == 9
    assert write([], fmt="json") == ""


def test_values_in_tsv():
    record = {
        "t": 1700000000.1234567, "i": 0.5, "d": 0.25, "c": 2**64 - 1, "n": -3, "p": 80, "b": True, "a": "10.0.0.1",
        "e": "tcp", "s": "a b", "v": [1.0, 0.5], "w": ["x", "y,z"], "unknown": 1,
    }  # fmt: skip
    expected = [
        "1700000000.123457",
        "0.500000",
        "0.25",
        "18446744073709551615",
        "-3",
        "80",
        "T",
        "10.0.0.1",
        "tcp",
        "a b",
    ]
    assert data(write([record])) == [[*expected, "1.0,0.5", "x,y\\x2cz"]]
    assert data(write([{}])) == [["-"] * len(ALL_TYPES)]
    assert data(write([{"v": [], "w": [], "s": "", "b": False}])) == [
        ["-"] * 6 + ["F", "-", "-", "(empty)", "(empty)", "(empty)"]
    ]


def test_values_in_json():
    record = {
        "t": 1700000000.1234567, "i": 0.1, "d": 1e-9, "c": 2**64 - 1, "n": -3, "p": 80, "b": False, "a": "10.0.0.1",
        "e": "tcp", "s": 'q"\\', "v": [1.0, 0.5], "w": [], "unknown": 1,
    }  # fmt: skip
    (line,) = write([record], fmt="json").splitlines()
    del record["unknown"]
    assert json.loads(line) == record | {"t": 1700000000.123457}
    assert list(json.loads(line)) == [name for name, _ in ALL_TYPES]
    assert write([{}, {"d": math.inf}, {"c": math.nan}], fmt="json") == '{}\n{"d":null}\n{}\n'


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0.0"), (-0.0, "0.0"), (1.0, "1.0"), (0.5, "0.5"), (0.1234567, "0.123457"), (100.0, "100.0"), (1e-7, "0"),
        (1e-10, "0.0"), (-2.5, "-2.5"), (12.000001, "12.000001"), (1e20, "100000000000000000000.0"),
        (math.nan, "nan"), (math.inf, "inf"), (-math.inf, "-inf"),
    ],
)  # fmt: skip
def test_doubles_as_zeek_prints_them(value, text):
    assert zeek_double(value) == text


@pytest.mark.parametrize(
    ("text", "tsv"),
    [
        ("plain", "plain"),
        ("-", "\\x2d"),
        ("(empty)", "\\x28empty)"),
        ("", "(empty)"),
        ("--", "--"),
        ("a\tb", "a\\x09b"),
        ("a\nb", "a\\x0ab"),
        ("back\\slash", "back\\\\slash"),
        ("\x1b[31m", "\\x1b[31m"),
        ("\x00\x7f", "\\x00\\x7f"),
        ("é", "é"),
        ("é\x01", "\\xc3\\xa9\\x01"),  # one bad character and Zeek writes all bytes of the piece
        ("é\tü\x01", "é\\x09\\xc3\\xbc\\x01"),
        ("\x85", "\\xc2\\x85"),
        ("\ue000", "\\xee\\x80\\x80"),
        ("\udcff", "\\xff"),
        ("\ud800", "\\xed\\xa0\\x80"),
        ("a,b", "a,b"),
    ],
)
def test_text_as_zeek_escapes_it(text, tsv):
    assert tsv_text(text) == tsv


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("plain", "plain"),
        ('say "hi"\\', 'say "hi"\\'),
        ("a\nb\tc", "a\nb\tc"),
        ("\x0b\x00", "\\x0b\\x00"),
        ("é", "é"),
        ("é\x01", "\\xc3\\xa9\\x01"),
        ("\udcff", "\\xff"),
        ("\x7f", "\\x7f"),
    ],
)
def test_text_in_json_as_zeek_escapes_it(text, value):
    assert json_text(text).isascii()
    assert json.loads(json_text(text)) == value


def test_a_line_never_looks_like_a_header():
    text = write([{"s": "#fields"}, {"s": "x"}], [("s", "string")])
    assert text.splitlines()[-3:-1] == ["\\x23fields", "x"]


def test_columns_at_once_are_the_same_as_one_by_one():
    rows = from_tuples(
        ("ts", "uid", "id.orig_h", "id.orig_p", "proto", "duration", "orig_bytes", "local_orig"),
        [
            (1.5, "C1", "10.0.0.1", 80, "tcp", None, None, True),
            (2.25, None, "::1", 0, "udp", 0.125, 2**60, None),
            (3.0, "a\tb", "10.0.0.1", 65535, "tcp", 0.0, 0, False),
        ],
        "x",
    )
    fields = [(f.name, f.type) for f in FIELDS]
    for fmt in ("tsv", "json"):
        out = io.StringIO()
        with ZeekLogWriter(out, "conn", fields, fmt, opened=0.0) as log:
            log.write_columns(rows.columns, len(rows))
        assert out.getvalue() == write(rows.records(), fields, fmt, "conn")


@pytest.mark.parametrize("fmt", ["tsv", "json"])
def test_rows_written_and_read_again_are_the_same(tmp_path, fmt):
    rng = np.random.default_rng(3)
    n = 300
    columns = {}
    for field in FIELDS:
        if field.type in ("time", "interval"):
            values = np.round(rng.uniform(0, 1e9, n), 6)
        elif field.type == "bool":
            values = rng.integers(0, 2, n).astype(float)
        elif field.numeric:
            values = rng.integers(0, 65536, n).astype(float)
        elif field.type == "addr":
            values = np.array([("10.0.0.%d", "fe80::%x")[i % 2] % (i % 250 + 1) for i in range(n)], dtype=object)
        elif field.name == "proto":
            values = np.array([("tcp", "udp", "icmp", "arp")[i % 4] for i in range(n)], dtype=object)
        else:
            texts = ["", "-", "(empty)", "a\\b", "é", "#x", "\\x41", "a,b", "{}", "ab:cd", None]
            values = np.array([texts[i] for i in rng.integers(0, len(texts), n)], dtype=object)
        if not field.required:
            values[rng.random(n) < 0.2] = np.nan if field.numeric else None
        columns[field.name] = values
    rows = Rows(columns, np.full(n, "x", dtype=object))
    path = tmp_path / "conn.log"
    assert write_rows([rows.take(slice(0, 100)), rows.take(slice(100, n))], path, fmt) == n
    report = ReadReport()
    again = concat(list(read_conn_log(path, report)))
    assert not report.problems
    for name, values in columns.items():
        if values.dtype == object:
            assert again.text(name).tolist() == values.tolist(), name
        else:
            np.testing.assert_array_equal(again.number(name), values, name)


def test_rows_to_standard_output_in_any_locale(tmp_path):
    code = (
        "import sys; from pyad.row import from_tuples; from pyad.sinks.zeek_log import write_rows;"
        "write_rows([from_tuples(('uid',), [('\\xe9',)], 'x')], sys.stdout, 'tsv')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, check=True, env=os.environ | {"PYTHONIOENCODING": "ascii"}
    )
    assert "\té\t".encode() in done.stdout


def test_notice_log_has_zeeks_columns():
    """As in the notice.log of an unmodified Zeek with default scripts."""
    names = (
        "ts uid id.orig_h id.orig_p id.resp_h id.resp_p fuid file_mime_type file_desc proto note msg sub src dst p n "
        "peer_descr actions email_dest suppress_for remote_location.country_code remote_location.region "
        "remote_location.city remote_location.latitude remote_location.longitude"
    )
    types = (
        "time string addr port addr port string string string enum enum string string addr addr port count string "
        "set[enum] set[string] interval string string string double double"
    )
    assert [name for name, _ in NOTICE_FIELDS] == names.split()
    assert [kind for _, kind in NOTICE_FIELDS] == types.split()


def test_notice_line():
    record = {
        "ts": 1.5, "uid": "C1", "id.orig_h": "10.0.0.1", "id.orig_p": 5, "id.resp_h": "10.0.0.2", "id.resp_p": 80,
        "proto": "tcp", "note": "PyAD::Recon", "msg": "m", "sub": "a=1 b=2", "src": "10.0.0.1", "dst": "10.0.0.2",
        "p": 80, "n": 9, "actions": ["Notice::ACTION_LOG"], "email_dest": [], "suppress_for": 0.0,
    }  # fmt: skip
    (line,) = data(write([record], NOTICE_FIELDS))
    assert "\t".join(line) == (
        "1.500000\tC1\t10.0.0.1\t5\t10.0.0.2\t80\t-\t-\t-\ttcp\tPyAD::Recon\tm\ta=1 b=2\t10.0.0.1\t10.0.0.2\t80\t9\t-\t"
        "Notice::ACTION_LOG\t(empty)\t0.000000\t-\t-\t-\t-\t-"
    )
    (line,) = write([record], NOTICE_FIELDS, "json").splitlines()
    assert json.loads(line) == record


def test_unknown_format_and_type():
    with pytest.raises(UsageError):
        ZeekLogWriter(io.StringIO(), "x", ALL_TYPES, "xml")
    with pytest.raises(ValueError, match="no Zeek type"):
        ZeekLogWriter(io.StringIO(), "x", [("a", "colour")])


def test_unwritable_place_is_told_at_once(tmp_path):
    for path in (tmp_path / "none" / "notice.log", tmp_path):
        with pytest.raises(PyadError, match=r"cannot be written.*another --out"):
            ZeekLogWriter(path, "notice", NOTICE_FIELDS)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_folder_without_write_permission(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(PyadError, match="Permission denied"):
        ZeekLogWriter(tmp_path / "notice.log", "notice", NOTICE_FIELDS)


def test_full_disk_at_the_first_byte():
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("this system has no /dev/full")
    with pytest.raises(PyadError, match=r"/dev/full: cannot be written \(No space left on device\); free space"):
        ZeekLogWriter(full, "notice", NOTICE_FIELDS)
    with full.open("w") as out, pytest.raises(PyadError, match="No space left"):
        write_rows([], out, "tsv")


@pytest.mark.parametrize("fmt", ["tsv", "json"])
def test_disk_full_later_leaves_whole_lines(tmp_path, fmt):
    """A limit on file size stands in for a full disk: the write that meets it is cut in the middle."""
    path = tmp_path / "x.log"
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    log = ZeekLogWriter(path, "x", ALL_TYPES, fmt)
    record = {"t": 1.0, "s": "y" * 1001}
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (300000, limits[1]))
        with pytest.raises(PyadError, match=r"x\.log: cannot be written \(File too large\)"):
            for _ in range(1000):
                log.write(record)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    log.close()
    content = path.read_text()
    assert content.endswith("\n")
    assert 200000 < len(content) <= 300000
    assert len({len(line) for line in content.splitlines() if not line.startswith("#")}) == 1
    with pytest.raises(PyadError):
        log.write_columns({"s": ["y" * 300000]}, 1)


def test_close_twice_and_large_logs(tmp_path):
    path = tmp_path / "x.log"
    log = ZeekLogWriter(path, "x", [("s", "string")])
    for i in range(3):
        log.write_columns({"s": [f"{i}{k}" for k in range(50000)]}, 50000)
    log.close()
    log.close()
    assert log.lines == 150000
    assert len(path.read_text().splitlines()) == 150000 + 9


@pytest.mark.parametrize("opened", [1e300, -1e300, float("nan"), float("inf"), 2.0**64, -5.0, 2_208_988_800.0])
def test_any_time_can_be_the_opening(opened):
    out = io.StringIO()
    ZeekLogWriter(out, "x", [("a", "string")], opened=opened).close()
    assert len([line for line in out.getvalue().splitlines() if re.fullmatch(r"#(open|close)\t[-0-9]+", line)]) == 2
