"""Win rate as an `evaluate` module."""

import datasets
import evaluate
import numpy as np

_DESCRIPTION = "Share of prompts on which a policy's response scores above the opponent's; a tie counts as half a win."


@evaluate.utils.file_utils.add_start_docstrings(_DESCRIPTION)
class WinRate(evaluate.Metric):
    """`compute(predictions=the policy's scores, references=the opponent's)`: `win_rate` in 0..1, and counts of wins, ties, losses."""

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation="",
            features=datasets.Features({"predictions": datasets.Value("float64"), "references": datasets.Value("float64")}),
        )

    def _compute(self, predictions: list[float], references: list[float]) -> dict[str, float]:
        margins = np.asarray(predictions) - np.asarray(references)
        wins, ties, losses = (int(count) for count in ((margins > 0).sum(), (margins == 0).sum(), (margins < 0).sum()))
        return {"win_rate": (wins + 0.5 * ties) / len(margins), "wins": wins, "ties": ties, "losses": losses}
