"""Fresh labels, the control that APO's promise is measured by: the human pairs, and new labels of the policy's current samples."""

from apo_bench.reward_models.player import HUMAN, LABELS, SAMPLES, LabellingPlayer


class FreshRewardModel(LabellingPlayer):
    """L = L_BT(human pairs and k pairs of the policy's current samples, which the annotator of the human pairs has labelled).

    Source: none; the loss is Bradley & Terry 1952, fresh annotation each round what APO is to spare (Cheng et al. 2024, arXiv 2311.08045).
    Departures: none.
    """

    labelled_samples = SAMPLES
    trains_on = (HUMAN, SAMPLES, LABELS)


REWARD_MODEL = FreshRewardModel
