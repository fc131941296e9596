"""What a reward model is worth: on held-out human pairs, on gold's order where gold is known, and on the policy it is to judge."""

from itertools import combinations
from typing import Any

import numpy as np
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from apo_bench.config.compute_sections import Compute
from apo_bench.data.gold import gold_rewards
from apo_bench.data.labels import PROBABILITY
from apo_bench.metrics import compute_metric
from apo_bench.models.precision import mixed_precision
from apo_bench.models.reward_model import all_rewards, longest_scored
from apo_bench.models.tokenizer import TokenSequence, count_tokens, encode_records

Rows = list[dict[str, Any]]


def evaluate_on_pairs(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, pairs: Rows, max_length: int, compute: Compute, has_gold: bool
) -> tuple[dict[str, float], Rows]:
    """What a reward model is worth on pairs it never saw.

    Returns:
        Accuracy on human labels, over all pairs and over those of each subset, calibration errors and, if gold is known, accuracy on its
        order. Where a label's probability is known, accuracy and calibration are those expected over annotators, which the draw of one
        label adds no noise to. And a row a pair with its `id`, `subset`, `margin`, the reward of the chosen response minus that of the
        rejected one, and `correct`, how probable it is that an annotator orders the two as the rewards do.
    """
    groups = encode_records(tokenizer, pairs, [[row["chosen"], row["rejected"]] for row in pairs], max_length, compute.max_prompt_length)
    with mixed_precision(compute):  # the model has just been trained so
        chosen, rejected = _group_rewards(model, tokenizer, groups, "score pairs").T
    probabilities = np.array([row.get(PROBABILITY, 1.0) for row in pairs])
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


def score_samples(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    samples: Rows,
    golden: Rows,
    max_length: int,
    compute: Compute,
    has_gold: bool,
) -> tuple[Rows, Rows, dict[str, float]]:
    """Scores a policy's samples, and says how well the model judges that policy.

    Args:
        model: the reward model.
        tokenizer: its tokenizer.
        samples: records of kind `samples`.
        golden: golden responses to the same prompts, in the same order.
        max_length: longest sequence in tokens, if the model does not know on what lengths it was trained.
        compute: longest prompt in tokens.
        has_gold: whether the true reward is known.

    Returns:
        Records of kind `scores`, those of kind `golden_scores`, and metrics: `num_reward_calls` and `num_tokens_read`, of the samples
        alone, as golden responses are scored for methods that make no use of them too; `mean_reward`; `golden_accuracy`, how often a
        golden response scores above a sample of the same prompt; if gold is known also `mean_gold`; `sample_accuracy`, how often two
        samples are ordered as gold orders them; `best_of_n_gain`, gold of the best-scored sample minus gold of the mean one;
        `perfect_best_of_n_gain`, that of gold's own choice.
    """
    responses = [[gold["response"], *row["responses"]] for gold, row in zip(golden, samples, strict=True)]
    finished = [[True, *row["finished"]] for row in samples]
    groups = encode_records(tokenizer, samples, responses, longest_scored(model, max_length), compute.max_prompt_length, finished)
    rewards = _group_rewards(model, tokenizer, groups, "score samples")
    metrics = {"num_reward_calls": rewards[:, 1:].size, "num_tokens_read": count_tokens(group[1:] for group in groups)}
    return *_with_rewards(samples, golden, rewards), metrics | _metrics(samples, rewards, has_gold)


def score_samples_by_gold(samples: Rows, golden: Rows) -> tuple[Rows, Rows, dict[str, float]]:
    """As `score_samples`, by the true reward: no model is asked."""
    rewards = np.array(
        [gold_rewards(row["dialogue"], [best["response"], *row["responses"]]) for row, best in zip(samples, golden, strict=True)],
        dtype=np.float64,
    )
    return *_with_rewards(samples, golden, rewards), _metrics(samples, rewards, has_gold=True)


def _with_rewards(samples: Rows, golden: Rows, rewards: np.ndarray) -> tuple[Rows, Rows]:
    """Records of kind `scores` and `golden_scores`; a row of `rewards` has that of the golden response first, then those of the samples."""
    rows = zip(samples, golden, rewards.tolist(), strict=True)
    both = [({**row, "rewards": others}, {**best, "reward": first}) for row, best, (first, *others) in rows]
    return [scored for scored, _ in both], [best for _, best in both]


def _metrics(samples: Rows, rewards: np.ndarray, has_gold: bool) -> dict[str, float]:
    """What the rewards of golden responses and of samples say of who gave them."""
    golden_N, rewards_NK = rewards[:, 0], rewards[:, 1:]
    golden_accuracy = compute_metric("preference_accuracy", np.repeat(golden_N, rewards_NK.shape[1]), rewards_NK.flatten())
    return {
        "mean_reward": float(rewards_NK.mean()),
        "golden_accuracy": golden_accuracy["preference_accuracy"],
        **(_gold_of_samples(samples, rewards_NK) if has_gold else {}),
    }


def _ordered_pairs(gold_K: np.ndarray) -> list[tuple[int, int]]:
    """Pairs (better, worse) of a prompt's samples, those that gold calls equal left out."""
    pairs = combinations(range(len(gold_K)), 2)
    return [(i, j) if gold_K[i] > gold_K[j] else (j, i) for i, j in pairs if gold_K[i] != gold_K[j]]


def _correct(margins: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """How probable it is that an annotator orders each pair as its rewards do, equal rewards counting as half: in the shape of `margins`.

    Args:
        margins: the reward of the chosen response minus that of the rejected one.
        probabilities: how probable it was that the chosen response would be preferred.
    """
    return 0.5 + np.sign(margins) * (probabilities - 0.5)


def _accuracy_by_subset(pairs: Rows, correct: np.ndarray) -> dict[str, float]:
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


def _gold_of_samples(samples: Rows, sample_rewards: np.ndarray) -> dict[str, float]:
    """What gold says of the samples and of their order by reward; no `sample_accuracy` if gold calls all samples of a prompt equal."""
    gold = np.array([gold_rewards(row["dialogue"], row["responses"]) for row in samples])
    better, worse = [], []
    for rewards_K, gold_K in zip(sample_rewards, gold, strict=True):
        for winner, loser in _ordered_pairs(gold_K):
            better.append(rewards_K[winner])
            worse.append(rewards_K[loser])
    picked = gold[np.arange(len(gold)), sample_rewards.argmax(axis=1)]
    metrics = {
        "best_of_n_gain": float((picked - gold.mean(axis=1)).mean()),
        "perfect_best_of_n_gain": float((gold.max(axis=1) - gold.mean(axis=1)).mean()),
        "mean_gold": float(gold.mean()),
    }
    if better:
        metrics["sample_accuracy"] = compute_metric("preference_accuracy", better, worse)["preference_accuracy"]
    return metrics


def _group_rewards(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, groups: list[list[TokenSequence]], title: str) -> np.ndarray:
    """Rewards of groups of equal size: [number of groups, size]."""
    flat = [sequence for group in groups for sequence in group]
    return all_rewards(model, flat, tokenizer.pad_token_id, title).double().numpy().reshape(len(groups), -1)
