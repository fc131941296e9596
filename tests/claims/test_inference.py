"""Intervals, tests and detectable effects keep what they promise on simulated games of three and five seeds."""

import numpy as np
import pytest
from scipy import stats

from apo_bench.claims.inference import Inferred, holm, infer, minimum_detectable_effect, verdicts

NUM_PROMPTS, NUM_DRAWS, NUM_RUNS = 120, 1000, 1000
SPREADS = {  # standard deviations of prompts, of seeds, and of single responses
    "prompts alone": (1.0, 0.0, 0.0),
    "responses": (0.3, 0.0, 1.0),
    "some seeds": (1.0, 0.1, 0.5),
    "seeds alone": (0.05, 0.5, 0.05),
}


@pytest.fixture(scope="module")
def draws():
    """How often each prompt counts in each resample; one set for all runs, whose prompts are drawn anew."""
    return np.random.default_rng(0).multinomial(NUM_PROMPTS, np.full(NUM_PROMPTS, 1 / NUM_PROMPTS), size=NUM_DRAWS) / NUM_PROMPTS


def simulate(draws, spread, num_seeds, effect=0.0, num_runs=NUM_RUNS):
    """Runs with a true contrast, each as `infer` sees it."""
    rng = np.random.default_rng(1)
    of_prompts, of_seeds, of_responses = spread
    found = []
    for _ in range(num_runs):
        values_SP = effect + of_prompts * rng.normal(size=NUM_PROMPTS) + of_seeds * rng.normal(size=(num_seeds, 1))
        values_SP = values_SP + of_responses * rng.normal(size=(num_seeds, NUM_PROMPTS))
        found.append(infer(values_SP.mean(axis=1), draws @ values_SP.T, NUM_PROMPTS, 0.95))
    return found


@pytest.mark.parametrize("num_seeds", [3, 5])
@pytest.mark.parametrize("spread", SPREADS.values(), ids=SPREADS)
def test_intervals_cover_as_often_as_they_say(draws, spread, num_seeds):
    found = simulate(draws, spread, num_seeds, num_runs=4 * NUM_RUNS)
    covered = np.mean([one.low <= 0 <= one.high for one in found])
    assert 0.93 <= covered <= 0.97


@pytest.mark.parametrize("spread", SPREADS.values(), ids=SPREADS)
def test_a_planted_effect_of_the_stated_size_is_found_in_80_percent(draws, spread):
    """The size is what other runs of the same game state, their root mean square; the family has five claims, four about nothing."""
    level = 0.025 / 5
    stated = float(np.mean([minimum_detectable_effect(one, level) ** 2 for one in simulate(draws, spread, 5, num_runs=200)]) ** 0.5)
    found = simulate(draws, spread, 5, effect=stated)
    power = np.mean([one.p_above * 5 <= 0.025 for one in found])
    assert 0.75 <= power <= 0.87


def test_false_reproductions_of_a_family_are_rare(draws):
    """1,000 families of six claims, two of them of two contrasts, none of them true."""
    flat = simulate(draws, SPREADS["some seeds"], 3, num_runs=8 * NUM_RUNS)
    wrong = 0
    for run in range(NUM_RUNS):
        contrasts = flat[8 * run : 8 * run + 8]
        family = [*([one] for one in contrasts[:4]), contrasts[4:6], contrasts[6:]]
        wrong += any(verdict == "reproduced" for verdict, _ in verdicts(family, 0.95))
    assert wrong / NUM_RUNS <= 0.05


def test_one_seed_is_the_paired_bootstrap_over_prompts(draws):
    values_P = np.random.default_rng(2).normal(0.3, 2.0, size=NUM_PROMPTS)
    one = infer(values_P[None].mean(axis=1), draws @ values_P[:, None], NUM_PROMPTS, 0.95)
    expected = stats.ttest_1samp(values_P, 0.0, alternative="greater")
    assert one.standard_error == pytest.approx(stats.sem(values_P), rel=0.05)
    assert one.p_above == pytest.approx(expected.pvalue, rel=0.3)
    assert (one.degrees, one.p_below) == (NUM_PROMPTS - 1, pytest.approx(1 - one.p_above))


def test_seeds_alone_are_a_t_test_over_seeds():
    """Without a difference between prompts the interval is Student's over three seeds, 4.30 standard errors wide on each side."""
    values_S = np.array([1.0, 2.0, 4.0])
    one = infer(values_S, np.tile(values_S, (10, 1)), 50, 0.95)
    assert (one.low, one.high) == pytest.approx(stats.t.interval(0.95, 2, values_S.mean(), stats.sem(values_S)))
    assert one.p_above == pytest.approx(stats.ttest_1samp(values_S, 0.0, alternative="greater").pvalue)


def test_detectable_effect_by_hand():
    """Many degrees of freedom: (z of 0.975 + z of 0.8) standard errors, 1.960 + 0.842."""
    one = Inferred(0.0, -1.0, 1.0, 0.5, 1e6, 0.5, 0.5)
    assert minimum_detectable_effect(one, 0.025) == pytest.approx(0.5 * 2.8016, abs=1e-3)


def test_holm_by_hand():
    """Sorted 0.01, 0.02, 0.04 times 3, 2, 1 are 0.03, 0.04, 0.04; none falls below the one before."""
    assert holm([0.04, 0.01, 0.02]) == pytest.approx([0.04, 0.03, 0.04])
    assert holm([0.5, 0.9]) == [1.0, 1.0]


def contrast(p_above):
    return Inferred(0.0, 0.0, 0.0, 1.0, 10.0, p_above, 1 - p_above)


def test_verdicts_by_hand():
    """Four claims, level 0.025: p 0.001 * 4; the larger of 0.001 and 0.2; one contrast opposite, 2 * 0.0001 * 4; nothing."""
    family = [[contrast(0.001)], [contrast(0.001), contrast(0.2)], [contrast(0.001), contrast(0.9999)], [contrast(0.5)]]
    assert [verdict for verdict, _ in verdicts(family, 0.95)] == ["reproduced", "undecided", "not reproduced", "undecided"]
    assert verdicts(family, 0.95)[0][1] == pytest.approx(0.004) and verdicts(family, 0.95)[2][1] == pytest.approx(0.0008)
    assert verdicts([], 0.95) == []


def test_no_difference_at_all_is_undecided():
    one = infer(np.zeros(3), np.zeros((10, 3)), 50, 0.95)
    assert (one.value, one.low, one.high, one.p_above) == (0.0, 0.0, 0.0, 0.5)
