"""RJS, rejection sampling: fine-tune on the best of each prompt's responses."""

from collections.abc import Sequence

from torch import Tensor

from apo_bench.methods.base import Method, ResponseGroups, best_index, cross_entropy


class RejectionSampling(Method):
    """L = -(1/|y*|) log pi(y*|x), y* the best-scored of the n responses.

    Source: Dong et al. 2023 (RAFT, arXiv 2304.06767); Cheng et al. 2024 (APO), "RJS".
    Departures: the mean over tokens is taken within each response, so that short and long responses weigh the same.
    """

    min_responses = 2
    optimum = "best_of_two"

    def select(self, rewards: Sequence[float]) -> list[int] | None:
        return [best_index(rewards)]

    def loss(self, groups: ResponseGroups) -> tuple[Tensor, dict[str, Tensor]]:
        return cross_entropy(groups.logps_BK[:, 0], groups.lengths_BK[:, 0]), {"best_reward": groups.rewards_BK[:, 0]}


METHOD = RejectionSampling
