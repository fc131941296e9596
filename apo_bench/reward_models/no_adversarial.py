"""AB: no game, and as long: further human pairs in the place of the game's golden responses and samples."""

from apo_bench.reward_models.player import FURTHER, HUMAN, Lessons, Material, RewardModelPlayer


class NoAdversarialRewardModel(RewardModelPlayer):
    """L = L_BT(human pairs and further ones), in as many steps as RM_base, each with as many sequences as APO's.

    Source: Cheng et al. 2024 (APO, arXiv 2311.08045), Table 1.
    Departures: the further pairs are new, where theirs goes on with those it had; new labels are worth more than repeats, so this control
        is the stronger one. It is trained once, as it has nothing of the policy to learn from.
    """

    trains_on = (HUMAN, FURTHER)
    trains_as_long = True

    def lessons(self, material: Material) -> Lessons:
        return Lessons([*material[HUMAN], *material[FURTHER]])


REWARD_MODEL = NoAdversarialRewardModel
