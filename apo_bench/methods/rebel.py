"""REBEL: regress the difference of two responses' rewards on the difference of their log-ratios, over all pairs of a prompt."""

from collections.abc import Sequence
from typing import Annotated

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass as validated_dataclass
from torch import Tensor

from apo_bench.methods.base import STRICT, Hyperparameters, Method, ResponseGroups


@validated_dataclass(frozen=True, kw_only=True, config=STRICT)
class REBELHyperparameters(Hyperparameters):
    """REBEL's own: how far a reward moves the policy."""

    beta: Annotated[float, Field(gt=0)]
    """Reward that a nat of log pi / pi_ref stands for, 1 / eta of Gao et al. 2024, who use 1 for summaries; larger stays closer."""


class RegressRelativeRewards(Method):
    """L = mean over pairs i < j of [(h_i - h_j) - (r_i - r_j) / beta]^2, h = log pi / pi_ref, pi_ref the policy at the round's start.

    Source: Gao et al. 2024 (REBEL, arXiv 2404.16767), Eq. 1 and Algorithm 1; the scale of the loss is that of the authors' code.
    Departures: all pairs of the n samples, where theirs are two samples a prompt; the reward has no further price of divergence from SFT.
    """

    Hyperparameters = REBELHyperparameters
    needs_reference = True
    min_responses = 2
    optimum = "reward_tilt"

    def select(self, rewards: Sequence[float]) -> list[int] | None:
        return list(range(len(rewards)))  # a tie is an order too: two log-ratios that should be equal

    def loss(self, groups: ResponseGroups) -> tuple[Tensor, dict[str, Tensor]]:
        log_ratios_BK = groups.log_ratios_BK
        residuals_BK = log_ratios_BK - groups.rewards_BK / self.hyperparameters.beta
        losses_B = 2 * residuals_BK.var(1)  # the unbiased variance is half the mean over pairs of squared differences
        margins_B = log_ratios_BK.detach().gather(1, extremes(groups.rewards_BK)).diff(dim=1)[:, 0]
        return losses_B, {"log_ratio": log_ratios_BK.detach().mean(1), "reward_accuracy": (margins_B > 0).float()}


def extremes(rewards_BK: Tensor) -> Tensor:
    """The indices of the worst-scored and of the best-scored response of each prompt: [B, 2]."""
    return torch.stack([rewards_BK.argmin(1), rewards_BK.argmax(1)], 1)


METHOD = RegressRelativeRewards
