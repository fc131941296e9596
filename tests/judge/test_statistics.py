"""Statistics of verdicts against pandas, scipy and scikit-learn; a weighting by counts is the same as repeating prompts."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from scipy.optimize import minimize
from scipy.special import expit
from sklearn.metrics import cohen_kappa_score

from apo_bench.evaluation.statistics import PromptBootstrap
from apo_bench.judge.statistics import (
    LENGTH_EFFECT,
    LENGTH_WEIGHT,
    RIDGE,
    correlation,
    estimate,
    kappa,
    length_controlled,
    mean_and_error,
    ratio,
)
from benchmarks.length_control import at_equal_length, read

ANNOTATIONS = Path(__file__).parents[3] / "shared/data/alpaca-eval/annotations.json.gz"
"""Verdicts that AlpacaEval has published, where they are at hand."""
RNG = np.random.default_rng(0)
ONE = np.ones((1, 60))
OUTCOMES = RNG.choice([0.0, 0.5, 1.0], size=60)
DIFFERENCES = RNG.normal(30, 80, size=60).round()
WEIGHTS = RNG.multinomial(60, np.full(60, 1 / 60), size=4).astype(float)


def repeated(weights, *columns):
    """The columns with each prompt as often as its weight says."""
    return [np.repeat(column, weights.astype(int), axis=0) for column in columns]


def by_scipy(outcomes, differences) -> float:
    """P(win) at equal length: the penalised likelihood, minimised without its derivatives."""
    tanh = np.tanh(differences / differences.std(ddof=1))

    def loss(coefficients):
        theta, phi = coefficients
        likelihood = stats.bernoulli.logpmf(1, expit(theta + phi * tanh)) * outcomes
        likelihood += stats.bernoulli.logpmf(0, expit(theta + phi * tanh)) * (1 - outcomes)
        return -likelihood.sum() + RIDGE * theta**2 / 2 + LENGTH_WEIGHT * len(tanh) * (phi - LENGTH_EFFECT) ** 2 / 2

    return float(expit(minimize(loss, [0.0, 0.0], method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-12}).x[0]))


def test_mean_and_error_are_alpaca_evals():
    """Its preferences are 1 (the baseline wins) to 2; 0 and 1.5 are draws. In percent, from its source: 100 mean p, 100 sem p."""
    preferences = pd.Series(RNG.uniform(1, 2, size=805))
    soft = preferences - 1
    value, error = mean_and_error(soft.to_numpy())
    assert 100 * value == pytest.approx(soft.mean() * 100, abs=1e-9)
    assert 100 * error == pytest.approx(soft.sem() * 100, abs=1e-9)


ALPACA_EVAL = {model["model"]: (model, *columns) for model, *columns in read(ANNOTATIONS)} if ANNOTATIONS.is_file() else {}
BEYOND_TWO_POINTS = {"gpt4_gamed": 2.5, "gpt35_turbo_instruct": 2.3, "claude-2": 2.1}
"""Where the term for the difficulty of prompts, which other models' verdicts give, moves the published rate by more."""


@pytest.mark.skipif(not ALPACA_EVAL, reason="AlpacaEval's published verdicts are not at hand")
@pytest.mark.parametrize("name", ALPACA_EVAL)
def test_rates_are_those_that_alpaca_eval_published(name):
    published, preferences, differences = ALPACA_EVAL[name]
    value, error = mean_and_error(preferences)
    assert 100 * value == pytest.approx(float(published["win_rate"]), abs=1e-9)
    assert 100 * error == pytest.approx(float(published["standard_error"]), abs=1e-9)
    points = BEYOND_TWO_POINTS.get(name, 2.0)
    assert at_equal_length(preferences, differences) == pytest.approx(float(published["length_controlled_winrate"]), abs=points)


@pytest.mark.parametrize(
    "make",
    [
        lambda outcomes, differences: ratio(outcomes, np.ones(len(outcomes))),
        correlation,
        length_controlled,
        lambda outcomes, differences: kappa(np.eye(9).reshape(9, 3, 3)[(2 * outcomes).astype(int) * 3 + (differences > 0)]),
    ],
    ids=["ratio", "correlation", "length controlled", "kappa"],
)
def test_weighting_is_repeating(make):
    values = make(OUTCOMES, DIFFERENCES)(WEIGHTS)
    for value, weights in zip(values, WEIGHTS, strict=True):
        outcomes, differences = repeated(weights, OUTCOMES, DIFFERENCES)
        assert value == pytest.approx(make(outcomes, differences)(np.ones((1, len(outcomes))))[0], abs=1e-8)


def test_length_controlled_is_the_minimum():
    values = length_controlled(OUTCOMES, DIFFERENCES)(np.concatenate([ONE, WEIGHTS]))
    expected = [by_scipy(*repeated(weights, OUTCOMES, DIFFERENCES)) for weights in (ONE[0], *WEIGHTS)]
    assert values == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("outcomes", "low", "high"),
    [(np.ones(60), 0.999, 1.0), (np.zeros(60), 0.0, 0.001), ((DIFFERENCES > 0) * 1.0, 0.0, 1.0), (np.full(60, 0.5), 0.4, 0.5)],
    ids=["always won", "always lost", "the longer one won", "all tied"],
)
def test_length_controlled_is_finite_where_verdicts_are_without_spread(outcomes, low, high):
    values = length_controlled(outcomes, DIFFERENCES)(np.concatenate([ONE, WEIGHTS]))
    assert np.isfinite(values).all() and (values >= low - 1e-9).all() and (values <= high + 1e-9).all()


def test_without_differences_of_length_the_win_rate_stays():
    values = length_controlled(OUTCOMES, np.full(60, 7.0))(WEIGHTS)
    assert values == pytest.approx(ratio(OUTCOMES, ONE[0])(WEIGHTS), abs=1e-4)


def test_correlation_of_ranks_is_spearmans():
    ranks = [stats.rankdata(column) for column in (OUTCOMES, DIFFERENCES)]
    assert correlation(*ranks)(ONE)[0] == pytest.approx(stats.spearmanr(OUTCOMES, DIFFERENCES).statistic)
    assert np.isnan(correlation(np.ones(60), DIFFERENCES)(ONE)[0])


def test_kappa_is_scikit_learns_and_zero_for_a_rater_of_one_word():
    first, second = RNG.choice(3, size=60), RNG.choice(3, size=60)
    tables = np.zeros((60, 3, 3))
    tables[np.arange(60), first, second] = 1
    assert kappa(tables)(ONE)[0] == pytest.approx(cohen_kappa_score(first, second))
    tables = np.zeros((60, 3, 3))
    tables[np.arange(60), first, 0] = 1
    assert kappa(tables)(ONE)[0] == pytest.approx(0.0, abs=1e-12)


def test_what_is_not_defined_is_none():
    nothing = ratio(np.zeros(60), np.zeros(60))
    assert estimate(nothing, WEIGHTS, 0.95) is None
    assert estimate(ratio(np.zeros(0), np.zeros(0)), np.zeros((4, 0)), 0.95) is None
    one_prompt = np.eye(60)[0]  # in some draws it is not
    found = estimate(ratio(one_prompt, one_prompt), np.concatenate([ONE, WEIGHTS]), 0.95)
    assert (found.value, found.low, found.high) == (1.0, 1.0, 1.0)


def simulated(rng: np.random.Generator, num_prompts: int) -> tuple[np.ndarray, np.ndarray]:
    """Outcomes of a noisy judge of both orders, with draws, and differences of length that carry no information about them."""
    margins = rng.normal(0.4, 1.0, size=num_prompts)
    own, other = (margins + sign * 0.5 + rng.normal(0, 0.8, size=num_prompts) > 0 for sign in (1, -1))
    return np.where(own == other, own * 1.0, 0.5), rng.normal(0, 50, size=num_prompts)


def test_intervals_cover_the_truth():
    """1,000 simulated judgements of 200 prompts; the truth is the mean of a million."""
    truth = simulated(np.random.default_rng(1), 1_000_000)[0].mean()
    weights = PromptBootstrap(["helpful"] * 200, 1000, 0.95, 0).counts_DP.astype(float)
    rng = np.random.default_rng(2)
    covered = {"win rate": 0, "at equal length": 0}
    for _ in range(1000):
        outcomes, differences = simulated(rng, 200)
        both = {"win rate": ratio(outcomes, np.ones(200)), "at equal length": length_controlled(outcomes, differences)}
        for name, statistic in both.items():
            found = estimate(statistic, weights if name == "win rate" else weights[:500], 0.95)
            covered[name] += found.low <= truth <= found.high
    assert all(930 <= count <= 970 for count in covered.values()), covered
