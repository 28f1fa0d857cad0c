import numpy as np
import pytest

from pyad.tail import MIN_ROWS, Pareto, Sketch, fit_pareto
from pyad.verdict import Calibration, novelty_p


@pytest.mark.parametrize(("xi", "beta"), [(0.0, 1.0), (0.2, 0.5), (0.4, 3.0)])
def test_a_pareto_tail_is_found_again(xi, beta):
    u = np.random.default_rng(1).random(40_000)
    x = -beta * np.log(u) if xi == 0 else beta / xi * (u**-xi - 1)
    got = fit_pareto(x)
    assert got.xi == pytest.approx(xi, abs=0.03) and got.beta == pytest.approx(beta, rel=0.05)
    assert got.excess(1e-3) == pytest.approx(Pareto(xi, beta).excess(1e-3), rel=0.2)


def test_bounded_and_wild_tails_are_kept_sane():
    r = np.random.default_rng(1)
    assert fit_pareto(r.random(1000)).xi == 0
    wild = fit_pareto(r.random(1000) ** -2.0)
    assert wild.xi == 0.5 and wild.beta > 0
    assert fit_pareto(np.full(3, 2.0)) == Pareto(0.0, 2.0)
    assert fit_pareto(np.array([1.0])).beta > 0


def test_a_sketch_is_as_good_as_all_scores():
    scores = np.random.default_rng(2).gamma(2, 1, 400_000)
    sketch = Sketch()
    for part in np.array_split(scores, 37):
        sketch.add(part)
    assert sketch.rows == len(scores) and len(sketch._top) <= 100_000
    for share in (0.9, 0.5, 0.1, 0.02, 1e-3, 1e-5):
        assert sketch.above(share) == pytest.approx(np.quantile(scores, 1 - share), rel=0.01)


@pytest.mark.parametrize("n", [MIN_ROWS, 20_000, 300_000])
def test_p_values_of_the_calibration_are_what_they_say(n):
    r = np.random.default_rng(3)
    sketch = Sketch()
    sketch.add(r.gamma(2, 1, n))
    fields = sketch.calibration()
    p = novelty_p(Calibration.from_bundle(fields), r.gamma(2, 1, 2_000_000))
    for level, factor in ((0.1, 1.2), (1e-2, 1.5), (1e-3, 2.5), (1e-4, 5)):
        assert level / factor < (p < level).mean() < level * factor


def test_the_tail_of_very_many_scores_is_not_made_heavier():
    r, sketch = np.random.default_rng(4), Sketch()
    for _ in range(40):
        sketch.add(r.exponential(1.0, 100_000))
    p = novelty_p(Calibration.from_bundle(sketch.calibration()), -np.log([1e-3, 1e-4, 1e-5]))
    assert p == pytest.approx([1e-3, 1e-4, 1e-5], rel=0.5)


def test_scores_that_are_all_the_same():
    sketch = Sketch()
    sketch.add(np.full(5000, 1.0))
    p = novelty_p(Calibration.from_bundle(sketch.calibration()), np.array([1.0, 2.0]))
    assert p[0] >= 0.02 and p[1] < 1e-4
