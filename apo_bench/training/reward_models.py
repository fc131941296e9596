"""The reward model's step: Bradley-Terry on human pairs, alone (RM_base, RM_all) or with the game's term (PAPER: L_APO-RM).

Shape suffixes: P pairs, G prompts with a golden response, K samples a prompt.
"""

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from apo_bench.core.compute_sections import Compute
from apo_bench.core.errors import DataError
from apo_bench.core.ranks import num_ranks, share
from apo_bench.core.sections import RetrainedReward, Training
from apo_bench.data.batching import longest_row, pad
from apo_bench.engines.training import Engine
from apo_bench.losses.reward import adversarial_reward_loss, bradley_terry_loss, difference_loss
from apo_bench.models.language_model import pairs_a_token
from apo_bench.models.reward_model import LENGTH, rewards
from apo_bench.models.tokenizer import TokenSequence, count_tokens, encode_records
from apo_bench.training.loop import train

Rows = list[dict[str, Any]]


def train_reward(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    pairs: Rows,
    settings: Training,
    compute: Compute,
    engine: Engine,
    seed: int,
    title: str,
) -> list[dict[str, Any]]:
    """Trains a reward model in place on human pairs; returns the curves."""
    setattr(model.config, LENGTH, settings.max_length)
    encoded = encode_pairs(tokenizer, pairs, settings.max_length, compute.max_prompt_length)

    def loss(batch: list[int], _step: int) -> tuple[Tensor, dict[str, Tensor]]:
        mine = share(batch)
        chosen_P, rejected_P = _group_rewards(model, [encoded[index] for index in mine.indices], tokenizer.pad_token_id).unbind(1)
        return mine.fraction * bradley_terry_loss(chosen_P, rejected_P), _pair_metrics(chosen_P, rejected_P, mine.fraction)

    def num_tokens(batch: list[int], _step: int) -> int:
        return count_tokens(encoded[index] for index in batch)

    return train(model, loss, _row_lengths(model, encoded), settings, compute, engine, seed, title, num_tokens)


def train_adversarial_reward(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    pairs: Rows,
    golden: Rows,
    samples: Rows,
    settings: RetrainedReward,
    compute: Compute,
    engine: Engine,
    seed: int,
    game_seed: int,
    title: str,
) -> list[dict[str, Any]]:
    """Trains a reward model in place on human pairs and on (golden, policy sample) pairs; returns the curves.

    Each step takes a batch of human pairs, in the order of `seed`, and its share of the golden groups, in that of `game_seed`, so that both
    are seen once an epoch. Where the human pairs have no weight, the training is as long: the steps are those of the human pairs, each with
    at least one golden group.

    Raises:
        DataError: golden responses and samples are not for the same prompts.
    """
    setattr(model.config, LENGTH, settings.max_length)
    encoded = encode_pairs(tokenizer, pairs, settings.max_length, compute.max_prompt_length)
    groups = encode_golden_groups(tokenizer, golden, samples, settings.max_length, compute.max_prompt_length)
    steps_an_epoch = -(-len(encoded) // settings.batch_size)
    num_turns = len(groups) if settings.human_weight else max(len(groups), steps_an_epoch)
    turns = list(_spread(num_turns, steps_an_epoch, settings.epochs, game_seed))
    game_loss = {"bradley_terry": bradley_terry_loss, "difference": difference_loss}[settings.adversarial_loss]
    nothing = torch.empty(0, 1)

    def examples(batch: list[int], step: int) -> tuple[list[int], list[int]]:
        """Which human pairs and which golden groups a step trains on."""
        return batch if settings.human_weight else [], [index % len(groups) for index in turns[step]]

    def loss(batch: list[int], step: int) -> tuple[Tensor, dict[str, Tensor]]:
        my_pairs, turn = examples(batch, step)
        chosen_P = rejected_P = nothing
        rewards_G1K, metrics, human_weight, weight = nothing, {}, 0.0, 0.0
        if my_pairs:
            mine = share(my_pairs)
            chosen_P, rejected_P = _group_rewards(model, [encoded[index] for index in mine.indices], tokenizer.pad_token_id).unbind(1)
            metrics = _pair_metrics(chosen_P, rejected_P, mine.fraction)
            human_weight = settings.human_weight * mine.fraction
        if turn:
            my_turn = share(turn)
            # Steps differ by one group in how many they get; weighing by the count makes the epoch's sum the mean over all groups.
            weight = settings.adversarial_weight * (len(turn) * steps_an_epoch / num_turns) * my_turn.fraction
            if my_turn.fraction or num_ranks() > 1 or not my_pairs:  # ranks keep step
                rewards_G1K = _group_rewards(model, [groups[index] for index in my_turn.indices], tokenizer.pad_token_id)
                golden_accuracy = (rewards_G1K[:, :1] > rewards_G1K[:, 1:]).float().mean()
                metrics |= {"golden_accuracy": my_turn.fraction * golden_accuracy}
        value = adversarial_reward_loss(chosen_P, rejected_P, rewards_G1K[:, 0], rewards_G1K[:, 1:], human_weight, weight, game_loss)
        return value, metrics

    def num_tokens(batch: list[int], step: int) -> int:
        my_pairs, turn = examples(batch, step)
        return count_tokens([*(encoded[index] for index in my_pairs), *(groups[index] for index in turn)])

    return train(model, loss, _row_lengths(model, encoded), settings, compute, engine, seed, title, num_tokens)


def encode_pairs(tokenizer: PreTrainedTokenizerFast, pairs: Rows, max_length: int, max_prompt_length: int) -> list[list[TokenSequence]]:
    """Each pair as [chosen, rejected]."""
    return encode_records(tokenizer, pairs, [[row["chosen"], row["rejected"]] for row in pairs], max_length, max_prompt_length)


def encode_golden_groups(
    tokenizer: PreTrainedTokenizerFast, golden: Rows, samples: Rows, max_length: int, max_prompt_length: int
) -> list[list[TokenSequence]]:
    """D_APO by prompt: each group is the golden response, then the K samples.

    Raises:
        DataError: golden responses and samples are not for the same prompts.
    """
    by_id = {row["id"]: row for row in samples}
    missing = [row["id"] for row in golden if row["id"] not in by_id]
    if missing or len(golden) != len(samples):
        raise DataError(
            f"golden responses ({len(golden)}) and samples ({len(samples)}) are not for the same prompts; "
            f"without samples: {', '.join(missing[:3]) or 'none'}; sample the prompts that have golden responses"
        )
    rows = [by_id[row["id"]] for row in golden]
    responses = [[gold["response"], *row["responses"]] for gold, row in zip(golden, rows, strict=True)]
    finished = [[True, *row["finished"]] for row in rows]
    return encode_records(tokenizer, golden, responses, max_length, max_prompt_length, finished)


def _group_rewards(model: PreTrainedModel, groups: list[list[TokenSequence]], pad_token_id: int) -> Tensor:
    """Rewards of groups of sequences of equal size: [number of groups, size]."""
    batch = pad([sequence for group in groups for sequence in group], pad_token_id, pairs_a_token(model))
    return rewards(model, batch).view(len(groups), -1)


def _pair_metrics(chosen_P: Tensor, rejected_P: Tensor, fraction: float) -> dict[str, Tensor]:
    margins_P = (chosen_P - rejected_P).detach()
    return {"accuracy": fraction * (margins_P > 0).float().mean(), "reward_margin": fraction * margins_P.mean()}


def _row_lengths(model: PreTrainedModel, groups: list[list[TokenSequence]]) -> list[int]:
    return [longest_row(group, pairs_a_token(model)) for group in groups]


def _spread(num_turns: int, steps_an_epoch: int, num_epochs: int, seed: int) -> Iterator[list[int]]:
    """For each step the numbers whose turn it is: each once an epoch, in random order, evenly over the steps."""
    generator = torch.Generator().manual_seed(seed)
    for _ in range(num_epochs):
        order = torch.randperm(num_turns, generator=generator).tolist()
        bounds = [step * num_turns // steps_an_epoch for step in range(steps_an_epoch + 1)]
        for first, last in pairwise(bounds):
            yield order[first:last]
