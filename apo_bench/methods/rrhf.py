"""RRHF: rank the responses by their length-normalised log-probabilities as the rewards rank them, and imitate the best."""

from collections.abc import Sequence

from torch import Tensor

from apo_bench.methods.base import Method, ResponseGroups, cross_entropy


class RankResponses(Method):
    """L = sum over r_i > r_j of max(0, p_j - p_i) - (1/|y*|) log pi(y*|x), with p_i = log pi(y_i|x) / |y_i|.

    Source: Yuan et al. 2023 (RRHF, arXiv 2304.05302), ranking and fine-tuning loss, weight 1 for the ranking.
    Departures: the cross-entropy on the best response is the mean over its tokens. The paper has their sum; the authors' code has the mean
        over the padded length, which weakens it by as much as the batch's longest sequence, prompt included, is longer.
    """

    min_responses = 2

    def select(self, rewards: Sequence[float]) -> list[int] | None:
        return sorted(range(len(rewards)), key=lambda index: -rewards[index])  # best first; stable, so ties keep their order

    def loss(self, groups: ResponseGroups) -> tuple[Tensor, dict[str, Tensor]]:
        scores_BK = groups.logps_BK / groups.lengths_BK
        is_better_BKK = groups.rewards_BK[:, :, None] > groups.rewards_BK[:, None, :]  # [b, i, j]: r_i > r_j; a tie ranks neither
        excess_BKK = (scores_BK[:, None, :] - scores_BK[:, :, None]).clamp(min=0)  # [b, i, j]: max(0, p_j - p_i)
        ranking_B = (excess_BKK * is_better_BKK).sum((1, 2))
        imitation_B = cross_entropy(groups.logps_BK[:, 0], groups.lengths_BK[:, 0])
        return ranking_B + imitation_B, {"ranking_loss": ranking_B.detach(), "imitation_loss": imitation_B.detach()}


METHOD = RankResponses
