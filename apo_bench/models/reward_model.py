"""Reward models: a causal language model with scalar heads on its last token, labels of an `AutoModelForSequenceClassification`.

There is one head or, where a model cannot learn from the prompt what is asked for, one for each subset of the data, by its name: what
pleases for one displeases for the other (Bai et al. 2022, arXiv 2204.05862). Touvron et al. 2023 (arXiv 2307.09288, Section 3.2.2) train
two models for this reason; two heads are that at the price of one.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from transformers import AutoModelForSequenceClassification, PreTrainedModel, PreTrainedTokenizerFast

from apo_bench.config.compute_sections import Compute
from apo_bench.core.errors import ModelError
from apo_bench.core.ranks import add_up
from apo_bench.core.schemas import SUBSET
from apo_bench.models.batching import TokenBatch, TokenSequence
from apo_bench.models.ensemble import MEMBERS, as_one, folders_of_members, members_of
from apo_bench.models.language_model import check_model_there, final_states, inference, ready, send
from apo_bench.models.loading import WHOLE, check_finite, check_whole, loading
from apo_bench.models.precision import attention, reduced_dtype

LENGTH = "apo_bench_max_length"
"""Key of a reward model's config.json: the longest sequence that it was trained on."""


def new_reward_model(base: Path, seed: int, compute: Compute, zero_head: bool, subsets: Sequence[str] = ()) -> PreTrainedModel:
    """The base model's body with a fresh scalar head, to be trained; there is no language-model head to carry along.

    Args:
        base: the base model's folder.
        seed: of a random head.
        compute: device and precision.
        zero_head: all rewards are 0 at first, and the loss is ln 2. For pretrained models: AdamW moves a weight by at most about the
            learning rate a step, and at theirs a random head is a noise that a few hundred steps do not unlearn.
        subsets: those that have a head each; none: one head for all.

    Raises:
        MissingInputError: there is no base model.
        ModelError: it is not whole, or the device is not there.
    """
    torch.manual_seed(seed)
    labels = {"id2label": dict(enumerate(subsets)), "label2id": {name: index for index, name in enumerate(subsets)}}
    model = _load(base, torch.float32, compute, is_fresh=True, **(labels if subsets else {"num_labels": 1}))
    if zero_head:
        nn.init.zeros_(cast(nn.Linear, model.score).weight)
    return model


def load_reward_model(path: Path, compute: Compute, for_training: bool = False) -> PreTrainedModel:
    """A trained reward model: in float32 to train it on, else to score; its head is float32, as rewards are compared with one another.

    Of an ensemble it is the first member, with the others.

    Raises:
        MissingInputError: there is none.
        ModelError: it is not whole, the device is not there, or its labels are neither one nor names of subsets, as
            those of a language model are not.
    """
    model = _load(path, torch.float32 if for_training else reduced_dtype(compute), compute, is_fresh=False)
    model.score.float()
    vars(model)[MEMBERS] = [load_reward_model(folder, compute, for_training) for folder in folders_of_members(model, path)]
    return model


def longest_scored(model: PreTrainedModel, otherwise: int) -> int:
    """Tokens of the longest sequence that a reward model scores: as long as those that it was trained on, if its configuration knows."""
    return int(getattr(getattr(model, "config", None), LENGTH, otherwise))


def rewards(model: PreTrainedModel, batch: TokenBatch) -> Tensor:
    """The reward of each sequence, read off its last token: [N] float32, differentiable.

    Raises:
        ModelError: the model has a head for each subset, and a sequence is of none of them.
    """
    head = cast(nn.Module, model.score)
    num_tokens_N = batch.lengths_N - batch.prompt_lengths_N
    last_N = torch.where(num_tokens_N > 0, batch.response_starts_N + num_tokens_N, batch.prompt_starts_N + batch.prompt_lengths_N) - 1
    states_PH = final_states(model, batch).flatten(0, 1)
    last_NH = states_PH.index_select(0, send(last_N, model.device))
    with torch.autocast(model.device.type, enabled=False):
        scores_NS = head(last_NH.float())
    if scores_NS.shape[1] == 1:
        return scores_NS[:, 0]
    heads = {name: number for number, name in enumerate(heads_of(model))}
    if unknown := [name for name in batch.subsets if name not in heads]:
        raise ModelError(
            f"this reward model has heads for {' and '.join(heads)}, and a record's subset is {unknown[0]}; mend it, or take another model"
        )
    heads_N = torch.tensor([heads[name] for name in batch.subsets if name is not None])
    return scores_NS.gather(1, send(heads_N, model.device)[:, None])[:, 0]


def heads_of(model: PreTrainedModel) -> tuple[str, ...]:
    """The subsets that a reward model has heads for, in their order; none if it has one head for all."""
    labels = tuple((model.config.id2label or {}).values())
    return labels if len(labels) > 1 else ()


@torch.no_grad()
def all_rewards(model: PreTrainedModel, sequences: Sequence[TokenSequence], pad_token_id: int, title: str) -> Tensor:
    """`rewards` of any number of sequences, in their order, computed by all ranks, those of an ensemble's members made one: [N]; errors as
    those of `rewards`."""
    return as_one(model, [_all_rewards(member, sequences, pad_token_id, title) for member in members_of(model)])


def group_rewards(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, groups: list[list[TokenSequence]], title: str) -> np.ndarray:
    """`all_rewards` of groups of equal size: [number of groups, size] float64."""
    flat = [sequence for group in groups for sequence in group]
    return cast(np.ndarray, all_rewards(model, flat, tokenizer.pad_token_id, title).double().numpy().reshape(len(groups), -1))


def _all_rewards(model: PreTrainedModel, sequences: Sequence[TokenSequence], pad_token_id: int, title: str) -> Tensor:
    model.eval()
    rewards_N = torch.zeros(len(sequences))
    for indices, batch in inference(model, sequences, pad_token_id, title):
        rewards_N[indices] = rewards(model, batch).cpu()
    return add_up(rewards_N)


def _load(path: Path, dtype: torch.dtype, compute: Compute, is_fresh: bool, **settings: Any) -> PreTrainedModel:
    """A whole model; where the head is to be fresh, of a language model, whose own head stands beside the body and is left out."""
    check_model_there(path)
    with loading(path, "a reward model"):
        model, found = AutoModelForSequenceClassification.from_pretrained(
            path, dtype=dtype, attn_implementation=attention(compute), **WHOLE, **settings
        )
        if not is_fresh:
            _check_labels(path, model)
        if not isinstance(getattr(model, "score", None), nn.Linear):
            raise ModelError(
                f"{path}: {type(model).__name__} has no scalar head `score` on its last token, so that no reward model can be made of it; "
                "take another architecture"
            )
        body = f"{model.base_model_prefix}."
        check_whole(
            path,
            model,
            found,
            may_lack=lambda key: is_fresh and key.startswith("score."),
            may_leave=lambda key: is_fresh and not key.startswith(body),
        )
        model = ready(model, compute)
        check_finite(path, model)
    return model


def _check_labels(path: Path, model: PreTrainedModel) -> None:
    labels = heads_of(model)
    if not all(re.match(SUBSET, label) for label in labels):
        expected = "a reward model with one label, or with the names of subsets"
        raise ModelError(f"{path}: found a model with the labels {', '.join(labels)}, expected {expected}; is it a language model?")
