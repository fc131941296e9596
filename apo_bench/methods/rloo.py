"""RLOO, REINFORCE with a leave-one-out baseline: policy gradient on the round's fresh samples, with PPO's clipped ratio."""

from collections.abc import Sequence
from typing import Annotated

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass as validated_dataclass
from torch import Tensor

from apo_bench.methods.base import STRICT, Hyperparameters, Method, ResponseGroups

MAX_LOG_RATIO = 20.0
"""Nats at which a ratio is cut so that it stays finite; with the clip only a bad response can get there, and e^20 of its loss is enough."""


@validated_dataclass(frozen=True, kw_only=True, config=STRICT)
class RLOOHyperparameters(Hyperparameters):
    """RLOO's own: the price of moving away, and how far one pass may go."""

    beta: Annotated[float, Field(gt=0)]
    """Reward that a nat of log pi / pi_ref costs; Ahmadian et al. 2024 use 0.03."""
    clip_range: Annotated[float, Field(gt=0, lt=1)]
    """How far the ratio may leave 1 and still be rewarded for it; PPO (Schulman et al. 2017) and TRL have 0.2."""


class ReinforceLeaveOneOut(Method):
    """L = -(1/n) sum over y of min(w A, clip(w, 1 - c, 1 + c) A), w = pi(y) / pi_ref(y), pi_ref the policy at the round's start.

    A = R - mean of the others' R, R = r - beta log w, all without gradient. A response is one action, so w is that of the whole sequence.

    Source: Ahmadian et al. 2024 (RLOO, arXiv 2402.14740), their estimator; the clipped ratio as in TRL, from Schulman et al. 2017 (PPO).
    Departures: the samples are those of the round's start, gone through once in many steps, hence the ratio; the price of divergence is
    that of the policy as it is at the step, for at the start, where they are drawn, it would be 0.
    """

    Hyperparameters = RLOOHyperparameters
    needs_reference = True
    min_responses = 2
    optimum = "reward_tilt"

    def select(self, rewards: Sequence[float]) -> list[int] | None:
        return list(range(len(rewards)))

    def loss(self, groups: ResponseGroups) -> tuple[Tensor, dict[str, Tensor]]:
        clip = self.hyperparameters.clip_range
        log_ratios_BK = groups.log_ratios_BK
        advantages_BK = leave_one_out(groups.rewards_BK - self.hyperparameters.beta * log_ratios_BK.detach())
        ratios_BK = log_ratios_BK.clamp(max=MAX_LOG_RATIO).exp()
        gains_BK = torch.min(ratios_BK * advantages_BK, ratios_BK.clamp(1 - clip, 1 + clip) * advantages_BK)
        is_clipped_BK = torch.where(advantages_BK > 0, ratios_BK > 1 + clip, ratios_BK < 1 - clip) & (advantages_BK != 0)
        metrics = {"log_ratio": log_ratios_BK.detach().mean(1), "clip_fraction": is_clipped_BK.float().mean(1)}
        return -gains_BK.mean(1), metrics


def leave_one_out(values_BK: Tensor) -> Tensor:
    """Each value minus the mean of the others of its prompt: [B, K], K at least 2."""
    num = values_BK.shape[1]
    return (values_BK - values_BK.mean(1, keepdim=True)) * num / (num - 1)


METHOD = ReinforceLeaveOneOut
