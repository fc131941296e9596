"""SPIN, self-play fine-tuning: the golden response above each of the policy's own samples, without a reward model."""

from typing import Annotated

from pydantic import Field
from pydantic.dataclasses import dataclass as validated_dataclass
from torch import Tensor

from apo_bench.methods.base import (
    GOLDEN,
    SAMPLE,
    STRICT,
    Candidates,
    Hyperparameters,
    Method,
    ResponseGroups,
    negative_log_sigmoid,
    paired_loss_metrics,
)


@validated_dataclass(frozen=True, kw_only=True, config=STRICT)
class SPINHyperparameters(Hyperparameters):
    """SPIN's own: the strength of the tie to the round's start."""

    beta: Annotated[float, Field(gt=0)]
    """lambda of Chen et al. 2024, who use 0.1 and, in the last round, 5; larger stays closer to the reference."""


class SelfPlayFineTuning(Method):
    """L = mean over samples y' of -log sigmoid(beta [h(y) - h(y')]), y golden, h = log pi / pi_ref, pi_ref the policy at the round's start.

    Source: Chen et al. 2024 (SPIN, arXiv 2401.01335), Eq. 4.7 with the logistic loss.
    Departures: all n samples, where theirs is one a prompt; a round is on its own samples alone, theirs also on those of the round before.
    """

    Hyperparameters = SPINHyperparameters
    origins = (SAMPLE, GOLDEN)
    prefers_golden = True
    needs_reference = True
    optimum = "golden_tilt"

    def select(self, candidates: Candidates, /) -> list[int] | None:
        return [*candidates.indices(GOLDEN), *candidates.indices(SAMPLE)]

    def loss(self, groups: ResponseGroups) -> tuple[Tensor, dict[str, Tensor]]:
        log_ratios_BK = groups.log_ratios_BK
        margins_BN = self.hyperparameters.beta * (log_ratios_BK[:, :1] - log_ratios_BK[:, 1:])  # N = K - 1 samples
        metrics = {name: values_BN.mean(1) for name, values_BN in paired_loss_metrics(margins_BN).items()}
        return negative_log_sigmoid(margins_BN).mean(1), metrics


METHOD = SelfPlayFineTuning
