"""pyad.log: one verdict per line, in Zeek's TSV and in JSON."""

import io
import json

import numpy as np
import pytest

from pyad.explain import Reason
from pyad.row import from_tuples
from pyad.sinks.pyad_log import PYAD_FIELDS, PyadLog
from pyad.sinks.zeek_log import ZeekLogWriter
from pyad.verdict import CLASSES, Verdicts


def verdicts():
    probs = np.zeros((3, len(CLASSES)), dtype=np.float32)
    probs[0] = [0.1, 0.7, 0.2, 0, 0, 0, 0, 0, 0]
    probs[1, 0] = 1.0
    probs[2] = np.nan
    return Verdicts(
        probs=probs,
        cls=np.array([1, 0, 0], dtype=np.int8),
        score=np.array([0.9, 0.0, 0.0]),
        novelty_p=np.array([3.25e-9, 0.5, 1.0]),
        decision=np.array([1, 9, 0], dtype=np.int8),
        unscored=np.array([False, False, True]),
    )


def write(fmt):
    rows = from_tuples(
        ("ts", "uid", "id.orig_h", "id.orig_p", "id.resp_h", "id.resp_p", "proto", "service", "partial"),
        [(t, f"C{t}", "10.0.0.1", 5, "10.0.0.2", 80, "tcp", "http", p) for t, p in ((1.0, None), (2.0, 2), (3.0, 0))],
        "in,put\t.pcap",
    )
    reasons = [
        (Reason("fan_out", 12.3456, 2.0), Reason("gap,s", float("inf"), float("nan"))),
        (Reason("x", 0.0, 1.0),),
        (),
    ]
    out = io.StringIO()
    log = PyadLog(ZeekLogWriter(out, "pyad", PYAD_FIELDS, fmt, opened=0.0), fmt, "iomt-1.0")
    log.write(rows, verdicts(), [None, "allow-list:x", None], reasons)
    log.close()
    return [line for line in out.getvalue().splitlines() if not line.startswith("#")]


def test_tsv():
    first, second, third = (
        dict(zip([n for n, _ in PYAD_FIELDS], line.split("\t"), strict=True)) for line in write("tsv")
    )
    assert first == {
        "ts": "1.000000", "uid": "C1.0", "id.orig_h": "10.0.0.1", "id.orig_p": "5", "id.resp_h": "10.0.0.2",
        "id.resp_p": "80", "proto": "tcp", "partial": "-", "class": "flood",
        "probs": "0.1,0.7,0.2" + ",0.0" * 6, "score": "0.9", "novelty_p": "3.25e-09", "decision": "flood",
        "suppressed_by": "-", "top": "fan_out=12.3 (2),gap\\x2cs=inf (-)", "source": "in,put\\x09.pcap",
        "model": "iomt-1.0",
    }  # fmt: skip
    assert (second["decision"], second["suppressed_by"], second["class"]) == ("novel", "allow-list:x", "benign")
    assert third["top"] == "-"
    assert [r["partial"] for r in (second, third)] == ["2", "-"]
    assert [r["novelty_p"] for r in (second, third)] == ["0.5", "1.0"]


def test_json():
    first, second, third = (json.loads(line) for line in write("json"))
    assert first["probs"] == dict(zip(CLASSES, [0.1, 0.7, 0.2, 0, 0, 0, 0, 0, 0], strict=True))
    assert first["novelty_p"] == 3.25e-9
    assert first["top"] == [
        {"feature": "fan_out", "observed": 12.3456, "usual": 2.0},
        {"feature": "gap,s", "observed": None, "usual": None},
    ]
    assert "suppressed_by" not in first
    assert second["suppressed_by"] == "allow-list:x"
    assert [r.get("partial") for r in (first, second, third)] == [None, 2, None]
    assert "top" not in third
    assert set(third["probs"].values()) == {0.0}


@pytest.mark.parametrize("fmt", ["tsv", "json"])
def test_an_empty_batch_is_no_line(fmt):
    out = io.StringIO()
    log = PyadLog(ZeekLogWriter(out, "pyad", PYAD_FIELDS, fmt), fmt, "m")
    empty = np.zeros(0)
    none = Verdicts(
        np.zeros((0, 9), dtype=np.float32), empty.astype(np.int8), empty, empty, empty.astype(np.int8), empty > 0
    )
    log.write(from_tuples(("ts",), [], "x"), none, [], [])
    log.close()
    assert not [line for line in out.getvalue().splitlines() if not line.startswith("#")]
