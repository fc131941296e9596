"""Stale labels, which tell freshness from amount: the human pairs, and as many new labels of the samples of SFT's policy."""

from typing import Annotated

from pydantic import Field

from apo_bench.config.sections import RewardTraining
from apo_bench.reward_models.player import HUMAN, LABELS, SFT_SAMPLES, Lessons, Material, RewardModelPlayer, pairs_to_label, repeated


class StaleSettings(RewardTraining):
    """How much annotation it buys."""

    num_labels: Annotated[int, Field(ge=0)]
    """k: pairs of SFT's samples that are labelled in a round, at most as many as have the sequences of the game."""


class StaleRewardModel(RewardModelPlayer):
    """L = L_BT(human pairs and k pairs of samples of SFT's policy, which the annotator of the human pairs has labelled).

    Source: none; the control to `fresh`, from which it differs in whose samples are labelled.
    Departures: none.
    """

    Settings = StaleSettings
    trains_on = (HUMAN, SFT_SAMPLES, LABELS)
    trains_as_long = True

    @property
    def num_labels(self) -> int:
        return int(self.settings.num_labels)

    def lessons(self, material: Material) -> Lessons:
        human = material[HUMAN]
        labelled = material.labelled(pairs_to_label(material[SFT_SAMPLES], self.num_labels, material.seed))
        return Lessons([*human, *labelled, *repeated(human, material.num_game_pairs - len(labelled))])


REWARD_MODEL = StaleRewardModel
