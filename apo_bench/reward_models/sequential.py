"""APO that goes on from the reward model of the round before, where APO's starts each round from the base model."""

from apo_bench.reward_models.player import GamePlayer


class SequentialRewardModel(GamePlayer):
    """L = lambda L_BT(human pairs) + (alpha / n) L_BT(golden response over each of the policy's n samples), from last round's weights.

    Source: Cheng et al. 2024 (APO, arXiv 2311.08045), Table 1.
    Departures: as of APO's; in the first round it starts from the base model.
    """

    start = "previous"


REWARD_MODEL = SequentialRewardModel
