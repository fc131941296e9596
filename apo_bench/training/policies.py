"""The policy's step of the game: selects responses by a method, and trains the policy on them; SFT is its simplest case.

Shape suffixes: B prompts, K responses a prompt, N sequences.
"""

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from apo_bench.config.compute_sections import Compute
from apo_bench.config.sections import Training
from apo_bench.core.errors import DataError
from apo_bench.core.ranks import share
from apo_bench.core.records import GoldenScoreRow, PairRow, ResponseRow, ScoresRow, prompt_of
from apo_bench.engines.protocol import Engine
from apo_bench.methods.base import GOLDEN, SAMPLE, Candidates, Method, ResponseGroups, cross_entropy
from apo_bench.models.batching import TokenSequence, longest_row, pad
from apo_bench.models.language_model import all_response_logps, pairs_a_token, response_logps, send
from apo_bench.models.precision import reduced_weights
from apo_bench.models.tokenizer import count_tokens, encode
from apo_bench.training.loop import train

History = list[dict[str, Any]]


def align(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    scored: Sequence[ScoresRow],
    method: Method,
    compute: Compute,
    engine: Engine,
    round_number: int,
    seed: int,
    title: str,
) -> tuple[History, dict[str, int]]:
    """One round of a method: trains `model` in place on scored responses.

    Args:
        model: the policy at the round's start; also the reference, whose log-probabilities are taken before the first step.
        tokenizer: its tokenizer.
        scored: records of kind `scores`; of `with_golden` if the method wants golden responses.
        method: the method with its hyperparameters.
        compute: how the model is run.
        engine: where it is trained.
        round_number: counted from 1; picks the learning rate.
        seed: of the order of the prompts.
        title: what the progress bars say.

    Returns:
        The training curves, and counts of the prompts used and left out and of the tokens read for the reference's log-probabilities.

    Raises:
        DataError: the method can use none of the prompts.
    """
    hyper = method.hyperparameters
    selections = [method.select(Candidates(row["rewards"], row.get("origins"))) for row in scored]
    used = [(row, chosen) for row, chosen in zip(scored, selections, strict=True) if chosen is not None]
    counts = {"num_prompts": len(used), "num_prompts_left_out": len(scored) - len(used), "num_tokens_read": 0}
    if not used:
        raise DataError(
            f"{title}: the method can use none of the {len(scored)} prompts (all rewards of a prompt tie); check the reward model"
        )

    def pick(key: Literal["responses", "finished", "rewards"]) -> list[list[Any]]:
        return [[row[key][index] for index in chosen] for row, chosen in used]

    dialogues = [row["dialogue"] for row, _ in used]
    groups = encode(tokenizer, dialogues, pick("responses"), hyper.max_length, compute.max_prompt_length, pick("finished"))
    rewards_NK = torch.tensor(pick("rewards"))
    reference_NK = None
    if method.needs_reference:
        flat = [sequence for group in groups for sequence in group]
        with reduced_weights(model, compute):  # as the policy, so that they agree before the first step
            reference_NK = all_response_logps(model, flat, tokenizer.pad_token_id, f"{title}: reference").view(rewards_NK.shape)
        counts["num_tokens_read"] = count_tokens(groups)

    def loss(batch: list[int], _step: int) -> tuple[Tensor, dict[str, Tensor]]:
        mine = share(batch)
        logps_BK, lengths_BK = _group_logps(model, [groups[index] for index in mine.indices], tokenizer.pad_token_id)
        reference_BK = None if reference_NK is None else send(reference_NK[mine.indices], logps_BK.device)
        rewards_BK = send(rewards_NK[mine.indices], logps_BK.device)
        losses_B, metrics = method.loss(ResponseGroups(logps_BK, lengths_BK, rewards_BK, reference_BK))
        return mine.fraction * losses_B.mean(), {name: mine.fraction * values_B.mean() for name, values_B in metrics.items()}

    settings = Training(
        epochs=hyper.epochs,
        batch_size=hyper.batch_size,
        learning_rate=hyper.learning_rate(round_number),
        max_length=hyper.max_length,
    )
    lengths = [longest_row(group, pairs_a_token(model)) for group in groups]

    def num_tokens(batch: list[int], _step: int) -> int:
        return count_tokens(groups[index] for index in batch)

    return train(model, loss, lengths, settings, compute, engine, seed, title, num_tokens), counts


def with_golden(scored: Sequence[ScoresRow], golden: Sequence[GoldenScoreRow]) -> list[ScoresRow]:
    """Records of kind `scores` with the golden response of each prompt, of kind `golden_scores`, after its samples, and their `origins`.

    Raises:
        DataError: the two are not of the same prompts in the same order.
    """
    if [row["id"] for row in scored] != [row["id"] for row in golden]:
        raise DataError(
            f"{len(scored)} scored prompts and {len(golden)} scored golden responses do not match; run the stage that scores again"
        )
    return [
        {
            **row,
            "responses": [*row["responses"], best["response"]],
            "finished": [*row["finished"], True],
            "rewards": [*row["rewards"], best["reward"]],
            "origins": [*[SAMPLE] * len(row["rewards"]), GOLDEN],
        }
        for row, best in zip(scored, golden, strict=True)
    ]


def as_scored(pairs: Sequence[PairRow]) -> list[ScoresRow]:
    """Human pairs as groups of two responses whose rewards say which was preferred."""
    return [
        {**prompt_of(row), "responses": [row["chosen"], row["rejected"]], "finished": [True, True], "rewards": [1.0, 0.0]} for row in pairs
    ]


def fine_tune(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    rows: Sequence[ResponseRow],
    settings: Training,
    compute: Compute,
    engine: Engine,
    seed: int,
    title: str,
) -> History:
    """Supervised fine-tuning in place on records of kind `responses`, by cross-entropy on the response."""
    groups = _encode_rows(tokenizer, rows, settings, compute)

    def loss(batch: list[int], _step: int) -> tuple[Tensor, dict[str, Tensor]]:
        mine = share(batch)
        logps_BK, lengths_BK = _group_logps(model, [groups[index] for index in mine.indices], tokenizer.pad_token_id)
        return mine.fraction * cross_entropy(logps_BK[:, 0], lengths_BK[:, 0]).mean(), {}

    return train(model, loss, [len(group[0].ids) for group in groups], settings, compute, engine, seed, title)


def pretrain(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    rows: Sequence[ResponseRow],
    settings: Training,
    compute: Compute,
    engine: Engine,
    seed: int,
    title: str,
) -> History:
    """Trains a new model in place on whole dialogues, prompt and response, by cross-entropy a token."""
    groups = _encode_rows(tokenizer, rows, settings, compute)
    sequences = [TokenSequence(group[0].ids, prompt_length=0) for group in groups]

    lengths = [len(sequence.ids) for sequence in sequences]
    num_predicted = [length - 1 for length in lengths]

    def loss(batch: list[int], _step: int) -> tuple[Tensor, dict[str, Tensor]]:
        mine = share(batch, num_predicted)
        padded = pad([sequences[index] for index in mine.indices], tokenizer.pad_token_id, pairs_a_token(model))
        return mine.fraction * (-response_logps(model, padded).sum() / (padded.lengths_N - 1).sum().item()), {}

    return train(model, loss, lengths, settings, compute, engine, seed, title)


def _encode_rows(
    tokenizer: PreTrainedTokenizerFast, rows: Sequence[ResponseRow], settings: Training, compute: Compute
) -> list[list[TokenSequence]]:
    """Records of kind `responses` as groups of one."""
    dialogues, responses = [row["dialogue"] for row in rows], [[row["response"]] for row in rows]
    return encode(tokenizer, dialogues, responses, settings.max_length, compute.max_prompt_length)


def _group_logps(model: PreTrainedModel, groups: list[list[TokenSequence]], pad_token_id: int) -> tuple[Tensor, Tensor]:
    """Log-probabilities and lengths in tokens of B groups of K responses: [B, K] each."""
    shape = (len(groups), len(groups[0]))
    batch = pad([sequence for group in groups for sequence in group], pad_token_id, pairs_a_token(model))
    lengths_N = send(batch.lengths_N - batch.prompt_lengths_N, model.device)
    return response_logps(model, batch).view(shape), lengths_N.view(shape)
