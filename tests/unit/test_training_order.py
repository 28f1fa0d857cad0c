"""Training gives rows the order in which Zeek delivers them, and can take a host's away."""

import numpy as np
import pytest

from onnx_export import views
from onnx_export.data import make_capture, zeek_order
from pyad.features import FEATURES
from pyad.row import from_tuples
from pyad.verdict import CLASSES


def test_rows_come_at_removal_and_rows_of_open_connections_at_once():
    names = ("ts", "uid", "proto", "conn_state", "duration", "partial")
    rows = from_tuples(
        names,
        [
            (0.0, "long", "tcp", "SF", 100.0, 0),  # ends at 100, is written at 105
            (0.0, "long", "tcp", "S1", 60.0, 1),  # sent at 60, while open
            (50.0, "dns", "udp", "SF", 1.0, 0),  # times out at 111
            (80.0, "web", "tcp", "SF", 1.0, 0),  # written at 86
            (10.0, "half", "tcp", "S1", 0.0, 0),  # idle for 300 s, the end of the capture comes first
        ],
        "x",
    )
    order = zeek_order(rows)
    # At the last packet (100 s) everything that still waits is written in the order it came.
    assert rows.text("uid")[order].tolist() == ["long", "web", "long", "dns", "half"]
    assert rows.number("partial")[order].tolist() == [1, 0, 0, 0, 0]


def _records(hosts=(1, 2), each=40, gap=10.0):
    return [
        {
            "ts": gap * i + host, "uid": f"{host}-{i}", "id.orig_h": f"10.0.0.{host}", "id.orig_p": 40000,
            "id.resp_h": f"10.0.1.{i // 10}", "id.resp_p": 80, "proto": "tcp", "conn_state": "S1", "duration": 0.0,
            "orig_pkts": 1, "resp_pkts": 1, "orig_bytes": 1000, "label": "benign" if host == 1 else "recon",
        }
        for i in range(each)
        for host in hosts
    ]  # fmt: skip


def test_reordered_hosts_do_the_same_at_the_same_moments_in_another_order():
    one = make_capture("lab", "c", _records(), keep_rows=True)
    (other,) = views.reordered([one], seed=1)
    assert one.rows is not None and other.rows is not None
    assert np.allclose(other.rows.end_time(), one.rows.end_time())
    assert np.array_equal(other.stream, one.stream)
    assert sorted(other.rows.text("uid")) == sorted(one.rows.text("uid"))
    assert other.rows.text("uid").tolist() != one.rows.text("uid").tolist()
    busy, peers = FEATURES.index("orig_conns_600s"), FEATURES.index("orig_new_pair_share_5s")
    assert np.allclose(one.x[:, busy], other.x[:, busy])
    assert not np.allclose(one.x[:, peers], other.x[:, peers])  # windows are those of the new order


@pytest.mark.parametrize("view", [views.jittered, views.resized, views.lossy, views.slowed])
def test_disturbed_captures_keep_whose_label_is_whose(view):
    one = make_capture("lab", "c", _records(gap=0.5), keep_rows=True)
    before = {name: values.copy() for name, values in one.rows.columns.items()}
    (other,) = view([one], seed=1)
    recon = other.label == CLASSES.index("recon")
    assert np.array_equal(recon, other.rows.text("id.orig_h") == "10.0.0.2")
    assert set(other.rows.columns) == set(one.rows.columns)
    assert len(other.x) == len(other.stream) == len(other.detail) == len(other.rows)
    assert all(
        np.array_equal(values, before[name], equal_nan=values.dtype != object)
        for name, values in one.rows.columns.items()
    )  # the capture itself is as it was
    assert (len(other.rows) < len(one.rows)) == (view is views.lossy)
    assert len(other.rows) > 0.7 * len(one.rows)
    sizes, times = other.rows.number("orig_bytes"), other.rows.number("ts")
    assert (sizes != 1000).any() == (view is views.resized)
    assert np.isin(times, before["ts"]).all() == (view not in (views.jittered, views.slowed))
    assert (np.ptp(times) > 3 * np.ptp(before["ts"])) == (view is views.slowed)
    assert np.abs(sizes / 1000 - 1).max() <= 0.2


def test_rows_of_one_connection_are_disturbed_alike_and_nameless_ones_each_for_itself():
    records = [{**r, "uid": "the same"} for r in _records(each=10)]
    (moved,) = views.jittered([make_capture("lab", "c", records, keep_rows=True)], seed=1)
    shift = np.sort(moved.rows.number("ts")) - np.sort([r["ts"] for r in records])
    assert np.ptp(shift) == pytest.approx(0, abs=1e-6)
    nameless = [{k: v for k, v in r.items() if k != "uid"} for r in _records(each=100)]
    (left,) = views.lossy([make_capture("lab", "c", nameless, keep_rows=True)], seed=1)
    assert 150 < len(left.rows) < 200


def test_a_capture_of_which_nothing_is_left_is_left_out():
    ones = [make_capture("lab", f"c{i}", _records(hosts=(1,), each=1), keep_rows=True) for i in range(40)]
    assert 30 < len(views.lossy(ones, seed=1)) < 40
