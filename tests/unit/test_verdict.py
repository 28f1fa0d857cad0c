import numpy as np
import pytest

from pyad.errors import PyadError
from pyad.verdict import ATTACK_CLASSES, CLASSES, MIN_P, NOVEL, Calibration, Policy, class_order, decide, novelty_p
from tests.fakes import NOVELTY


def policy(novel_p=1e-3, **thresholds) -> Policy:
    return Policy.build(dict.fromkeys(ATTACK_CLASSES, 0.5), NOVELTY, thresholds, novel_p)


def probs(**by_class) -> np.ndarray:
    out = np.zeros((1, len(CLASSES)), dtype=np.float32)
    for name, p in by_class.items():
        out[0, CLASSES.index(name)] = p
    out[0, 0] += 1 - out.sum()
    return out


def decision(p, novelty=0.0, pol=None) -> int:
    return int(decide(p, np.array([novelty]), pol or policy()).decision[0])


def test_the_most_probable_class_over_its_own_threshold_is_decided():
    assert decision(probs(flood=0.6)) == CLASSES.index("flood")
    assert decision(probs(flood=0.4)) == 0
    assert decision(probs(flood=0.4, recon=0.6)) == CLASSES.index("recon")
    # recon is more probable, but only flood reaches its threshold
    assert decision(probs(flood=0.3, recon=0.6), pol=policy(flood=0.2, recon=0.7)) == CLASSES.index("flood")


def test_threshold_is_reached_at_equality():
    assert decision(probs(c2=0.5)) == CLASSES.index("c2")


def test_novel_only_where_no_class_is_decided():
    assert decision(probs(), novelty=20.0) == NOVEL
    assert decision(probs(flood=0.9), novelty=20.0) == CLASSES.index("flood")
    assert decision(probs(), novelty=20.0, pol=policy(novel_p=0.0)) == 0


def test_level_of_the_bundle_unless_the_site_has_its_own():
    assert Policy.build({}, NOVELTY, {}, None).novel_p == 1e-3
    assert Policy.build({}, NOVELTY, {}, 0.2).novel_p == 0.2


def test_nan_is_benign_and_marked():
    v = decide(np.full((2, len(CLASSES)), np.nan, dtype=np.float32), np.array([0.0, 99.0]), policy())
    assert v.decision.tolist() == [0, 0]
    assert v.unscored.all()
    v = decide(np.vstack([probs(), probs(flood=0.9)]), np.array([np.nan, np.nan]), policy())
    assert v.decision.tolist() == [0, 1]
    assert v.unscored.all() and v.novelty_p.tolist() == [1.0, 1.0]


def test_empty_batch():
    v = decide(np.zeros((0, len(CLASSES)), dtype=np.float32), np.zeros(0), policy())
    assert len(v) == 0


def test_score_is_one_minus_benign():
    v = decide(probs(flood=0.25, recon=0.25), np.zeros(1), policy())
    assert v.score[0] == pytest.approx(0.5)


def test_p_value_at_the_quantiles_between_and_in_the_tail():
    c = Calibration.from_bundle(NOVELTY)
    p = novelty_p(c, np.array([-5.0, 1.0, 1.5, 2.0, 3.0, 4.0, 1e9, np.inf, np.nan]))
    assert p[0] == p[1] == pytest.approx(0.5)
    assert p[2] == pytest.approx(np.sqrt(0.5 * 0.1))  # half way in log p
    assert p[3] == pytest.approx(0.1)
    assert p[4] == pytest.approx(0.01)
    assert p[5] == pytest.approx(0.01 * np.exp(-1))
    assert p[6] == p[7] == MIN_P
    assert np.isnan(p[8])


@pytest.mark.parametrize(
    ("xi", "at", "expected"), [(0.5, 5.0, 0.01 * 2.0**-2), (-0.5, 5.0, MIN_P), (-0.5, 4.0, 0.0025)]
)
def test_pareto_tails(xi, at, expected):
    tail = {"threshold": 3.0, "xi": xi, "beta": 1.0, "p_tail": 0.01}
    c = Calibration.from_bundle({**NOVELTY, "tail": tail})
    assert novelty_p(c, np.array([at]))[0] == pytest.approx(expected)


def test_p_never_rises_with_the_score():
    p = novelty_p(Calibration.from_bundle(NOVELTY), np.linspace(-1, 50, 500))
    assert (np.diff(p) <= 0).all()


@pytest.mark.parametrize(
    "novelty",
    [
        {},
        {"quantiles": []},
        {"quantiles": [[0.0, 1.0]]},
        {"quantiles": [[0.1, 1.0], [0.5, 2.0]]},
        {"quantiles": [[0.1, "x"]]},
        {"quantiles": [[0.1, float("nan")]]},
        {"quantiles": [[0.1, 1.0]], "tail": {"threshold": 1}},
        {"quantiles": [[0.1, 1.0]], "tail": {"threshold": 1, "xi": 0, "beta": 0, "p_tail": 0.1}},
        {"quantiles": 3},
    ],
)
def test_unusable_calibration_is_told(novelty):
    with pytest.raises(PyadError, match="novelty"):
        Calibration.from_bundle(novelty)


def test_classes_in_another_order_are_refused():
    class_order(CLASSES)
    with pytest.raises(PyadError, match="classes"):
        class_order(CLASSES[::-1])
