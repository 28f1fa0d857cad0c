import json
from collections import Counter
from dataclasses import replace

import pytest

from pyad.drift import Drift, Move
from pyad.link import Link, LinkSettings
from pyad.row import SCHEMA_HASH
from tests.fake_zeek import SECRET, Peer, frame

ROWS = ["r1", "r2"]
JOINED = b'{"type":"ack","endpoint":"x","version":"9.1.0-dev"}'


class Wired:
    """A link and a peer, wired together; `notices` says what the scoring of a batch gives."""

    def __init__(self, peer=None, mode="auto", memory=None, **settings):
        self.told = []
        self.clock = 1_700_000_000_000_000
        self.peer = peer or Peer()
        sessions = iter(f"{n:016x}" for n in range(1, 1000))
        settings = {"secret": SECRET, "require_mac": mode} | settings
        self.link = Link(LinkSettings(**settings), self.log, lambda: self.clock, lambda: next(sessions))
        if memory is not None:
            self.link.restore(memory)
        self.now = 100.0
        self.scored = []
        self.notices = {}
        self.answering = True

    def log(self, level, event, /, **fields):
        self.told.append((level, event, fields))

    def events(self, event):
        return [fields for _, e, fields in self.told if e == event]

    def connect(self):
        frames = self.link.connected(self.now)
        assert json.loads(frames[0]) == ["zeek/pyad/rows/all/", "zeek/pyad/status/"] and len(frames) == 1
        self.peer.session, self.peer.sent = "", 0
        self.hear(JOINED)
        return self

    def hear(self, *frames):
        """Frames from Zeek; all that follows from them on both sides."""
        for raw in frames:
            self.tell(self.link.receive(raw, self.now))
        if self.answering:
            self.work()

    def tell(self, frames):
        """Frames from the link; what Zeek sends in return is heard."""
        for one in frames:
            if self.link.joined:
                self.hear(*self.peer.take(one))

    def work(self):
        while works := self.link.take():
            for work in works:
                self.scored.append(work.seq)
                self.tell(self.link.done(work, self.notices.get(work.seq, ()), self.now))

    def pass_time(self, s):
        self.now += s
        self.tell(self.link.tick(self.now))
        self.work()

    def rows(self, seq, **other):
        self.hear(self.peer.rows_frame(seq, ROWS, **other))


@pytest.fixture
def wired():
    return Wired().connect()


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


@pytest.mark.parametrize("mode", ["auto", "always"])
def test_wrong_codes_are_refused(mode):
    wired = Wired(mode=mode).connect()
    wired.rows(1, mac="0" * 64)
    assert wired.scored == []
    assert "rows with a wrong code; do Zeek and bridge have the same secret?" in wired.link.refused.counts


def test_a_node_without_the_secret_is_served_until_one_of_its_name_showed_it():
    wired = Wired(mode="auto").connect()
    wired.rows(1, mac="")
    assert wired.scored == [1]
    wired.rows(2)
    wired.rows(3, mac="")
    assert wired.scored == [1, 2]
    wired.rows(1, node="worker-1", mac="")
    assert wired.scored == [1, 2, 1]


def test_always_takes_no_rows_without_a_code_and_never_does_not_look():
    wired = Wired(mode="always").connect()
    wired.rows(1, mac="")
    assert wired.scored == []
    wired = Wired(mode="never").connect()
    wired.rows(1, mac="0" * 64)
    assert wired.scored == [1]


def test_a_forged_number_does_not_make_the_real_ones_look_old():
    wired = Wired(Peer(secret="")).connect()
    wired.rows(1)
    wired.rows(2**60)
    wired.rows(2)
    assert wired.scored == [1, 2]
    assert wired.link.refused.counts["batch number out of reach"] == 1


def test_another_schema_is_told_once_with_both_hashes_and_nothing_is_scored():
    peer = Peer()
    peer.schema = "f" * 16
    wired = Wired(peer).connect()
    for seq in range(1, 5):
        wired.hear(peer.rows_frame(seq, ROWS, session=f"{1:016x}"))
    [told] = wired.events("schema_mismatch")
    assert (told["zeek"], told["bridge"]) == ("f" * 16, SCHEMA_HASH) and "zkg upgrade" in told["todo"]
    assert wired.scored == [] and wired.link.refused.counts["another row schema"] >= 4


def test_secrets_that_differ_are_told(wired):
    wired.hear(wired.peer.status(), wired.peer.status())
    assert not wired.events("secrets_differ")
    other = Wired(Peer(secret="another secret!!")).connect()
    other.hear(other.peer.status(), other.peer.status())
    assert len(other.events("secrets_differ")) == 1
    without = Wired(Peer(secret="")).connect()
    assert len(without.events("zeek_has_no_secret")) == 1


def test_drops_are_told_but_not_each(wired):
    for seq, dropped in ((1, 0), (2, 5), (3, 7), (4, 7)):
        wired.rows(seq, dropped=dropped)
    assert [(f["rows"], f["total"]) for f in wired.events("rows_dropped")] == [(5, 5)]
    wired.pass_time(10.0)
    wired.rows(5, dropped=9)
    assert [(f["rows"], f["total"]) for f in wired.events("rows_dropped")] == [(5, 5), (4, 9)]
    assert wired.link.counts.dropped == 9


def test_silence_gets_a_hint_once():
    peer = Peer()
    peer.answers_status = False
    wired = Wired(peer).connect()
    for _ in range(30):
        wired.pass_time(1.0)
    [hint] = wired.events("nothing_comes")
    assert "zeek -N" in hint["todo"] and "pyad doctor" in hint["todo"]


def test_where_zeek_speaks_there_is_no_hint(wired):
    for _ in range(30):
        wired.pass_time(1.0)
    assert not wired.events("nothing_comes")


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


def test_a_flush_without_the_code_is_refused(wired):
    wired.rows(1)
    for node in ("zeek", "a-node-nobody-heard-of"):
        wired.hear(frame("flush", (SCHEMA_HASH, node, "e1", "all", 1, 2, "")))
    assert wired.scored == [1] and not wired.link.flushed


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


def test_nothing_that_comes_in_raises_and_all_of_it_is_counted(wired):
    other = [
        b"\xff", b"{", b"[]", b'{"type":"error","code":"deserialization_failed","context":"x"}',
        frame("hello", (SCHEMA_HASH, "all", "s", 1, 2, "m")),
        frame("verdicts", (SCHEMA_HASH, "", 0, "", "", "", 0, [], "")),
    ]  # fmt: skip
    wired.hear(*other)
    assert sum(wired.link.refused.counts.values()) == len(other)


def test_events_before_the_subscription_is_taken_are_refused():
    wired = Wired()
    wired.link.connected(0.0)
    wired.rows(1)
    assert wired.scored == [] and wired.link.refused.counts == {"event before the subscription was taken": 1}


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


DRIFT = Drift(True, 0.0, 86_400.0, 31_000, 0.61, 0, 100, (Move("novelty", 0.61, 0.589, 1.4),))


def test_drift_is_told_once_and_again_to_a_zeek_that_restarted(wired):
    for _ in range(3):
        wired.tell(wired.link.tell_drift(DRIFT))
    assert wired.peer.drifts == [("all", 31_000, 24, ["novelty\t0.61\t0.589\t1.4"])] and not wired.peer.refused
    wired.tell(wired.link.tell_drift(replace(DRIFT)))  # the next window's
    assert len(wired.peer.drifts) == 2
    wired.peer.epoch = "e2"
    wired.hear(wired.peer.status())
    wired.hear(wired.peer.status())
    assert len(wired.peer.drifts) == 3 and not wired.peer.refused


def test_without_drift_nothing_is_told(wired):
    for drift in (None, replace(DRIFT, drifting=False), replace(DRIFT, moves=())):
        assert wired.link.tell_drift(drift) == []


def test_drift_waits_until_it_is_known_whom_it_is_for():
    peer = Peer()
    peer.answers_status = False
    wired = Wired(peer).connect()
    assert wired.link.tell_drift(DRIFT) == []
    wired.hear(wired.peer.status())
    assert len(wired.peer.drifts) == 1
