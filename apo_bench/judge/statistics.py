"""Statistics of verdicts, each for many weightings of the prompts at once: a bootstrap draw is a weighting by counts.

As a draw takes or leaves a prompt with all that belongs to it (both orders), intervals are clustered by prompt. Shape suffixes: D draws,
P prompts, K categories.
"""

import math
from collections.abc import Callable

import numpy as np
from scipy.special import expit

from apo_bench.evaluation.statistics import Estimate

Statistic = Callable[[np.ndarray], np.ndarray]
"""Weights [D, P] -> values [D]; NaN where it is not defined, such as a share of nothing."""

RIDGE = 1e-3
"""Weight of theta's square, against the sum over prompts. It moves no digit that is shown and keeps the fit finite where all verdicts are
the same."""
LENGTH_EFFECT, LENGTH_WEIGHT = 1.0, 0.05
"""What phi is drawn towards, and with what weight a prompt; see `length_controlled`."""
MAX_STEP, MAX_STEPS, TOLERANCE = 4.0, 100, 1e-10
"""Of Newton's method, in log-odds."""
CHUNK = 256
"""Draws that are fitted at a time: what they need stays in the processor's cache."""


def estimate(statistic: Statistic, weights_DP: np.ndarray, confidence: float) -> Estimate | None:
    """The statistic of the prompts as they are, with its percentile interval; None where it is not defined.

    Draws in which it is not defined are left out.
    """
    value = float(statistic(np.ones((1, weights_DP.shape[1])))[0]) if weights_DP.shape[1] else math.nan
    if not math.isfinite(value):
        return None
    draws_D = statistic(weights_DP)
    draws_D = draws_D[np.isfinite(draws_D)]
    tail = (1 - confidence) / 2
    low, high = np.quantile(draws_D, [tail, 1 - tail]).tolist()
    return Estimate(value, low, high, float(draws_D.std(ddof=1)))


def ratio(numerators_P: np.ndarray, denominators_P: np.ndarray) -> Statistic:
    """Sum over sum; with denominators of 1 the mean."""

    def value(weights_DP: np.ndarray) -> np.ndarray:
        with np.errstate(invalid="ignore", divide="ignore"):
            return (weights_DP @ numerators_P) / (weights_DP @ denominators_P)

    return value


def mean_and_error(preferences_P: np.ndarray) -> tuple[float, float]:
    """Mean of soft preferences in 0..1, the share of prompts won with ties as half, and its standard error.

    Source: AlpacaEval, `AbsoluteScoringRule.describe_head2head` (win rate = 100 mean p, standard error = 100 sem p, with n - 1).
    Departures: in 0..1, not in percent.
    """
    return float(preferences_P.mean()), float(preferences_P.std(ddof=1) / math.sqrt(len(preferences_P)))


def correlation(first_P: np.ndarray, second_P: np.ndarray) -> Statistic:
    """Pearson's correlation; of ranks, it is Spearman's."""

    def value(weights_DP: np.ndarray) -> np.ndarray:
        columns = [column - column.mean() for column in (first_P, second_P)]  # for the digits
        with np.errstate(invalid="ignore", divide="ignore"):
            count_D = weights_DP.sum(axis=1)
            means = [weights_DP @ column / count_D for column in columns]
            squares = [weights_DP @ column**2 / count_D - mean**2 for column, mean in zip(columns, means, strict=True)]
            product_D = weights_DP @ (columns[0] * columns[1]) / count_D - means[0] * means[1]
            spread_D = squares[0] * squares[1]
            return product_D / np.sqrt(np.where(spread_D > 1e-24, spread_D, np.nan))

    return value


def kappa(confusion_PKK: np.ndarray) -> Statistic:
    """Agreement of two raters beyond chance.

    Args:
        confusion_PKK: for each prompt how often the first rater said the row and the second the column.

    Source: Cohen 1960, A coefficient of agreement for nominal scales.
    """
    num_prompts, num_categories = confusion_PKK.shape[:2]

    def value(weights_DP: np.ndarray) -> np.ndarray:
        table_DKK = (weights_DP @ confusion_PKK.reshape(num_prompts, -1)).reshape(-1, num_categories, num_categories)
        with np.errstate(invalid="ignore", divide="ignore"):
            table_DKK = table_DKK / table_DKK.sum(axis=(1, 2), keepdims=True)
            by_chance_D = (table_DKK.sum(axis=2) * table_DKK.sum(axis=1)).sum(axis=1)
            agreed_D = np.trace(table_DKK, axis1=1, axis2=2)
            return (agreed_D - by_chance_D) / np.where(by_chance_D < 1, 1 - by_chance_D, np.nan)

    return value


def length_controlled(preferences_P: np.ndarray, differences_P: np.ndarray) -> Statistic:
    """The win rate that the judge would give if both answers were equally long.

    Fits logit P(win) = theta + phi tanh(d / sd d) to the soft preferences, d being the length of the answer minus that of the
    opponent's, and gives P(win) at d = 0. A draw standardises and fits anew. Where one answer is nearly always the longer one, verdicts
    alone cannot tell quality from length; phi is therefore drawn towards `LENGTH_EFFECT` by a penalty of `LENGTH_WEIGHT` / 2 (phi -
    LENGTH_EFFECT)^2 a prompt.

    Source: Dubois et al. 2024, Length-controlled AlpacaEval (arXiv 2404.04475), Eq. 2. There, verdicts on answers of the opponent that was
    told to be brief, or verbose, are added with a weight of 0.1 each a prompt: they say what length alone does, and hold phi.
    Departures: a penalty in the place of these verdicts and of the cross-validated L1, its two numbers fixed on half of the models of
    AlpacaEval's public annotations (`python -m benchmarks.length_control`); no term for the difficulty of a prompt, which is fitted on
    other models.
    """

    def value(weights_DP: np.ndarray) -> np.ndarray:
        start = _fit(np.ones((1, len(differences_P))), preferences_P, differences_P, np.zeros((1, 2)))
        chunks = range(0, len(weights_DP), CHUNK)
        fitted = [_fit(weights_DP[i : i + CHUNK], preferences_P, differences_P, start) for i in chunks]
        return expit(np.concatenate(fitted)[:, 0])

    return value


def _fit(weights_DP: np.ndarray, preferences_P: np.ndarray, differences_P: np.ndarray, start: np.ndarray) -> np.ndarray:
    """(theta, phi) of each draw, by Newton's method on the penalised likelihood, which is concave."""
    held_D = LENGTH_WEIGHT * np.maximum(weights_DP.sum(axis=1), 1)
    tanh_DP = np.tanh(differences_P / _deviations(weights_DP, differences_P)[:, None])
    fitted = np.broadcast_to(start, (len(weights_DP), 2)).copy()
    active = np.arange(len(weights_DP))
    for _ in range(MAX_STEPS):
        weights, tanh, held, (theta, phi) = weights_DP[active], tanh_DP[active], held_D[active], fitted[active].T
        chance = expit(theta[:, None] + phi[:, None] * tanh)
        residual, curvature = weights * (preferences_P - chance), weights * chance * (1 - chance)
        slope_theta, slope_phi = residual.sum(axis=1) - RIDGE * theta, np.einsum("dp,dp->d", residual, tanh) - held * (phi - LENGTH_EFFECT)
        curved = curvature * tanh
        a, b, c = curvature.sum(axis=1) + RIDGE, curved.sum(axis=1), np.einsum("dp,dp->d", curved, tanh) + held
        step = np.stack([c * slope_theta - b * slope_phi, a * slope_phi - b * slope_theta], axis=1) / (a * c - b * b)[:, None]
        fitted[active] += np.clip(step, -MAX_STEP, MAX_STEP)
        active = active[np.abs(step).max(axis=1) > TOLERANCE]
        if len(active) == 0:
            break
    return fitted


def _deviations(weights_DP: np.ndarray, differences_P: np.ndarray) -> np.ndarray:
    """Standard deviation of the differences in each draw, with n - 1 as AlpacaEval's; infinite where all are the same."""
    count_D = np.maximum(weights_DP.sum(axis=1), 1)
    centred_P = differences_P - differences_P.mean()
    squares_D = weights_DP @ centred_P**2 - (weights_DP @ centred_P) ** 2 / count_D
    return np.sqrt(np.where(squares_D > 1e-9, squares_D / np.maximum(count_D - 1, 1), np.inf))
