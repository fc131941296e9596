"""The game alone: golden responses above the policy's own samples, and no human pair to hold the reward model."""

from apo_bench.config.sections import RewardTraining
from apo_bench.reward_models.player import GOLDEN, SAMPLES, Lessons, Material, Positive, RewardModelPlayer, golden_groups


class GAILSettings(RewardTraining):
    """GAIL's own: how much its one term weighs."""

    adversarial_weight: Positive
    """alpha; divided by the number of samples a prompt."""


class GAILRewardModel(RewardModelPlayer):
    """L = (alpha / n) L_BT(golden response over each of the policy's n samples).

    Source: Cheng et al. 2024 (APO, arXiv 2311.08045), Table 1; Ho & Ermon 2016 (GAIL, arXiv 1606.03476).
    Departures: as many steps as the others, each with at least one golden response; where these are fewer, they are seen more often.
    """

    Settings = GAILSettings
    trains_on = (GOLDEN, SAMPLES)
    human_weight = 0.0

    def __init__(self, settings: GAILSettings) -> None:
        super().__init__(settings)
        self.game_weight = settings.adversarial_weight

    def lessons(self, material: Material) -> Lessons:
        return Lessons([], groups=golden_groups(material[GOLDEN], material[SAMPLES]))


REWARD_MODEL = GAILRewardModel
