"""The slope of a score on length is that of a regression with a constant for each prompt and each policy."""

import numpy as np
import pytest

from apo_bench.evaluation.length import length_slope


def test_slope_is_that_of_a_regression_with_dummies():
    rng = np.random.default_rng(0)
    scores, lengths = rng.normal(size=(3, 7)), rng.normal(size=(3, 7))
    policies, prompts = np.repeat(np.eye(3), 7, axis=0), np.tile(np.eye(7), (3, 1))
    design = np.column_stack([lengths.ravel(), policies, prompts])
    assert length_slope(scores, lengths) == pytest.approx(np.linalg.lstsq(design, scores.ravel(), rcond=None)[0][0])


def test_neither_longer_policies_nor_longer_prompts_count():
    """Scores 0.5 a token, and a policy that is 40 tokens longer and 3 points better for other reasons."""
    rng = np.random.default_rng(0)
    lengths = rng.normal(size=(4, 200)) + 40 * np.arange(4)[:, None] + 10 * rng.normal(size=200)
    scores = 0.5 * (lengths - 40 * np.arange(4)[:, None]) + 3 * np.arange(4)[:, None] + rng.normal(size=200)
    assert length_slope(scores, lengths) == pytest.approx(0.5)


def test_equal_lengths_say_nothing():
    assert length_slope(np.ones((2, 3)), np.full((2, 3), 5.0)) == 0.0
