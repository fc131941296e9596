"""IPO, identity preference optimisation, on the best and the worst response: DPO's margin is drawn to a target and not to infinity."""

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field
from pydantic.dataclasses import dataclass as validated_dataclass
from torch import Tensor

from apo_bench.methods.base import STRICT, Hyperparameters, Method, ResponseGroups, best_and_worst, paired_loss_metrics


@validated_dataclass(frozen=True, kw_only=True, config=STRICT)
class IPOHyperparameters(Hyperparameters):
    """IPO's own: the strength of the tie to the reference."""

    beta: Annotated[float, Field(gt=0)]
    """tau of Azar et al. 2023; the target margin is 1 / (2 beta) nats a token, so larger stays closer to the reference."""


class IdentityPreferenceOptimization(Method):
    """L = (h_w - h_l - 1 / (2 beta))^2, h_i = (log pi(y_i) - log pi_ref(y_i)) / |y_i|, pi_ref the policy at the round's start.

    Source: Azar et al. 2023 (IPO, arXiv 2310.12036), Eq. 17.
    Departures: the log-ratios are means over tokens where the equation sums, which TRL says the authors' runs did; the pair is the best and
    the worst of the n responses, a prompt whose rewards all tie is left out.
    """

    Hyperparameters = IPOHyperparameters
    needs_reference = True
    min_responses = 2
    optimum = "win_rate_tilt"

    def select(self, rewards: Sequence[float]) -> list[int] | None:
        return best_and_worst(rewards)

    def loss(self, groups: ResponseGroups) -> tuple[Tensor, dict[str, Tensor]]:
        scores_BK = groups.log_ratios_BK / groups.lengths_BK
        margins_B = scores_BK[:, 0] - scores_BK[:, 1]
        return (margins_B - 1 / (2 * self.hyperparameters.beta)) ** 2, paired_loss_metrics(margins_B)


METHOD = IdentityPreferenceOptimization
