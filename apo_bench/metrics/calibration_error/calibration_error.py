"""Calibration errors of a reward model as an `evaluate` module."""

import datasets
import evaluate
import numpy as np

_DESCRIPTION = (
    "Expected, average and maximum calibration error of Bradley-Terry probabilities sigmoid(r1 - r2). Each pair is counted in both "
    "orders, so that the probability that the first response is preferred covers 0..1, in uniform bins."
)


@evaluate.utils.file_utils.add_start_docstrings(_DESCRIPTION)
class CalibrationError(evaluate.Metric):
    """`compute(predictions=rewards of the preferred, references=rewards of the others, probabilities=None, num_bins=10)`: ECE, ACE, MCE
    in 0..1.

    `probabilities` says, where it is known, how probable it was that each preferred response would be preferred; else they are 1.

    A bin's gap is |mean probability - share preferred|. ECE weighs gaps by the bin's count (Naeini et al. 2015), ACE is their plain mean
    over non-empty bins (Neumann et al. 2018), MCE their maximum.
    """

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation="",
            features=datasets.Features({"predictions": datasets.Value("float64"), "references": datasets.Value("float64")}),
        )

    def _compute(
        self, predictions: list[float], references: list[float], probabilities: list[float] | None = None, num_bins: int = 10
    ) -> dict[str, float]:
        margins = np.asarray(predictions) - np.asarray(references)
        both_orders = np.concatenate([margins, -margins])
        probability = np.where(both_orders >= 0, 1.0, np.exp(-np.abs(both_orders))) / (1.0 + np.exp(-np.abs(both_orders)))
        labels = np.ones(len(margins)) if probabilities is None else np.asarray(probabilities)
        preferred = np.concatenate([labels, 1 - labels])
        bins = np.minimum((probability * num_bins).astype(int), num_bins - 1)
        counts = np.bincount(bins, minlength=num_bins)
        filled = counts > 0
        sums = np.bincount(bins, weights=probability - preferred, minlength=num_bins)
        gaps = np.abs(sums[filled] / counts[filled])
        return {
            "ece": float(np.sum(gaps * counts[filled]) / counts.sum()),
            "ace": float(gaps.mean()),
            "mce": float(gaps.max()),
        }
