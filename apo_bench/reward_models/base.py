"""RM_base: the human pairs of the RM half, once; what the game starts from and is compared with."""

from apo_bench.reward_models.player import RewardModelPlayer


class BaseRewardModel(RewardModelPlayer):
    """L = mean of -log sigmoid(r(chosen) - r(rejected)) over the human pairs.

    Source: Cheng et al. 2024 (APO, arXiv 2311.08045), Eq. 2.
    Departures: none.
    """


REWARD_MODEL = BaseRewardModel
