"""What must hold for any order of hits: pairs of new and closed, every connection counted once, bounded state."""

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from pyad.incidents import Hit, IncidentRules, IncidentTracker
from pyad.verdict import DECISION_NAMES

STEPS = st.lists(
    st.tuples(
        st.sampled_from([0.5, 1.0, 30.0, 700.0]),
        st.sampled_from(["flood", "flood", "flood", "recon", "spoofing"]),
        st.integers(0, 14),
        st.integers(0, 2),
    ),
    max_size=150,
)


def hits_of(steps) -> list[Hit]:
    hits, t = [], 0.0
    for i, (step, cls, orig, resp) in enumerate(steps):
        t += step
        hits.append(
            Hit(t, t, f"C{i}", f"10.0.0.{orig}", 1, f"10.1.0.{resp}", 80, "tcp", None, 0, DECISION_NAMES.index(cls),
                0.9, 0.5, ())
        )  # fmt: skip
    return hits


@settings(deadline=None, max_examples=150)
@given(STEPS, st.sampled_from([1, 3]), st.sampled_from([9, 12, 1000]), st.sampled_from([0, 2]),
       st.randoms(use_true_random=False))  # fmt: skip
def test_any_order_of_hits(steps, min_conns, max_incidents, max_new_per_hour, random):
    rules = IncidentRules(
        min_conns=dict.fromkeys(DECISION_NAMES, min_conns),
        max_incidents=max_incidents,
        max_new_per_hour=max_new_per_hour,
    )
    hits = hits_of(steps)
    tracker = IncidentTracker(rules)
    outcome = tracker.add(hits)
    notices = outcome.notices + tracker.close_all()
    states = {}
    for notice in notices:
        states.setdefault(notice.incident, []).append(notice.state)
    for order in states.values():
        assert order[0] == "new" and order[-1] == "closed"
        assert Counter(order)["new"] == Counter(order)["closed"] == 1
    closed = sum(n.n for n in notices if n.state == "closed")
    assert closed <= len(hits) and closed == sum(i.conns for i in tracker.finished)
    if min_conns == 1 and not max_new_per_hour:
        assert closed == len(hits)
    assert tracker.opened == len(tracker.finished)
    assert not tracker._open and not tracker._quiet and not tracker._flooders
    assert len(outcome.suppressed) == len(hits)
    assert tracker.over_budget == 0 or max_new_per_hour
    assert outcome.suppressed.count(None) == sum(n.state != "closed" for n in notices)

    # in pieces, with the clock advanced between them, as batches do it
    pieces, at, again = IncidentTracker(rules), 0, []
    while at < len(hits):
        size = random.randint(1, 20)
        again += pieces.add(hits[at : at + size]).notices
        at += size
        again += pieces.advance(hits[min(at, len(hits)) - 1].clock)
    assert again + pieces.close_all() == notices
