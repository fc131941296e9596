"""Intervals over prompts and over replicates: what they cover, that their seed is their own, and that subsets are resampled apart."""

import numpy as np
import pytest
from scipy import stats

from apo_bench.core.errors import DataError
from apo_bench.evaluation.statistics import PromptBootstrap, mean_spread, over_replicates

SUBSETS = ["helpful"] * 6 + ["harmless"] * 4
VALUES = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 0.0, 1.0, 0.0, 2.0]


def bootstrap(subsets=SUBSETS, num_draws=2000, confidence=0.95, seed=0):
    return PromptBootstrap(subsets, num_draws, confidence, seed)


def test_value_is_the_mean_of_all_or_of_a_subset():
    assert bootstrap().means({"a": VALUES})["a"].value == pytest.approx(2.4)
    assert bootstrap().means({"a": VALUES}, "helpful")["a"].value == 3.5
    assert bootstrap().means({"a": VALUES}, "harmless")["a"].value == 0.75


@pytest.mark.parametrize("subset", ["helpful", "harmless"])
def test_each_subset_agrees_with_scipy(subset):
    """Percentile bootstrap of the values of a subset alone."""
    rng = np.random.default_rng(5)
    subsets = ["helpful"] * 150 + ["harmless"] * 120
    values = np.concatenate([rng.gamma(2.0, size=150), rng.normal(size=120)])
    mine = values[np.array(subsets) == subset]
    ours = bootstrap(subsets, num_draws=20000).means({"a": values.tolist()}, subset)["a"]
    theirs = stats.bootstrap((mine,), np.mean, n_resamples=20000, method="percentile", rng=np.random.default_rng(6))
    assert (ours.low, ours.high) == pytest.approx(theirs.confidence_interval, abs=0.012)
    assert ours.standard_error == pytest.approx(theirs.standard_error, rel=0.03)


def test_standard_error_of_all_is_that_of_a_stratified_mean():
    """Sum over subsets of (share^2 * variance / size), the variance of a resample being that of the values."""
    groups = [np.array(VALUES[:6]), np.array(VALUES[6:])]
    expected = sum((len(group) / 10) ** 2 * group.var() / len(group) for group in groups) ** 0.5
    assert bootstrap(num_draws=40000).means({"a": VALUES})["a"].standard_error == pytest.approx(expected, rel=0.02)


def test_interval_covers_a_known_mean_as_often_as_it_says():
    """400 samples of 60 normal values: 95 % intervals hold the mean about 94 % of the time (percentile intervals are a little narrow)."""
    rng = np.random.default_rng(7)
    columns = {str(number): rng.normal(3.0, 2.0, size=60).tolist() for number in range(400)}
    found = bootstrap(["helpful"] * 60).means(columns).values()
    assert 0.90 <= np.mean([estimate.low <= 3.0 <= estimate.high for estimate in found]) <= 0.98


def test_same_seed_same_interval_other_seed_other_interval():
    first, again, other = (bootstrap(seed=seed).means({"a": VALUES})["a"] for seed in (0, 0, 1))
    assert first == again
    assert (first.low, first.high, first.standard_error) != (other.low, other.high, other.standard_error)


def test_columns_share_their_draws():
    """So the interval of a paired difference is that of the difference column, and a column's own does not depend on its company."""
    together = bootstrap().means({"a": VALUES, "b": [value + 1 for value in VALUES]})
    assert together["b"].low - together["a"].low == pytest.approx(1)
    alone = bootstrap().means({"a": VALUES})["a"]
    assert together["a"].as_dict() == pytest.approx(alone.as_dict(), rel=1e-12)


def test_higher_confidence_is_wider():
    narrow, wide = (bootstrap(confidence=confidence).means({"a": VALUES})["a"] for confidence in (0.8, 0.99))
    assert wide.low < narrow.low < narrow.high < wide.high


def test_bad_input_is_refused():
    with pytest.raises(DataError, match="the test split is empty"):
        bootstrap([])
    with pytest.raises(DataError, match="no harmless prompts"):
        bootstrap(["helpful"]).means({"a": [1.0]}, "harmless")
    with pytest.raises(DataError, match="not finite in b"):
        bootstrap().means({"a": VALUES, "b": [float("nan"), *VALUES[1:]]})


def test_means_over_replicates_have_students_interval():
    """Against SciPy; and the spread over prompts is a mean over replicates."""
    values_S = np.random.default_rng(0).normal(3.0, 2.0, size=7)
    found = over_replicates(values_S, 0.9)
    low, high = stats.t.interval(0.9, 6, loc=values_S.mean(), scale=stats.sem(values_S))
    assert (found.value, found.low, found.high, found.standard_error) == pytest.approx((values_S.mean(), low, high, stats.sem(values_S)))
    assert mean_spread([np.array([1.0, 3.0]), np.array([0.0, 4.0])]) == pytest.approx((2**0.5 + 8**0.5) / 2)
