import re

import pytest

from pyad.explain import Reason
from pyad.incidents import MAX_FLOOD_ORIGINATORS, Hit, IncidentRules, IncidentTracker
from pyad.notices import MAX_MESSAGE, NOTICE_TYPES
from pyad.verdict import DECISION_NAMES

WHY = (Reason("conns_10s", 120.0, 0.5),)


def hit(ts, cls="recon", orig="10.0.0.1", resp="10.0.0.2", port=80, score=0.9, p=0.5, clock=None, **more) -> Hit:
    values = {"uid": f"C{ts}", "proto": "tcp", "vlan": None, "partial": 0, **more}
    return Hit(
        clock=ts if clock is None else clock, ts=ts, orig_h=orig, orig_p=40000, resp_h=resp, resp_p=port,
        decision=DECISION_NAMES.index(cls), score=score, novelty_p=p, reasons=WHY, **values,
    )  # fmt: skip


def tracker(**rules) -> IncidentTracker:
    return IncidentTracker(IncidentRules(**{"min_conns": {}, "model": "fake-1", **rules}))


def run(hits, **rules):
    t = tracker(**rules)
    notices = t.add(hits).notices + t.close_all()
    return t, notices


def states(notices):
    return [(n.state, n.n) for n in notices]


def test_a_notice_at_opening_at_each_power_of_ten_and_at_closing():
    t, notices = run([hit(float(i)) for i in range(250)])
    assert states(notices) == [("new", 1), ("update", 10), ("update", 100), ("closed", 250)]
    assert len({n.incident for n in notices}) == 1
    assert t.opened == 1 and len(t.finished) == 1


def test_a_flood_of_a_hundred_thousand_is_one_incident():
    _, notices = run([hit(i / 1000, "flood") for i in range(100_000)], min_conns={"flood": 5})
    assert states(notices) == [("new", 5), ("update", 10), ("update", 100), ("update", 1000), ("update", 10_000),
                               ("update", 100_000), ("closed", 100_000)]  # fmt: skip


def test_idle_time_ends_an_incident_by_row_time_not_by_the_row_itself():
    _, notices = run([hit(0.0), hit(600.0), hit(1200.1), hit(1300.0, clock=1300.0)])
    assert states(notices) == [("new", 1), ("closed", 2), ("new", 1), ("closed", 2)]
    # the clock is the newest row time: a late row of its own time 650 finds its incident ended
    _, notices = run([hit(100.0), hit(650.0, clock=800.0)])
    assert states(notices) == [("new", 1), ("closed", 1), ("new", 1), ("closed", 1)]


def test_advance_closes_between_decided_rows_and_changes_nothing_else():
    hits = [hit(0.0), hit(700.0), hit(701.0, orig="10.0.0.7")]
    t = tracker()
    stepwise = []
    for h in hits:
        stepwise += t.advance(h.clock) + t.add([h]).notices
    assert stepwise + t.close_all() == run(hits)[1]


def test_subjects_and_classes_are_apart():
    _, notices = run([hit(0.0), hit(1.0, orig="10.0.0.9"), hit(2.0, "c2"), hit(3.0, vlan=7)])
    assert len({n.incident for n in notices}) == 4


def test_every_class_has_its_notice_type():
    _, notices = run([hit(float(i), cls) for i, cls in enumerate(DECISION_NAMES[1:])])
    assert {n.note for n in notices} == set(NOTICE_TYPES.values())


def test_before_min_conns_nothing_is_said_but_connections_count():
    t = tracker(min_conns={"recon": 3})
    out = t.add([hit(0.0), hit(1.0), hit(2.0), hit(3.0)])
    assert states(out.notices) == [("new", 3)]
    assert out.suppressed[:3] == ["min-conns", "min-conns", None]
    assert out.suppressed[3] == out.notices[0].incident
    t, notices = run([hit(0.0), hit(1.0)], min_conns={"recon": 3})
    assert notices == [] and t.below_min_conns == 1 and t.opened == 0


def test_the_rows_of_one_long_connection_are_one_connection():
    t = tracker(min_conns={"c2": 2})
    long = [hit(1.0, "c2", uid="L", partial=part, clock=clock) for part, clock in ((1, 60.0), (2, 360.0), (0, 500.0))]
    assert t.add(long).suppressed == ["min-conns"] * 3
    assert states(t.add([hit(501.0, "c2", uid="M")]).notices) == [("new", 2)]


def test_more_new_incidents_than_an_hour_may_have_are_not_told():
    t = tracker(max_new_per_hour=2)
    out = t.add([hit(float(i), orig=f"10.0.0.{i}") for i in range(4)])
    assert [n.orig_h for n in out.notices] == ["10.0.0.0", "10.0.0.1"]
    assert out.suppressed == [None, None, "budget", "budget"]
    assert states(t.add([hit(5.0, "c2")]).notices) == [("new", 1)]  # each class has its own
    t.close_all()
    assert (t.opened, t.over_budget, t.below_min_conns) == (3, 2, 0)
    assert t.add([hit(6.0)]).suppressed == [None]  # so has each timeline


def test_what_goes_on_into_the_next_hour_is_told_then():
    t = tracker(max_new_per_hour=1)
    out = t.add([hit(3590.0), *(hit(3591.0 + i, orig="10.0.0.7") for i in range(9)), hit(3600.0, orig="10.0.0.7")])
    assert [(n.orig_h, n.state, n.n) for n in out.notices] == [("10.0.0.1", "new", 1), ("10.0.0.7", "new", 10)]
    t.close_all()
    assert (t.opened, t.over_budget) == (2, 0)


def flood(originators, rows_each=1, resp="10.9.9.9"):
    return [
        hit(i + j * originators + 0.5, "flood", orig=f"10.0.0.{i + 1}", resp=resp)
        for j in range(rows_each) for i in range(originators)
    ]  # fmt: skip


def test_eight_originators_are_eight_incidents():
    _, notices = run(flood(MAX_FLOOD_ORIGINATORS, rows_each=2))
    assert len({n.incident for n in notices if n.state == "new"}) == 8


def test_the_ninth_originator_makes_one_incident_about_the_responder():
    t, notices = run(flood(9, rows_each=3))
    [incident] = t.finished
    assert t.opened == 1
    assert states(n for n in notices if n.incident == incident.ident) == [("new", 9), ("update", 10), ("closed", 27)]
    assert (incident.role, incident.subject, incident.originators) == ("responder", "10.9.9.9", 9)
    # the eight that had been opened are closed with nothing left in them: nothing is counted twice
    taken = [n for n in notices if f"into={incident.ident}" in n.sub]
    assert states(taken) == [("closed", 0)] * 8
    assert sum(n.n for n in notices if n.state == "closed") == 27


def test_the_incident_that_takes_over_told_ones_is_told_whatever_the_hour_has_had():
    t, notices = run(flood(9, rows_each=2), max_new_per_hour=8)
    [incident] = t.finished
    assert [n.state for n in notices if n.incident == incident.ident] == ["new", "update", "closed"]


def test_many_spoofed_originators_with_one_row_each_are_one_incident():
    hits = [hit(i / 100, "flood", orig=f"10.{i >> 16}.{i >> 8 & 255}.{i & 255}", resp="10.9.9.9") for i in range(5000)]
    t, notices = run(hits, min_conns={"flood": 5}, max_originators=100)
    assert states(notices) == [("new", 9), ("update", 10), ("update", 100), ("update", 1000), ("closed", 5000)]
    assert "at least 100 originators" in notices[-1].msg
    assert t.below_min_conns == 0


def test_an_originator_that_floods_another_responder_too_keeps_its_incident():
    other = [hit(0.1 + i / 100, "flood", orig="10.0.0.1", resp="10.8.8.8") for i in range(4)]
    t, notices = run([*other, *flood(9), hit(20.0, "flood", orig="10.0.0.1", resp="10.8.8.8")])
    by_role = {i.role: i for i in t.finished}
    assert by_role["originator"].conns == 5
    assert by_role["responder"].conns == 9
    assert sum(n.n for n in notices if n.state == "closed") == 14


def test_folding_with_all_places_taken():
    # the new incident pushes out one of those that it takes from
    elsewhere = [hit(0.0, "flood", orig=f"10.0.0.{i + 1}", resp="10.8.8.8") for i in range(8)]
    t, notices = run([*elsewhere, *flood(9, rows_each=2)], max_incidents=9, min_conns={"flood": 5})
    assert states(notices) == [("new", 9), ("update", 10), ("closed", 18)]
    assert t.closed_early == 0 and not t._flooders
    t, _ = run([*elsewhere, *flood(9, rows_each=2)], max_incidents=8, min_conns={"flood": 5})
    assert t.closed_early > 0 and not t._flooders


def test_spoofing_is_about_the_claimed_address():
    _, notices = run([hit(0.0, "spoofing", proto="arp", port=0)])
    assert "Address spoofing of 10.0.0.1" in notices[0].msg
    assert notices[0].proto == "unknown_transport"


def test_a_long_connection_counts_once():
    hits = [hit(1.0, "c2", uid="L", partial=1), hit(1.0, "c2", uid="L", partial=2, clock=300.0),
            hit(1.0, "c2", uid="L", partial=0, clock=500.0), hit(2.0, "c2", uid="M", clock=501.0)]  # fmt: skip
    _, notices = run(hits)
    assert states(notices) == [("new", 1), ("closed", 2)]


def test_bounded_the_idlest_is_closed():
    t, notices = run([hit(float(i), orig=f"10.0.0.{i}") for i in range(5)], max_incidents=3)
    assert t.closed_early == 2
    assert [n.state for n in notices[:8]].count("new") == 5
    closed = [n.orig_h for n in notices if n.state == "closed"]
    assert closed == ["10.0.0.0", "10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4"]
    t = tracker(max_incidents=3, min_conns={"recon": 9})
    t.add([hit(float(i), orig=f"10.0.0.{i}") for i in range(1000)])
    assert len(t._quiet) == 3


def test_state_does_not_outlive_incidents():
    t, _ = run([hit(i / 10, "flood", orig=f"10.0.0.{i % 7}", resp=f"10.1.0.{i % 50}") for i in range(500)])
    assert not t._flooders and not t._open and not t._quiet


def test_sub_is_key_value_pairs_in_a_fixed_order():
    _, notices = run([hit(0.0, score=0.98765, p=1e-12), hit(12.345, score=0.5)])
    new, closed = (n.sub for n in notices)
    ident = notices[0].incident
    assert new == (
        f"incident={ident} state=new class=recon severity=medium score=0.988 p=1e-12 conns=1 window=0s model=fake-1 "
        "top=conns_10s:120:0.5"
    )
    assert [pair.split("=")[0] for pair in closed.split()] == [
        "incident", "state", "class", "severity", "score", "p", "conns", "window", "model", "top"
    ]  # fmt: skip
    assert "window=12.3s" in closed and "score=0.988" in closed
    assert notices[0].identifier == f"{ident}-new-0"


@pytest.mark.parametrize("cls", DECISION_NAMES[1:])
@pytest.mark.parametrize(
    "orig", ["10.0.0.1", "2001:db8:1234:5678:9abc:def0:1234:5678", "evil\n\x1b[31m\t\u202etext" * 20]
)
def test_messages_are_one_plain_line(cls, orig):
    _, notices = run([hit(float(i), cls, orig=orig, resp=orig + "2", port=65535) for i in range(12)])
    for n in notices:
        assert re.fullmatch(r"[ -~]{10,}", n.msg) and len(n.msg) <= MAX_MESSAGE
        assert re.fullmatch(r"[!-~]+=[!-~]+( [!-~]+=[!-~]+)*", n.sub)
        assert n.msg.endswith((".", "..."))


def test_words_of_a_notice():
    _, notices = run([hit(float(i), resp=f"10.0.1.{i}") for i in range(10)])
    assert notices[0].msg == (
        "Scan from 10.0.0.1 to 10.0.1.0, port 80/tcp: 1 connection in 0 s, score 0.9, "
        "because conns_10s 120 (usual 0.5)."
    )
    assert notices[1].msg.startswith(
        "Still going on: Scan from 10.0.0.1 to 10.0.1.9 and 9 others, port 80/tcp: 10 connections in 9 s"
    )
    _, notices = run([hit(float(i), port=i) for i in range(100)])
    assert "to 10.0.0.2, 10 ports: 10 connections" in notices[1].msg
    assert "to 10.0.0.2, at least 64 ports: 100 connections" in notices[2].msg


def test_ids_come_from_class_subject_and_first_time():
    first, again = run([hit(0.0), hit(1.0)])[1], run([hit(0.0), hit(1.0)])[1]
    assert first == again
    assert run([hit(0.5)])[1][0].incident != first[0].incident
