"""KTO, Kahneman-Tversky optimisation, on responses that are each good or bad by themselves: above or below the prompt's mean reward."""

import math
from collections.abc import Sequence
from typing import Annotated

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass as validated_dataclass
from torch import Tensor

from apo_bench.methods.base import STRICT, Hyperparameters, Method, ResponseGroups


@validated_dataclass(frozen=True, kw_only=True, config=STRICT)
class KTOHyperparameters(Hyperparameters):
    """KTO's own: the tie to the reference, and what good and bad responses weigh."""

    beta: Annotated[float, Field(gt=0)]
    """Ethayarajh et al. 2024 use 0.1; larger saturates sooner, closer to the reference."""
    desirable_weight: Annotated[float, Field(gt=0)]
    """lambda_D; Ethayarajh et al. 2024 use 1."""
    undesirable_weight: Annotated[float, Field(gt=0)]
    """lambda_U; Ethayarajh et al. 2024 use 1."""


class KahnemanTverskyOptimization(Method):
    """L = mean over good and bad y of lambda_y (1 - sigmoid(+-beta (log pi(y)/pi_ref(y) - z0))), + for good and - for bad ones.

    Source: Ethayarajh et al. 2024 (KTO, arXiv 2402.01306), L_KTO; z0 is KL[pi || pi_ref] at the prompt, without gradient.
    Departures: z0 comes from the prompt's own n samples (see `reference_point`) where the authors take one value a batch from responses to
    other prompts. A response is good above the mean reward of its prompt and bad below; at the mean it does not count.
    """

    Hyperparameters = KTOHyperparameters
    needs_reference = True
    min_responses = 2

    def select(self, rewards: Sequence[float]) -> list[int] | None:
        return list(range(len(rewards))) if max(rewards) > min(rewards) else None

    def loss(self, groups: ResponseGroups) -> tuple[Tensor, dict[str, Tensor]]:
        hyper = self.hyperparameters
        log_ratios_BK = groups.log_ratios_BK
        points_B = reference_point(log_ratios_BK.detach())
        signs_BK = (groups.rewards_BK - groups.rewards_BK.mean(1, keepdim=True)).sign()
        values_BK = torch.sigmoid(signs_BK * hyper.beta * (log_ratios_BK - points_B[:, None]))
        weights_BK = hyper.desirable_weight * (signs_BK > 0) + hyper.undesirable_weight * (signs_BK < 0)
        losses_B = (weights_BK * (1 - values_BK)).sum(1) / signs_BK.abs().sum(1)
        accuracy_B = ((signs_BK * (log_ratios_BK - points_B[:, None]) > 0).float().sum(1) / signs_BK.abs().sum(1)).detach()
        return losses_B, {"kl": points_B, "reward_accuracy": accuracy_B}


def reference_point(log_ratios_BK: Tensor) -> Tensor:
    """KL[pi || pi_ref] of each prompt from samples of pi_ref, by self-normalised importance weights: [B], in nats, from 0 to log K.

    With w_k = softmax(log pi/pi_ref), the divergence of w from the uniform distribution over the K samples: 0 as long as pi is pi_ref, and
    finite however far they are apart.
    """
    logw_BK = log_ratios_BK.log_softmax(1)
    return ((logw_BK.exp() * logw_BK).sum(1) + math.log(log_ratios_BK.shape[1])).clamp(min=0)


METHOD = KahnemanTverskyOptimization
