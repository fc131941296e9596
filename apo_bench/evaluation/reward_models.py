"""What a reward model is worth on held-out human pairs, and on gold's order of them where gold is known."""

from collections.abc import Sequence

import numpy as np
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from apo_bench.config.compute_sections import Compute
from apo_bench.core.records import MarginRow, PairRow
from apo_bench.metrics import compute_metric
from apo_bench.models.precision import mixed_precision
from apo_bench.models.reward_model import group_rewards
from apo_bench.models.tokenizer import encode_records


def evaluate_on_pairs(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, pairs: Sequence[PairRow], max_length: int, compute: Compute, has_gold: bool
) -> tuple[dict[str, float], list[MarginRow]]:
    """What a reward model is worth on pairs it never saw.

    Returns:
        Accuracy on human labels, over all pairs and over those of each subset, calibration errors and, if gold is known, accuracy on its
        order. Where a label's probability is known, accuracy and calibration are those expected over annotators, which the draw of one
        label adds no noise to. And a row a pair with its `id`, `subset`, `margin`, the reward of the chosen response minus that of the
        rejected one, and `correct`, how probable it is that an annotator orders the two as the rewards do.
    """
    groups = encode_records(tokenizer, pairs, [[row["chosen"], row["rejected"]] for row in pairs], max_length, compute.max_prompt_length)
    with mixed_precision(compute):  # the model has just been trained so
        chosen, rejected = group_rewards(model, tokenizer, groups, "score pairs").T
    probabilities = np.array([row.get("probability", 1.0) for row in pairs])
    correct = _correct(chosen - rejected, probabilities)
    metrics = {
        "num_pairs": len(pairs),
        "human_accuracy": float(correct.mean()),
        "human_accuracy_standard_error": float(correct.std() / np.sqrt(len(pairs))),
        **_accuracy_by_subset(pairs, correct),
        **compute_metric("calibration_error", chosen, rejected, probabilities=probabilities.tolist(), num_bins=10),
        **(_agreement_with_gold(probabilities, chosen, rejected) if has_gold else {}),
    }
    columns = zip(pairs, (chosen - rejected).tolist(), correct.tolist(), strict=True)
    return metrics, [{"id": row["id"], "subset": row["subset"], "margin": margin, "correct": right} for row, margin, right in columns]


def _correct(margins: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """How probable it is that an annotator orders each pair as its rewards do, equal rewards counting as half: in the shape of `margins`.

    Args:
        margins: the reward of the chosen response minus that of the rejected one.
        probabilities: how probable it was that the chosen response would be preferred.
    """
    return 0.5 + np.sign(margins) * (probabilities - 0.5)


def _accuracy_by_subset(pairs: Sequence[PairRow], correct: np.ndarray) -> dict[str, float]:
    """Accuracy on human labels over the pairs of each subset that has any."""
    subsets = np.array([row["subset"] for row in pairs])
    return {f"human_accuracy_{name}": float(correct[subsets == name].mean()) for name in sorted({*subsets.tolist()})}


def _agreement_with_gold(probabilities: np.ndarray, chosen: np.ndarray, rejected: np.ndarray) -> dict[str, float]:
    """How often the rewards of a pair's responses are ordered as gold orders them, its ties left out.

    Gold's order is that of the labels' probabilities, which are drawn by gold: to read all texts once more takes as long as to score them.
    """
    better = np.where(probabilities > 0.5, chosen, rejected)
    worse = np.where(probabilities > 0.5, rejected, chosen)
    ordered = probabilities != 0.5
    return {"gold_accuracy": compute_metric("preference_accuracy", better[ordered], worse[ordered])["preference_accuracy"]}
