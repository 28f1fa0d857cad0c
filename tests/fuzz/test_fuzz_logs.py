"""Any bytes as a log: never anything but rows and named problems. Any value in a log: one line, as it was."""

import gzip
import io
import json
import math
import tempfile
from pathlib import Path

import numpy as np
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from pyad.errors import InputError
from pyad.row import BY_NAME, FIELDS, PROTOS, concat, from_tuples
from pyad.sinks.zeek_log import ZeekLogWriter, write_rows
from pyad.sinks.zeek_values import json_text, tsv_text, zeek_double
from pyad.sources import detect, expand, first_time
from pyad.sources.base import ReadReport
from pyad.sources.conn_log import read_conn_log
from pyad.sources.fields import unescape
from tests.effort import examples
from tests.logs import TSV, as_json

VALID = [TSV.encode(), as_json().encode(), as_json(nested=True, iso=True).encode()]
VALID += [gzip.compress(v * 3) for v in VALID] + [zstandard.ZstdCompressor().compress(VALID[0])]
PIECES = [
    b"\t",
    b"\n",
    b"#",
    b"#fields\tts\n",
    b"#separator \\x41\n",
    b"{",
    b"}",
    b'"',
    b"\\",
    b"\\x0a",
    b",",
    b"-",
    b"\0",
]
PIECES += [
    b"\xff",
    b"1e999",
    b"NaN",
    b"-1",
    b"null",
    b"[" * 2000,
    b"9" * 500,
    b'{"id":{"orig_h":[]}}\n',
    b"\r\n",
    b"\xef\xbb\xbf",
]

texts = st.text(st.characters(exclude_categories=("Cs",)), max_size=30) | st.sampled_from(
    ["", "-", "(empty)", "#", "\\x41"]
)


@st.composite
def damaged_logs(draw):
    raw = bytearray(draw(st.sampled_from(VALID)))
    for _ in range(draw(st.integers(1, 6))):
        at = draw(st.integers(0, len(raw)))
        end = draw(st.integers(at, min(len(raw), at + 40)))
        raw[at:end] = draw(st.sampled_from(PIECES) | st.binary(max_size=20))
    return bytes(raw)


def check_reading(raw):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "conn.log")
        path.write_bytes(raw)
        report = ReadReport()
        rows = 0
        for batch in read_conn_log(path, report, chunk_rows=3):
            rows += len(batch)
            assert 0 < len(batch) <= 3
            for name, column in batch.columns.items():
                assert len(column) == len(batch)
                field = BY_NAME[name]
                if field.numeric:
                    assert column.dtype == np.float64
                    values = column[~np.isnan(column)]
                    assert np.isfinite(values).all()
                    assert (values >= 0).all()
                    assert field.type != "port" or (values <= 65535).all()
                else:
                    assert all(v is None or type(v) is str for v in column)
                if field.required:
                    assert not (np.isnan(column).any() if field.numeric else None in column)
            assert set(batch.text("proto")) <= PROTOS
        assert rows == report.rows
        assert all(str(p).isprintable() for p in report.problems)
        assert all(w.isprintable() for w in report.warnings)
        assert all(reason.isprintable() for reason in report.skipped)
        first_time(path)
        try:
            detect(path)
            expand([Path(folder)], report)
        except InputError as error:
            assert str(error).isprintable()


@settings(max_examples=examples(150), deadline=None)
@given(st.binary(max_size=300) | st.text(max_size=300).map(lambda t: t.encode("utf-8", "surrogatepass")))
def test_any_bytes(raw):
    check_reading(raw)


@settings(max_examples=examples(300), deadline=None)
@given(damaged_logs())
def test_damaged_logs(raw):
    check_reading(raw)


@settings(max_examples=examples(300), deadline=None)
@given(texts)
def test_text_round_trips(text):
    tsv = tsv_text(text)
    assert tsv
    assert not set(tsv) & {"\t", "\n", "\r", "\0", "\x1b"}
    assert tsv != "-"
    assert (tsv == "(empty)") == (text == "")
    if text:
        assert unescape(tsv) == text
    assert "," not in tsv_text(text, True)
    assert json_text(text).isascii()
    if text.isprintable() and not any("\ue000" <= c <= "\uf8ff" or "\ufff0" <= c <= "\uffff" for c in text):
        assert json.loads(json_text(text)) == text


@settings(max_examples=examples(200), deadline=None)
@given(st.text(max_size=20))  # lone surrogates too
def test_any_text_is_one_line_of_valid_output(text):
    for fmt in ("tsv", "json"):
        out = io.StringIO()
        with ZeekLogWriter(out, "x", [("a", "string"), ("b", "set[string]")], fmt, opened=0.0) as log:
            log.write({"a": text, "b": [text, text]})
        out.getvalue().encode("utf-8")
        lines = [x for x in out.getvalue().split("\n") if x and not x.startswith("#")]
        assert len(lines) == 1
        if fmt == "tsv":
            assert lines[0].count("\t") == 1
        else:
            assert set(json.loads(lines[0])) == {"a", "b"}
            assert lines[0].isascii()


@settings(max_examples=examples(200), deadline=None)
@given(st.floats())
def test_any_number_prints(value):
    text = zeek_double(value)
    assert math.isnan(value) or math.isinf(value) or abs(float(text) - value) <= 5.1e-7 + abs(value) * 1e-12
    for fmt in ("tsv", "json"):
        out = io.StringIO()
        types = [(kind, kind) for kind in ("time", "interval", "double", "count", "vector[double]")]
        with ZeekLogWriter(out, "x", types, fmt, opened=0.0) as log:
            log.write({kind: [value] if "[" in kind else value for kind, _ in types})
            log.write_columns({kind: np.array([value]) for kind, _ in types[:4]}, 1)
        lines = [x for x in out.getvalue().splitlines() if not x.startswith("#")]
        assert len(lines) == 2
        for line in lines:
            assert line.count("\t") == 4 if fmt == "tsv" else json.loads(line) is not None


@st.composite
def rows(draw):
    count = draw(st.integers(1, 5))
    by_type = {
        "time": st.integers(0, 10**15).map(lambda n: n / 1e6),
        "interval": st.integers(0, 10**12).map(lambda n: n / 1e6),
        "count": st.integers(0, 2**53),
        "int": st.integers(0, 4095),
        "port": st.integers(0, 65535),
        "bool": st.booleans(),
        "addr": st.ip_addresses().map(str),
        "enum": st.sampled_from(sorted(PROTOS)),
        "string": texts,
    }
    tuples = []
    for _ in range(count):
        values = []
        for field in FIELDS:
            value = by_type[field.type].map(str.lower) if field.name.endswith("l2_addr") else by_type[field.type]
            values.append(draw(value if field.required else value | st.none()))
        tuples.append(values)
    return from_tuples([f.name for f in FIELDS], tuples, "x")


@settings(max_examples=examples(60), deadline=None)
@given(rows(), st.sampled_from(["tsv", "json"]))
def test_rows_round_trip(batch, fmt):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "conn.log")
        write_rows([batch], path, fmt)
        report = ReadReport()
        again = concat(list(read_conn_log(path, report)))
    assert not report.problems
    for field in FIELDS:
        if field.numeric:
            np.testing.assert_array_equal(again.number(field.name), batch.number(field.name), field.name)
        elif field.type == "string" and fmt == "json":
            continue  # as in Zeek, JSON shows bytes it must not contain as `\xNN` text
        elif field.type != "addr":
            assert again.text(field.name).tolist() == batch.text(field.name).tolist(), field.name
