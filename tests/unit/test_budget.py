from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from pyad.allow_list import AllowEntry, AllowList, parse_network
from pyad.budget import KINDS, allot, border, choose, evaluate, limits, probability, strength, strengths
from pyad.errors import UsageError
from pyad.evidence import Collector
from pyad.incidents import IncidentRules
from pyad.pipeline import Pipeline
from tests.fakes import fake_detector, row, rows_of

RULES = IncidentRules(min_conns=dict.fromkeys(KINDS, 3), model="fake-1")
DAY = 86_400.0


def collected(*tuples, excluded=(), batch=7):
    collector = Collector(excluded)
    detector = replace(fake_detector(), rules=RULES)
    Pipeline(detector, batch, observers=[collector]).run([rows_of(*tuples)], lambda _: None)
    return collector, detector


def burst(at, orig, cls="recon", prob=0.9, n=5):
    """Connections a second apart."""
    return [row(at + i, cls, orig, prob=prob, orig_p=40_000 + i) for i in range(n)]


def ordinary(days=4, per_h=60):
    r = np.random.default_rng(0)
    n = int(days * 24 * per_h)
    return [row(1e9 + i * 3600 / per_h, novelty=float(r.gamma(2, 0.3)), uid=f"C{i}") for i in range(n)]


def noisy(days=4):
    """Ordinary rows and, each hour, something of a host that looks like a scan, more so some hours than others."""
    r = np.random.default_rng(1)
    rows = ordinary(days)
    for h in range(days * 24):
        rows += burst(1e9 + h * 3600 + 30, f"10.0.1.{h % 20}", prob=round(float(r.uniform(0.5, 0.97)), 2))
    return sorted(rows, key=lambda t: t[0])


def test_log_odds_and_back():
    assert probability(strength(0.73)) == pytest.approx(0.73) and np.isfinite(strength(1.0))


def test_who_wants_little_gets_it_and_the_others_the_same():
    assert allot({"a": 0.1, "b": 5, "c": 9}, 2.1) == {"a": 0.1, "b": pytest.approx(1.0), "c": pytest.approx(1.0)}
    assert allot({"a": 1, "b": 2}, 10) == {"a": 1, "b": 2}


def test_the_border_counts_where_it_can_and_goes_beyond_the_data_where_it_must():
    found = np.sort(np.random.default_rng(0).exponential(1.0, 1000))[::-1]
    for allowed in (900, 100, 7):
        assert (found >= border(found, allowed)).sum() == allowed
    rare = [border(found, a) for a in (4, 1, 0.1, 0.01)]
    assert (np.diff(rare) > 0).all()
    assert border(found, 0.1) == pytest.approx(np.log(1000 / 0.1), rel=0.25)  # of an exponential tail
    assert border(found[:3], 0.5) > found[2] and border(np.zeros(0), 0.1) == -np.inf


def test_an_incident_is_as_strong_as_the_row_that_would_open_it():
    rows = [row(1e9 + i, "recon", "10.0.0.9", prob=p, orig_p=i) for i, p in enumerate([0.9, 0.8, 0.7, 0.6])]
    rows += burst(1e9 + 5000, "10.0.0.9", prob=0.95, n=3) + burst(1e9 + 5000, "10.0.0.8", prob=0.6, n=2)
    collector, detector = collected(*sorted(rows, key=lambda t: t[0]))
    found = strengths(collector.evidence(), detector.policy, RULES, AllowList(()))
    assert [round(probability(s), 2) for s in found["recon"]] == [0.95, 0.7]
    assert not len(found["flood"])


def test_the_budget_is_kept_and_what_it_gives_is_what_the_rules_say():
    collector, detector = collected(*noisy())
    evidence, days = collector.evidence(), collector.days
    assert days == pytest.approx(4, abs=0.1)
    bounds = limits(detector.policy, collector.loosest, frozenset(), days, collector.rows)
    found = strengths(evidence, detector.policy, RULES, AllowList(()))
    before = evaluate(evidence, detector.policy, RULES, AllowList(()), days)
    assert before.per_day > 20
    got = [choose(evidence, found, bounds, detector.policy, RULES, AllowList(()), b, days) for b in (10, 3, 1, 0.25)]
    for budget, choice in zip((10, 3, 1, 0.25), got):
        assert budget / 4 < choice.per_day <= budget or budget == 0.25
        again = evaluate(evidence, choice.policy, RULES, AllowList(()), days)
        assert again.per_day == choice.per_day
    assert all(a.policy.thresholds[1] < b.policy.thresholds[1] for a, b in pairwise(got))
    flood = KINDS.index("flood")
    assert all(c.policy.thresholds[flood] == pytest.approx(0.5) for c in got)  # it was quiet and stays as it was


def test_a_quiet_site_gets_looser_thresholds_but_only_from_a_day_on():
    collector, detector = collected(*ordinary(3, 200))
    evidence = collector.evidence()
    found = strengths(evidence, detector.policy, RULES, AllowList(()))
    long = limits(detector.policy, collector.loosest, frozenset(), collector.days, collector.rows)
    short = limits(detector.policy, collector.loosest, frozenset(), 0.5, collector.rows)
    quiet = choose(evidence, found, long, detector.policy, RULES, AllowList(()), 1, collector.days)
    assert (quiet.policy.thresholds == pytest.approx(0.3)) and not quiet.incidents
    same = choose(evidence, found, short, detector.policy, RULES, AllowList(()), 1, 0.5)
    assert same.policy.thresholds == pytest.approx(detector.policy.thresholds)
    assert same.policy.novel_p == detector.policy.novel_p


def test_what_the_configuration_sets_stays():
    collector, detector = collected(*noisy(2))
    bounds = limits(detector.policy, 0.1, frozenset({"recon", "novel"}), 2.0, 1_000_000)
    evidence = collector.evidence()
    found = strengths(evidence, detector.policy, RULES, AllowList(()))
    choice = choose(evidence, found, bounds, detector.policy, RULES, AllowList(()), 0.5, 2.0)
    assert choice.policy.thresholds[1] == 0.5 and choice.policy.novel_p == detector.policy.novel_p


def test_excluded_hosts_and_the_allow_list_count_for_nothing():
    rows = sorted([*ordinary(1), *burst(1e9 + 100, "10.0.0.66"), *burst(1e9 + 100, "10.0.0.77")], key=lambda t: t[0])
    collector, detector = collected(*rows, excluded=[parse_network("10.0.0.66")])
    assert collector.excluded == 5
    evidence = collector.evidence()
    before = evaluate(evidence, detector.policy, RULES, AllowList(()), 1.0)
    assert [i.subject for i in before.incidents] == ["10.0.0.77"]
    allow = AllowList([AllowEntry("it", orig=(parse_network("10.0.0.77"),))])
    assert not evaluate(evidence, detector.policy, RULES, allow, 1.0).incidents
    assert not len(strengths(evidence, detector.policy, RULES, allow)["recon"])


def test_batches_do_not_matter():
    rows = noisy(2)
    one, two = (collected(*rows, batch=b)[0] for b in (3, 4096))
    assert one.rows == two.rows and one.devices == two.devices and one.days == two.days
    names = ("a", "b", "c", "score", "novelty")
    assert one.reference(names).digest == two.reference(names).digest


def test_memory_is_bounded(monkeypatch):
    monkeypatch.setattr("pyad.evidence._MAX_KEPT", 1200)
    monkeypatch.setattr("pyad.evidence._LOOK_EVERY", 256)
    collector, _ = collected(*noisy(4))
    kept = collector.evidence()
    assert len(kept.rows) <= 1200
    assert (kept.probs[:, 1:].max(axis=1) >= 0.3).sum() == 4 * 24 * 5  # what has to be spoken for is all there


@pytest.mark.parametrize("prob", [0.97, 1.0])
def test_more_attacks_than_fit_are_an_error_not_forgotten(monkeypatch, prob):
    monkeypatch.setattr("pyad.evidence._MAX_KEPT", 400)
    monkeypatch.setattr("pyad.evidence._LOOK_EVERY", 256)
    with pytest.raises(UsageError, match="--exclude-host"):
        collected(*burst(1e9, "10.0.0.9", prob=prob, n=1000))


def test_a_reference_needs_rows():
    assert collected(*ordinary(1))[0].reference(("a", "b", "c", "score", "novelty")) is None
