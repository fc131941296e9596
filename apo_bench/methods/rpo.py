"""RPO, DPO that imitates the chosen response as well, so that its likelihood does not sink while the margin grows."""

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field
from pydantic.dataclasses import dataclass as validated_dataclass
from torch import Tensor

from apo_bench.methods.base import (
    STRICT,
    Hyperparameters,
    Method,
    ResponseGroups,
    best_and_worst,
    cross_entropy,
    negative_log_sigmoid,
    paired_loss_metrics,
)


@validated_dataclass(frozen=True, kw_only=True, config=STRICT)
class RPOHyperparameters(Hyperparameters):
    """RPO's own: the strength of the tie to the reference, and how much imitation."""

    beta: Annotated[float, Field(gt=0)]
    """Pang et al. 2024 use 0.1; larger stays closer to the reference."""
    imitation_weight: Annotated[float, Field(ge=0)]
    """alpha of Pang et al. 2024, who use 1; at 0 it is DPO."""


class ReasoningPreferenceOptimization(Method):
    """L = -log sigmoid(beta [h(y_w) - h(y_l)]) - alpha log pi(y_w) / |y_w|, h = log pi / pi_ref, pi_ref the policy at the round's start.

    Source: Pang et al. 2024 (Iterative RPO, arXiv 2404.19733), Eq. 1.
    Departures: none in the loss; the pair is the best and the worst of the n responses, theirs are solutions with a right and a wrong
    answer. A prompt whose rewards all tie is left out.
    """

    Hyperparameters = RPOHyperparameters
    needs_reference = True
    min_responses = 2

    def select(self, rewards: Sequence[float]) -> list[int] | None:
        return best_and_worst(rewards)

    def loss(self, groups: ResponseGroups) -> tuple[Tensor, dict[str, Tensor]]:
        log_ratios_BK = groups.log_ratios_BK
        margins_B = self.hyperparameters.beta * (log_ratios_BK[:, 0] - log_ratios_BK[:, 1])
        imitation_B = cross_entropy(groups.logps_BK[:, 0], groups.lengths_BK[:, 0])
        losses_B = negative_log_sigmoid(margins_B) + self.hyperparameters.imitation_weight * imitation_B
        return losses_B, {**paired_loss_metrics(margins_B), "imitation_loss": imitation_B.detach()}


METHOD = ReasoningPreferenceOptimization
