"""Preference accuracy as an `evaluate` module: how often the preferred response has the higher reward."""

import datasets
import evaluate
import numpy as np

_DESCRIPTION = "Share of pairs whose preferred response has the higher reward; equal rewards count as half."


@evaluate.utils.file_utils.add_start_docstrings(_DESCRIPTION)
class PreferenceAccuracy(evaluate.Metric):
    """`compute(predictions=rewards of the preferred, references=rewards of the others)["preference_accuracy"]`, in 0..1."""

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation="",
            features=datasets.Features({"predictions": datasets.Value("float64"), "references": datasets.Value("float64")}),
        )

    def _compute(self, predictions: list[float], references: list[float]) -> dict[str, float]:
        margins = np.asarray(predictions) - np.asarray(references)
        return {"preference_accuracy": float(np.mean((margins > 0) + 0.5 * (margins == 0)))}
