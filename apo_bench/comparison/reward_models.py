"""What was measured on reward models, read: on human test pairs, and on the samples that they had to judge."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from apo_bench.config.params import Params
from apo_bench.core.errors import DataError
from apo_bench.core.layout import Arm, reward_evaluations, reward_model
from apo_bench.core.results import read_metrics
from apo_bench.evaluation.metrics import measurable

PAIR_METRICS = ("human_accuracy", "human_accuracy_standard_error", "gold_accuracy", "ece", "ace", "mce")
SAMPLE_METRICS = ("golden_accuracy", "best_of_n_gain", "perfect_best_of_n_gain")
OPTIONAL_SAMPLE_METRICS = ("sample_accuracy",)
"""Not there if gold calls all samples of a prompt equal, on every prompt."""


def read_reward_models(results: Path, params: Params, arm: Arm) -> dict[str, dict[str, float]]:
    """What trained an arm, round by round: on test pairs, unless it is gold itself, and on the samples it had to judge."""
    rounds = {}
    for round_id in params.run.rounds:
        found = read_measured(arm.score(results, round_id), params, SAMPLE_METRICS, OPTIONAL_SAMPLE_METRICS)
        if arm.reward_model not in params.run.gold_reward_models:
            found |= read_on_pairs(arm.reward(reward_evaluations(results), round_id, params.run.own_reward_models), params)
        rounds[round_id] = found
    return rounds


def read_fixed(results: Path, params: Params, name: str) -> dict[str, float]:
    """Of one that is trained once a replicate the means over replicates, on test pairs."""
    return _mean_metrics(read_on_pairs(reward_model(reward_evaluations(results), name, seed), params) for seed in params.run.seeds)


def read_on_pairs(folder: Path, params: Params) -> dict[str, float]:
    """What is in the folder of an evaluation on test pairs."""
    return read_measured(folder, params, PAIR_METRICS, _by_subset(params))


def means_over_seeds(params: Params, found: dict[str, dict[str, dict[str, float]]]) -> dict[str, dict[str, dict[str, float]]]:
    """Arm -> round -> metric -> mean."""
    groups = {arm.group: [Arm(arm.method, arm.reward_model, seed).name for seed in params.run.seeds] for arm in params.run.arms}
    return {
        group: {round_id: _mean_metrics(found[name][round_id] for name in names) for round_id in params.run.rounds}
        for group, names in groups.items()
    }


def _mean_metrics(found: Iterable[dict[str, float]]) -> dict[str, float]:
    """Means of the metrics that all have."""
    every = list(found)
    return {name: float(np.mean([values[name] for values in every])) for name in every[0] if all(name in values for values in every)}


def _by_subset(params: Params) -> tuple[str, ...]:
    """Metrics that are not there if no test pair is of the subset."""
    return tuple(f"human_accuracy_{subset}" for subset in params.prepare.kinds)


def read_measured(folder: Path, params: Params, required: tuple[str, ...], optional: tuple[str, ...] = ()) -> dict[str, Any]:
    """Of a folder's metrics those that are asked for, as far as they can be had without gold.

    Raises:
        MissingInputError: there are none.
        DataError: one that is required is not there.
    """
    values = read_metrics(folder)
    missing = [name for name in measurable(required, params.has_gold) if name not in values]
    if missing:
        raise DataError(f"{folder / 'metrics.json'}: no {', '.join(missing)}; run the stage that writes it (dvc repro) again")
    return {name: values[name] for name in measurable((*required, *optional), params.has_gold) if name in values}
