"""Evaluates a policy on the test prompts: its responses, and per prompt RM_all's score, gold, length and divergence from SFT."""

from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from apo_bench.core.config import Sampling
from apo_bench.data.gold import gold_score
from apo_bench.engines.sampling import sample
from apo_bench.losses.sequence import sum_by_sequence, token_kl
from apo_bench.models.language_model import inference, response_logits
from apo_bench.models.reward_model import all_rewards
from apo_bench.models.tokenizer import TokenSequence, encode

Rows = list[dict[str, Any]]


def evaluate_policy(
    policy: PreTrainedModel,
    sft: PreTrainedModel,
    reward_all: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    prompts: Rows,
    settings: Sampling,
    seed: int,
    max_length: int,
) -> Rows:
    """One row a test prompt.

    Returns:
        Rows with `id`, `subset`, `dialogue`, `response`, `finished`, and numbers: `reward_all` (RM_all), `gold`, `length` (tokens),
        `kl` (see `response_kl`; nats a response), `refused` and `complied` (0 or 1, by gold).
    """
    samples = sample(policy, tokenizer, [row["dialogue"] for row in prompts], settings, seed, "test responses")
    groups = encode(
        tokenizer,
        [row["dialogue"] for row in prompts],
        [group.responses for group in samples],
        max_length,
        [group.finished for group in samples],
    )
    sequences = [group[0] for group in groups]
    rewards = all_rewards(reward_all, sequences, tokenizer.pad_token_id, "RM_all").tolist()
    divergences = response_kl(policy, sft, sequences, tokenizer.pad_token_id).tolist()
    rows = []
    for prompt, group, sequence, reward, divergence in zip(prompts, samples, sequences, rewards, divergences, strict=True):
        verdict = gold_score(prompt["dialogue"], group.responses[0])
        rows.append(
            {
                **{key: prompt[key] for key in ("id", "subset", "dialogue")},
                "response": group.responses[0],
                "finished": group.finished[0],
                "reward_all": reward,
                "gold": verdict.score,
                "length": len(sequence.ids) - sequence.prompt_length,
                "kl": divergence,
                "refused": int(verdict.refused),
                "complied": int(verdict.complied),
            }
        )
    return rows


@torch.no_grad()
def response_kl(policy: PreTrainedModel, reference: PreTrainedModel, sequences: list[TokenSequence], pad_token_id: int) -> Tensor:
    """KL[policy || reference] along each response, in nats: the exact divergence of the next-token distributions, summed over its tokens.

    Over responses sampled at temperature 1 its mean is the KL of the two policies on responses (chain rule), with far less noise than
    log-ratios of the samples. On the cooler test responses it is that divergence along the texts the policy is judged by.
    """
    totals_N = torch.empty(len(sequences))
    for indices, batch in inference(sequences, pad_token_id, "KL to SFT"):
        logits_MV, _, rows_M = response_logits(policy, batch)
        reference_logits_MV, _, _ = response_logits(reference, batch)
        totals_N[indices] = sum_by_sequence(token_kl(logits_MV, reference_logits_MV), rows_M, len(indices))
    return totals_N
