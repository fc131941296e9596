"""APO with the plain difference of rewards in the game's term, as a Wasserstein GAN's critic."""

from torch import Tensor

from apo_bench.losses.reward import difference_loss
from apo_bench.reward_models.player import GamePlayer


class WGANRewardModel(GamePlayer):
    """L = lambda L_BT(human pairs) + (alpha / n) mean of r(sample) - r(golden response).

    Source: Cheng et al. 2024 (APO, arXiv 2311.08045), the game itself, and Table 1; Arjovsky et al. 2017 (arXiv 1701.07875), Eq. 2.
    Departures: none; as theirs the critic is not clipped, the human pairs have to hold it.
    """

    def game_loss(self, golden_P: Tensor, sampled_P: Tensor) -> Tensor:
        return difference_loss(golden_P, sampled_P)


REWARD_MODEL = WGANRewardModel
