"""SimPO, simple preference optimisation, on the best and the worst response: no reference, likelihood a token, a target margin."""

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
class SimPOHyperparameters(Hyperparameters):
    """SimPO's own: the scale of its implicit reward, and the margin it is to reach."""

    beta: Annotated[float, Field(gt=0)]
    """Meng et al. 2024 use 2.0 to 2.5: much more than DPO's, as the implicit reward is a mean over tokens."""
    gamma: Annotated[float, Field(ge=0)]
    """Meng et al. 2024 use 0.1 to 0.8 times beta."""


class SimplePreferenceOptimization(Method):
    """L = -log sigmoid(beta log pi(y_w) / |y_w| - beta log pi(y_l) / |y_l| - gamma).

    Source: Meng et al. 2024 (SimPO, arXiv 2405.14734), L_SimPO.
    Departures: none; the pair is the best and the worst of the n responses, a prompt whose rewards all tie is left out.
    """

    Hyperparameters = SimPOHyperparameters
    min_responses = 2

    def select(self, rewards: Sequence[float]) -> list[int] | None:
        return best_and_worst(rewards)

    def loss(self, groups: ResponseGroups) -> tuple[Tensor, dict[str, Tensor]]:
        scores_BK = self.hyperparameters.beta * groups.logps_BK / groups.lengths_BK
        margins_B = scores_BK[:, 0] - scores_BK[:, 1]
        return negative_log_sigmoid(margins_B - self.hyperparameters.gamma), paired_loss_metrics(margins_B)


METHOD = SimplePreferenceOptimization
