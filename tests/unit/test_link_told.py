"""What the link tells people and Zeek besides verdicts: what does not fit, what is lost, silence, drift."""

from dataclasses import replace

from pyad.drift import Drift, Move
from pyad.row import SCHEMA_HASH
from tests.fake_zeek import Peer
from tests.wired import ROWS, Wired

DRIFT = Drift(True, 0.0, 86_400.0, 31_000, 0.61, 0, 100, (Move("novelty", 0.61, 0.589, 1.4),))


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
