"""An ensemble of reward models that were trained on the same human pairs with other draws: where they differ, none is to be trusted."""

from typing import Annotated

from pydantic import Field, model_validator

from apo_bench.config.sections import RewardTraining
from apo_bench.models.ensemble import Combination, Ensemble
from apo_bench.reward_models.player import RewardModelPlayer


class EnsembleSettings(RewardTraining):
    """How many members it has, and how their rewards become one."""

    num_members: Annotated[int, Field(ge=2, le=16)]
    """M: models, each as long in training as RM_base."""
    combination: Combination
    """`mean`, `worst` (the lowest reward of any member), or `mean_less_variance`."""
    variance_weight: Annotated[float, Field(ge=0)]
    """Of the variance between members that `mean_less_variance` takes off; 0 for the others."""

    @model_validator(mode="after")
    def _weighs_what_it_has(self) -> "EnsembleSettings":
        if (self.combination == "mean_less_variance") != (self.variance_weight > 0):
            raise ValueError(
                f"{self.combination} with variance_weight {self.variance_weight}, expected above 0 for mean_less_variance alone"
            )
        return self


class EnsembleRewardModel(RewardModelPlayer):
    """L = mean of -log sigmoid(r_m(chosen) - r_m(rejected)) over the human pairs, for each member r_m; r is their mean, lowest, or mean
    less variance.

    Source: Coste et al. 2023 (arXiv 2310.02743), Section 3.
    Departures: members share the base model, where theirs were pretrained with seeds of their own too; each is shifted to a mean reward of
        0 on the human pairs before they are combined.
    """

    Settings = EnsembleSettings

    @property
    def ensemble(self) -> Ensemble:
        found = self.settings
        return Ensemble(found.num_members, found.combination, found.variance_weight)


REWARD_MODEL = EnsembleRewardModel
