"""OCRM, off-policy corrected reward modelling: human pairs that the policy would rather write weigh more. It buys no label."""

import math
from typing import Annotated

from pydantic import Field

from apo_bench.config.sections import RewardTraining
from apo_bench.reward_models.player import HUMAN, LOG_RATIOS, Lessons, Material, RewardModelPlayer, mean_one, repeated


class OCRMSettings(RewardTraining):
    """OCRM's own: how much of the policy's shift the weights follow."""

    exponent: Annotated[float, Field(gt=0, le=1)]
    """Of the density ratios: 1 for these themselves, which few pairs would have all the weight of; the authors' scripts take 0.001."""


class OffPolicyCorrectedRewardModel(RewardModelPlayer):
    """L = mean of -w log sigmoid(r(y_w) - r(y_l)), w = [pi(y_w) pi(y_l) / (pi_SFT(y_w) pi_SFT(y_l))]^c, divided by its mean.

    Source: Ackermann et al. 2025 (OCRM, arXiv 2507.15507); c is `log_density_ratio_mult` of their scripts.
    Departures: their pairs are samples of SFT, so that the ratio is that of the pairs' own density; ours were written by others, and SFT
        stands for them. Weights have a mean of 1. It trains as long as APO's, on the same pairs a second time.
    """

    Settings = OCRMSettings
    trains_on = (HUMAN, LOG_RATIOS)
    trains_as_long = True

    def lessons(self, material: Material) -> Lessons:
        human = material[HUMAN]
        logs = [self.settings.exponent * ratio for ratio in material.log_ratios_of(human)]
        weights = [math.exp(log - max(logs)) for log in logs]
        further = material.num_game_pairs
        return Lessons([*human, *repeated(human, further)], mean_one([*weights, *repeated(weights, further)]))


REWARD_MODEL = OffPolicyCorrectedRewardModel
