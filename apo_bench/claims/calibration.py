"""The squared calibration error of reward models, and how contrasts of it vary with the pairs.

Shape suffixes: S seeds, P pairs, D bootstrap draws, B bins.
"""

from collections.abc import Sequence

import numpy as np

NUM_BINS = 5
"""Of confidence from 0.5 to 1, as wide as those of the expected calibration error that `evaluate_on_pairs` takes."""
Terms = Sequence[tuple[float, np.ndarray, np.ndarray]]
"""Weights of reward models in a contrast, their margins [S, P], and how probable it is that an annotator orders a pair as the margin does
[S, P]."""


def calibration_contrast(terms: Terms) -> np.ndarray:
    """The weighted sum of squared calibration errors of reward models: [S].

    The error is the mean over uniform bins of the confidence sigmoid(|margin|), weighed by their pairs, of the squared gap between mean
    confidence and share of correct orders (the expected one, where labels are known by their probability), less the variance of that gap.
    The expected calibration error, in which the noise of a bin never cancels, is biased, most for the model that is calibrated best; this
    is not.

    Source: Broecker 2012 and Kumar et al. 2019 (Verified Uncertainty Calibration), the debiased estimator.
    """
    return np.sum(
        [
            weight * np.array([_error(*_bins(*pairs))[0] for pairs in zip(margins_SP, correct_SP, strict=True)])
            for weight, margins_SP, correct_SP in terms
        ],
        axis=0,
    )


def resampled_calibration_contrast(terms: Terms, counts_DP: np.ndarray) -> np.ndarray:
    """The same from D resamples, by how often each pair counts in them, as much spread as the contrast has over other pairs: [D, S].

    A gap comes out of a resample as gap + d, its square varies by 2 gap d and by d^2. But the gap found is the true one and a noise like d:
    where the true one is small, the first would vary as if it were not, and intervals be up to 1.7 times too wide. So its covariance over
    seeds is lowered by that of 2 d' d, d' of another resample.
    """
    errors_DS, linear_DS, noise_DS = np.sum(
        [
            weight * np.stack([_resampled(*pairs, counts_DP) for pairs in zip(margins_SP, correct_SP, strict=True)], axis=2)
            for weight, margins_SP, correct_SP in terms
        ],
        axis=0,
    )
    return errors_DS - linear_DS + _without_noise(linear_DS, noise_DS)


def _without_noise(draws_DS: np.ndarray, noise_DS: np.ndarray) -> np.ndarray:
    """The draws, mapped linearly so that their covariance is less by that of the noise, or 0 in directions where the noise has more."""
    covariance_SS, of_noise_SS = (np.atleast_2d(np.cov(columns, rowvar=False)) for columns in (draws_DS, noise_DS))
    variances_S, directions_SS = np.linalg.eigh(covariance_SS)
    is_there_S = variances_S > 1e-9 * variances_S.max()  # seeds may be the same, as where a contrast has no retrained reward model
    scales_K, directions_SK = np.sqrt(variances_S[is_there_S]), directions_SS[:, is_there_S]
    whiten_SK, restore_KS = directions_SK / scales_K, (directions_SK * scales_K).T
    shares_K, axes_KK = np.linalg.eigh(whiten_SK.T @ of_noise_SS @ whiten_SK)
    lower_KK = (axes_KK * np.sqrt(np.maximum(0.0, 1 - shares_K))) @ axes_KK.T
    return draws_DS @ whiten_SK @ lower_KK @ restore_KS


def _resampled(margins_P: np.ndarray, correct_P: np.ndarray, counts_DP: np.ndarray) -> np.ndarray:
    """Errors, what is linear in the gaps' deviations, and the same with those of another resample for the gaps: [3, D]."""
    _, gap_1B, _ = _bins(margins_P, correct_P)
    share_DB, gap_DB, variance_DB = _bins(margins_P, correct_P, counts_DP)
    deviation_DB = gap_DB - gap_1B
    linear_D, noise_D = ((share_DB * 2 * other * deviation_DB).sum(axis=1) for other in (gap_1B, np.roll(deviation_DB, 1, axis=0)))
    return np.stack([_error(share_DB, gap_DB, variance_DB), linear_D, noise_D])


def _error(share_DB: np.ndarray, gap_DB: np.ndarray, variance_DB: np.ndarray) -> np.ndarray:
    return (share_DB * (gap_DB**2 - variance_DB)).sum(axis=1)


def _bins(margins_P: np.ndarray, correct_P: np.ndarray, counts_DP: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The share of pairs in each bin, their mean gap, and its variance; a bin with a single pair has none, and counts as empty."""
    counts_DP = np.ones((1, len(margins_P))) if counts_DP is None else counts_DP
    confidence_P = 1.0 / (1.0 + np.exp(-np.abs(margins_P)))
    gaps_P = confidence_P - correct_P
    bins_P = np.minimum(((2 * confidence_P - 1) * NUM_BINS).astype(int), NUM_BINS - 1)
    is_in_PB = np.eye(NUM_BINS)[bins_P]
    count_DB, sum_DB, squares_DB = (counts_DP @ (is_in_PB * weight_P[:, None]) for weight_P in (np.ones_like(gaps_P), gaps_P, gaps_P**2))
    filled_DB = np.maximum(count_DB, 2.0)
    gap_DB = sum_DB / filled_DB
    variance_DB = (squares_DB / filled_DB - gap_DB**2) / (filled_DB - 1)
    return np.where(count_DB > 1, count_DB, 0.0) / counts_DP.sum(axis=1, keepdims=True), gap_DB, variance_DB
