import numpy as np
import pytest

from pyad.row import CORE, COUNTERS, Rows, from_tuples
from pyad.row_text import RowDecoder
from tests.fake_zeek import row_texts
from tests.unit.conftest import make_rows

LINE = (
    "1700000000.123456 Cabc 10.0.0.1 40000 10.0.0.2 80 tcp http 0.5 100 2000 SF ShADadFf 5 300 6 2300 0 T F "
    "02:00:00:00:00:01 - 7 0"
)
COUNTED = " -1 -1 ? -1 -1 -1 -1 -1 -1 -1 -1 -1 -1 -1"


def decode(*texts):
    decoder = RowDecoder()
    return decoder.decode(texts, "zeek"), decoder


def test_a_row():
    rows, decoder = decode(LINE + " 3 -1 -1 -1 -1 -1 -1 -1 -1 -1 -1 -1 -1 1")
    assert next(rows.records()) == {
        "ts": 1700000000.123456, "uid": "Cabc", "id.orig_h": "10.0.0.1", "id.orig_p": 40000, "id.resp_h": "10.0.0.2",
        "id.resp_p": 80, "proto": "tcp", "service": "http", "duration": 0.5, "orig_bytes": 100, "resp_bytes": 2000,
        "conn_state": "SF", "history": "ShADadFf", "orig_pkts": 5, "orig_ip_bytes": 300, "resp_pkts": 6,
        "resp_ip_bytes": 2300, "missed_bytes": 0, "local_orig": True, "local_resp": False,
        "orig_l2_addr": "02:00:00:00:00:01", "vlan": 7, "partial": 0, "auth_failures": 3, "weirds": 1,
    }  # fmt: skip
    assert rows.source.tolist() == ["zeek"] and not decoder.bad


def test_an_arp_row_and_unset_everything():
    rows, decoder = decode("1.5 - fe80::1 0 FE80::1 0 arp - - - - - - - - - - - - - 02:00:00:00:00:02 - - 0")
    [record] = rows.records()
    assert record == {
        "ts": 1.5, "id.orig_h": "fe80::1", "id.orig_p": 0, "id.resp_h": "fe80::1", "id.resp_p": 0, "proto": "arp",
        "orig_l2_addr": "02:00:00:00:00:02", "partial": 0,
    }  # fmt: skip
    assert not decoder.bad


def test_rows_come_back_as_they_went():
    rows = make_rows(300, seed=4)
    back, decoder = decode(*row_texts(rows))
    assert not decoder.bad
    for name, column in rows.columns.items():
        if name in ("ts", "duration"):
            column = np.array([round(v, 6) for v in column.tolist()])  # noqa: PLW2901
        np.testing.assert_array_equal(back.columns[name], column, err_msg=name)


def test_times_are_those_of_conn_log():
    rows, _ = decode(LINE.replace("1700000000.123456", "1755000000.1234565").replace(" 0.5 ", " 1.23456789e-05 "))
    assert rows.number("ts")[0] == float(f"{1755000000.1234565:.6f}")
    assert rows.number("duration")[0] == 0.000012


def test_one_number_is_the_weirds():
    rows, decoder = decode(LINE + " 2", LINE)
    np.testing.assert_array_equal(rows.number("weirds"), [2, np.nan])
    assert "requests" not in rows.columns and not decoder.bad


def test_counters_are_unset_where_a_row_has_none():
    rows, _ = decode(LINE, LINE + COUNTED.replace("?", "5"), LINE)
    np.testing.assert_array_equal(rows.number("requests"), [np.nan, 5, np.nan])
    assert "weirds" not in rows.columns


BAD = [
    "",
    " ",
    LINE[:-2],
    LINE + " ",
    LINE + COUNTED.replace("?", "1 1"),
    LINE + COUNTED.replace(" ?", ""),
    LINE + COUNTED.replace("?", ""),
    LINE + COUNTED.replace("?", "-2"),
    LINE + COUNTED.replace("?", "1.5"),
    LINE + COUNTED.replace("?", "9999999999999999"),
    LINE + " -1",
    LINE + " 1.5",
    LINE + " x",
    LINE + " more",
    LINE.replace(" ", "  ", 1),
    LINE.replace("1700000000.123456", "-"),
    LINE.replace("1700000000.123456", "nan"),
    LINE.replace("1700000000.123456", "1e300"),
    LINE.replace(" 80 ", " 65536 "),
    LINE.replace(" tcp ", " foo "),
    LINE.replace("10.0.0.1 ", "10.0.0.256 "),
    LINE.replace(" T F ", " T X "),
    LINE.replace("Cabc", "C" * 600),
    LINE.replace("Cabc", "C\n"),
    LINE.replace("ShADadFf", "\n"),
    LINE.replace("Cabc", "Cä"),
    LINE.replace(" 100 ", " -100 "),
    LINE.replace(" 0.5 ", " -0.5 "),
]


@pytest.mark.parametrize("bad", BAD)
def test_a_bad_row_is_left_out_alone_and_counted(bad):
    rows, decoder = decode(LINE, bad, LINE)
    assert len(rows) == 2 and sum(decoder.bad.values()) == 1
    assert all("\n" not in reason and "C" * 10 not in reason for reason in decoder.bad)


def test_all_bad_rows_at_once():
    decoder = RowDecoder()
    rows = decoder.decode([*BAD, LINE + COUNTED.replace("?", "3"), *BAD], "zeek")
    assert len(rows) == 1 and rows.number("requests")[0] == 3
    assert sum(decoder.bad.values()) == 2 * len(BAD)
    assert len(decoder.decode(BAD, "zeek")) == 0
    assert len(decoder.decode([], "zeek")) == 0


def test_every_column_has_its_place():
    names = [f.name for f in (*CORE, *COUNTERS)]
    values = [
        {"addr": f"10.0.0.{i}", "bool": 1.0, "enum": "udp"}.get(f.type, float(i) if f.numeric else f"t{i}")
        for i, f in enumerate((*CORE, *COUNTERS))
    ]
    rows: Rows = from_tuples(names, [values], "x")
    back, decoder = decode(*row_texts(rows))
    assert not decoder.bad
    assert list(back.records()) == list(rows.records())
