"""Any bytes as packets or captures: never anything but rows, counts and named problems."""

import random
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyad.errors import InputError
from pyad.flow.capture import LINK_TYPES
from pyad.flow.endpoint import Endpoint
from pyad.flow.engine import FlowEngine
from pyad.flow.options import FlowOptions
from pyad.sources.base import ReadReport
from pyad.sources.pcap import read_captures
from tests.effort import examples
from tests.packets import START, A, B, Talk, ether, ip, pcap, pcapng, run, tcp_segment, udp
from tests.unit.test_flow_layers import LINKS, OUTER, OVER_UDP, fragments
from tests.unit.test_flow_time import ANSWER, QUERY, mixed

LINK_TYPE = st.sampled_from(sorted(LINK_TYPES))
VALID: list[tuple[int, bytes]] = [
    *LINKS.values(),
    *((1, ether(ip(A, B, proto, payload))) for proto, payload in OUTER.values()),
    *((1, udp(A, 50000, B, port, payload)) for port, payload in OVER_UDP.values()),
    *((1, frame) for frame in fragments()),
    *((1, frame) for _, frame in Talk().open().o("PA", 30).r("A").close().packets),
    (1, udp(A, 5000, B, 53, QUERY)),
    (1, udp(B, 53, A, 5000, ANSWER)),
]


def feed(packets: list[tuple[int, float, bytes]]) -> FlowEngine:
    engine = FlowEngine(FlowOptions())
    for link_type, ts, data in packets:
        engine.feed(link_type, [(ts, len(data), data)])
    engine.flush()
    engine.take()
    return engine


@settings(max_examples=examples(300), deadline=None)
@given(st.lists(st.tuples(LINK_TYPE, st.floats(0, 4e9), st.binary(max_size=200)), max_size=8))
def test_random_bytes_under_every_link_type(packets):
    feed(packets)


@st.composite
def mutated(draw) -> tuple[int, float, bytes]:
    link_type, frame = draw(st.sampled_from(VALID))
    data = bytearray(frame)
    for at, value in draw(st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), max_size=6)):
        data[at % len(data)] = value
    return link_type, START + draw(st.floats(-1000, 1000)), bytes(data[: draw(st.integers(0, len(data)))] or data)


@settings(max_examples=examples(400), deadline=None)
@given(st.lists(mutated(), max_size=10))
def test_mutated_packets(packets):
    feed(packets)


CAPTURES = [
    pcap(mixed()[:40]),
    pcapng(mixed()[:40]),
    pcap(mixed()[:40], order=">", nano=True),
    pcapng(mixed()[:9], order=">"),
]


@settings(max_examples=examples(200), deadline=None)
@given(
    st.sampled_from(CAPTURES),
    st.lists(st.tuples(st.integers(0, 100_000), st.integers(0, 255)), max_size=8),
    st.integers(0, 100_000),
)
def test_flipped_bytes_in_captures_end_in_rows_and_named_problems(capture, flips, size):
    data = bytearray(capture)
    for at, value in flips:
        data[at % len(data)] = value
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.pcap"
        path.write_bytes(data[: size % len(data)] if size % 3 == 0 else data)
        report = ReadReport()
        rows = sum(len(part) for part in read_captures([path], report, FlowOptions()))
    assert rows == report.rows
    assert all(isinstance(p, InputError) and str(p).isprintable() for p in report.problems)


def conversation(seed: int) -> list[tuple[float, bytes]]:
    """A TCP conversation in which anything may happen; in every other one not much does."""
    r = random.Random(seed)
    ports = {"dport": r.choice([80, 8001])}
    talk = Talk(seq=r.choice([1, 1000, 0xFFFFFF00, r.getrandbits(32)]), ack=r.getrandbits(32), **ports)
    if r.random() < 0.8:
        talk.open()
    order = 0.99 if seed % 2 else 0.8
    for _ in range(r.randrange(120)):
        side = r.randrange(2)
        if r.random() < order:
            talk.send(side, "PA" if r.random() < 0.6 else "A", r.choice([0, 10, 500]), lost=r.random() > order)
        elif r.random() < 0.5:
            behind, ahead = r.randrange(300), r.randrange(-600, 600)
            talk.send(side, "PA", 50, seq=talk.next[side] + ahead, ack=talk.next[1 - side] - behind)
        else:
            flags = r.choice(["S", "SA", "F", "FA", "R", "RA", "P", "A", "SF", "FRA"])
            talk.send(side, flags, r.choice([0, 0, 20]), window=r.choice([0, 100]))
    return talk.packets


@pytest.mark.parametrize("seed", range(150))
def test_the_short_cuts_and_the_full_machine_agree(seed, monkeypatch):
    """Ethernet has one short cut, other links another one; without either the rows must be the same."""
    packets = conversation(seed)
    raw = [(ts, data[14:]) for ts, data in packets]
    inline, short = run(packets), run(raw, link_type=101)
    monkeypatch.setattr(Endpoint, "steady", lambda *_: False)
    full = run(raw, link_type=101)
    for row in inline:
        row.pop("orig_l2_addr", None)
        row.pop("resp_l2_addr", None)
    assert inline == full
    assert short == full


FLAGS = st.sampled_from(["S", "SA", "A", "PA", "FA", "F", "R", "RA", "FRA", "SFR", ""])
WORD = st.integers(0, 2**32 - 1)


@settings(max_examples=examples(100), deadline=None)
@given(st.lists(st.tuples(FLAGS, st.booleans(), WORD, WORD, st.integers(0, 2000)), max_size=12))
def test_any_sequence_numbers_give_counts_that_make_sense(segments):
    packets = []
    for i, (flags, back, seq, ack, size) in enumerate(segments):
        src, dst, ports = (B, A, (80, 40000)) if back else (A, B, (40000, 80))
        packets.append((START + i, ether(ip(src, dst, 6, tcp_segment(*ports, flags, seq, ack, bytes(size))))))
    rows = run(packets)
    assert sum(r["orig_pkts"] + r["resp_pkts"] for r in rows) == len(packets)
    assert all(r.get("orig_bytes", 0) >= 0 <= r.get("resp_bytes", 0) and r["missed_bytes"] >= 0 for r in rows)
