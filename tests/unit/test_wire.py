import hashlib
import json

import pytest

from pyad import wire
from pyad.notices import Notice
from pyad.row import SCHEMA_HASH
from tests.fake_zeek import SECRET, frame

ROWS = (SCHEMA_HASH, "zeek", "e1", "all", "abc", 7, 0, ["a b", "c d"], "mac")


def test_an_event_comes_out_as_it_went_in():
    assert wire.decode(frame("rows", ROWS)) == wire.Event("rows", ROWS)


def test_a_frame_is_as_zeek_wants_it():
    message = json.loads(wire.encode(wire.BRIDGE_TOPIC, "ack", (SCHEMA_HASH, "zeek", "e1", "all", ["3"], "m")))
    assert (message["type"], message["topic"], message["@data-type"]) == ("data-message", "zeek/pyad/bridge/", "vector")
    version, _, (name, args) = (item["data"] for item in message["data"])
    assert version == 1 and name == {"@data-type": "string", "data": "PyAD::ack"}
    assert args["data"][4] == {"@data-type": "vector", "data": [{"@data-type": "string", "data": "3"}]}


def test_a_frame_as_zeek_sends_it_with_metadata_and_control_characters():
    raw = (
        b'{"type":"data-message","topic":"zeek/pyad/rows/all/","@data-type":"vector","data":['
        b'{"@data-type":"count","data":1},{"@data-type":"count","data":1},{"@data-type":"vector","data":['
        b'{"@data-type":"string","data":"PyAD::flush"},{"@data-type":"vector","data":['
        b'{"@data-type":"string","data":"s"},{"@data-type":"string","data":"zeek"},{"@data-type":"string","data":"e"},'
        b'{"@data-type":"string","data":"all"},{"@data-type":"count","data":4},{"@data-type":"count","data":9},'
        b'{"@data-type":"string","data":""}]},{"@data-type":"vector","data":[{"@data-type":"string","data":"\x01"}]}]}]}'
    )
    assert wire.decode(raw) == wire.Event("flush", ("s", "zeek", "e", "all", 4, 9, ""))


def test_the_other_frames_of_zeek():
    assert wire.decode(b'{"type":"ack","endpoint":"x","version":"9.1.0-dev"}') == wire.Joined("9.1.0-dev")
    error = b'{"type":"error","code":"deserialization_failed","context":"failed to create Zeek event"}'
    assert wire.decode(error) == wire.Refusal("deserialization_failed", "failed to create Zeek event")


def test_what_another_schema_looks_like_is_told_by_its_schema():
    types = [{"@data-type": "string", "data": t} for t in ("other", "zeek", "more")]
    raw = json.loads(frame("hello", ("s", "l", "x", 1, 2, "m")))
    raw["data"][2]["data"][1]["data"] = types
    assert wire.decode(json.dumps(raw).encode()) == wire.Event("hello", ("other",))


def damaged(change) -> bytes:
    message = json.loads(frame("rows", ROWS))
    change(message)
    return json.dumps(message).encode()


def args(message):
    return message["data"][2]["data"][1]["data"]


def set_arg(index, value):
    return lambda message: args(message).__setitem__(index, value)


def string(text):
    return {"@data-type": "string", "data": text}


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"\xff", "not UTF-8"),
        (b'{"a":"\\v"}', "not JSON"),
        (b"{", "not JSON"),
        (b"", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"9" * 10_000, "not JSON"),
        (b"[]", "not a message"),
        (b"nan", "not JSON"),
        (b"NaN", "not a message"),
        (b'{"type":[]}', "not a message"),
        (b'{"type":"data-message"}', "not an event"),
        (b'{"type":"data-message","@data-type":"vector","data":[1,2,3]}', "not an event"),
        (b" " * (wire.MAX_FRAME + 1), "frame too large"),
        (damaged(lambda m: m["data"][2].update(data=[])), "not an event"),
        (damaged(lambda m: m["data"][2]["data"].__setitem__(0, string("Other::rows"))), "unknown event"),
        (damaged(lambda m: m["data"][2]["data"].__setitem__(0, string("rows"))), "unknown event"),
        (damaged(lambda m: m["data"][2]["data"].__setitem__(0, string("PyAD::rowz"))), "unknown event"),
        (damaged(lambda m: args(m).clear()), "wrong number of arguments"),
        (damaged(set_arg(5, string("7"))), "wrong type of argument"),
        (damaged(set_arg(5, {"@data-type": "count", "data": -1})), "wrong type of argument"),
        (damaged(set_arg(5, {"@data-type": "count", "data": True})), "wrong type of argument"),
        (damaged(set_arg(5, {"@data-type": "count", "data": 1.0})), "wrong type of argument"),
        (damaged(set_arg(5, {"@data-type": "count", "data": 2**63})), "wrong type of argument"),
        (damaged(set_arg(7, {"@data-type": "vector", "data": [1]})), "wrong type of argument"),
        (damaged(set_arg(7, {"@data-type": "vector", "data": [string(1)]})), "wrong type of argument"),
        (damaged(set_arg(7, string("\n" * 10_000))), "too many lines in a text"),
        (
            wire.encode("t", "ack", (SCHEMA_HASH, "n", "e", "all", ["1"] * 10_001, "")).encode(),
            "too many items in a vector",
        ),
        (damaged(set_arg(1, string("z\n"))), "text that is too long or not printable ASCII"),
        (damaged(set_arg(1, string("ü"))), "text that is too long or not printable ASCII"),
        (damaged(set_arg(1, string("x" * 257))), "text that is too long or not printable ASCII"),
        (damaged(set_arg(1, None)), "wrong type of argument"),
    ],
)
def test_what_is_no_message_is_refused_with_a_fixed_reason(raw, reason):
    with pytest.raises(wire.WireError) as caught:
        wire.decode(raw)
    assert str(caught.value) == reason


def test_the_code_is_nested_over_all_parts_in_order():
    inner = hashlib.sha256(b"key" + b"ack\ns\n7\na\nb").hexdigest()
    assert wire.mac("key", "ack", ("s", 7, ["a", "b"])) == hashlib.sha256(b"key" + inner.encode()).hexdigest()


def test_one_changed_part_changes_the_code():
    good = wire.Event("rows", wire.signed(SECRET, "rows", ROWS[:-1]))
    assert wire.is_signed(SECRET, good)
    for i, part in enumerate(good.args):
        other = [part[0] + "x", part[1]] if isinstance(part, list) else part + type(part)(1)
        changed = wire.Event("rows", (*good.args[:i], other, *good.args[i + 1 :]))
        assert not wire.is_signed(SECRET, changed), i
    assert not wire.is_signed(SECRET + "x", good)
    assert not wire.is_signed(SECRET, wire.Event("flush", good.args))
    assert not wire.is_signed(SECRET, wire.Event("rows", (*good.args[:-1], "")))
    assert not wire.is_signed(SECRET, wire.Event("rows", (*good.args[:7], ["\ud800"], "x")))


def test_facts():
    texts = ["a=1", "b=x=y", "none", "c=", "d=\n", "e=" + "x" * 300]
    assert wire.facts(texts) == {"a": "1", "b": "x=y", "c": ""}


def notice(**other) -> Notice:
    values = {
        "ts": 1700000000.1234567, "uid": "C1", "orig_h": "10.0.0.5", "orig_p": 40000, "resp_h": "10.0.0.9",
        "resp_p": 22, "proto": "tcp", "note": "PyAD::Brute_Force", "msg": "Guessing.", "sub": "incident=ab state=new",
        "n": 12, "identifier": "ab-new-1", "incident": "ab", "state": "new",
    }  # fmt: skip
    return Notice(**{**values, **other})


def test_a_notice_as_text():
    fields = wire.notice_text(notice()).split("\t")
    start = "1700000000.123457 C1 10.0.0.5 40000 10.0.0.9 22 tcp - brute_force new ab-new-1 ab 12"
    assert fields == [*start.split(" "), "Guessing.", "incident=ab state=new"]


def test_a_notice_holds_nothing_that_could_break_out_of_its_field():
    text = wire.notice_text(notice(uid="C\t1\n", orig_p=None, proto=None, msg="ä" * 300, sub="\x00\t" * 2000))
    fields = text.split("\t")
    assert len(fields) == 15 and text.isascii() and all(f.isprintable() for f in fields)
    assert (fields[1], fields[3], fields[6]) == ("C?1?", "-", "-")
    assert len(fields[13]) == 256 and len(fields[14]) == 1500
