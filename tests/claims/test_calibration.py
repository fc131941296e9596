"""The squared calibration error by hand, and by simulation its bias and the coverage of its intervals."""

import numpy as np
import pytest

from apo_bench.claims.calibration import calibration_contrast, resampled_calibration_contrast
from apo_bench.claims.inference import infer

NUM_PAIRS, NUM_DRAWS, NUM_RUNS = 512, 200, 400


def term(weight, margins_SP):
    """Of given labels: an order is correct or not."""
    margins_SP = np.atleast_2d(margins_SP)
    return weight, margins_SP, (margins_SP > 0) + 0.5 * (margins_SP == 0)


def error(margins_P):
    return calibration_contrast([term(1.0, margins_P)]).item()


def test_by_hand():
    """Margins log 4 and -log 4 three times and once: confidence 0.8, right in 3 of 4.

    Gaps of the pairs -0.2, -0.2, -0.2, 0.8: mean 0.05, mean square (3 * 0.04 + 0.64) / 4 = 0.19, variance of the mean
    (0.19 - 0.0025) / 3 = 0.0625. 0.0025 - 0.0625 = -0.06.
    """
    assert error(np.log(4.0) * np.array([1.0, 1.0, 1.0, -1.0])) == pytest.approx(-0.06)
    assert error(np.array([9.0])) == 0.0


def test_labels_known_by_their_probability_by_hand():
    """Confidence 0.8 twice, right with probability 0.6 and 0.7: mean gap 0.15, variance of it 0.0025."""
    found = calibration_contrast([(1.0, np.log(4.0) * np.array([[1.0, -1.0]]), np.array([[0.6, 0.7]]))])
    assert found == pytest.approx([0.02])


def test_a_contrast_adds_up_reward_models_by_their_weights():
    one_SP, other_SP = np.random.default_rng(0).normal(size=(2, 3, 50))
    expected_S = [2 * error(one_P) - error(other_P) for one_P, other_P in zip(one_SP, other_SP, strict=True)]
    assert calibration_contrast([term(2.0, one_SP), term(-1.0, other_SP)]) == pytest.approx(expected_S)


def test_a_resample_of_a_large_gap_is_the_error_of_its_pairs():
    """Sure and wrong in all but a few of 4,000 pairs: what the noise adds to the gap is nothing beside it, and nothing is scaled down."""
    margins_P = np.where(np.arange(4000) % 10 > 0, -4.0, 4.0)
    counts_DP = np.random.default_rng(0).multinomial(4000, np.full(4000, 1 / 4000), size=20).astype(float)
    found_D = resampled_calibration_contrast([term(1.0, margins_P)], counts_DP)[:, 0]
    assert found_D == pytest.approx([error(np.repeat(margins_P, counts_P.astype(int))) for counts_P in counts_DP], abs=1e-4)


def test_seeds_that_are_the_same_and_gaps_that_never_vary():
    margins_P = np.random.default_rng(0).normal(size=200)
    counts_DP = np.random.default_rng(1).multinomial(200, np.full(200, 1 / 200), size=20).astype(float)
    one_D1, three_D3 = (resampled_calibration_contrast([term(1.0, np.tile(margins_P, (seeds, 1)))], counts_DP) for seeds in (1, 3))
    assert three_D3 == pytest.approx(np.tile(one_D1, 3))
    assert not resampled_calibration_contrast([term(1.0, np.full((2, 200), 100.0))], counts_DP).any()


def models(rng, size, sureness, num_seeds):
    """Margins [S, P] of two kinds of reward models, each sees the log-odds of the label through its own noise and is as sure as said."""
    odds_P = rng.normal(0.0, 1.2, size=size)
    sign_P = np.where(rng.random(size) < 1 / (1 + np.exp(-odds_P)), 1.0, -1.0)
    return [sign_P * sure * (0.7 * odds_P + 0.5 * rng.normal(size=(num_seeds, size))) for sure in sureness]


@pytest.mark.parametrize("num_seeds", [1, 3])
@pytest.mark.parametrize("sureness", [(1.3, 1.0), (2.0, 1.0), (2.0, 2.0)], ids=str)
def test_no_bias_and_intervals_cover_as_often_as_they_say(sureness, num_seeds):
    """The truth is the difference on 400,000 pairs; 0 for models that are as sure as each other."""
    rng = np.random.default_rng(0)

    def terms(size, num_seeds):
        return [term(*pair) for pair in zip((1.0, -1.0), models(rng, size, sureness, num_seeds), strict=True)]

    truth = 0.0 if sureness[0] == sureness[1] else calibration_contrast(terms(400_000, 1)).item()
    values, covered = [], []
    for _ in range(NUM_RUNS):
        counts_DP = rng.multinomial(NUM_PAIRS, np.full(NUM_PAIRS, 1 / NUM_PAIRS), size=NUM_DRAWS).astype(float)
        of_run = terms(NUM_PAIRS, num_seeds)
        found = infer(calibration_contrast(of_run), resampled_calibration_contrast(of_run, counts_DP), NUM_PAIRS, 0.95)
        values.append(found.value)
        covered.append(found.low <= truth <= found.high)
    assert np.mean(values) == pytest.approx(truth, abs=4 * np.std(values) / NUM_RUNS**0.5)
    assert 0.925 <= np.mean(covered) <= 0.98
