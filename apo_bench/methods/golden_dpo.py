"""DPO with the golden response as a further candidate: the best against the worst of the samples and it, as the reward model has them."""

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field
from pydantic.dataclasses import dataclass as validated_dataclass
from torch import Tensor

from apo_bench.methods.base import (
    GOLDEN,
    SAMPLE,
    STRICT,
    Hyperparameters,
    Method,
    ResponseGroups,
    best_and_worst,
    negative_log_sigmoid,
    paired_loss_metrics,
)


@validated_dataclass(frozen=True, kw_only=True, config=STRICT)
class GoldenDPOHyperparameters(Hyperparameters):
    """DPO's own: the strength of the tie to the reference."""

    beta: Annotated[float, Field(gt=0)]
    """As of DPO; larger stays closer to the reference."""


class GoldenDirectPreferenceOptimization(Method):
    """L = -log sigmoid(beta [h(y_w) - h(y_l)]), h = log pi / pi_ref, the loss of DPO on other responses.

    Source: Rafailov et al. 2023 (arXiv 2305.18290), Eq. 7; a response of the data among the candidates as in Yuan et al. 2023 (RRHF).
    Departures: the pair is the best and the worst of the n samples and the golden response, which no policy of the round need give any
        weight to; DPO's theory is of pairs that the reference drew.
    """

    Hyperparameters = GoldenDPOHyperparameters
    origins = (SAMPLE, GOLDEN)
    needs_reference = True

    def select(self, rewards: Sequence[float]) -> list[int] | None:
        return best_and_worst(rewards)

    def loss(self, groups: ResponseGroups) -> tuple[Tensor, dict[str, Tensor]]:
        log_ratios_BK = groups.log_ratios_BK
        margins_B = self.hyperparameters.beta * (log_ratios_BK[:, 0] - log_ratios_BK[:, 1])
        return negative_log_sigmoid(margins_B), paired_loss_metrics(margins_B)


METHOD = GoldenDirectPreferenceOptimization
