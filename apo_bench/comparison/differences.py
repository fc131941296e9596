"""Differences from the fixed reward model over replicates, with verdicts that keep their errors over each column of the table.

Shape suffixes: K arms, S seeds.
"""

from collections.abc import Callable, Mapping

import numpy as np

from apo_bench.claims.inference import CONTRADICTED, EQUIVALENT, REPRODUCED, UNDECIDED, infer, verdicts
from apo_bench.claims.results import design_of
from apo_bench.comparison.results import FIXED, Compared, Difference
from apo_bench.config.params import Params
from apo_bench.core.layout import Arm
from apo_bench.evaluation.metrics import Metric
from apo_bench.evaluation.statistics import Estimate

Values = Callable[[Arm, str, Metric], float]
"""The mean of a metric over the prompts of an arm after a round."""


def compared_groups(params: Params) -> list[Arm]:
    """The arms with another reward model than the fixed one, of the first seed."""
    return [arm for arm in params.run.arms if arm.reward_model != FIXED and arm.seed == params.run.seeds[0]]


def differences(
    params: Params,
    metrics: list[Metric],
    values: Values,
    smallest: Mapping[str, float],
    of_one_seed: Callable[[Arm, str], Mapping[str, Estimate]],
) -> dict[str, Difference]:
    """Each reward model minus the fixed one, by method.

    The differences of a metric after the last round are a family: one of them is called better, where it is not, in at most 1 - confidence
    of runs. Those of earlier rounds get no verdict.

    Args:
        params: all of params.yaml.
        metrics: what is measured.
        values: what was measured.
        smallest: the smallest difference that would matter, by metric; of those with a better side.
        of_one_seed: the differences of an arm after a round with intervals over prompts, for a run of one seed.
    """
    run, groups = params.run, compared_groups(params)
    found: dict[str, dict[str, dict[str, Compared]]] = {arm.group: {round_id: {} for round_id in run.rounds} for arm in groups}
    for round_id in run.rounds if groups else []:
        for metric in metrics:
            values_KS = np.array([[_difference(values, arm, seed, round_id, metric) for seed in run.seeds] for arm in groups])
            speaks = metric.better is not None and round_id == run.rounds[-1]
            for arm, compared in zip(groups, _compare(params, groups, metric, values_KS, smallest, speaks), strict=True):
                found[arm.group][round_id][metric.name] = compared
        if len(run.seeds) == 1:
            for arm in groups:
                mine = found[arm.group][round_id]
                for name, estimate in of_one_seed(arm, round_id).items():
                    mine[name] = Compared(**vars(estimate), verdict=mine[name].verdict)
    return {arm.group: Difference(arm.group, arm.method, arm.reward_model, found[arm.group]) for arm in groups}


def _difference(values: Values, arm: Arm, seed: int, round_id: str, metric: Metric) -> float:
    own = Arm(arm.method, arm.reward_model, seed)
    return values(own, round_id, metric) - values(own.against(FIXED), round_id, metric)


def _compare(
    params: Params, groups: list[Arm], metric: Metric, values_KS: np.ndarray, smallest: Mapping[str, float], speaks: bool
) -> list[Compared]:
    confidence, num_arms = params.compare.confidence, len(groups)
    smallest_K = np.full(num_arms, smallest.get(metric.name, 0.0))
    found = infer(values_KS, [metric.name] * num_arms, np.ones(num_arms), smallest_K, design_of(params.claims), confidence)
    said = [verdict.word for verdict in verdicts([[one] for one in found], confidence)] if speaks else [None] * num_arms
    return [
        Compared(one.value, one.low, one.high, one.standard_error, _words(word, arm.reward_model, metric))
        for one, word, arm in zip(found, said, groups, strict=True)
    ]


def _words(word: str | None, reward_model: str, metric: Metric) -> str | None:
    """A verdict on a difference of which nothing is claimed."""
    if word in (REPRODUCED, CONTRADICTED):
        return f"{reward_model if (word == REPRODUCED) == (metric.better == 'higher') else FIXED} better"
    assert word in (None, EQUIVALENT, UNDECIDED)
    return word
