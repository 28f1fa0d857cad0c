"""Timers on capture time: when connections end, rows of long ones, order, bounds, steps back."""

import random
import struct

import pytest

from pyad.flow.engine import FlowEngine
from pyad.flow.options import FlowOptions
from tests.packets import START, A, B, Talk, ether, icmp, ipv4, run, tcp_segment, udp

QUERY = struct.pack(">HHHHHH", 1, 0x0100, 1, 0, 0, 0) + b"\1a\0\0\1\0\1"
ANSWER = struct.pack(">HHHHHH", 1, 0x8180, 1, 0, 0, 0) + b"\1a\0\0\1\0\1"


def engine(**options) -> FlowEngine:
    return FlowEngine(FlowOptions(**options))


def feed(e: FlowEngine, ts: float, frame: bytes) -> list[tuple]:
    """One packet; the rows that it made ready."""
    before = len(e.rows)
    e.feed(1, [(ts, len(frame), frame)])
    return e.rows[before:]


def tick(e: FlowEngine, ts: float) -> list[tuple]:
    """Let time pass without touching any connection."""
    return feed(e, ts, ether(bytes(60), 0x88CC))


@pytest.mark.parametrize(("name", "frame", "wait"), [
    ("udp", udp(A, 5000, B, 6000, b"x"), 60),
    ("icmp", icmp(A, B, 8), 60),
    ("dns", udp(A, 5000, B, 53, QUERY), 10),
    ("other", ether(ipv4(A, B, 2, b"x" * 8)), 60),
    ("syn", Talk().o("S").packets[0][1], 5),
    ("syn with data", Talk().o("S", 10).packets[0][1], 5),
    ("middle", Talk().o("PA", 10).packets[0][1], 300),
])  # fmt: skip
def test_a_quiet_connection_ends(name, frame, wait):
    e = engine()
    feed(e, START, frame)
    assert [r for r in tick(e, START + wait - 0.1) if r[-1] == 0] == []
    assert len([r for r in tick(e, START + wait + 0.1) if r[-1] == 0]) == 1
    assert not (e.tcp or e.udp or e.other or e.syns)


def test_udp_lives_as_long_as_it_talks():
    e = engine(partial_rows=False)
    for i in range(10):
        assert feed(e, START + 50 * i, udp(A, 5000, B, 6000, b"x")) == []
    assert len(tick(e, START + 450 + 61)) == 1


def test_dns_on_one_port_pair_is_one_connection_per_question():
    packets = []
    for i in range(3):
        packets += [(START + 20 * i, udp(A, 5000, B, 53, QUERY)), (START + 20 * i + 0.05, udp(B, 53, A, 5000, ANSWER))]
    rows = run(packets)
    assert [(r["orig_pkts"], r["resp_pkts"], r["service"]) for r in rows] == [(1, 1, "dns")] * 3


def test_a_closed_connection_ends_five_seconds_later():
    talk = Talk().open().o("PA", 10).r("A").close()
    e = engine()
    for ts, frame in talk.packets:
        feed(e, ts, frame)
    assert tick(e, talk.now + 4.8) == []
    assert [r[11] for r in tick(e, talk.now + 5.1)] == ["SF"]


def test_a_half_closed_connection_ends_by_inactivity_only():
    talk = Talk().open().o("PA", 10).r("A").o("FA").r("A")
    e = engine(partial_rows=False)
    for ts, frame in talk.packets:
        feed(e, ts, frame)
    assert tick(e, talk.now + 200) == []
    assert [r[11] for r in tick(e, talk.now + 301)] == ["S2"]


@pytest.mark.parametrize(("port", "wait"), [(22, 3600), (23, 3600), (80, 300)])
def test_interactive_services_may_be_quiet_for_an_hour(port, wait):
    talk = Talk(dport=port).open().o("PA", 10).r("A")
    e = engine(partial_rows=False)
    for ts, frame in talk.packets:
        feed(e, ts, frame)
    assert tick(e, talk.now + wait - 1) == []
    assert len(tick(e, talk.now + wait + 1)) == 1


def test_ssh_on_another_port_may_be_quiet_for_an_hour_too():
    talk = Talk(dport=2200).open().r("PA", b"SSH-2.0-x\r\n").o("A")
    e = engine(partial_rows=False)
    for ts, frame in talk.packets:
        feed(e, ts, frame)
    assert tick(e, talk.now + 3599) == []
    assert [r[7] for r in tick(e, talk.now + 3602)] == ["ssh"]


def test_rows_come_in_the_order_in_which_connections_end():
    closing = Talk(sport=1).open().close()
    e = engine()
    feed(e, START - 1, udp(A, 5000, B, 6000, b"x"))
    feed(e, START - 0.5, Talk(sport=2).o("S").packets[0][1])
    for ts, frame in closing.packets:
        feed(e, ts, frame)
    tick(e, START + 100)
    assert [(r[6], r[11]) for r in e.rows] == [("tcp", "S0"), ("tcp", "SF"), ("udp", "S0")]


def test_at_most_300_timers_run_per_packet():
    e = engine()
    for i in range(400):
        feed(e, START, udp(A, 5000 + i, B, 6000, b"x"))
    assert len(tick(e, START + 100)) == 300
    assert len(tick(e, START + 100)) == 100


# ---- long connections ---------------------------------------------------------------------------------------------


def long_talk(seconds: int) -> list[tuple[float, bytes]]:
    talk = Talk().open()
    while talk.now < START + seconds:
        talk.o("PA", 100, after=10).r("A")
    return talk.close().packets


def test_a_long_connection_has_rows_while_it_lasts():
    rows = run(long_talk(1000), partial=True)
    assert [r["partial"] for r in rows] == [1, 2, 3, 4, 0]
    assert len({r["uid"] for r in rows}) == 1
    ends = [r["ts"] + r["duration"] - START for r in rows[:4]]  # the last packet before the row: one comes every 10 s
    assert all(due - 15 < end <= due for end, due in zip(ends, [60, 360, 660, 960], strict=True))
    assert [r["orig_bytes"] for r in rows] == sorted(r["orig_bytes"] for r in rows)  # totals since the start


def test_a_long_connection_has_one_row_when_partial_rows_are_off():
    assert [r["partial"] for r in run(long_talk(1000))] == [0]


def test_an_idle_open_connection_gives_no_second_partial_row():
    talk = Talk(dport=22).open().o("PA", 10).r("A")
    packets = [*talk.packets, *((START + s, ether(bytes(60), 0x88CC)) for s in range(10, 3000, 10))]
    assert [r["partial"] for r in run(packets, partial=True)] == [1, 0]


def test_partial_rows_come_after_the_seconds_asked_for():
    options = FlowOptions(long_conn_first_s=20, long_conn_interval_s=30)
    rows = run(long_talk(100), options=options)
    assert [r["partial"] for r in rows] == [1, 2, 3, 0]
    ends = [r["ts"] + r["duration"] - START for r in rows[:3]]
    assert all(due - 15 < end <= due + 5 for end, due in zip(ends, [20, 50, 80], strict=True))


# ---- uids, timelines, memory --------------------------------------------------------------------------------------


def mixed(seed: int = 1) -> list[tuple[float, bytes]]:
    r = random.Random(seed)
    packets = []
    for i in range(60):
        talk = Talk(sport=2000 + i, dport=r.choice([22, 80, 8001]), seq=r.getrandbits(32), ack=r.getrandbits(32))
        talk.now = START + r.uniform(0, 400)
        talk.open()
        for _ in range(r.randrange(8)):
            talk.o("PA", r.randrange(1, 900), lost=r.random() < 0.1).r("A").r("PA", 50)
        packets += (talk.close() if r.random() < 0.7 else talk).packets
        packets.append((START + r.uniform(0, 400), udp(A, 3000 + i, B, 53, QUERY)))
        packets.append((START + r.uniform(0, 400), icmp(A, B, 8)))
    return sorted(packets)


def test_the_same_packets_give_the_same_rows_and_uids():
    first, second = run(mixed(), partial=True), run(mixed(), partial=True)
    assert first == second
    uids = [r["uid"] for r in first if r["partial"] == 0]
    assert len(set(uids)) == len(uids)
    assert all(u[0] == "C" and u.isalnum() for u in uids)


def test_batches_do_not_matter():
    packets = [(ts, len(d), d) for ts, d in mixed()]
    whole, pieces = engine(), engine()
    whole.feed(1, packets)
    for i in range(0, len(packets), 7):
        pieces.feed(1, packets[i : i + 7])
    whole.flush()
    pieces.flush()
    assert whole.rows == pieces.rows


def test_a_step_back_in_time_starts_a_new_timeline():
    e = engine()
    feed(e, START, udp(A, 5000, B, 6000, b"x"))
    assert feed(e, START - 599, udp(A, 5001, B, 6000, b"x")) == []
    assert e.timelines == 1
    assert len(feed(e, START - 601, udp(A, 5002, B, 6000, b"x"))) == 2
    assert (e.timelines, len(e.udp)) == (2, 1)


def test_a_syn_flood_leaves_nothing_behind():
    e = engine()
    most = 0
    for i in range(30_000):
        src = f"10.{1 + (i >> 16)}.{(i >> 8) & 255}.{i & 255}"
        feed(e, START + i / 1000, ether(ipv4(src, B, 6, tcp_segment(1024 + i % 60000, 80, "S", i, 0))))
        most = max(most, len(e.syns) + len(e.tcp))
    assert most <= 5_001
    tick(e, START + 40)
    for i in range(100):
        tick(e, START + 40 + i)
    assert not (e.syns or e.tcp or e.syn_queue)
    assert len(e.rows) == 30_000


def test_a_flood_with_answers_leaves_nothing_behind():
    e = engine()
    for i in range(3_000):
        talk = Talk(sport=1024 + i).o("S").r("RA")
        for k, (_, frame) in enumerate(talk.packets):
            feed(e, START + i / 100 + k / 1000, frame)
    for i in range(200):
        tick(e, START + 200 + i)
    assert not (e.syns or e.tcp or e._timers)
    assert {r[11] for r in e.rows} == {"REJ"}


@pytest.mark.parametrize(("frames", "history", "orig"), [
    ([udp(A, 5000, B, 53, ANSWER)], "D^", B),
    ([udp(A, 5353, "224.0.0.251", 5353, ANSWER)], "D", A),
    ([udp(A, 5000, B, 53, b"\0\0\x18\0" + bytes(20))], "DX", A),
    ([udp(A, 5000, B, 53, b"\0\0\0\0\0\x40" + bytes(20))], "DX", A),
    ([udp(A, 123, B, 123, b"\x24" + bytes(47))], "D^", B),
    ([udp(A, 123, B, 123, b"\x23" + bytes(47)), udp(B, 123, A, 123, b"\x24" + bytes(47))], "Dd", A),
    ([udp(A, 53, B, 5000, ANSWER)], "^d", B),
])  # fmt: skip
def test_dns_and_ntp_know_who_asked(frames, history, orig):
    rows = run([(START + i, f) for i, f in enumerate(frames)])
    assert [(r["history"], r["id.orig_h"]) for r in rows] == [(history, orig)]


def test_open_connections_are_bounded_in_memory_and_none_is_lost():
    e = engine(max_flow_bytes=1 << 20)
    for i in range(5_000):
        feed(e, START, udp(f"10.1.{i >> 8}.{i & 255}", 5000, B, 6000, b"x"))
        feed(e, START, Talk(sport=1024 + i).o("PA", 10).packets[0][1])
        feed(e, START, Talk(sport=1024 + i, dport=7777).o("S").packets[0][1])
        assert e._held + len(e.syns) * 460 < (1 << 20) + 3000
    e.flush()
    assert len(e.rows) == 15_000
    assert e.skipped["connections ended early for lack of memory"] > 10_000
