"""Batches over the link: in order, once each, and not too many at a time."""

from collections import Counter

import pytest

from pyad.row import SCHEMA_HASH
from tests.fake_zeek import Peer
from tests.wired import ROWS, Wired


def test_after_the_subscription_is_taken_it_says_hello_and_asks_for_the_status(wired):
    assert [e.name for e in wired.peer.events] == ["hello", "status_request"]
    hello = wired.peer.events[0]
    assert hello.args[:5] == (SCHEMA_HASH, "all", f"{1:016x}", 32, 1_700_000_000_000_000)
    assert wired.events("connected") == [
        {"url": "", "zeek": "9.1.0-dev", "lane": "all", "session": f"{1:016x}"},
    ]


def test_a_batch_is_scored_and_acknowledged(wired):
    wired.hear(*wired.peer.add(ROWS), *wired.peer.add(ROWS))
    assert wired.scored == [1, 2] == wired.peer.acked
    assert wired.link.counts.rows == 4 and wired.link.counts.batches == 2 and wired.link.counts.acks == 2


def test_notices_go_out_before_the_acknowledgement(wired):
    wired.notices[1] = ["n1", "n2"]
    wired.hear(*wired.peer.add(ROWS))
    assert wired.peer.applied == {("zeek", "e1", "all", 1): ["n1", "n2"]}
    assert [e.name for e in wired.peer.events][-2:] == ["verdicts", "ack"]
    assert not wired.peer.refused


def test_a_heartbeat_every_second_with_a_rising_counter(wired):
    for _ in range(5):
        wired.pass_time(1.0)
        wired.clock -= 10  # a clock set back must not matter
    hellos = [e.args[4] for e in wired.peer.events if e.name == "hello"]
    assert len(hellos) == 6 and hellos == sorted(set(hellos)) and not wired.peer.refused
    assert wired.link.next_tick(wired.now) == pytest.approx(1.0)


def test_a_batch_that_comes_again_is_acknowledged_again_and_not_scored(wired):
    wired.hear(*wired.peer.add(ROWS))
    wired.rows(1)
    assert wired.scored == [1] and wired.peer.acked == [1, 1] and wired.link.counts.repeats == 1


def test_its_verdicts_go_again_too_since_they_may_not_have_arrived(wired):
    wired.notices[1] = ["n1"]
    wired.hear(*wired.peer.add(ROWS))
    wired.rows(1)
    assert [e.name for e in wired.peer.events][-2:] == ["verdicts", "ack"]
    assert len([e for e in wired.peer.events if e.name == "verdicts"]) == 2
    assert not wired.peer.refused and len(wired.peer.applied) == 1


def test_a_batch_that_comes_again_while_it_is_being_scored_waits_for_that(wired):
    wired.answering = False
    wired.hear(*wired.peer.add(ROWS))
    wired.rows(1)
    [work] = wired.link.take()
    assert not wired.link.take() and wired.peer.acked == []
    wired.tell(wired.link.done(work, [], wired.now))
    assert wired.peer.acked == [1]


def test_later_batches_wait_for_a_missing_one(wired):
    wired.peer.seq = wired.peer.sent = 4
    wired.rows(1)
    wired.rows(3)
    wired.rows(4)
    assert wired.scored == [1]
    wired.rows(2)
    assert wired.scored == [1, 2, 3, 4] and wired.link.counts.lost == 0


def test_and_go_on_without_it_after_two_seconds(wired):
    wired.rows(1)
    wired.rows(3)
    assert 0 < wired.link.next_tick(wired.now) <= 1.0
    wired.pass_time(1.9)
    assert wired.scored == [1]
    wired.pass_time(0.2)
    assert wired.scored == [1, 3] and wired.link.counts.lost == 1
    assert wired.events("batches_missing")[0]["first"] == 2
    wired.rows(2)
    assert wired.scored == [1, 3, 2] and wired.link.counts.lost == 0 and wired.link.counts.late == 1


def test_and_at_once_when_too_many_wait(wired):
    wired.rows(1)
    for seq in range(3, 66):
        wired.rows(seq)
    assert wired.scored == [1]
    wired.rows(66)
    assert wired.scored == [1, *range(3, 67)]


def test_after_a_reconnect_numbers_that_went_on_elsewhere_are_no_loss(wired):
    wired.hear(*wired.peer.add(ROWS))
    wired.link.disconnected()
    wired.connect()
    wired.rows(500)
    wired.rows(501)
    assert wired.scored == [1, 500, 501] and wired.link.counts.lost == 0


def test_a_bridge_that_starts_late_takes_what_it_gets_also_out_of_order(wired):
    wired.rows(50)
    wired.rows(49)
    wired.rows(51)
    assert wired.scored == [50, 49, 51] and wired.peer.acked == [50, 49, 51]


def test_a_batch_scored_after_the_connection_broke_is_answered_when_it_comes_again(wired):
    wired.answering = False
    wired.notices[1] = ["n1"]
    wired.hear(*wired.peer.add(ROWS), *wired.peer.add(ROWS))
    first, second = wired.link.take()
    wired.link.disconnected()
    assert wired.link.done(first, ["n1"], wired.now) == []
    assert wired.link.done(second, [], wired.now) == []
    wired.answering = True
    wired.connect()
    assert wired.scored == [] and wired.peer.batches == {} and len(wired.peer.applied) == 1


def test_rows_for_another_session_or_lane_are_left_alone(wired):
    wired.rows(1, session="0" * 16)
    wired.rows(1, lane="proxy-1")
    assert wired.scored == [] and wired.peer.acked == []
    assert wired.link.refused.counts == {
        "rows for another bridge or an earlier connection": 1, "rows of another lane": 1,
    }  # fmt: skip


def test_verdicts_wait_until_it_is_known_whom_they_are_for():
    peer = Peer()
    peer.answers_status = False
    wired = Wired(peer).connect()
    wired.notices[1] = ["n1"]
    wired.hear(*peer.add(ROWS), *peer.add(ROWS))
    assert peer.acked == [2] and not peer.applied
    wired.hear(peer.status(role="worker", node="w1"))
    assert not peer.applied
    wired.rows(1)
    assert peer.acked == [2]
    wired.hear(peer.status())
    assert peer.acked == [2, 1] and len(peer.applied) == 1 and wired.scored == [1, 2]


def test_it_asks_again_while_nobody_answers():
    peer = Peer()
    peer.answers_status = False
    wired = Wired(peer).connect()
    for _ in range(3):
        wired.pass_time(1.0)
    assert [e.name for e in peer.events].count("status_request") == 4


def test_a_lie_about_the_epoch_only_delays(wired):
    wired.pass_time(1.0)
    wired.peer.answers_status = False
    wired.hear(wired.peer.status(epoch="lie"))
    assert [e.name for e in wired.peer.events][-1] == "status_request"
    wired.notices[1] = ["n1"]
    wired.hear(*wired.peer.add(ROWS))  # Zeek refuses the verdicts and says who it is
    assert wired.peer.applied == {("zeek", "e1", "all", 1): ["n1"]}
    assert wired.peer.refused == {"verdicts for another run of Zeek": 1}
    assert wired.peer.acked == [1]


def test_a_manager_that_restarted_gets_what_it_refused_and_nothing_else():
    wired = Wired(Peer(role="manager")).connect()
    wired.notices = {1: ["n1"], 2: ["n2"]}
    wired.hear(*wired.peer.add(ROWS))
    wired.pass_time(40.0)
    wired.peer.epoch, node_epoch = "e2", "e1"
    wired.peer.applied.clear()
    wired.hear(wired.peer.rows_frame(2, ROWS, epoch=node_epoch))
    assert wired.peer.applied == {("zeek", "e1", "all", 2): ["n2"]}


def test_a_status_with_a_new_epoch_repeats_no_old_verdicts(wired):
    wired.notices[1] = ["n1"]
    wired.hear(*wired.peer.add(ROWS))
    wired.pass_time(1.0)
    wired.peer.epoch = "e2"
    wired.peer.applied.clear()
    wired.hear(wired.peer.status())
    assert wired.peer.applied == {}


def test_only_so_much_may_wait(wired, monkeypatch):
    monkeypatch.setattr("pyad.link._MAX_WAITING", 1000)
    wired.answering = False
    for seq in range(1, 30):
        wired.hear(wired.peer.rows_frame(seq, ["x" * 100]))
    assert wired.link.refused.counts["too much waits to be scored"] > 15
    wired.answering = True
    wired.work()
    before = len(wired.scored)
    for seq in range(1, 30):
        wired.rows(seq)
    assert sorted(wired.scored) == list(range(1, 30)) and len(set(wired.scored)) == 29 > before


def test_many_nodes_do_not_take_more_memory_for_ever(wired):
    for n in range(1000):
        wired.rows(3, node=f"n{n}")
        wired.rows(5, node=f"n{n}")
    memory = wired.link.memory()
    assert len(memory["streams"]) <= 256 and len(memory["with_mac"]) <= 256
    wired.pass_time(2.0)
    assert Counter(wired.scored)[3] == 1000
    assert wired.link._streams.held_size == 0


def test_a_session_of_many_batches_keeps_a_short_memory(wired):
    for _ in range(3000):
        wired.hear(*wired.peer.add(["r"]))
    [[*_, done]] = wired.link.memory()["streams"]
    assert done == [] and len(wired.peer.acked) == 3000


def test_with_losses_too(wired):
    for seq in range(1, 20_000, 2):
        wired.rows(seq)
        if seq % 101 == 0:
            wired.pass_time(2.1)
    [[*_, floor, _, done]] = wired.link.memory()["streams"]
    assert len(done) <= 5000 and floor > 0
