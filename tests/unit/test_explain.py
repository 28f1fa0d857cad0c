import numpy as np

from pyad.explain import Reason, _scales, digits, top_features
from pyad.features import FEATURES, FeatureExtractor
from tests.fakes import row, rows_of

NAMES = ("a", "b", "c", "d")


def top(x, residuals, k=3):
    return top_features(np.array([x]), np.array([residuals]), np.array([1.0, 2.0, np.nan, 4.0]), NAMES, k)[0]


def test_largest_residuals_first_whatever_their_sign():
    assert [r.feature for r in top([1, 1, 1, 1], [0.1, -5.0, 2.0, 3.0])] == ["b", "d", "c"]


def test_unset_features_explain_nothing():
    assert [r.feature for r in top([np.nan, np.nan, 1, np.nan], [9, 9, 1, 9])] == ["c"]


def test_a_feature_that_reads_as_usual_is_no_reason():
    assert [r.feature for r in top([1.0, 2.001, 5, 5], [9, 8, 7, 6])] == ["c", "d"]


def test_features_without_residual_are_left_out():
    assert top([1, 1, 1, 1], [0, 0, 0, 0]) == ()


def test_rounding_does_not_swap_equal_features():
    assert [r.feature for r in top([9, 9, 9, 9], [1.0, 1.0 + 1e-7, 1.0 - 1e-7, 0])] == ["a", "b", "c"]


def test_text_has_three_digits():
    assert str(Reason("a", 1234.5, 0.00012345)) == "a 1.23e+03 (usual 0.000123)"
    assert digits(float("nan")) == "-"


def test_empty_batch():
    assert top_features(np.zeros((0, 4)), np.zeros((0, 4)), np.zeros(4), NAMES) == []


def test_every_count_size_and_age_is_told_on_its_natural_scale():

    plain = {n for n, s in zip(FEATURES, _scales(FEATURES).tolist(), strict=True) if s == 0}
    words = ("proto_", "icmp_", "state_", "hist_", "share", "per_conn", "deviation", "entropy", "is_new",
             "balance", "missed", "_system", "_ephemeral", *(n for n in plain if n.startswith("service_")))  # fmt: skip
    assert {n for n in plain if not any(w in n for w in words)} == set()
    assert not {n for n in set(FEATURES) - plain if any(w in n for w in words)}


def test_natural_values_are_those_of_the_row():

    x = FeatureExtractor(16).extract(rows_of(row(1.0, duration=10.0), row(31.0, duration=7.0))).x
    at = [FEATURES.index(n) for n in ("duration", "orig_gap", "proto_tcp")]
    residuals = np.zeros_like(x)
    residuals[:, at] = [3.0, 2.0, 1.0]
    first, second = top_features(x, residuals, np.full(len(FEATURES), 0.5), FEATURES)
    assert [float(digits(r.observed)) for r in first] == [10.0, 1e6, 1.0]
    assert [round(r.observed, 3) for r in second] == [7.0, 27.0, 1.0]
    assert round(second[0].usual, 3) == 0.649
