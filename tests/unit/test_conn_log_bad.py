"""conn.log as it should not be: each fault is named once with its place, and what was readable is kept."""

import gzip
import json

import numpy as np
import pytest
import zstandard

from pyad.sources.base import ReadReport
from pyad.sources.conn_log import read_conn_log
from tests.logs import LINE, NAMES, TSV, TYPES, as_json, header, read, read_text


def only_problem(report):
    assert len(report.problems) == 1, report.problems
    text = str(report.problems[0])
    assert text.isprintable()
    return text


def lines(n, line=LINE):
    return (line + "\n") * n


def test_empty_file(tmp_path):
    for text in ("", "\n\n"):
        rows, report = read_text(tmp_path, text)
        assert len(rows) == 0
        assert "is empty" in only_problem(report)


def test_missing_file(tmp_path):
    _, report = read(tmp_path / "none.log")
    assert "no such file" in only_problem(report)


@pytest.mark.parametrize("gone", ["proto", "id.orig_h"])
def test_missing_required_columns(tmp_path, gone):
    at = NAMES.index(gone)
    names, types = [n for n in NAMES if n != gone], [t for i, t in enumerate(TYPES) if i != at]
    line = "\t".join(v for i, v in enumerate(LINE.split("\t")) if i != at)
    rows, report = read_text(tmp_path, header(names, types) + line + "\n")
    assert len(rows) == 0
    assert f"required column {gone} missing" in only_problem(report)
    assert "id.resp_h" in only_problem(report)  # what to do
    records = [json.loads(x) for x in as_json().splitlines()]
    text = "".join(json.dumps({k: v for k, v in r.items() if k != gone}) + "\n" for r in records)
    rows, report = read_text(tmp_path, text)
    assert len(rows) == 0
    assert f"required field {gone} missing" in only_problem(report)


@pytest.mark.parametrize(
    ("column", "value", "reason"),
    [
        ("orig_bytes", "many", "is not a count"),
        ("orig_bytes", "-5", "is not a count"),
        ("orig_bytes", "1.5", "is not a count"),
        ("orig_bytes", "nan", "is not a count"),
        ("orig_bytes", "1e400", "is not a count"),
        ("orig_bytes", "1e25", "is too large"),
        ("orig_bytes", "1_0", "is not a count"),
        ("duration", "inf", "is not a number"),
        ("duration", "-1.0", "is negative"),
        ("duration", "1_0", "is not a number"),
        ("duration", "1e300", "is too large"),
        ("ts", "-", "not"),
        ("ts", "yesterday", "is not a number"),
        ("ts", "1700000000123", "too large"),
        ("id.orig_p", "65536", "is not a port"),
        ("id.orig_h", "10.0.0.256", "is not an IP address"),
        ("id.resp_h", "-", "is not an IP address"),
        ("id.resp_h", "::1%eth0", "is not an IP address"),
        ("proto", "warp", "is not a transport"),
        ("local_orig", "maybe", "is neither T nor F"),
        ("orig_bytes", "5\x1b[31m\x00", "is not a count"),
    ],
)
def test_wrong_type_in_one_line_of_many(tmp_path, column, value, reason):
    values = LINE.split("\t")
    values[NAMES.index(column)] = value
    text = header() + lines(60) + "\t".join(values) + "\n" + lines(60)
    rows, report = read_text(tmp_path, text)
    assert len(rows) == 120
    problem = only_problem(report)
    assert "line 69" in problem
    assert f"column {column}" in problem
    assert reason in problem
    assert "1 of 121" in problem
    assert [k.startswith("bad line: ") for k in report.skipped] == [True]
    for name in rows.columns:
        if rows.columns[name].dtype == np.float64:
            assert not np.isinf(rows.columns[name]).any()


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("orig_bytes", "5", "is not a number"),
        ("orig_bytes", True, "is not a number"),
        ("orig_bytes", -1, "is negative"),
        ("orig_bytes", 1.5, "is not a count"),
        ("orig_bytes", 10**400, "is too large"),
        ("duration", {"a": 1}, "is not a number"),
        ("ts", "soon", "is not a time"),
        ("ts", None, "is missing"),
        ("id.orig_p", 70000, "is not a port"),
        ("id.orig_h", 1, "is not text"),
        ("id.orig_h", "nowhere", "is not an IP address"),
        ("local_orig", "T", "is not true or false"),
        ("uid", ["C"], "is not text"),
    ],
)
def test_wrong_type_in_one_json_line_of_many(tmp_path, field, value, reason):
    good = as_json().splitlines()[0]
    bad = json.dumps(json.loads(good) | {field: value})
    rows, report = read_text(tmp_path, lines(60, good) + bad + "\n" + lines(60, good))
    assert len(rows) == 120
    problem = only_problem(report)
    assert "line 61" in problem
    assert f"field {field}" in problem
    assert reason in problem


@pytest.mark.parametrize(
    "bad",
    ["{", "[]", "1", "{}{}", "{},{}", '{"ts":NaN}', "[" * 100000, '{"ts":1' + "0" * 5000 + "}", "null", '"x'],
)
def test_broken_json_line(tmp_path, bad):
    good = as_json().splitlines()[0]
    rows, report = read_text(tmp_path, lines(60, good) + bad + "\n" + lines(60, good))
    assert len(rows) == 120
    assert "line 61" in only_problem(report)


def test_lines_that_only_together_are_json(tmp_path):
    good = as_json().splitlines()[0]
    rows, report = read_text(tmp_path, lines(60, good) + good[:50] + "\n" + good[50:] + "\n" + lines(60, good))
    assert len(rows) == 120
    assert "2 of 122" in only_problem(report)


@pytest.mark.parametrize("bad", [LINE + "\tmore", "\t".join(LINE.split("\t")[:-1]), "x"])
def test_wrong_number_of_columns(tmp_path, bad):
    rows, report = read_text(tmp_path, header() + lines(60) + bad + "\n" + lines(60))
    assert len(rows) == 120
    problem = only_problem(report)
    assert "line 69" in problem
    assert "not the number of columns of the header" in problem
    assert ", not 22)" in problem


def test_one_column_too_many_and_one_too_few(tmp_path):
    """Two faults that cancel out in the number of values of the block."""
    text = header() + lines(60) + LINE + "\tx\n" + "\t".join(LINE.split("\t")[:-1]) + "\n" + lines(60)
    rows, report = read_text(tmp_path, text)
    assert len(rows) == 120
    assert sum(report.skipped.values()) == 2


def test_given_up_when_the_first_twenty_lines_are_bad(tmp_path):
    rows, report = read_text(tmp_path, header() + lines(20, LINE.replace("40000", "x")) + lines(5000))
    assert len(rows) == 0
    problem = only_problem(report)
    assert "line 9:" in problem
    assert "'x' is not a port" in problem
    assert "given up" in problem


def test_given_up_when_more_than_one_in_twenty_is_bad(tmp_path):
    text = header() + (lines(9) + LINE.replace("40000", "x") + "\n") * 3000
    rows, report = read_text(tmp_path, text)
    assert 900 <= len(rows) < 27000
    assert "given up" in only_problem(report)
    rows, report = read_text(tmp_path, header() + lines(5) + LINE.replace("40000", "x") + "\n")
    assert len(rows) == 5
    assert "given up" in only_problem(report)


def test_batches_do_not_change_what_is_read(tmp_path):
    """A bad line is left out alone, whichever block it falls into."""
    path = tmp_path / "conn.log"
    with path.open("w") as out:
        out.write(header())
        for i in range(12000):
            out.write(LINE.replace("Cabc", f"C{i}") + "\n" if i % 100 else f"bad {i}\n")
    rows, report = read(path)
    assert rows.text("uid").tolist() == [f"C{i}" for i in range(12000) if i % 100]
    assert report.skipped.total() == 120
    assert "line 9:" in only_problem(report)


@pytest.mark.parametrize(
    "second",
    [header(NAMES[::-1], TYPES[::-1]), header(NAMES[:-1], TYPES[:-1]), "#separator ,\n", "#unset_field\tnull\n"],
)
def test_header_changes_halfway(tmp_path, second):
    rows, report = read_text(tmp_path, header() + lines(3) + second + lines(3))
    assert len(rows) == 3
    problem = only_problem(report)
    assert "header changes halfway" in problem
    assert f"line {8 + 3 + second.count(chr(10)) + 1}" in problem


def test_no_header(tmp_path):
    rows, report = read_text(tmp_path, lines(3))
    assert len(rows) == 0
    assert "neither a capture nor a conn.log" in only_problem(report)
    rows, report = read_text(tmp_path, "#separator \\x09\n#close\tx\n")
    assert "no #fields" in only_problem(report)


def test_another_zeek_log(tmp_path):
    names, types = [*NAMES[:7], "query"], [*TYPES[:7], "string"]
    line = "\t".join([*LINE.split("\t")[:7], "example.org"])
    rows, report = read_text(tmp_path, header(names, types, "dns") + line + "\n")
    assert len(rows) == 0
    assert "this is Zeek's dns.log" in only_problem(report)
    record = {k: v for k, v in json.loads(as_json().splitlines()[0]).items() if k in NAMES[:7]}
    _, report = read_text(tmp_path, json.dumps(record | {"_path": "http"}) + "\n", "x.log")
    assert "this is Zeek's http.log" in only_problem(report)
    _, report = read_text(tmp_path, json.dumps(record) + "\n", "dns.log")
    assert "this is Zeek's dns.log" in only_problem(report)
    rows, report = read_text(tmp_path, json.dumps(record) + "\n", "small.log")
    assert len(rows) == 1


def test_invalid_utf8_is_kept_and_counted(tmp_path):
    text = TSV.encode().replace(b"Cabc", b"C\xff\xfeabc")
    rows, report = read_text(tmp_path, text)
    assert rows.text("uid").tolist() == ["C\ufffd\ufffdabc", "Cdef"]
    assert not report.problems
    assert len(report.warnings) == 1
    assert "line 9" in report.warnings[0]
    text = as_json().encode().replace(b"Cabc", b"C\xffabc")
    rows, report = read_text(tmp_path, text)
    assert len(rows) == 2
    assert report.skipped.total() == 1


@pytest.mark.parametrize("cut", [3, 30, 60, 100])
def test_last_line_cut_short(tmp_path, cut):
    rows, report = read_text(tmp_path, header() + lines(3) + LINE[:cut])
    assert len(rows) == 3
    problem = only_problem(report)
    assert "line 12" in problem
    assert "cut short" in problem
    good = as_json().splitlines()[0]
    rows, report = read_text(tmp_path, lines(3, good) + good[:cut])
    assert len(rows) == 3
    assert "cut short" in only_problem(report)


def test_header_line_cut_short_is_no_fault(tmp_path):
    rows, report = read_text(tmp_path, header() + lines(3) + "#clo")
    assert len(rows) == 3
    assert not report.problems


@pytest.mark.parametrize("pack", [gzip.compress, lambda b: zstandard.ZstdCompressor(write_checksum=True).compress(b)])
def test_truncated_and_damaged_compression(tmp_path, pack):
    rng = np.random.default_rng(1)
    body = "".join(LINE.replace("Cabc", f"C{x}") + "\n" for x in rng.integers(0, 1 << 60, 30000))
    packed = pack((header() + body).encode())
    path = tmp_path / "conn.log"
    path.write_bytes(packed[: len(packed) * 2 // 3])
    rows, report = read(path)
    assert 10000 < len(rows) < 30000
    assert "cut short" in only_problem(report)
    assert "byte" in only_problem(report)
    damaged = bytearray(packed)
    damaged[len(packed) // 2 : len(packed) // 2 + 200] = bytes(200)
    path.write_bytes(damaged)
    rows, report = read(path)
    assert len(rows) < 30000
    assert report.problems
    path.write_bytes(packed[:7])
    rows, report = read(path)
    assert "cut short" in only_problem(report)


def test_data_after_the_gzip_stream(tmp_path):
    rows, report = read_text(tmp_path, gzip.compress(TSV.encode()) + b"\0\0\0")
    assert len(rows) == 2
    assert not report.problems
    rows, report = read_text(tmp_path, gzip.compress(TSV.encode()) + b"rubbish")
    assert len(rows) == 2
    assert "after the end" in only_problem(report)


def test_absurdly_long_line(tmp_path):
    rows, report = read_text(tmp_path, header() + lines(3) + "x" * (3 << 20))
    assert len(rows) == 3
    problem = only_problem(report)
    assert "line 12" in problem
    assert "longer than" in problem


def test_a_bomb_stays_small(tmp_path):
    """A few kilobytes that unpack to a gigabyte are refused at the first long line."""
    path = tmp_path / "conn.log.zst"
    packer = zstandard.ZstdCompressor(level=19).compressobj()
    chunk = bytes(1 << 22)
    with path.open("wb") as out:
        for _ in range(64):
            out.write(packer.compress(chunk))
        out.write(packer.flush())
    report = ReadReport()
    assert list(read_conn_log(path, report)) == []
    assert only_problem(report)


@pytest.mark.parametrize("column", ["uid", "service", "conn_state", "history", "orig_l2_addr"])
@pytest.mark.parametrize("as_text", [True, False], ids=["tsv", "json"])
def test_a_text_longer_than_zeek_writes_any_is_refused(tmp_path, column, as_text):
    def line(text):
        record = json.loads(as_json().splitlines()[0]) | {column: text}
        return "\t".join(str(record.get(n, "-")) for n in names) if as_text else json.dumps(record)

    names = [*(n for n in NAMES if not n.startswith("local")), "orig_l2_addr"]
    head = header(names, ["string"] * len(names)) if as_text else ""
    text = head + lines(60, line("a" * 512)) + line("a" * 513) + "\n"
    rows, report = read_text(tmp_path, text)
    assert rows.text(column).tolist() == ["a" * 512] * 60
    assert "is too long" in only_problem(report)


@pytest.mark.parametrize("bad", ["1-{}", "1.{}.2", "5{}x"])
def test_reasons_hold_nothing_of_the_line(tmp_path, bad):
    worse = [LINE.replace("0.500000", bad.format(i)) for i in range(3)] + [LINE + "\tx" * i for i in range(1, 4)]
    rows, report = read_text(tmp_path, header() + lines(200) + "\n".join(worse) + "\n")
    assert len(rows) == 200
    assert report.skipped == {
        "bad line: column duration is not a number": 3,
        "bad line: not the number of columns of the header": 3,
    }
