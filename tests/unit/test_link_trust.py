"""What the link does not believe: codes, numbers, frames that make no sense."""

import pytest

from pyad.row import SCHEMA_HASH
from tests.fake_zeek import Peer, frame
from tests.wired import Wired


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


def test_a_flush_without_the_code_is_refused(wired):
    wired.rows(1)
    for node in ("zeek", "a-node-nobody-heard-of"):
        wired.hear(frame("flush", (SCHEMA_HASH, node, "e1", "all", 1, 2, "")))
    assert wired.scored == [1] and not wired.link.flushed


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
