"""The end of a capture, and what one bridge leaves to the next."""

import json

import pytest

from tests.fake_zeek import Peer
from tests.wired import ROWS, Wired


def test_the_end_of_a_capture():
    peer = Peer()
    wired = Wired(peer).connect()
    wired.notices[3] = ["last"]
    wired.hear(*peer.add(ROWS), *peer.add(ROWS))
    peer.total_rows = 4
    wired.hear(peer.flush())
    assert peer.flushed and wired.link.flushed == [("zeek", "e1", "all")]
    assert peer.applied == {("zeek", "e1", "all", 3): ["last"]}
    assert not wired.events("rows_missing")
    peer.flushed = False
    wired.hear(peer.flush())
    assert peer.flushed and wired.scored == [1, 2, 3]


def test_the_end_waits_for_batches_before_it_and_tells_what_is_missing():
    peer = Peer()
    wired = Wired(peer).connect()
    wired.rows(1)
    peer.seq, peer.total_rows = 3, 6
    wired.hear(peer.flush())
    wired.rows(3)
    assert wired.scored == [1] and not peer.flushed
    wired.pass_time(2.0)
    assert wired.scored == [1, 3, 4] and peer.flushed
    assert wired.events("rows_missing") == [
        {"node": "zeek", "sent": 6, "came": 4, "todo": wired.events("rows_missing")[0]["todo"]}
    ]


def test_a_capture_without_rows():
    wired = Wired().connect()
    wired.hear(wired.peer.flush())
    assert wired.peer.flushed and wired.scored == [1]


def test_what_one_bridge_did_the_next_does_not_do_again():
    peer = Peer()
    wired = Wired(peer).connect()
    wired.notices = {2: ["n2"]}
    wired.hear(*peer.add(ROWS), *peer.add(ROWS))
    memory = json.loads(json.dumps(wired.link.memory()))
    again = Wired(peer, memory=memory)
    again.clock = 5  # a clock that was set back: counters go on
    again.connect()
    for seq in (1, 2, 3):
        again.rows(seq)
    assert again.scored == [3] and not peer.refused
    assert len([e for e in peer.events if e.name == "verdicts"]) == 2
    again.rows(4, mac="")
    assert again.scored == [3]


def test_verdicts_that_could_not_be_sent_are_sent_by_the_next_bridge():
    peer = Peer()
    peer.answers_status = False
    wired = Wired(peer).connect()
    wired.notices = {1: ["n1"]}
    wired.hear(*peer.add(ROWS))
    again = Wired(peer, memory=json.loads(json.dumps(wired.link.memory()))).connect()
    peer.answers_status = True
    again.pass_time(1.0)
    assert again.scored == [] and len(peer.applied) == 1 and peer.acked == [1]


@pytest.mark.parametrize(
    "memory", [{}, {"streams": 5}, {"counter": "x", "streams": [], "verdicts": [], "with_mac": []},
               {"counter": 1, "streams": [[1]], "verdicts": [], "with_mac": []}, [], None],
)  # fmt: skip
def test_what_is_no_memory_is_refused(memory):
    link = Wired().link
    with pytest.raises(ValueError, match="memory"):
        link.restore(memory)
