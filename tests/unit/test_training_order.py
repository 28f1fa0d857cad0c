"""Training gives rows the order in which Zeek delivers them."""

from onnx_export.data import zeek_order
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
