"""SPPO, self-play preference optimisation: each response's log-ratio is drawn to how often the response beats the policy's samples."""

from collections.abc import Sequence
from typing import Annotated

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass as validated_dataclass
from torch import Tensor

from apo_bench.methods.base import STRICT, Hyperparameters, Method, ResponseGroups


@validated_dataclass(frozen=True, kw_only=True, config=STRICT)
class SPPOHyperparameters(Hyperparameters):
    """SPPO's own: how far a win moves the policy."""

    beta: Annotated[float, Field(gt=0)]
    """1 / eta of Wu et al. 2024, who use 0.001; a response that always wins is drawn to 1 / (2 beta) nats, so larger stays closer."""


class SelfPlayPreferenceOptimization(Method):
    """L = mean over y of [log pi(y) - log pi_ref(y) - (P(y beats pi_ref) - 1/2) / beta]^2, pi_ref the policy at the round's start.

    P(y beats pi_ref) is the mean over the prompt's n samples y', y itself among them, of sigmoid(r(y) - r(y')).

    Source: Wu et al. 2024 (SPPO, arXiv 2405.00675), Algorithm 1; the probabilities as in the authors' code, by Bradley-Terry from scores.
    Departures: all n responses are trained on, as in Algorithm 1, where their experiments take the best- and the worst-scored.
    """

    Hyperparameters = SPPOHyperparameters
    needs_reference = True
    min_responses = 2

    def select(self, rewards: Sequence[float]) -> list[int] | None:
        return list(range(len(rewards)))

    def loss(self, groups: ResponseGroups) -> tuple[Tensor, dict[str, Tensor]]:
        log_ratios_BK = groups.log_ratios_BK
        targets_BK = (win_rates(groups.rewards_BK) - 0.5) / self.hyperparameters.beta
        losses_B = ((log_ratios_BK - targets_BK) ** 2).mean(1)
        is_right_BK = log_ratios_BK.detach() * targets_BK > 0
        return losses_B, {"log_ratio": log_ratios_BK.detach().mean(1), "reward_accuracy": is_right_BK.float().mean(1)}


def win_rates(rewards_BK: Tensor) -> Tensor:
    """How probable it is that each response is preferred to one drawn from the K of its prompt, itself included: [B, K]."""
    return torch.sigmoid(rewards_BK[:, :, None] - rewards_BK[:, None, :]).mean(2)


METHOD = SelfPlayPreferenceOptimization
