"""Intervals, tests and detectable effects keep what they promise: exactly, for every share of the seeds, and on simulated games."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import special, stats

from apo_bench.claims.inference import (
    Inferred,
    Spread,
    _chi_squared,
    _critical_values,
    holm,
    infer,
    infer_all,
    minimum_detectable_effect,
    verdicts,
)

NUM_PROMPTS, NUM_DRAWS, NUM_RUNS = 512, 1000, 1000
SHARES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 0.98, 0.99)
"""Of the seeds in the variance."""
SPREADS = {  # standard deviations of prompts, of seeds, and of single responses
    "prompts alone": (1.0, 0.0, 0.0),
    "responses": (0.3, 0.0, 1.0),
    "some seeds": (1.0, 0.1, 0.5),
    "as many": (0.3, 0.1, 1.0),
    "seeds alone": (0.05, 0.5, 0.05),
}


@pytest.fixture(scope="module")
def draws():
    """How often each prompt counts in each resample; one set for all runs, whose prompts are drawn anew."""
    rng = np.random.default_rng(0)
    return rng.multinomial(NUM_PROMPTS, np.full(NUM_PROMPTS, 1 / NUM_PROMPTS), size=NUM_DRAWS).astype(np.float32) / NUM_PROMPTS


def simulate(draws, spread, num_seeds, effect=0.0, num_runs=NUM_RUNS):
    """Runs with a true contrast, each as `infer` sees it."""
    rng = np.random.default_rng(1)
    found = []
    for _ in range(num_runs // 250):  # at a time, for the memory
        sizes = ((250, 1, NUM_PROMPTS), (250, num_seeds, 1), (250, num_seeds, NUM_PROMPTS))
        values_NSP = effect + sum(deviation * rng.normal(size=size) for deviation, size in zip(spread, sizes, strict=True))
        draws_DNS = (draws @ values_NSP.reshape(-1, NUM_PROMPTS).T.astype(np.float32)).reshape(NUM_DRAWS, 250, num_seeds)
        found += infer_all(values_NSP.mean(axis=2), draws_DNS, NUM_PROMPTS, 0.95)
    return found


def errors(level, num_seeds):
    """How often a test of this level errs in truth, by the share of the seeds: over all spreads that these may come out with."""
    chi_squared_Q, weights_Q = _chi_squared(num_seeds - 1)
    found = []
    for share in SHARES:
        spread = Spread(1 - share, share, 10**6, num_seeds - 1)
        found.append(
            special.ndtr(-_critical_values(level, replace(spread, over_seeds=share * chi_squared_Q / (num_seeds - 1)))) @ weights_Q
        )
    return np.array(found)


@pytest.mark.parametrize("num_seeds", [3, 4, 5, 10])
def test_intervals_cover_and_tests_err_as_often_as_they_say_whatever_the_share_of_the_seeds(num_seeds):
    """At the strictest level of twelve claims less than twice as often, so that the family at 2.5 % stays below 5."""
    covered = 1 - 2 * errors(0.025, num_seeds)
    assert covered.min() >= 0.945 and covered.max() <= 0.9625
    assert errors(0.025 / 12, num_seeds).max() <= 1.75 * 0.025 / 12


@pytest.mark.parametrize("num_seeds", [3, 5])
@pytest.mark.parametrize("spread", SPREADS.values(), ids=SPREADS)
def test_intervals_of_simulated_games_cover_as_often_as_they_say(draws, spread, num_seeds):
    covered = np.mean([one.low <= 0 <= one.high for one in simulate(draws, spread, num_seeds)])
    assert 0.93 <= covered <= 0.97


@pytest.mark.parametrize("num_seeds", [3, 5])
@pytest.mark.parametrize("spread", SPREADS.values(), ids=SPREADS)
def test_a_planted_effect_of_the_stated_size_is_found_in_80_percent(draws, spread, num_seeds):
    """The size is that of the game's true spread; the family has five claims, four about nothing."""
    of_prompts, of_seeds, of_responses = spread
    over_seeds = (of_seeds**2 + of_responses**2 / NUM_PROMPTS) / num_seeds
    true = Spread(of_prompts**2 / NUM_PROMPTS, over_seeds, NUM_PROMPTS - 1, num_seeds - 1)
    level = 0.025 / 5
    effect = minimum_detectable_effect(Inferred(0.0, 0.0, 0.0, float(true.standard_error), true, 0.5, 0.5), level)
    power = np.mean([one.p_above <= level for one in simulate(draws, spread, num_seeds, effect)])
    assert 0.77 <= power <= 0.83


def test_the_stated_size_of_runs_is_that_of_their_game(draws):
    """Their root mean square, as what they know of the spread is a variance."""
    spread = SPREADS["as many"]
    stated = [minimum_detectable_effect(one, 0.005) for one in simulate(draws, spread, 5, num_runs=250)[:50]]
    true = Spread(0.3**2 / NUM_PROMPTS, (0.1**2 + 1 / NUM_PROMPTS) / 5, NUM_PROMPTS - 1, 4)
    expected = minimum_detectable_effect(Inferred(0.0, 0.0, 0.0, float(true.standard_error), true, 0.5, 0.5), 0.005)
    assert np.mean(np.square(stated)) ** 0.5 == pytest.approx(expected, rel=0.1)


@pytest.mark.parametrize("spread", SPREADS.values(), ids=SPREADS)
def test_false_reproductions_of_a_family_are_rare(draws, spread):
    """1,000 families of four claims of one contrast, none of them true."""
    flat = simulate(draws, spread, 3, num_runs=4 * NUM_RUNS)
    families = [[[one] for one in flat[4 * run : 4 * run + 4]] for run in range(NUM_RUNS)]
    wrong = np.mean([any(verdict == "reproduced" for verdict, _ in verdicts(family, 0.95)) for family in families])
    assert wrong <= 0.05


def test_one_seed_is_the_paired_bootstrap_over_prompts(draws):
    values_P = np.random.default_rng(2).normal(0.1, 2.0, size=NUM_PROMPTS)
    one = infer(values_P[None].mean(axis=1), draws @ values_P[:, None], NUM_PROMPTS, 0.95)
    expected = stats.ttest_1samp(values_P, 0.0, alternative="greater")
    assert one.standard_error == pytest.approx(stats.sem(values_P), rel=0.05)
    assert one.p_above == pytest.approx(expected.pvalue, rel=0.3)
    assert one.spread.over_seeds == 0 and one.p_below == pytest.approx(1 - one.p_above)
    half = stats.t.isf(0.025, NUM_PROMPTS - 1) * one.standard_error
    assert (one.low, one.high) == pytest.approx((one.value - half, one.value + half))


def test_seeds_alone_are_a_t_test_over_seeds():
    """Without a difference between prompts the interval is Student's over three seeds, 4.30 standard errors wide on each side."""
    values_S = np.array([1.0, 2.0, 4.0])
    one = infer(values_S, np.tile(values_S, (10, 1)), 10**6, 0.95)
    assert (one.low, one.high) == pytest.approx(stats.t.interval(0.95, 2, values_S.mean(), stats.sem(values_S)), rel=1e-4)
    assert one.p_above == pytest.approx(stats.ttest_1samp(values_S, 0.0, alternative="greater").pvalue, rel=1e-4)


def test_detectable_effect_by_hand():
    """Many prompts, one seed: (z of 0.975 + z of 0.8) standard errors, 1.960 + 0.842; three seeds alone: the noncentral t of 2 degrees."""
    of_prompts, of_seeds = (
        Inferred(0.0, -1.0, 1.0, 0.5, spread, 0.5, 0.5) for spread in (Spread(0.25, 0.0, 10**6, 1), Spread(0.0, 0.25, 10**6, 2))
    )
    assert minimum_detectable_effect(of_prompts, 0.025) == pytest.approx(0.5 * 2.8016, abs=1e-3)
    assert stats.nct.sf(stats.t.isf(0.025, 2), 2, minimum_detectable_effect(of_seeds, 0.025) / 0.5) == pytest.approx(0.8, abs=1e-3)


def test_holm_by_hand():
    """Sorted 0.01, 0.02, 0.04 times 3, 2, 1 are 0.03, 0.04, 0.04; none falls below the one before."""
    assert holm([0.04, 0.01, 0.02]) == pytest.approx([0.04, 0.03, 0.04])
    assert holm([0.5, 0.9]) == [1.0, 1.0]


def contrast(p_above):
    return Inferred(0.0, 0.0, 0.0, 1.0, Spread(1.0, 0.0, 10, 1), p_above, 1 - p_above)


def test_verdicts_by_hand():
    """Four claims, level 0.025: p 0.001 * 4; the larger of 0.001 and 0.2; one contrast opposite, 2 * 0.0001 * 4; nothing."""
    family = [[contrast(0.001)], [contrast(0.001), contrast(0.2)], [contrast(0.001), contrast(0.9999)], [contrast(0.5)]]
    assert [verdict for verdict, _ in verdicts(family, 0.95)] == ["reproduced", "undecided", "not reproduced", "undecided"]
    assert verdicts(family, 0.95)[0][1] == pytest.approx(0.004) and verdicts(family, 0.95)[2][1] == pytest.approx(0.0008)
    assert verdicts([], 0.95) == []


def test_no_difference_at_all_is_undecided():
    one = infer(np.zeros(3), np.zeros((10, 3)), 50, 0.95)
    assert (one.value, one.low, one.high, one.p_above) == (0.0, 0.0, 0.0, 0.5)
    assert minimum_detectable_effect(one, 0.025) == 0.0
