"""The few numbers of a run that DVC shows and compares runs by: a key of the file is a column of `dvc exp show`."""

from collections.abc import Iterator
from itertools import islice

from apo_bench.comparison.results import Comparison

MOST_NUMBERS = 36
"""Of a profile with more arms only the first so many; a few columns more are DVC's own."""
Headline = dict[str, dict[str, float]]


def headline(comparison: Comparison) -> Headline:
    """After the last round: by the true reward if it is known, else by RM_all, what each reward model gains over the fixed one and the mean
    of each policy; then the gains by RM_all as well. Names are `METRIC_gain` and `METRIC`, then the arm or the policy."""
    found: Headline = {}
    for group, name, value in islice(_numbers(comparison), MOST_NUMBERS):
        found.setdefault(group, {})[name] = value
    return found


def _numbers(comparison: Comparison) -> Iterator[tuple[str, str, float]]:
    metrics = ["gold", "reward_all"] if comparison.has_gold else ["reward_all"]
    for metric in metrics:
        last = comparison.rounds[-1]
        yield from ((f"{metric}_gain", name, found.rounds[last][metric].value) for name, found in comparison.differences.items())
        if metric == metrics[0]:
            yield from ((metric, name, policy.rounds[policy.last_round][metric].value) for name, policy in comparison.policies.items())
