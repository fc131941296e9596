"""How a reward model orders pairs, and how far its probabilities are off. Shape suffixes: P pairs, B bins."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

NUM_BINS = 5
"""Of confidence from 0.5 to 1, as wide as those of the expected calibration error that `evaluate_on_pairs` takes."""


@dataclass(frozen=True)
class Pairs:
    """What a reward model says of pairs."""

    margins_P: np.ndarray
    """[P] the reward of the chosen response minus that of the other one."""
    correct_P: np.ndarray
    """[P] how probable it is that an annotator orders the pair as the rewards do; 0 or 1 where only the label is known, 0.5 if equal."""


def calibration_contrast(terms: Sequence[tuple[float, Pairs]]) -> float:
    """The sum of the squared calibration errors of reward models, each times its weight."""
    return float(sum(weight * squared_calibration_error(pairs) for weight, pairs in terms))


def squared_calibration_error(pairs: Pairs) -> float:
    """The mean over uniform bins of the confidence sigmoid(|margin|), weighed by their pairs, of the squared gap between mean confidence
    and share of correct orders, less the variance of that gap.

    The expected calibration error, in which the noise of a bin never cancels, is biased, most for the model that is calibrated best; this
    is not. A bin with a single pair counts as empty.

    Source: Broecker 2012 and Kumar et al. 2019 (Verified Uncertainty Calibration), the debiased estimator.
    """
    confidence_P = 1.0 / (1.0 + np.exp(-np.abs(pairs.margins_P)))
    gaps_P = confidence_P - pairs.correct_P
    bins_P = np.minimum(((2 * confidence_P - 1) * NUM_BINS).astype(int), NUM_BINS - 1)
    count_B, sum_B, squares_B = (np.bincount(bins_P, values_P, NUM_BINS) for values_P in (np.ones_like(gaps_P), gaps_P, gaps_P**2))
    filled_B = np.maximum(count_B, 2.0)
    gap_B = sum_B / filled_B
    variance_B = (squares_B / filled_B - gap_B**2) / (filled_B - 1)
    return float((np.where(count_B > 1, count_B, 0.0) * (gap_B**2 - variance_B)).sum() / len(gaps_P))
