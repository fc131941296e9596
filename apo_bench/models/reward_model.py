"""Reward models: a causal language model with a scalar head on its last token (`AutoModelForSequenceClassification`, one label)."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from transformers import AutoModelForSequenceClassification, PreTrainedModel

from apo_bench.core.errors import MissingInputError
from apo_bench.data.batching import TokenBatch
from apo_bench.models.language_model import inference
from apo_bench.models.tokenizer import TokenSequence


def new_reward_model(base: Path, seed: int) -> PreTrainedModel:
    """The base model's body with a fresh scalar head; there is no language-model head to carry along.

    Raises:
        MissingInputError: there is no base model.
    """
    _check(base)
    torch.manual_seed(seed)
    return AutoModelForSequenceClassification.from_pretrained(base, num_labels=1, use_safetensors=True, dtype=torch.float32)


def load_reward_model(path: Path) -> PreTrainedModel:
    """A trained reward model.

    Raises:
        MissingInputError: there is none.
    """
    _check(path)
    return AutoModelForSequenceClassification.from_pretrained(path, use_safetensors=True, dtype=torch.float32)


def rewards(model: PreTrainedModel, batch: TokenBatch) -> Tensor:
    """The reward of each sequence, read off its last token: [N], differentiable."""
    return model(input_ids=batch.input_ids_NT, use_cache=False).logits[:, 0]


@torch.no_grad()
def all_rewards(model: PreTrainedModel, sequences: Sequence[TokenSequence], pad_token_id: int, title: str) -> Tensor:
    """`rewards` of any number of sequences, in their order: [N]."""
    model.eval()
    rewards_N = torch.empty(len(sequences))
    for indices, batch in inference(sequences, pad_token_id, title):
        rewards_N[indices] = rewards(model, batch)
    return rewards_N


def _check(path: Path) -> None:
    if not (Path(path) / "config.json").is_file():
        raise MissingInputError(f"{path}: no model there; run the stage that writes it (dvc repro) first")
