"""Variances, intervals, tests and verdicts against closed formulas, other libraries and simulated families (benchmarks/verdicts.py)."""

import numpy as np
import pytest
from scipy import special, stats

from apo_bench.claims import inference
from apo_bench.claims.inference import (
    Inferred,
    Verdict,
    detectable_effect,
    holm,
    infer,
    inverse_trigamma,
    moderated_means,
    num_independent,
    prior_of,
    seeds_needed,
    verdicts,
)
from apo_bench.claims.looks import Design

FIXED = Design((), 5)


def inferred_all(values_KS, design=FIXED, smallest=1.0, kinds=None):
    values_KS = np.asarray(values_KS, dtype=float)
    num = len(values_KS)
    return infer(values_KS, kinds or ["a"] * num, np.ones(num), np.full(num, smallest), design, 0.95)


def test_one_contrast_is_a_t_test_over_seeds():
    values = [1.0, 2.0, 4.0, -0.5, 0.7]
    (one,) = inferred_all([values], smallest=3.0)
    assert (one.low, one.high) == pytest.approx(stats.t.interval(0.95, 4, np.mean(values), stats.sem(values)))
    assert one.p_above == pytest.approx(stats.ttest_1samp(values, 0.0, alternative="greater").pvalue)
    assert one.p_below == pytest.approx(stats.ttest_1samp(values, 0.0, alternative="less").pvalue)
    sides = stats.ttest_1samp(values, 3.0, alternative="less").pvalue, stats.ttest_1samp(values, -3.0, alternative="greater").pvalue
    assert one.p_equal == pytest.approx(max(sides))
    assert (one.degrees, one.num_seeds, one.smallest) == (4, 5, 3.0)


def test_prior_is_that_which_variances_were_drawn_from():
    """10,000 variances of 5 degrees, drawn from a scaled inverse chi-squared of 8 degrees and scale 3: the moments of Smyth 2004."""
    rng = np.random.default_rng(0)
    true = 3.0 * 8 / rng.chisquare(8, size=10_000)
    scale, degrees = prior_of(true * rng.chisquare(5, size=10_000) / 5, 5)
    assert scale == pytest.approx(3.0, rel=0.05) and degrees == pytest.approx(8.0, rel=0.1)


def test_prior_agrees_with_the_likelihood():
    """The variances over the scale follow an F distribution (Smyth 2004, equation 4): its maximum-likelihood fit by SciPy."""
    rng = np.random.default_rng(1)
    variances = 3.0 * stats.f.rvs(5, 8, size=3000, random_state=rng)
    _, degrees, _, scale = stats.f.fit(variances, f0=5, floc=0)
    assert (float(prior_of(variances, 5)[0]), float(prior_of(variances, 5)[1])) == pytest.approx((scale, degrees), rel=0.15)


def test_variances_that_agree_have_an_infinite_prior():
    scale, degrees = prior_of(np.array([1.0, 1.1, 0.9, 1.0]), 5)
    assert degrees == np.inf and scale == pytest.approx(1.0)


def test_inverse_trigamma_by_its_own_function():
    values = np.geomspace(1e-4, 1e4, 30)
    assert special.polygamma(1, inverse_trigamma(values)) == pytest.approx(values, rel=1e-8)


def test_correlated_contrasts_count_for_less():
    rng = np.random.default_rng(0)
    values = rng.normal(size=(8, 2000))
    assert num_independent(values) == pytest.approx(8, rel=0.02)
    assert num_independent(np.tile(values[:1], (8, 1))) == pytest.approx(1.0)
    assert num_independent(np.concatenate([values, values])) == pytest.approx(8, rel=0.02)


def test_copies_of_a_contrast_add_nothing():
    """They tell of its variance what it tells itself."""
    values = [1.0, 2.0, 4.0, -0.5, 0.7]
    alone, *_ = inferred_all([values])
    copied, *_ = inferred_all([values] * 6)
    assert copied == alone


def test_kinds_do_not_lend_to_each_other():
    rng = np.random.default_rng(0)
    values = rng.normal(size=(12, 6)) * np.repeat([1.0, 100.0], 6)[:, None]
    together = inferred_all(values, kinds=["a"] * 6 + ["b"] * 6)
    assert together[:6] == inferred_all(values[:6]) and together[6:] == inferred_all(values[6:])
    assert together[0].degrees > 5


def test_weights_are_what_variances_are_alike_in():
    """Contrasts of more cells, each as noisy, vary more: in units of the weights all are one."""
    rng = np.random.default_rng(0)
    values, weights = rng.normal(size=(6, 6)), np.array([2.0, 2.0, 4.0, 4.0, 0.5, 0.5])
    plain, scaled = moderated_means(values, ["a"] * 6, np.ones(6)), moderated_means(values * np.sqrt(weights)[:, None], ["a"] * 6, weights)
    assert scaled[1] == pytest.approx(plain[1] * np.sqrt(weights)) and scaled[2] == pytest.approx(plain[2])


def test_what_is_decided_at_a_look_stays_decided():
    """Six seeds far above 0, then six far below: the first look counts, with what it may spend."""
    values = np.array([[1.0, 1.1, 0.9, 1.0, 1.05, 0.95]])
    design = Design((6, 12), 5)
    (first,), (none,) = inferred_all(values, design), inferred_all(values[:, :5], design)
    (second,) = inferred_all(np.concatenate([values, -values], axis=1), design)
    (between,) = inferred_all(np.concatenate([values, -values[:, :3]], axis=1), design)
    assert second.p_above == between.p_above == first.p_above < 0.001
    assert first.p_above > stats.ttest_1samp(values[0], 0.0, alternative="greater").pvalue
    assert (none.p_above, none.p_below, none.p_equal) == (1.0, 1.0, 1.0)
    assert verdicts([[second]], 0.95)[0].word == "reproduced" and second.value == pytest.approx(0.0)


def test_fewer_seeds_than_the_least_decide_nothing():
    (one,) = inferred_all([[1.0, 1.0, 1.0, 1.0]])
    assert (one.p_above, one.p_below, one.p_equal) == (1.0, 1.0, 1.0)
    assert verdicts([[one]], 0.95) == [Verdict("undecided", 1.0)]


def test_seeds_without_any_difference_are_equal():
    (one,) = inferred_all([[0.0] * 5])
    assert (one.value, one.low, one.high, one.p_above, one.p_equal) == (0.0, 0.0, 0.0, 0.5, 0.0)
    assert verdicts([[one]], 0.95)[0].word == "no difference beyond d"


def test_holm_by_hand():
    """Sorted 0.01, 0.02, 0.04 times 3, 2, 1 are 0.03, 0.04, 0.04; none falls below the one before."""
    assert holm([0.04, 0.01, 0.02]) == pytest.approx([0.04, 0.03, 0.04])
    assert holm([0.5, 0.9]) == [1.0, 1.0]


def contrast(p_above, p_equal=1.0, p_below=None):
    return Inferred(0.0, 0.0, 0.0, 1.0, 9.0, 0.1, 6, p_above, 1 - p_above if p_below is None else p_below, p_equal)


def test_verdicts_by_hand():
    """Five claims, level 0.025, equivalence 0.05. Reproduced: 0.001 * 5. The larger of 0.001 and 0.2: undecided. One contrast opposite,
    2 * 0.0001 * 5. Both within d: 0.009 * 5. One of two within d: undecided."""
    family = [
        [contrast(0.001, 0.8)],
        [contrast(0.001, 0.9), contrast(0.2, 0.9)],
        [contrast(0.001, 0.9), contrast(0.9999, 0.9)],
        [contrast(0.5, 0.001), contrast(0.6, 0.009)],
        [contrast(0.5, 0.001), contrast(0.5, 0.3)],
    ]
    found = verdicts(family, 0.95)
    assert [verdict.word for verdict in found] == ["reproduced", "undecided", "not reproduced", "no difference beyond d", "undecided"]
    assert (found[0].p_value, found[2].p_value, found[3].p_value) == pytest.approx((0.005, 0.001, 0.045))
    assert verdicts([], 0.95) == []


def test_a_small_effect_that_is_there_is_reproduced():
    assert verdicts([[contrast(0.001, 0.001)]], 0.95)[0].word == "reproduced"
    assert verdicts([[contrast(0.999, 0.001)]], 0.95)[0].word == "not reproduced"


def test_looks_that_contradict_decide_nothing():
    assert verdicts([[contrast(0.001, p_below=0.001)]], 0.95)[0].word == "undecided"


def test_detectable_effect_is_found_in_80_percent():
    """The noncentral t of its degrees, at the level of the single test."""
    rng = np.random.default_rng(0)
    one, *_ = inferred_all(rng.normal(size=(5, 6)))
    effect = detectable_effect(one, 0.005)
    assert stats.nct.sf(stats.t.isf(0.005, one.degrees), one.degrees, effect / one.standard_error) == pytest.approx(0.8, abs=1e-6)
    (alone,) = inferred_all([[0.0] * 6])
    assert detectable_effect(alone, 0.005) == 0.0 and detectable_effect(one, 0.0) == np.inf


def simulated_power(effect, num_seeds, level, equal_within=None):
    values = effect + np.random.default_rng(0).normal(size=(20_000, 1, num_seeds))
    above, _, equal = inference.adjusted_p_values(values, ["a"], np.ones(1), np.array([equal_within or 1.0]), FIXED)
    return np.mean((above if equal_within is None else equal) <= level)


def test_seeds_needed_have_80_percent():
    """For an effect of 0.6 standard deviations of a seed, for its opposite, and for being within 0.8 where the value is 0.1."""
    for value, smallest, level in ((0.6, 0.1, 0.002), (0.1, 0.8, 0.004)):
        one = Inferred(value, 0.0, 0.0, 1 / 9**0.5, 8.0, smallest, 9, 1.0, 1.0, 1.0)
        needed = seeds_needed([one], 0.002, 0.004)
        within = 0.8 if smallest > value else None
        assert simulated_power(value, needed, level, within) == pytest.approx(0.8, abs=0.05)
    one, opposite = (Inferred(value, 0.0, 0.0, 1 / 9**0.5, 8.0, 0.1, 9, 1.0, 1.0, 1.0) for value in (0.6, -0.6))
    assert seeds_needed([opposite], 0.002, 0.004) == seeds_needed([one], 0.002, 0.004)


def test_seeds_that_a_claim_of_several_needs():
    """All must be positive, or one negative; a value of d itself cannot be told from it by any number of seeds."""
    quick, slow = (Inferred(value, 0.0, 0.0, 0.1, 8.0, 0.1, 9, 1.0, 1.0, 1.0) for value in (1.0, 0.3))
    assert seeds_needed([quick, slow], 0.002, 0.004) == seeds_needed([slow], 0.002, 0.004) > seeds_needed([quick], 0.002, 0.004)
    against = Inferred(-1.0, 0.0, 0.0, 0.1, 8.0, 0.1, 9, 1.0, 1.0, 1.0)
    assert seeds_needed([against, slow], 0.002, 0.004) < seeds_needed([slow], 0.002, 0.004)
    assert seeds_needed([Inferred(0.0, 0.0, 0.0, 0.1, 8.0, 1e-9, 9, 1.0, 1.0, 1.0)], 0.002, 0.004) is None


@pytest.mark.parametrize("deviation_ratio", [1.0, 4.0])
def test_a_family_of_nothing_rarely_speaks(deviation_ratio):
    """2,000 families of ten claims, six seeds; the whole table is made by benchmarks/verdicts.py."""
    rng = np.random.default_rng(0)
    deviations = np.geomspace(1, deviation_ratio, 10)[:, None]
    above, below, _ = inference.adjusted_p_values(
        deviations * rng.normal(size=(2000, 10, 6)), ["a"] * 10, np.ones(10), np.full(10, 0.1), FIXED
    )
    wrong = (np.minimum(above, below).min(axis=1) * 10 <= 0.025).mean()
    assert wrong <= 0.06
