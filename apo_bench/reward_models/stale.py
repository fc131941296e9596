"""Stale labels, which tell freshness from amount: the human pairs, and as many new labels of the samples of SFT's policy."""

from apo_bench.reward_models.player import HUMAN, LABELS, SFT_SAMPLES, LabellingPlayer


class StaleRewardModel(LabellingPlayer):
    """L = L_BT(human pairs and k pairs of samples of SFT's policy, which the annotator of the human pairs has labelled).

    Source: none; the control to `fresh`, from which it differs in whose samples are labelled.
    Departures: none.
    """

    labelled_samples = SFT_SAMPLES
    trains_on = (HUMAN, SFT_SAMPLES, LABELS)


REWARD_MODEL = StaleRewardModel
