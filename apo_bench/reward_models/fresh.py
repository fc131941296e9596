"""Fresh labels, the control that APO's promise is measured by: the human pairs, and new labels of the policy's current samples."""

from typing import Annotated

from pydantic import Field

from apo_bench.config.sections import RewardTraining
from apo_bench.reward_models.player import HUMAN, LABELS, SAMPLES, Lessons, Material, RewardModelPlayer, pairs_to_label, repeated


class FreshSettings(RewardTraining):
    """How much annotation it buys."""

    num_labels: Annotated[int, Field(ge=0)]
    """k: pairs of the policy's samples that are labelled in a round, at most as many as have the sequences of the game."""


class FreshRewardModel(RewardModelPlayer):
    """L = L_BT(human pairs and k pairs of the policy's current samples, which the annotator of the human pairs has labelled).

    Source: none; the loss is Bradley & Terry 1952, fresh annotation each round what APO is to spare (Cheng et al. 2024, arXiv 2311.08045).
    Departures: none.
    """

    Settings = FreshSettings
    trains_on = (HUMAN, SAMPLES, LABELS)
    trains_as_long = True

    @property
    def num_labels(self) -> int:
        return int(self.settings.num_labels)

    def lessons(self, material: Material) -> Lessons:
        human = material[HUMAN]
        labelled = material.labelled(pairs_to_label(material[SAMPLES], self.num_labels, material.seed))
        return Lessons([*human, *labelled, *repeated(human, material.num_game_pairs - len(labelled))])


REWARD_MODEL = FreshRewardModel
