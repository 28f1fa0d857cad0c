"""Any bytes as a frame, any text as a row, any order of batches: never an exception, never a row scored twice."""

import json

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from pyad import wire
from pyad.link import Link, LinkSettings
from pyad.row import BY_NAME, CORE, COUNTERS, PROTOS, SCHEMA_HASH, from_tuples
from pyad.row_text import RowDecoder
from pyad.sources.fields import parse_addr
from tests.effort import examples
from tests.fake_zeek import SECRET, Peer, row_texts

JOINED = b'{"type":"ack","endpoint":"x","version":"9.1.0-dev"}'
LINE = (
    "1700000000.5 C1 10.0.0.5 40000 10.0.0.9 22 tcp ssh 0.1 1 2 SF ShADad 3 4 5 6 0 T T 02:00:00:00:00:01 - 7 0 0=1 4=2"
)
PIECES = [
    " ",
    "  ",
    "-",
    "=",
    "0=",
    "14=1",
    "\n",
    "\t",
    "\x00",
    "é",
    "\ud800",
    "1e999",
    "nan",
    "9" * 400,
    "\\x0a",
    "arp",
    "T",
]


def link(mode="auto"):
    made = Link(LinkSettings(SECRET, require_mac=mode), lambda *_, **__: None, lambda: 0, lambda: "s" * 16)
    made.connected(0.0)
    made.receive(JOINED, 0.0)
    return made


def peer(**given):
    made = Peer(**given)
    made.session = "s" * 16
    return made


@st.composite
def damaged_frames(draw):
    raw = bytearray(
        draw(st.sampled_from([peer().rows_frame(1, [LINE] * 2), peer().flush(), peer().status(["a=b"]), JOINED]))
    )
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(raw)))
        end = draw(st.integers(at, min(len(raw), at + 30)))
        raw[at:end] = draw(
            st.binary(max_size=20) | st.sampled_from([b'"', b"}", b"]", b"null", b"1e400", b"-1", b"[" * 9000])
        )
    return bytes(raw)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["@data-type", "data", "x"]), inner),
    max_leaves=8,
)


@st.composite
def mistyped_frames(draw):
    """Events of the right name with anything for arguments."""
    message = json.loads(wire.encode("t", "flush", (SCHEMA_HASH, "n", "e", "all", 1, 1, "")))
    event = draw(st.sampled_from(sorted(wire.EVENTS)))
    args = draw(st.lists(values, max_size=9))
    message["data"][2]["data"] = [
        {"@data-type": "string", "data": "PyAD::" + event},
        draw(values | st.just({"@data-type": "vector", "data": args})),
    ]
    return json.dumps(message).encode()


@settings(max_examples=examples(150), deadline=None)
@given(st.binary(max_size=200) | damaged_frames() | mistyped_frames())
def test_any_frame(raw):
    one = link("never")
    frames = one.receive(raw, 0.0)
    works = one.take()
    decoder = RowDecoder()
    for work in works:
        assert len(decoder.decode(work.rows, "z")) + sum(decoder.bad.values()) >= len(work.rows)
        frames += one.done(work, [], 0.0)
    frames += one.tick(100.0)
    for text in frames:
        assert isinstance(wire.decode(text.encode()), wire.Event)
    json.dumps(one.memory())


@st.composite
def damaged_rows(draw):
    text = LINE
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(text)))
        end = draw(st.integers(at, min(len(text), at + 20)))
        text = text[:at] + draw(st.sampled_from(PIECES) | st.text(max_size=10)) + text[end:]
    return text


@settings(max_examples=examples(150), deadline=None)
@given(st.lists(damaged_rows(), max_size=12))
def test_any_text_as_a_row(texts):
    decoder = RowDecoder()
    rows = decoder.decode(texts, "z")
    assert len(rows) + sum(decoder.bad.values()) == len(texts)
    alone = RowDecoder()
    parts = [r for t in texts for r in alone.decode([t], "z").records()]
    assert list(rows.records()) == parts  # a bad row changes nothing about its neighbours
    for name, column in rows.columns.items():
        assert column.dtype == (np.float64 if BY_NAME[name].numeric else object) and len(column) == len(rows)


names = st.from_regex(r"[A-Za-z0-9]{1,12}", fullmatch=True)
KINDS = {
    "time": st.integers(0, 4 * 10**15).map(lambda n: n / 1e6),
    "interval": st.none() | st.integers(0, 10**12).map(lambda n: n / 1e6),
    "count": st.none() | st.integers(0, 10**14).map(float),
    "int": st.none() | st.integers(0, 4095).map(float),
    "port": st.integers(0, 65535).map(float),
    "bool": st.none() | st.sampled_from([0.0, 1.0]),
    "addr": st.ip_addresses().map(lambda a: parse_addr(str(a))),
    "enum": st.sampled_from(sorted(PROTOS)),
    "string": st.none() | names.map(str.lower),
}


@settings(max_examples=examples(60), deadline=None)
@given(st.lists(st.tuples(*(KINDS[f.type] for f in (*CORE, *COUNTERS))), min_size=1, max_size=5))
def test_rows_come_back_as_they_went(tuples):
    rows = from_tuples([f.name for f in (*CORE, *COUNTERS)], tuples, "z")
    decoder = RowDecoder()
    back = decoder.decode(row_texts(rows), "z")
    assert not decoder.bad
    assert list(back.records()) == list(rows.records())


@settings(max_examples=examples(60), deadline=None)
@given(st.lists(st.integers(1, 12) | st.sampled_from(["wait", "cut", "score"]), max_size=60))
def test_in_any_order_with_any_repeats_and_reconnects_each_batch_is_scored_once(steps):
    one, zeek, now = link(), peer(), 0.0
    scored, pending, sent, acked = [], [], set(), set()

    def score():
        nonlocal pending
        pending += one.take()
        for work in pending:
            scored.append(work.seq)
            heard(one.done(work, ["n"], now))
        pending = []

    def heard(frames):
        for text in frames:
            event = wire.decode(text.encode())
            if event.name == "ack":
                acked.update(map(int, event.args[4]))

    heard(one.receive(zeek.status(), now))
    for step in steps:
        if step == "wait":
            now += 2.5
            heard(one.tick(now))
        elif step == "cut":
            one.disconnected()
            one.connected(now)
            heard(one.receive(JOINED, now) + one.receive(zeek.status(), now))
        elif step == "score":
            score()
        else:
            sent.add(step)
            heard(one.receive(zeek.rows_frame(step, ["r"]), now))
    for seq in sorted(sent):  # whatever was not answered comes again
        heard(one.receive(zeek.rows_frame(seq, ["r"]), now))
    now += 2.5
    heard(one.tick(now))
    score()
    assert sorted(scored) == sorted(sent)
    for seq in sorted(sent):
        heard(one.receive(zeek.rows_frame(seq, ["r"]), now))
    assert acked == sent and sorted(scored) == sorted(sent)
