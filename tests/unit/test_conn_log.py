"""conn.log as sites have it: formats, compressions, columns in any order and number."""

import gzip
import io
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import zstandard

from pyad.row import concat
from pyad.sources.base import ReadReport
from pyad.sources.conn_log import read_conn_log
from tests.logs import LINE, NAMES, TSV, TYPES, UNSET_LINE, as_json, header, read, read_text


def clean(report):
    return not report.problems and not report.warnings and not report.skipped


def check_two(rows):
    assert len(rows) == 2
    assert rows.number("ts").tolist() == [1700000000.123456, 1700000001.5]
    assert rows.text("uid").tolist() == ["Cabc", "Cdef"]
    assert rows.text("id.orig_h").tolist() == ["10.0.0.1", "fe80::1"]
    assert rows.text("id.resp_h").tolist() == ["10.0.0.2", "2001:db8::1"]
    assert rows.number("id.orig_p").tolist() == [40000, 8]
    assert rows.text("proto").tolist() == ["tcp", "icmp"]
    assert rows.text("service").tolist() == ["http", None]
    assert rows.text("history").tolist() == ["ShADadFf", None]
    for name, first in [("duration", 0.5), ("orig_bytes", 100), ("local_orig", 1), ("local_resp", 0)]:
        column = rows.number(name)
        assert column[0] == first
        assert np.isnan(column[1])
    assert rows.number("resp_pkts").tolist() == [6, 0]
    assert np.isnan(rows.number("vlan")).all()
    assert "vlan" not in rows.columns


@pytest.mark.parametrize("pack", [bytes, gzip.compress, lambda b: zstandard.ZstdCompressor().compress(b)])
@pytest.mark.parametrize("text", [TSV, as_json()], ids=["tsv", "json"])
def test_same_rows_from_every_form_by_magic_not_by_name(tmp_path, text, pack):
    rows, report = read_text(tmp_path, pack(text.encode()), "whatever.txt")
    assert clean(report)
    check_two(rows)
    assert set(rows.source) == {str(tmp_path / "whatever.txt")}
    assert report.files == 1
    assert report.bytes == (tmp_path / "whatever.txt").stat().st_size


def test_several_gzip_members_and_zstd_frames(tmp_path):
    parts = [header() + LINE + "\n", UNSET_LINE + "\n"]
    for pack in (gzip.compress, lambda b: zstandard.ZstdCompressor().compress(b)):
        rows, report = read_text(tmp_path, b"".join(pack(p.encode()) for p in parts))
        assert clean(report)
        check_two(rows)


@pytest.mark.parametrize("how", [{"nested": True}, {"iso": True}])
def test_other_json_forms(tmp_path, how):
    rows, report = read_text(tmp_path, as_json(**how))
    assert clean(report)
    check_two(rows)


def test_json_milliseconds(tmp_path):
    line = json.loads(as_json().split("\n")[0]) | {"ts": 1700000000123}
    rows, _ = read_text(tmp_path, json.dumps(line) + "\n")
    assert rows.number("ts").tolist() == [1700000000.123]


def test_columns_in_any_order_unknown_ignored_missing_absent(tmp_path):
    names = ["proto", "extra", "id.resp_p", "id.resp_h", "id.orig_p", "id.orig_h", "ts", "vlan"]
    text = header(names, ["enum", "string", "port", "addr", "port", "addr", "time", "int"])
    text += "udp\tx\\x09y\t53\t10.0.0.2\t5000\t10.0.0.1\t1.5\t7\n"
    rows, report = read_text(tmp_path, text)
    assert clean(report)
    assert set(rows.columns) == {
        "ts", "id.orig_h", "id.orig_p", "id.resp_h", "id.resp_p", "proto", "vlan"
    }  # fmt: skip
    assert rows.number("vlan").tolist() == [7]
    assert np.isnan(rows.number("duration")).all()


def test_pyads_own_columns_are_taken(tmp_path):
    names, types = [*NAMES, "partial", "dns_queries"], [*TYPES, "count", "count"]
    rows, report = read_text(tmp_path, header(names, types) + LINE + "\t2\t9\n")
    assert clean(report)
    assert rows.number("partial").tolist() == [2]
    assert rows.number("dns_queries").tolist() == [9]


def test_other_separators_and_marks(tmp_path):
    text = TSV.replace("\t", ";").replace("\\x09", "\\x3b").replace("#unset_field;-", "#unset_field;NULL")
    text = text.replace(";-", ";NULL").replace("#unset_field;NULL", "#unset_field;NULL", 1)
    rows, report = read_text(tmp_path, text)
    assert clean(report)
    check_two(rows)


def test_header_again_after_rotated_logs_were_joined(tmp_path):
    text = header() + LINE + "\n#close\tx\n" + header() + UNSET_LINE + "\n"
    rows, report = read_text(tmp_path, text)
    assert clean(report)
    check_two(rows)


def test_zeeks_plain_tsv_with_one_line_of_names(tmp_path):
    rows, report = read_text(tmp_path, "\t".join(NAMES) + "\n" + LINE + "\n" + UNSET_LINE + "\n")
    assert clean(report)
    check_two(rows)


@pytest.mark.parametrize(
    "text", [TSV.replace("\n", "\r\n"), "\ufeff" + TSV, TSV.replace("\n", "\n\n"), TSV.rstrip("\n")]
)
def test_line_ends_bom_blank_lines_no_last_newline(tmp_path, text):
    rows, report = read_text(tmp_path, text)
    assert clean(report)
    check_two(rows)


def test_no_newline_after_the_last_whole_line(tmp_path):
    for text in (header() + LINE + "\n" + UNSET_LINE, as_json().rstrip("\n")):
        rows, report = read_text(tmp_path, text)
        assert clean(report)
        check_two(rows)


def test_only_a_header_is_no_rows(tmp_path):
    rows, report = read_text(tmp_path, header())
    assert len(rows) == 0
    assert clean(report)


def test_escapes_and_empty(tmp_path):
    line = LINE.replace("Cabc", "a\\x09b\\\\c\\xff\\xc3\\xa9").replace("\thttp\t", "\t(empty)\t")
    rows, _ = read_text(tmp_path, header() + line + "\n")
    assert rows.text("uid").tolist() == ["a\tb\\c\\xffé"]
    assert rows.text("service").tolist() == [""]


def test_rows_in_chunks_and_repeats_share_one_text(tmp_path):
    path = tmp_path / "conn.log"
    path.write_text(header() + (LINE + "\n") * 5000)
    report = ReadReport()
    chunks = list(read_conn_log(path, report, chunk_rows=100))
    assert max(map(len, chunks)) == 100
    assert sum(map(len, chunks)) == report.rows == 5000
    rows = concat(chunks)
    for name in ("history", "id.orig_h", "proto", "conn_state"):
        assert len(set(map(id, rows.text(name)))) == 1


def test_a_long_log_streams(tmp_path):
    """Blocks join seamlessly: every row once, in order, with its own values."""
    path = tmp_path / "conn.log"
    with path.open("w") as out:
        out.write(header())
        for i in range(20000):
            out.write(LINE.replace("Cabc", f"C{i}").replace("40000", str(i)) + "\n")
    rows, report = read(path)
    assert clean(report)
    assert rows.text("uid").tolist() == [f"C{i}" for i in range(20000)]
    assert rows.number("id.orig_p").tolist() == list(range(20000))


def test_standard_input(monkeypatch):
    class Stdin:
        buffer = io.BytesIO(gzip.compress(TSV.encode()))

    monkeypatch.setattr(sys, "stdin", Stdin)
    rows, report = read(Path("-"))
    assert clean(report)
    check_two(rows)
    assert set(rows.source) == {"standard input"}


def test_progress_counts_stored_bytes(tmp_path):
    path = tmp_path / "conn.log.gz"
    path.write_bytes(gzip.compress(TSV.encode()))
    seen = []
    report = ReadReport(on_bytes=seen.append)
    list(read_conn_log(path, report))
    assert sum(seen) == report.bytes == path.stat().st_size
