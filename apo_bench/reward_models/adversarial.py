"""APO's reward model: the human pairs, and golden responses above the policy's own samples."""

from apo_bench.reward_models.player import GamePlayer


class AdversarialRewardModel(GamePlayer):
    """L = lambda L_BT(human pairs) + (alpha / n) L_BT(golden response over each of the policy's n samples).

    Source: Cheng et al. 2024 (APO, arXiv 2311.08045), Eq. 9.
    Departures: each term is the mean over its own pairs (docs/reward-models.md, the authors' weight).
    """


REWARD_MODEL = AdversarialRewardModel
