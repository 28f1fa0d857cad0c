"""Measures against values worked out by hand or known from tables."""

import numpy as np
import pytest

from onnx_export import groups, metrics, svg, views
from onnx_export.data import Capture
from onnx_export.experiment import read_study
from onnx_export.incident_counts import most_within
from onnx_export.measure import dense, sparse
from pyad.features import FEATURES


def test_wilson_interval_of_none_in_seven():
    low, high = metrics.wilson(0, 7)
    assert low == 0
    assert high == pytest.approx(0.354, abs=1e-3)


def test_exact_poisson_bounds():
    pytest.importorskip("scipy")
    assert metrics.poisson(0, 1.0) == pytest.approx((0.0, 3.689), abs=1e-3)
    assert metrics.poisson(5, 2.0) == pytest.approx((1.623 / 2, 11.668 / 2), abs=1e-3)


def test_a_false_positive_rate_needs_ten_rows_above_it():
    benign = np.arange(10_000.0)
    assert metrics.threshold_at(benign, 1e-3) == pytest.approx(9989, abs=1)
    assert metrics.threshold_at(benign, 1e-4) is None


def test_auroc_counts_ties_by_half():
    assert metrics.auroc(np.array([0.0, 1.0]), np.array([1.0, 2.0])) == pytest.approx(0.875)
    assert metrics.auroc(np.array([]), np.array([1.0])) is None


def test_average_precision_takes_rows_of_one_score_together():
    average, curve = metrics.precision_recall(np.array([3.0, 2.0, 2.0, 1.0]), np.array([True, True, False, False]))
    assert average == pytest.approx(0.5 * 1.0 + 0.5 * 2 / 3)
    assert curve[-1] == (1.0, 0.6667)  # of the points that find all the best


def test_calibration_error_of_a_model_that_is_always_sure_and_half_right():
    probs = np.tile(np.eye(9, dtype=np.float32)[0], (4, 1))
    error, table = metrics.calibration_error(probs, np.array([0, 0, 1, 1]))
    assert error == pytest.approx(0.5)
    assert table == [(4, 1.0, 0.5)]


def test_per_class_values_of_a_confusion_table():
    table = metrics.confusion(np.array([0, 0, 2, 2, 2, -1]), np.array([0, 2, 2, 0, 9, 2]))
    assert np.array_equal(dense(sparse(table)), table)
    recon = metrics.of_confusion(table)["recon"]
    assert (recon["rows"], recon["recall"], recon["precision"]) == (3, pytest.approx(1 / 3), 0.5)
    assert recon["alarmed"] == pytest.approx(2 / 3)


def test_matthews_correlation_of_two_classes_is_the_one_of_the_books():
    table = metrics.confusion(np.array([0] * 10 + [2] * 10), np.array([0] * 8 + [2] * 2 + [2] * 7 + [0] * 3))
    tp, tn, fp, fn = 7, 8, 2, 3
    by_hand = (tp * tn - fp * fn) / np.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn))
    assert metrics.mcc(table) == pytest.approx(by_hand)
    assert np.isnan(metrics.mcc(metrics.confusion(np.zeros(3, dtype=int), np.zeros(3, dtype=int))))


def _result(model, seed, hits):
    captures = [{"set": "lab", "name": f"c{i}", "confusion": [[2, 2, n], [2, 0, 10 - n]]} for i, n in enumerate(hits)]
    about = {"model": model, "data": "lab", "settings": {"seed": seed}}
    return {"experiment": about, "parts": {"test": {"captures": captures}}}


def test_the_paired_difference_draws_the_same_captures_for_both():
    ours = [_result("hybrid", s, (9, 5, 1, 7)) for s in (1, 2)]
    theirs = [_result("lightgbm", s, (8, 4, 0, 6)) for s in (1, 2)]
    per_seed, (low, high) = groups.difference(ours, theirs, "lab", "alarmed")
    # Captures differ by far more than the models do; the models always by one row in ten.
    assert per_seed == pytest.approx([0.1, 0.1])
    assert (low, high) == pytest.approx((0.1, 0.1))
    assert groups.difference(ours, [], "lab", "alarmed") is None


def test_distance_from_uniform():
    assert metrics.distance_from_uniform((np.arange(1000) + 0.5) / 1000) == pytest.approx(0.0005)
    assert metrics.distance_from_uniform(np.full(10, 0.3)) == pytest.approx(0.7)
    assert metrics.distance_from_uniform(np.linspace(0, 1, 10_001) ** 2) == pytest.approx(0.25, abs=1e-3)


def test_the_most_within_an_hour():
    assert most_within([], 3600.0) == 0
    assert most_within([7000.0, 0.0, 3599.0, 3600.0], 3600.0) == 3  # from 3,599 on; 0 and 3,600 are an hour apart


def test_shuffled_rows_stay_with_their_host_and_scores_come_back_to_their_places():
    x = np.arange(8, dtype=np.float32)[:, None] * np.ones((1, len(FEATURES)), dtype=np.float32)
    stream = np.array([0, 1, 0, 1, 0, 1, -1, 0])
    capture = Capture("s", "c", x, stream, np.zeros(8, dtype=np.int8), ("",) * 8)
    (mixed,), index = views.shuffled([capture], seed=3)
    assert np.array_equal(stream[index], stream)
    assert not np.array_equal(index, np.arange(8))
    assert np.array_equal(views.in_place(mixed.x[:, 0], index), x[:, 0])


def test_attackers_have_a_past_as_somebody_else():
    def capture(name, n, label):
        x = np.full((n, len(FEATURES)), float(label), dtype=np.float32)
        return Capture("s", name, x, np.zeros(n, dtype=np.int64), np.full(n, label, dtype=np.int8), ("",) * n)

    quiet, attack = views.after_past([capture("quiet", 600, 0), capture("attack", 10, 2)])
    assert len(quiet.x) == 600
    assert (len(attack.x), len(attack.detail)) == (510, 510) and (attack.stream == 0).all()
    assert (attack.label[:500] == -1).all() and (attack.x[:500] == 0).all()
    assert (attack.label[500:] == 2).all() and (attack.x[500:] == 2).all()


def test_a_study_goes_through_lists_and_names_what_it_does_not_know(tmp_path):
    path = tmp_path / "study.yaml"
    path.write_text("settings: {epochs: 3}\nruns:\n- {model: [hybrid, lightgbm], data: lab, seed: [1, 2]}\n")
    runs = read_study(path)
    assert [r.name for r in runs] == ["hybrid-lab-s1", "hybrid-lab-s2", "lightgbm-lab-s1", "lightgbm-lab-s2"]
    assert {r.settings.epochs for r in runs} == {3}
    path.write_text("runs:\n- {seed: 1}\n- {seed: 1, settings: {cap: 10}}\n")
    with pytest.raises(ValueError, match="two runs would be called hybrid-clean-s1 and differ in settings"):
        read_study(path)
    path.write_text("runs:\n- {ablation: no_brain}\n")
    with pytest.raises(ValueError, match="'no_brain' is none of no_lstm"):
        read_study(path)


def test_a_plot_is_one_element_of_its_own():
    plot = svg.lines("a < b", {"one": [(0.0, 0.0), (1.0, 1.0)]}, "x", "y")
    assert plot.startswith("<svg") and plot.endswith("</svg>")
    assert "a &lt; b" in plot
