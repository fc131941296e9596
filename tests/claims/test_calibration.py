"""Accuracy and the squared calibration error by hand; by simulation that the error has no bias."""

import numpy as np
import pytest

from apo_bench.claims.calibration import Pairs, calibration_contrast, squared_calibration_error

NUM_PAIRS, NUM_RUNS = 512, 1000


def of_probabilities(margins_P, probabilities_P):
    """Of pairs whose labels are as probable; a margin is that of the label."""
    margins_P = np.asarray(margins_P)
    return Pairs(margins_P, np.where(margins_P == 0, 0.5, np.where(margins_P > 0, probabilities_P, 1 - probabilities_P)))


def of_labels(margins_P):
    return of_probabilities(margins_P, np.ones(len(margins_P)))


def test_by_hand():
    """Margins log 4 and -log 4 three times and once: confidence 0.8, right in 3 of 4.

    Gaps of the pairs -0.2, -0.2, -0.2, 0.8: mean 0.05, mean square (3 * 0.04 + 0.64) / 4 = 0.19, variance of the mean
    (0.19 - 0.0025) / 3 = 0.0625. 0.0025 - 0.0625 = -0.06.
    """
    assert squared_calibration_error(of_labels(np.log(4.0) * np.array([1.0, 1.0, 1.0, -1.0]))) == pytest.approx(-0.06)
    assert squared_calibration_error(of_labels([9.0])) == 0.0


def test_with_probabilities_by_hand():
    """The same margins where people choose so in 0.7 of cases: right with 0.7 three times and 0.3 once. Gaps 0.1, 0.1, 0.1, 0.5: mean 0.2,
    mean square 0.07, variance of the mean 0.01. 0.04 - 0.01 = 0.03."""
    pairs = of_probabilities(np.log(4.0) * np.array([1.0, 1.0, 1.0, -1.0]), np.full(4, 0.7))
    assert squared_calibration_error(pairs) == pytest.approx(0.03)


def test_a_contrast_adds_up_reward_models_by_their_weights():
    one, other = (of_labels(margins_P) for margins_P in np.random.default_rng(0).normal(size=(2, 50)))
    expected = 2 * squared_calibration_error(one) - squared_calibration_error(other)
    assert calibration_contrast([(2.0, one), (-1.0, other)]) == pytest.approx(expected)


@pytest.mark.parametrize("are_probabilities_known", [False, True])
@pytest.mark.parametrize("sureness", [1.0, 1.3, 2.0])
def test_no_bias(sureness, are_probabilities_known):
    """The truth is the error on 400,000 pairs. A model sees the log-odds through noise of its own and is as sure as said."""
    rng = np.random.default_rng(0)

    def pairs(size):
        odds_P = rng.normal(0.0, 1.2, size=size)
        probabilities_P = 1 / (1 + np.exp(-odds_P))
        margins_P = sureness * (0.7 * odds_P + 0.5 * rng.normal(size=size))
        if are_probabilities_known:
            return of_probabilities(margins_P, probabilities_P)
        return of_labels(np.where(rng.random(size) < probabilities_P, 1.0, -1.0) * margins_P)

    truth = squared_calibration_error(pairs(400_000))
    found = [squared_calibration_error(pairs(NUM_PAIRS)) for _ in range(NUM_RUNS)]
    assert np.mean(found) == pytest.approx(truth, abs=4 * np.std(found) / NUM_RUNS**0.5)
