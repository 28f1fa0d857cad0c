"""Verdicts that wait to be sent."""

from pyad import verdict_box
from pyad.link import Work
from pyad.verdict_box import VerdictBox


def test_of_too_many_that_wait_the_oldest_is_given_up_and_counted(monkeypatch):
    monkeypatch.setattr(verdict_box, "_MAX_KEPT", 2)
    monkeypatch.setattr(verdict_box, "_MAX_UNSENT", 3)
    box = VerdictBox()
    given_up = [box.add(Work(("node", "epoch", "lane"), n, (), 0.0), [f"notice {n}"]) for n in range(5)]
    assert given_up == [0, 0, 0, 1, 1]
    box.learn("run", 0, 1.0)
    assert [list(notices) for _, notices, _ in box.due(1.0)] == [["notice 2"], ["notice 3"], ["notice 4"]]
