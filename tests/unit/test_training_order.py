"""Training gives rows the order in which Zeek delivers them, and can take a host's away."""

import numpy as np

from onnx_export import views
from onnx_export.data import make_capture, zeek_order
from pyad.features import FEATURES
from pyad.row import from_tuples


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


def test_reordered_hosts_do_the_same_at_the_same_moments_in_another_order():
    records = [
        {
            "ts": 10.0 * i + host, "uid": f"{host}-{i}", "id.orig_h": f"10.0.0.{host}", "id.orig_p": 40000,
            "id.resp_h": f"10.0.1.{i // 10}", "id.resp_p": 80, "proto": "tcp", "conn_state": "S1", "duration": 0.0,
            "orig_pkts": 1, "resp_pkts": 1, "label": "benign",
        }
        for i in range(40)
        for host in (1, 2)
    ]  # fmt: skip
    one = make_capture("lab", "c", records, keep_rows=True)
    (other,) = views.reordered([one], seed=1)
    assert one.rows is not None and other.rows is not None
    assert np.allclose(other.rows.end_time(), one.rows.end_time())
    assert np.array_equal(other.stream, one.stream)
    assert sorted(other.rows.text("uid")) == sorted(one.rows.text("uid"))
    assert other.rows.text("uid").tolist() != one.rows.text("uid").tolist()
    busy, peers = FEATURES.index("orig_conns_600s"), FEATURES.index("orig_new_pair_share_5s")
    assert np.allclose(one.x[:, busy], other.x[:, busy])
    assert not np.allclose(one.x[:, peers], other.x[:, peers])  # windows are those of the new order
