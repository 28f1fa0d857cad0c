import numpy as np
import pytest

from pyad.drift import Drift, DriftRules, DriftWatch, stability_index
from pyad.errors import PyadError
from pyad.reference import SCORES, Reference, bin_counts, make_reference
from pyad.row import Rows
from pyad.verdict import CLASSES, NOVEL, Verdicts

NAMES = ("orig_bytes", "proto_tcp", "counter_requests", "byte_balance")
RULES = DriftRules(window_h=2.0, min_rows=4000)
BEGIN = 1_700_000_000.0


def sample(n: int, seed: int = 0, shift: float = 0.0, tcp: float = 0.8, unset: float = 0.95) -> np.ndarray:
    r = np.random.default_rng(seed)
    requests = np.where(r.random(n) < unset, np.nan, np.log1p(r.integers(0, 9, n)))
    return np.column_stack([r.normal(5 + shift, 1, n), r.random(n) < tcp, requests, r.normal(0, 1, n)])


def scores(n: int, seed: int = 0, shift: float = 0.0) -> np.ndarray:
    r = np.random.default_rng(seed + 1000)
    return np.column_stack([r.beta(1, 20, n), r.gamma(2, 1 + shift, n)])


def reference(n: int = 20_000) -> Reference:
    return make_reference(np.column_stack([sample(n), scores(n)]), (*NAMES, *SCORES), n, 24.0)


def show(watch: DriftWatch, hours: float, per_h: int = 4000, begin: float = BEGIN, seed: int = 1, attack: float = 0.0,
         cut: int = 512, cls: int = 1, score_shift: float = 0.0, **how) -> list[Drift]:  # fmt: skip
    """Traffic of so many hours; what each window showed."""
    n = int(hours * per_h)
    x, s = sample(n, seed, **how).astype(np.float32), scores(n, seed, score_shift)
    ts = begin + np.arange(n) / per_h * 3600
    decision = ((np.random.default_rng(seed).random(n) < attack) * cls).astype(np.int8)
    outcomes, windows = [], watch.windows
    for at in range(0, n, cut):
        k = slice(at, min(at + cut, n))
        rows = Rows({"ts": ts[k]}, np.full(len(ts[k]), "x", dtype=object))
        none = np.zeros(len(rows), dtype=np.bool_)
        probs = np.zeros((len(rows), len(CLASSES)), dtype=np.float32)
        v = Verdicts(probs, decision[k], s[k, 0], np.ones(len(rows)), decision[k], none)
        watch.see(rows, x[k], s[k, 1], v)
        if watch.windows > windows:
            outcomes.append(watch.last)
            windows = watch.windows
    return outcomes


def test_the_same_traffic_does_not_drift():
    watch = DriftWatch(reference(), NAMES, RULES)
    got = show(watch, 20.5)
    assert len(got) == 10 and not any(d.drifting for d in got)
    assert all(d.score_psi < 0.05 and not d.moves for d in got)
    assert got[0].hours == pytest.approx(2.0, abs=0.01) and got[0].rows == pytest.approx(8000, abs=2)


def test_what_moved_is_named_with_where_from_and_where_to():
    watch = DriftWatch(reference(), NAMES, RULES)
    [d] = show(watch, 2.5, shift=2.0, tcp=0.2, unset=0.3)
    assert d.drifting and {m.name for m in d.moves} == {"orig_bytes", "proto_tcp", "counter_requests.unset"}
    moves = {m.name: m for m in d.moves}
    assert moves["orig_bytes"].before == pytest.approx(np.expm1(5), rel=0.05)  # on its natural scale
    assert moves["orig_bytes"].now == pytest.approx(np.expm1(7), rel=0.05)
    assert moves["proto_tcp"].before == pytest.approx(0.8, abs=0.02)
    assert moves["proto_tcp"].now == pytest.approx(0.2, abs=0.03)
    assert moves["counter_requests.unset"].before == pytest.approx(0.95, abs=0.01)
    assert moves["counter_requests.unset"].now < 0.4
    assert "orig_bytes 146 -> " in str(moves["orig_bytes"])


def test_what_the_reference_never_had_is_not_compared():
    known = make_reference(np.column_stack([sample(20_000, unset=1.0), scores(20_000)]), (*NAMES, *SCORES), 20_000, 24)
    [d] = show(DriftWatch(known, NAMES, RULES), 2.5, unset=0.0)
    assert not d.drifting and not d.moves


def test_scores_alone_are_drift_and_told_first():
    [d] = show(DriftWatch(reference(), NAMES, RULES), 2.5, score_shift=1.0)
    assert d.drifting and d.moved_features == 0 and d.moves[0].name == "novelty"


def test_drift_ends_only_well_below_where_it_began():
    watch = DriftWatch(reference(), NAMES, RULES)
    shifts = [0.0, 0.35, 1.2, 0.35, 0.0]
    got = [show(watch, 2.01, begin=BEGIN + i * 7200, seed=i, score_shift=s)[0] for i, s in enumerate(shifts)]
    assert 0.1 < got[1].score_psi < 0.25 and 0.1 < got[3].score_psi < 0.25
    assert [d.drifting for d in got] == [False, False, True, True, False]


def test_what_is_decided_an_attack_moves_nothing():
    watch = DriftWatch(reference(), NAMES, RULES)
    got = show(watch, 2.0, attack=0.0)
    got += show(watch, 1.0, begin=BEGIN + 7200, attack=1.0, shift=9.0)
    got += show(watch, 2.0, begin=BEGIN + 10_800)
    assert got and not any(d.drifting for d in got)


def test_what_is_merely_novel_counts():
    watch = DriftWatch(reference(), NAMES, RULES)
    [d] = show(watch, 2.5, attack=1.0, cls=NOVEL, shift=2.0)
    assert d.drifting and d.moves[0].name == "orig_bytes"


def test_no_window_without_time_and_rows_enough():
    watch = DriftWatch(reference(), NAMES, RULES)
    assert show(watch, 1.9) == [] and watch.so_far() is not None
    slow = DriftWatch(reference(), NAMES, RULES)
    assert show(slow, 9.9, per_h=400) == [] and slow.so_far() is None
    [d] = show(slow, 0.5, per_h=400, begin=BEGIN + 9.9 * 3600, seed=2)
    assert d.rows == 4000


def test_a_window_that_a_new_timeline_cuts_has_a_length():
    watch = DriftWatch(reference(), NAMES, RULES)
    show(watch, 1.5)
    watch.begin()
    assert watch.so_far().hours == pytest.approx(1.5, abs=0.01)


def test_batches_do_not_matter():
    one, two = (DriftWatch(reference(), NAMES, RULES) for _ in range(2))
    a, b = show(one, 5.0, cut=7), show(two, 5.0, cut=4096)
    assert len(a) == 2
    for x, y in zip(a, b[-2:], strict=False):
        assert (x.rows, x.begun, x.ended) == (y.rows, y.begun, y.ended) or len(b) < 2
    assert one.memory()["counts"] == two.memory()["counts"] and one.last.score_psi == pytest.approx(two.last.score_psi)


def test_a_restart_and_a_step_back_cost_nothing_of_the_window():
    first = DriftWatch(reference(), NAMES, RULES)
    show(first, 1.5, shift=3.0)
    second = DriftWatch(reference(), NAMES, RULES)
    assert second.restore(first.memory())
    [d] = show(second, 0.6, begin=BEGIN + 9000, shift=3.0)
    assert d.drifting and d.hours == pytest.approx(2.0, abs=0.01)
    third = DriftWatch(reference(), NAMES, RULES)
    show(third, 1.5)
    third.begin()
    [d] = show(third, 0.6, begin=BEGIN - 1e6)
    assert d.hours == pytest.approx(2.0, abs=0.01) and not d.drifting


@pytest.mark.parametrize("memory", [{}, None, 3, {"reference": "other"}])
def test_a_memory_of_something_else_is_not_taken_over(memory):
    watch = DriftWatch(reference(), NAMES, RULES)
    assert not watch.restore(memory)
    own = watch.memory() | {"counts": [[1, 2]]}
    assert not watch.restore(own)


def test_the_index_of_equal_shares_is_zero_and_of_moved_ones_is_known():
    p = np.array([[0.5, 0.5, 0.0]])
    assert stability_index(p, p)[0] == pytest.approx(0)
    assert stability_index(p, np.array([[0.9, 0.1, 0.0]]))[0] == pytest.approx(0.4 * np.log(1.8) + 0.4 * np.log(5))


def test_a_reference_survives_yaml_and_says_what_is_wrong_with_it():
    r = reference()
    again = Reference.from_mapping(r.as_mapping(), NAMES, "f.yaml")
    assert np.allclose(again.edges, r.edges) and np.allclose(again.shares, r.shares, atol=1e-6)
    assert again.digest == Reference.from_mapping(again.as_mapping(), NAMES, "f.yaml").digest
    for spoil, what in (
        (lambda m: m.pop("hours"), "lacks 'hours'"),
        (lambda m: m["quantities"].pop("novelty"), "other features"),
        (lambda m: m["quantities"]["novelty"].update(edges=[2, 1]), "reference.quantities.novelty"),
        (lambda m: m["quantities"]["novelty"].update(unset=0.9), "add up to 1"),
        (lambda m: m["quantities"]["novelty"].update(edges="x"), "reference.quantities.novelty"),
    ):
        bad = r.as_mapping()
        spoil(bad)
        with pytest.raises(PyadError, match=what) as raised:
            Reference.from_mapping(bad, NAMES, "f.yaml")
        assert "f.yaml" in str(raised.value)


def test_bins_hold_what_rounding_does_not_move():
    values = np.repeat(np.log1p(np.arange(4.0)), 25)[:, None]
    r = make_reference(values, ("a",), 100, 1.0)
    jitter = np.float32(values) * np.float32(1 + 1e-7)
    assert (bin_counts(values, r.edges) == bin_counts(jitter, r.edges)).all()
    assert r.shares[0, :4].tolist() == [0.25] * 4
