"""Ensembles: reward models that were trained apart and score as one. The folder of the first holds those of the others.

Shape suffixes: M members, N sequences.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

if TYPE_CHECKING:  # seconds to import, which reading params can do without
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

MEMBERS = "members"
"""Folder with the other members, in that of the first; in memory, where the first keeps them."""
RULE, OFFSET = "apo_bench_ensemble", "apo_bench_offset"
"""Keys of the members' config.json: how their rewards become one, and a member's mean reward on the human pairs."""
Combination = Literal["mean", "worst", "mean_less_variance"]


@dataclass(frozen=True)
class Ensemble:
    """How many reward models are one, and how."""

    num_members: int
    combination: Combination
    variance_weight: float = 0.0
    """Of the variance between members that `mean_less_variance` takes off."""

    def combined(self, rewards_MN: Tensor) -> Tensor:
        """The ensemble's reward of each sequence from those of its members, [M, N]: [N].

        Source: Coste et al. 2023 (arXiv 2310.02743), Section 3: mean, worst-case and uncertainty-weighted optimization.
        """
        if self.combination == "worst":
            return rewards_MN.amin(0)
        return rewards_MN.mean(0) - self.variance_weight * rewards_MN.var(0, correction=0)


def join(models: "list[PreTrainedModel]", ensemble: Ensemble, offsets: list[float]) -> "PreTrainedModel":
    """The first of the models, which `all_rewards` scores with as the ensemble.

    Args:
        models: the members.
        ensemble: how they become one.
        offsets: what is taken off each member's rewards first: pairs leave it free, and the worst of members whose zeros differ is always
            the same member.
    """
    for model, offset in zip(models, offsets, strict=True):
        setattr(model.config, OFFSET, offset)
    setattr(models[0].config, RULE, {"combination": ensemble.combination, "variance_weight": ensemble.variance_weight})
    vars(models[0])[MEMBERS] = models[1:]
    return models[0]


def members_of(model: "PreTrainedModel") -> "list[PreTrainedModel]":
    """The model and, if it is an ensemble's first, the others."""
    return [model, *vars(model).get(MEMBERS, ())]


def as_one(model: "PreTrainedModel", rewards_N: list[Tensor]) -> Tensor:
    """The rewards of sequences from those by each of `members_of`: [N]."""
    rule = getattr(getattr(model, "config", None), RULE, None)
    if rule is None:
        return rewards_N[0]
    offsets = [getattr(member.config, OFFSET) for member in members_of(model)]
    rewards_MN = torch.stack([each_N - offset for each_N, offset in zip(rewards_N, offsets, strict=True)])
    return Ensemble(len(offsets), **rule).combined(rewards_MN)


def save_members(model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerFast", folder: Path) -> None:
    """Saves the other members of an ensemble, if it is one, in the folder of the first."""
    from apo_bench.models.language_model import save_model

    for number, member in enumerate(members_of(model)[1:], start=1):
        save_model(member, tokenizer, folder / MEMBERS / str(number))


def folders_of_members(model: "PreTrainedModel", folder: Path) -> list[Path]:
    """Where the other members of a loaded model are, if it is an ensemble's first."""
    is_first = getattr(model.config, RULE, None) is not None
    return sorted((folder / MEMBERS).iterdir(), key=lambda path: int(path.name)) if is_first else []
