"""DPO, direct preference optimisation, on the pair that the reward model orders most widely: best against worst response."""

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
    negative_log_sigmoid,
    paired_loss_metrics,
)


@validated_dataclass(frozen=True, kw_only=True, config=STRICT)
class DPOHyperparameters(Hyperparameters):
    """DPO's own: the strength of the tie to the reference."""

    beta: Annotated[float, Field(gt=0)]
    """Rafailov et al. 2023 use 0.1 to 0.5; larger stays closer to the reference."""


class DirectPreferenceOptimization(Method):
    """L = -log sigmoid(beta [(log pi(y_w) - log pi_ref(y_w)) - (log pi(y_l) - log pi_ref(y_l))]), pi_ref the policy at the round's start.

    Source: Rafailov et al. 2023 (arXiv 2305.18290), Eq. 7.
    Departures: none; the pair is the best and the worst of the n responses, a prompt whose rewards all tie is left out.
    """

    Hyperparameters = DPOHyperparameters
    needs_reference = True
    min_responses = 2
    optimum = "reward_tilt"

    def select(self, rewards: Sequence[float]) -> list[int] | None:
        return best_and_worst(rewards)

    def loss(self, groups: ResponseGroups) -> tuple[Tensor, dict[str, Tensor]]:
        log_ratios_BK = groups.log_ratios_BK
        margins_B = self.hyperparameters.beta * (log_ratios_BK[:, 0] - log_ratios_BK[:, 1])
        return negative_log_sigmoid(margins_B), paired_loss_metrics(margins_B)


METHOD = DirectPreferenceOptimization
