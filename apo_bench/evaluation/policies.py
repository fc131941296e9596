"""Evaluates a policy by its responses to the test prompts: RM_all's score, length, divergence from SFT, and what the text says."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from apo_bench.config.compute_sections import Compute
from apo_bench.core.files import complete_directory, write_jsonl
from apo_bench.core.records import PolicyAnswerRow, Record
from apo_bench.evaluation.metrics import measured
from apo_bench.losses.sequence import sum_by_sequence, token_kl
from apo_bench.models.batching import TokenSequence
from apo_bench.models.language_model import by_chunks, inference, response_logits, response_states
from apo_bench.models.reward_model import all_rewards, longest_scored
from apo_bench.models.tokenizer import encode_records
from apo_bench.models.ways import vocabulary_size


def evaluate_policy(
    policy: PreTrainedModel,
    sft: PreTrainedModel,
    reward_all: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    rows: Sequence[PolicyAnswerRow],
    compute: Compute,
    max_length: int,
    has_gold: bool,
    own_tokenizer: PreTrainedTokenizerFast | None = None,
) -> list[Record]:
    """What is said of a policy's responses to the test prompts.

    `max_length` is that of the policies; RM_all scores the lengths that it was trained on. `tokenizer` is SFT's and RM_all's, who read what
    a policy wrote as text; `own_tokenizer` the policy's, if that is another.

    Returns:
        These rows with numbers: `reward_all` (RM_all), `length` (tokens), `kl` (see
        `response_kl`; nats a response; None where the policy's tokens are not SFT's) and the metrics that the text alone says: if gold is
        known `gold`, `refused` and `complied` (0 or 1).
    """
    responses, finished = [[row["response"]] for row in rows], [[row["finished"]] for row in rows]
    groups = encode_records(tokenizer, rows, responses, max_length, compute.max_prompt_length, finished)
    sequences = [group[0] for group in groups]
    scored_length = longest_scored(reward_all, max_length)
    if scored_length != max_length:
        groups = encode_records(tokenizer, rows, responses, scored_length, compute.max_prompt_length, finished)
    rewards = all_rewards(reward_all, [group[0] for group in groups], tokenizer.pad_token_id, "RM_all").tolist()
    divergences: list[float | None] = [0.0] * len(sequences)
    if own_tokenizer is not None:
        own = encode_records(own_tokenizer, rows, responses, max_length, compute.max_prompt_length, finished)
        has_same_tokens = tokenizer.get_vocab() == own_tokenizer.get_vocab() and own == [[sequence] for sequence in sequences]
        if not has_same_tokens or vocabulary_size(policy) != vocabulary_size(sft):
            divergences = [None] * len(sequences)
    if policy is not sft and None not in divergences:
        divergences = response_kl(policy, sft, sequences, tokenizer.pad_token_id).tolist()
    return [
        {
            **row,
            "reward_all": reward,
            "length": len(sequence.ids) - sequence.prompt_length,
            "kl": divergence,
            **measured(row["dialogue"], row["response"], has_gold),
        }
        for row, sequence, reward, divergence in zip(rows, sequences, rewards, divergences, strict=True)
    ]


def write_evaluation(rows: Sequence[Record], results: Path) -> str:
    """Writes a row a test prompt to a folder; returns what is said of it."""
    with complete_directory(results) as folder:
        write_jsonl(folder / "prompts.jsonl", rows)
    shown = {"gold": "gold {:z.2f}", "reward_all": "RM_all {:z.2f}", "length": "{:.0f} tokens"}
    return ", ".join(text.format(sum(row[key] for row in rows) / len(rows)) for key, text in shown.items() if key in rows[0])


@torch.no_grad()
def response_kl(policy: PreTrainedModel, reference: PreTrainedModel, sequences: list[TokenSequence], pad_token_id: int) -> Tensor:
    """KL[policy || reference] along each response, in nats: the exact divergence of the next-token distributions, summed over its tokens.

    Over responses sampled at temperature 1 its mean is the KL of the two policies on responses (chain rule), with far less noise than
    log-ratios of the samples. On the cooler test responses it is that divergence along the texts the policy is judged by.
    """
    totals_N = torch.empty(len(sequences))

    def divergence(states_CH: Tensor, reference_states_CH: Tensor) -> Tensor:
        return token_kl(response_logits(policy, states_CH), response_logits(reference, reference_states_CH))

    for indices, batch in inference(policy, sequences, pad_token_id, "KL to SFT"):
        states_MH, _, sequences_M = response_states(policy, batch)
        reference_states_MH, _, _ = response_states(reference, batch)
        values_M = by_chunks(divergence, vocabulary_size(policy), states_MH, reference_states_MH)
        totals_N[indices] = sum_by_sequence(values_M, sequences_M, len(indices)).cpu()
    return totals_N
