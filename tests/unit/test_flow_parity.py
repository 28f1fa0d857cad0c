"""The comparison with Zeek's conn.log, and, where captures with Zeek's own log are at hand, the comparison itself."""

import json
import os
from pathlib import Path

import pytest

from pyad.flow.options import FlowOptions
from pyad.flow.parity import compare
from pyad.sources.base import ReadReport
from pyad.sources.pcap import read_captures

ROW = {
    "ts": 100.0, "id.orig_h": "10.0.0.1", "id.orig_p": 1, "id.resp_h": "10.0.0.2", "id.resp_p": 2, "proto": "tcp",
    "duration": 1.5, "orig_bytes": 10, "resp_bytes": 20, "conn_state": "SF", "history": "ShADadFf", "orig_pkts": 5,
    "resp_pkts": 4, "orig_ip_bytes": 210, "resp_ip_bytes": 180,
}  # fmt: skip


def test_rows_that_agree():
    report = compare([{**ROW, "duration": 1.5004, "service": "http"}], [ROW])
    assert (report.connections, report.agree, report.share, report.differences) == (1, 1, 1.0, [])
    assert list(report.text()) == ["1 of 1 connections agree (100.00%); 0 only in Zeek's log, 0 only in pyad's rows"]


@pytest.mark.parametrize(("name", "value"), [
    ("history", "ShADadfF"), ("conn_state", "S1"), ("orig_pkts", 6), ("resp_ip_bytes", 1), ("orig_bytes", None),
    ("duration", 1.502),
])  # fmt: skip
def test_every_difference_is_listed_with_both_values(name, value):
    report = compare([{**ROW, name: value}], [ROW])
    assert (report.agree, report.differing) == (0, {name: 1})
    assert report.differences[0].fields == {name: (ROW[name], value)}
    line = next(report.text())
    assert f"{name} {ROW[name]} (pyad {value})" in line
    assert "10.0.0.1:1 > 10.0.0.2:2" in line


def test_missing_and_extra_connections():
    report = compare([{**ROW, "id.orig_p": 9}], [ROW])
    assert (report.missing, report.extra, report.agree) == (1, 1, 0)
    assert [d.kind for d in report.differences] == ["missing", "extra"]


def test_open_connections_and_arp_are_left_out():
    report = compare([{**ROW, "partial": 1}, {**ROW, "partial": 0}, {**ROW, "proto": "arp"}], [ROW])
    assert (report.agree, report.extra) == (1, 0)


def test_unset_is_written_in_many_ways():
    unset = {k: v for k, v in ROW.items() if k != "history"}
    assert compare([unset], [{**ROW, "history": "-"}]).agree == 1


def test_the_nearest_in_time_are_compared():
    ours = [{**ROW, "ts": 100.0}, {**ROW, "ts": 200.0, "history": "S"}]
    theirs = [{**ROW, "ts": 200.0, "history": "S"}, {**ROW, "ts": 100.0}]
    assert compare(ours, theirs).agree == 2


def test_nothing_to_compare_is_full_agreement():
    assert compare([], []).share == 1.0


def _captures() -> list[tuple[Path, Path]]:
    folder = Path(os.environ.get("PYAD_DATA", "")) / "parity"
    pairs = []
    for log in sorted(folder.glob("*.conn.jsonl")) if os.environ.get("PYAD_DATA") else []:
        base = str(log).removesuffix(".conn.jsonl")
        pairs += [(Path(base + end), log) for end in ("", ".gz") if Path(base + end).is_file()][:1]
    return pairs


@pytest.mark.skipif(
    not _captures(), reason="PYAD_DATA names no folder with parity/NAME.pcap.gz and NAME.pcap.conn.jsonl"
)
def test_captures_with_a_log_of_zeek():
    total = agree = extra = 0
    for capture, log in _captures():
        theirs = [json.loads(line) for line in log.read_text().splitlines()]
        ours = [r for part in read_captures([capture], ReadReport(), FlowOptions()) for r in part.records()]
        report = compare(ours, theirs)
        total, agree, extra = total + report.connections, agree + report.agree, extra + report.extra
    assert agree / total >= 0.97
    assert extra <= 0.03 * total
