"""Scores a policy's samples by a reward model, and says how well that model judges this policy."""

from collections.abc import Sequence
from itertools import combinations

import numpy as np
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from apo_bench.config.compute_sections import Compute
from apo_bench.core.records import GoldenScoreRow, ResponseRow, SampledRow, ScoresRow
from apo_bench.data.gold import gold_rewards
from apo_bench.metrics import compute_metric
from apo_bench.models.reward_model import group_rewards, longest_scored
from apo_bench.models.tokenizer import count_tokens, encode_records


def score_samples(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    samples: Sequence[SampledRow],
    golden: Sequence[ResponseRow],
    max_length: int,
    compute: Compute,
    has_gold: bool,
) -> tuple[list[ScoresRow], list[GoldenScoreRow], dict[str, float]]:
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
    rewards = group_rewards(model, tokenizer, groups, "score samples")
    metrics = {"num_reward_calls": rewards[:, 1:].size, "num_tokens_read": count_tokens(group[1:] for group in groups)}
    return *_with_rewards(samples, golden, rewards), metrics | _metrics(samples, rewards, has_gold)


def score_samples_by_gold(
    samples: Sequence[SampledRow], golden: Sequence[ResponseRow]
) -> tuple[list[ScoresRow], list[GoldenScoreRow], dict[str, float]]:
    """As `score_samples`, by the true reward: no model is asked."""
    rewards = np.array(
        [gold_rewards(row["dialogue"], [best["response"], *row["responses"]]) for row, best in zip(samples, golden, strict=True)],
        dtype=np.float64,
    )
    return *_with_rewards(samples, golden, rewards), _metrics(samples, rewards, has_gold=True)


def _with_rewards(
    samples: Sequence[SampledRow], golden: Sequence[ResponseRow], rewards: np.ndarray
) -> tuple[list[ScoresRow], list[GoldenScoreRow]]:
    """Records of kind `scores` and `golden_scores`; a row of `rewards` has that of the golden response first, then those of the samples."""
    scored: list[ScoresRow] = [{**row, "rewards": others} for row, others in zip(samples, rewards[:, 1:].tolist(), strict=True)]
    best: list[GoldenScoreRow] = [{**row, "reward": first} for row, first in zip(golden, rewards[:, 0].tolist(), strict=True)]
    return scored, best


def _metrics(samples: Sequence[SampledRow], rewards: np.ndarray, has_gold: bool) -> dict[str, float]:
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


def _gold_of_samples(samples: Sequence[SampledRow], sample_rewards: np.ndarray) -> dict[str, float]:
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
