"""The reward model's step of the game: trains a reward model on what its player makes of the round (apo_bench/reward_models).

Shape suffixes: P pairs, G prompts with a golden response, K samples a prompt.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from apo_bench.config.compute_sections import Compute
from apo_bench.core.errors import DataError
from apo_bench.core.ranks import num_ranks, share
from apo_bench.core.records import PairRow, SampledRow
from apo_bench.engines.protocol import Engine
from apo_bench.losses.reward import adversarial_reward_loss
from apo_bench.models.batching import TokenSequence, longest_row, pad
from apo_bench.models.language_model import all_response_logps, load_language_model, pairs_a_token, send
from apo_bench.models.precision import mixed_precision
from apo_bench.models.reward_model import LENGTH, all_rewards, rewards
from apo_bench.models.tokenizer import count_tokens, encode_records, load_tokenizer
from apo_bench.reward_models.player import Material, RewardModelPlayer
from apo_bench.training.loop import train

NONE_P = torch.empty(0)
"""Rewards of no pairs."""


def train_reward_model(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    player: RewardModelPlayer,
    material: Material,
    compute: Compute,
    engine: Engine,
    seed: int,
    game_seed: int,
    title: str,
) -> tuple[list[dict[str, Any]], int]:
    """Trains a reward model in place on what `player` makes of `material`.

    Each epoch has as many steps as one pass over the human pairs of the RM half takes; where there are more pairs, steps have more of them.

    Args:
        model: the reward model at its start.
        tokenizer: its tokenizer.
        player: what it trains on, and its losses.
        material: what the round offers.
        compute: how the model is run.
        engine: where it is trained.
        seed: of the order of the pairs.
        game_seed: of the order of the golden groups.
        title: what the progress bar says.

    Returns:
        The curves, and the number of pairs.

    Raises:
        ConfigError: the player asks for more than it says.
        DataError: there is nothing to train on, or golden responses and samples are not for the same prompts.
    """
    settings = player.settings
    setattr(model.config, LENGTH, settings.max_length)
    lessons = player.lessons(material.only(player.trains_on))
    if not lessons.pairs and not lessons.groups:
        raise DataError(f"{title}: the reward model has nothing to train on; give it more prompts")
    encoded = encode_pairs(tokenizer, lessons.pairs, settings.max_length, compute.max_prompt_length)
    groups = _encode_groups(tokenizer, lessons.groups, settings.max_length, compute.max_prompt_length)
    num_steps = -(-material.num_human_pairs // settings.batch_size)
    if len(encoded) > material.num_human_pairs:
        settings = settings.model_copy(update={"batch_size": -(-len(encoded) // num_steps)})
    turns = schedule(num_steps, len(groups), settings.epochs, player.human_weight, player.game_weight, game_seed)
    loss = _PlayerLoss(model, tokenizer.pad_token_id, player, encoded, groups, turns, torch.tensor(lessons.weights))
    lengths = _row_lengths(model, encoded) or [1] * material.num_human_pairs  # without pairs there are as many steps
    return train(model, loss, lengths, settings, compute, engine, seed, title, loss.num_tokens), len(encoded)


def mean_reward(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, pairs: Sequence[PairRow], max_length: int, compute: Compute
) -> float:
    """Over both responses of all pairs."""
    flat = [sequence for group in encode_pairs(tokenizer, pairs, max_length, compute.max_prompt_length) for sequence in group]
    with mixed_precision(compute):  # as it has been trained
        return float(all_rewards(model, flat, tokenizer.pad_token_id, "mean reward").double().mean())


def log_ratios(policy: Path, sft: Path, pairs: Sequence[PairRow], max_length: int, compute: Compute) -> list[float]:
    """log pi - log pi_SFT of both responses of each pair together, in nats; 0 if the two policies are one."""
    if policy == sft:
        return [0.0] * len(pairs)
    logps_2P = []
    for folder in (policy, sft):
        tokenizer = load_tokenizer(folder)
        flat = [sequence for group in encode_pairs(tokenizer, pairs, max_length, compute.max_prompt_length) for sequence in group]
        model = load_language_model(folder, compute)
        logps_2P.append(all_response_logps(model, flat, tokenizer.pad_token_id, "log-probabilities").double().view(-1, 2).sum(1))
    return cast(list[float], (logps_2P[0] - logps_2P[1]).tolist())


@dataclass(frozen=True)
class Turn:
    """What a step trains on."""

    human_weight: float
    """Of its batch of pairs; 0: they are left out."""
    groups: list[int]
    """Golden groups whose turn it is."""
    game_weight: float
    """Of the mean over these groups."""


def schedule(num_steps: int, num_groups: int, num_epochs: int, human_weight: float, game_weight: float, seed: int) -> list[Turn]:
    """Spreads the golden groups over the steps of the human pairs, so that both are seen once an epoch.

    Where the human pairs have no weight, the training is as long: the steps are those of the human pairs, each with at least one golden
    group, some for a second time. Steps differ by one group in how many they get; weighing by the count makes the sum over an epoch's
    steps that of as many means over all groups.

    Args:
        num_steps: steps an epoch.
        num_groups: golden groups; 0 if there is no game.
        num_epochs: how often all is seen.
        human_weight: of the loss on pairs.
        game_weight: of the loss on golden groups.
        seed: of the order of the groups in each epoch.

    Returns:
        A turn for each step of all epochs.
    """
    if not num_groups:
        return [Turn(human_weight, [], 0.0)] * (num_steps * num_epochs)
    num_turns = num_groups if human_weight else max(num_groups, num_steps)
    bounds = [step * num_turns // num_steps for step in range(num_steps + 1)]
    generator = torch.Generator().manual_seed(seed)
    turns = []
    for _ in range(num_epochs):
        order = torch.randperm(num_turns, generator=generator).tolist()
        for first, last in pairwise(bounds):
            weight = game_weight * ((last - first) * num_steps / num_turns)
            turns.append(Turn(human_weight, [number % num_groups for number in order[first:last]], weight))
    return turns


@dataclass(frozen=True)
class _PlayerLoss:
    """The loss of a step: a batch of pairs and the golden groups of its turn."""

    model: PreTrainedModel
    pad_token_id: int
    player: RewardModelPlayer
    pairs: list[list[TokenSequence]]
    groups: list[list[TokenSequence]]
    turns: list[Turn]
    weights_P: Tensor
    """Of all pairs; empty if they weigh 1."""

    def __call__(self, batch: list[int], step: int) -> tuple[Tensor, dict[str, Tensor]]:
        """This rank's part of the loss, and of the metrics."""
        turn = self.turns[step]
        chosen_P, rejected_P, weights_P, human_part, metrics = self._human(batch if turn.human_weight else [])
        rewards_G1K, game_part, game_metrics = self._golden(turn)
        value = adversarial_reward_loss(
            chosen_P,
            rejected_P,
            rewards_G1K[:, 0],
            rewards_G1K[:, 1:],
            turn.human_weight * human_part,
            turn.game_weight * game_part,
            self.player.game_loss,
            lambda chosen_P, rejected_P: self.player.human_loss(chosen_P, rejected_P, weights_P),
        )
        return value, metrics | game_metrics

    def num_tokens(self, batch: list[int], step: int) -> int:
        """Tokens of all sequences of a step."""
        turn = self.turns[step]
        human = [self.pairs[index] for index in batch] if turn.human_weight else []
        return count_tokens([*human, *(self.groups[index] for index in turn.groups)])

    def _human(self, batch: list[int]) -> tuple[Tensor, Tensor, Tensor | None, float, dict[str, Tensor]]:
        """Rewards and weights of this rank's share of pairs, how much of the batch that is, and its part of the metrics."""
        if not batch:
            return NONE_P, NONE_P, None, 0.0, {}
        mine = share(batch)
        chosen_P, rejected_P = self._rewards(self.pairs, mine.indices).unbind(1)
        weights_P = send(self.weights_P[mine.indices], chosen_P.device) if len(self.weights_P) else None
        return chosen_P, rejected_P, weights_P, mine.fraction, _pair_metrics(chosen_P, rejected_P, mine.fraction)

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


def encode_pairs(
    tokenizer: PreTrainedTokenizerFast, pairs: Sequence[PairRow], max_length: int, max_prompt_length: int
) -> list[list[TokenSequence]]:
    """Each pair as [chosen, rejected]."""
    if not pairs:
        return []
    finished = [row.get("finished", [True, True]) for row in pairs]
    return encode_records(tokenizer, pairs, [[row["chosen"], row["rejected"]] for row in pairs], max_length, max_prompt_length, finished)


def _encode_groups(
    tokenizer: PreTrainedTokenizerFast, groups: Sequence[SampledRow], max_length: int, max_prompt_length: int
) -> list[list[TokenSequence]]:
    """Each group in its order."""
    if not groups:
        return []
    responses, finished = [row["responses"] for row in groups], [row["finished"] for row in groups]
    return encode_records(tokenizer, groups, responses, max_length, max_prompt_length, finished)


def _group_rewards(model: PreTrainedModel, groups: list[list[TokenSequence]], pad_token_id: int) -> Tensor:
    """Rewards of groups of sequences of equal size: [number of groups, size]."""
    batch = pad([sequence for group in groups for sequence in group], pad_token_id, pairs_a_token(model))
    return rewards(model, batch).view(len(groups), -1)


def _pair_metrics(chosen_P: Tensor, rejected_P: Tensor, fraction: float) -> dict[str, Tensor]:
    margins_P = (chosen_P - rejected_P).detach()
    return {"accuracy": fraction * (margins_P > 0).float().mean(), "reward_margin": fraction * margins_P.mean()}


def _row_lengths(model: PreTrainedModel, groups: list[list[TokenSequence]]) -> list[int]:
    return [longest_row(group, pairs_a_token(model)) for group in groups]
