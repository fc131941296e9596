"""RRHF with the golden response as a further candidate: ranked among the samples by its reward, and imitated if it is the best."""

from collections.abc import Sequence

from torch import Tensor

from apo_bench.methods.base import GOLDEN, SAMPLE, Method, ResponseGroups, cross_entropy


class GoldenRankResponses(Method):
    """L = sum over r_i > r_j of max(0, p_j - p_i) - (1/|y*|) log pi(y*|x), with p_i = log pi(y_i|x) / |y_i|, the loss of RRHF.

    Source: Yuan et al. 2023 (RRHF, arXiv 2304.05302), whose candidates are samples and responses of the data.
    Departures: as of RRHF here, the cross-entropy is the mean over tokens; the responses of the data are one golden response a prompt.
    """

    origins = (SAMPLE, GOLDEN)

    def select(self, rewards: Sequence[float]) -> list[int] | None:
        return sorted(range(len(rewards)), key=lambda index: -rewards[index])  # best first; stable, so ties keep their order

    def loss(self, groups: ResponseGroups) -> tuple[Tensor, dict[str, Tensor]]:
        scores_BK = groups.logps_BK / groups.lengths_BK
        is_better_BKK = groups.rewards_BK[:, :, None] > groups.rewards_BK[:, None, :]  # [b, i, j]: r_i > r_j; a tie ranks neither
        excess_BKK = (scores_BK[:, None, :] - scores_BK[:, :, None]).clamp(min=0)  # [b, i, j]: max(0, p_j - p_i)
        ranking_B = (excess_BKK * is_better_BKK).sum((1, 2))
        imitation_B = cross_entropy(groups.logps_BK[:, 0], groups.lengths_BK[:, 0])
        return ranking_B + imitation_B, {"ranking_loss": ranking_B.detach(), "imitation_loss": imitation_B.detach()}


METHOD = GoldenRankResponses
