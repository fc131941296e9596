"""The reward model's step: Bradley-Terry on human pairs, alone (RM_base, RM_all) or with the game's term (PAPER: L_APO-RM).

Shape suffixes: P pairs, G prompts with a golden response, K samples a prompt.
"""

from collections.abc import Sequence
from dataclasses import dataclass
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
from apo_bench.losses.reward import GAME_LOSSES, PairLoss, adversarial_reward_loss, bradley_terry_loss
from apo_bench.models.language_model import pairs_a_token
from apo_bench.models.reward_model import LENGTH, rewards
from apo_bench.models.tokenizer import TokenSequence, count_tokens, encode_records
from apo_bench.training.loop import train

Rows = list[dict[str, Any]]
NONE_P = torch.empty(0)
"""Rewards of no pairs."""


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
    """Trains a reward model in place on human pairs and on (golden, policy sample) pairs, as `schedule` spreads them; returns the curves.

    Args:
        seed: of the order of the human pairs.
        game_seed: of the order of the golden groups.

    Raises:
        DataError: golden responses and samples are not for the same prompts.
    """
    setattr(model.config, LENGTH, settings.max_length)
    encoded = encode_pairs(tokenizer, pairs, settings.max_length, compute.max_prompt_length)
    groups = encode_golden_groups(tokenizer, golden, samples, settings.max_length, compute.max_prompt_length)
    turns = schedule(len(encoded), len(groups), settings, game_seed)
    loss = _GameLoss(model, tokenizer.pad_token_id, encoded, groups, turns, GAME_LOSSES[settings.adversarial_loss])
    return train(model, loss, _row_lengths(model, encoded), settings, compute, engine, seed, title, loss.num_tokens)


@dataclass(frozen=True)
class Turn:
    """What a step trains on."""

    human_weight: float
    """Of its batch of human pairs; 0: they are left out."""
    groups: list[int]
    """Golden groups whose turn it is."""
    adversarial_weight: float
    """Of the mean over these groups."""


def schedule(num_pairs: int, num_groups: int, settings: RetrainedReward, seed: int) -> list[Turn]:
    """Spreads the golden groups over the steps of the human pairs, so that both are seen once an epoch.

    Where the human pairs have no weight, the training is as long: the steps are those of the human pairs, each with at least one golden
    group, some for a second time. Steps differ by one group in how many they get; weighing by the count makes the sum over an epoch's
    steps that of as many means over all groups.

    Args:
        num_pairs: human pairs.
        num_groups: golden groups.
        settings: epochs, batch size and the weights.
        seed: of the order of the groups in each epoch.

    Returns:
        A turn for each step of all epochs.
    """
    num_steps = -(-num_pairs // settings.batch_size)
    num_turns = num_groups if settings.human_weight else max(num_groups, num_steps)
    bounds = [step * num_turns // num_steps for step in range(num_steps + 1)]
    generator = torch.Generator().manual_seed(seed)
    turns = []
    for _ in range(settings.epochs):
        order = torch.randperm(num_turns, generator=generator).tolist()
        for first, last in pairwise(bounds):
            weight = settings.adversarial_weight * ((last - first) * num_steps / num_turns)
            turns.append(Turn(settings.human_weight, [number % num_groups for number in order[first:last]], weight))
    return turns


@dataclass(frozen=True)
class _GameLoss:
    """L_APO-RM of a step: a batch of human pairs and the golden groups of its turn."""

    model: PreTrainedModel
    pad_token_id: int
    pairs: list[list[TokenSequence]]
    groups: list[list[TokenSequence]]
    turns: list[Turn]
    game_loss: PairLoss

    def __call__(self, batch: list[int], step: int) -> tuple[Tensor, dict[str, Tensor]]:
        """This rank's part of the loss, and of the metrics."""
        turn = self.turns[step]
        chosen_P, rejected_P, human_part, metrics = self._human(batch if turn.human_weight else [])
        rewards_G1K, game_part, game_metrics = self._golden(turn)
        weights = turn.human_weight * human_part, turn.adversarial_weight * game_part
        value = adversarial_reward_loss(chosen_P, rejected_P, rewards_G1K[:, 0], rewards_G1K[:, 1:], *weights, self.game_loss)
        return value, metrics | game_metrics

    def num_tokens(self, batch: list[int], step: int) -> int:
        """Tokens of all sequences of a step."""
        turn = self.turns[step]
        human = [self.pairs[index] for index in batch] if turn.human_weight else []
        return count_tokens([*human, *(self.groups[index] for index in turn.groups)])

    def _human(self, batch: list[int]) -> tuple[Tensor, Tensor, float, dict[str, Tensor]]:
        """Rewards of this rank's share of human pairs, how much of the batch that is, and its part of the metrics."""
        if not batch:
            return NONE_P, NONE_P, 0.0, {}
        mine = share(batch)
        chosen_P, rejected_P = self._rewards(self.pairs, mine.indices).unbind(1)
        return chosen_P, rejected_P, mine.fraction, _pair_metrics(chosen_P, rejected_P, mine.fraction)

    def _golden(self, turn: Turn) -> tuple[Tensor, float, dict[str, Tensor]]:
        """The same of golden groups."""
        if not turn.groups:
            return NONE_P[:, None], 0.0, {}
        mine = share(turn.groups)
        if not mine.fraction and num_ranks() == 1 and turn.human_weight:  # ranks keep step
            return NONE_P[:, None], 0.0, {}
        rewards_G1K = self._rewards(self.groups, mine.indices)
        accuracy = (rewards_G1K[:, :1] > rewards_G1K[:, 1:]).float().mean()
        return rewards_G1K, mine.fraction, {"golden_accuracy": mine.fraction * accuracy}

    def _rewards(self, groups: list[list[TokenSequence]], indices: Sequence[int]) -> Tensor:
        return _group_rewards(self.model, [groups[index] for index in indices], self.pad_token_id)


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
