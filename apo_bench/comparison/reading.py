"""Reads what the stages left in out/results and compares it: estimates with intervals, paired differences, verdicts.

Every file is asked for by name, from params.run: one that is missing is an error, one too many is not looked at.
"""

from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from apo_bench.claims.inference import infer
from apo_bench.claims.results import read_verdicts
from apo_bench.comparison.results import (
    FIXED,
    METRICS,
    SFT,
    Comparison,
    Difference,
    Metric,
    Policy,
    Rows,
    SeedMeans,
    arm_name,
    measurable,
    reference_names,
)
from apo_bench.core.config import Params
from apo_bench.core.errors import DataError
from apo_bench.core.files import read_jsonl
from apo_bench.core.results import read_metrics
from apo_bench.core.sections import FIRST_ROUND, START_ROUND
from apo_bench.evaluation.statistics import Estimate, PromptBootstrap
from apo_bench.game.results import read_game
from apo_bench.judge.results import read_judged

Columns = dict[str, np.ndarray]
RoundKey = tuple[str, str]
"""A policy and a round."""

SUBSETS = ("helpful", "harmless")
ROW_KEYS = ("id", "subset", "dialogue", "response")
PAIR_METRICS = ("human_accuracy", "human_accuracy_standard_error", "gold_accuracy", "ece", "ace", "mce")
OPTIONAL_PAIR_METRICS = tuple(f"human_accuracy_{subset}" for subset in SUBSETS)
"""Not there if no test pair is of the subset."""
SAMPLE_METRICS = ("golden_accuracy", "best_of_n_gain")
OPTIONAL_SAMPLE_METRICS = ("sample_accuracy",)
"""Not there if gold calls all samples of a prompt equal, on every prompt."""


def read_comparison(results: Path, params: Params) -> Comparison:
    """Reads the results of all stages and compares the policies.

    Raises:
        MissingInputError: a file that params.run asks for is not there.
        DataError: a file is broken, or two stages evaluated different prompts.
    """
    keys = measurable((metric.key for metric in METRICS), params.has_gold)
    rows = _read_rows(results, params, keys)
    start = rows[SFT, START_ROUND]
    subsets = [row["subset"] for row in start]
    metrics = [metric for metric in METRICS if metric.key in keys and metric.subset in (None, *subsets)]
    columns = {key: _columns(metrics, values, start) for key, values in rows.items()}
    bootstrap = PromptBootstrap(subsets, params.compare.num_bootstrap_draws, params.compare.confidence, params.compare.seed)
    return Comparison(
        profile=params.profile,
        confidence=params.compare.confidence,
        rounds=params.run.rounds,
        metrics=metrics,
        num_prompts={subset: subsets.count(subset) for subset in SUBSETS if subset in subsets},
        data=params.prepare,
        sizes=_read_metrics(results / "prepare", params, ("num_records",))["num_records"],
        policies=_policies(params, rows, _estimate(bootstrap, metrics, columns)),
        fixed_reward_models={
            name: _read_metrics(results / "reward" / name, params, PAIR_METRICS, OPTIONAL_PAIR_METRICS) for name in (FIXED, "all")
        },
        reward_models={arm_name(*arm): _read_reward_models(results, params, *arm) for arm in _arms(params)},
        differences=_differences(params, bootstrap, metrics, columns),
        judged=read_judged(results, params, [(arm_name(*arm), arm[1]) for arm in _arms(params)]),
        verdicts=read_verdicts(results, params, columns, bootstrap),
        over_seeds=_over_seeds(params, subsets, metrics, columns, bootstrap) if len(params.run.seeds) > 1 else [],
        game=read_game(results, params, [arm_name(*arm) for arm in _arms(params)], rows, bootstrap),
    )


def _arms(params: Params) -> Iterator[tuple[str, str, int]]:
    return product(params.run.methods, params.run.reward_models, params.run.seeds)


def _read_rows(results: Path, params: Params, keys: tuple[str, ...]) -> dict[RoundKey, Rows]:
    """(policy, round) -> its rows, all on the same prompts in the same order; SFT's first."""
    files = {(name, START_ROUND): results / "references" / name / "evaluation" / "prompts.jsonl" for name in reference_names(params)}
    for arm, round_id in product(_arms(params), params.run.rounds):
        files[arm_name(*arm), round_id] = results / "arms" / arm_name(*arm) / round_id / "evaluation" / "prompts.jsonl"
    rows = {key: read_jsonl(file, (*ROW_KEYS, *keys)) for key, file in files.items()}
    for key, file in files.items():
        _check(file, rows[key], rows[SFT, START_ROUND], keys)
    return rows


def _check(file: Path, rows: Rows, start: Rows, keys: tuple[str, ...]) -> None:
    """Refuses rows that are not about SFT's prompts in SFT's order, or whose values are not numbers."""
    if len(rows) != len(start):
        raise DataError(f"{file}: {len(rows)} prompts, SFT's evaluation has {len(start)}; evaluate the same test prompts (dvc repro)")
    for line, (row, first) in enumerate(zip(rows, start, strict=True), start=1):
        if (row["id"], row["subset"]) != (first["id"], first["subset"]):
            raise DataError(f"{file}:{line}: prompt {row['id']}, SFT's evaluation has {first['id']}; evaluate the same test prompts")
        if row["subset"] not in SUBSETS:
            raise DataError(f"{file}:{line}: subset {row['subset']!r}, expected {' or '.join(SUBSETS)}")
        wrong = [key for key in keys if not isinstance(row[key], int | float)]
        if wrong:
            raise DataError(f"{file}:{line}: {wrong[0]} is {row[wrong[0]]!r}, expected a number")


def _columns(metrics: list[Metric], rows: Rows, start: Rows) -> Columns:
    """Metric -> its value on each prompt; the mean of a win-rate column is what the `win_rate` module computes."""
    columns = {}
    for metric in metrics:
        values = np.array([row[metric.key] for row in rows], dtype=np.float64)
        if metric.against_sft:
            margins = values - np.array([row[metric.key] for row in start], dtype=np.float64)
            values = (margins > 0) + 0.5 * (margins == 0)
        columns[metric.name] = values
    return columns


def _estimate(bootstrap: PromptBootstrap, metrics: list[Metric], columns: dict[RoundKey, Columns]) -> dict[RoundKey, dict[str, Estimate]]:
    """Estimates of all columns, those over the same prompts in one pass."""
    found: dict[str, Estimate] = {}
    for subset in dict.fromkeys(metric.subset for metric in metrics):
        names = [metric.name for metric in metrics if metric.subset == subset]
        values = {f"{number} {name}": columns[key][name].tolist() for number, key in enumerate(columns) for name in names}
        found |= bootstrap.means(values, subset)
    return {key: {metric.name: found[f"{number} {metric.name}"] for metric in metrics} for number, key in enumerate(columns)}


def _policies(params: Params, rows: dict[RoundKey, Rows], estimates: dict[RoundKey, dict[str, Estimate]]) -> dict[str, Policy]:
    arms: dict[str, tuple[Any, ...]] = {arm_name(*arm): arm for arm in _arms(params)}
    policies = {}
    for name in dict.fromkeys(name for name, _ in rows):
        mine = [key for key in rows if key[0] == name]
        policies[name] = Policy(name, {key[1]: rows[key] for key in mine}, {key[1]: estimates[key] for key in mine}, *arms.get(name, ()))
    return policies


def _differences(
    params: Params, bootstrap: PromptBootstrap, metrics: list[Metric], columns: dict[RoundKey, Columns]
) -> dict[str, Difference]:
    """Each retrained reward model minus the fixed one, if the run has it, by the name of the arm."""
    arms = {arm_name(*arm): arm for arm in _arms(params) if arm[1] != FIXED and FIXED in params.run.reward_models}
    paired = {}
    for (name, (method, _, seed)), round_id in product(arms.items(), params.run.rounds):
        retrained, fixed = columns[name, round_id], columns[arm_name(method, FIXED, seed), round_id]
        paired[name, round_id] = {metric: retrained[metric] - fixed[metric] for metric in retrained}
    estimates = _estimate(bootstrap, metrics, paired) if paired else {}
    return {
        name: Difference(name, *arm, {round_id: estimates[name, round_id] for round_id in params.run.rounds}) for name, arm in arms.items()
    }


def _over_seeds(
    params: Params, subsets: list[str], metrics: list[Metric], columns: dict[RoundKey, Columns], bootstrap: PromptBootstrap
) -> list[SeedMeans]:
    """Every arm after the last round, and its difference from the arm with the fixed reward model, if the run has it."""

    def mean(values_SP: np.ndarray, members: np.ndarray) -> Estimate:
        values_SP = values_SP[:, members]
        draws_DS = bootstrap.counts_DP[:, members] @ values_SP.T / len(members)
        found = infer(values_SP.mean(axis=1), draws_DS, len(members), params.compare.confidence)
        return Estimate(found.value, found.low, found.high, found.standard_error)

    def values_SP(method: str, kind: str, metric: Metric) -> np.ndarray:
        return np.stack([columns[arm_name(method, kind, seed), params.run.rounds[-1]][metric.name] for seed in params.run.seeds])

    means = []
    for method, kind in product(params.run.methods, params.run.reward_models):
        values, differences = {}, {}
        for metric in metrics:
            members = np.array([number for number, subset in enumerate(subsets) if metric.subset in (None, subset)])
            own = values_SP(method, kind, metric)
            values[metric.name] = mean(own, members)
            if kind != FIXED:
                differences[metric.name] = mean(own - values_SP(method, FIXED, metric), members)
        means.append(SeedMeans(method, kind, values, differences))
    return means


def _read_reward_models(results: Path, params: Params, method: str, kind: str, seed: int) -> dict[str, dict[str, float]]:
    """The reward model that trained an arm, round by round: on test pairs, and on the samples it had to judge (round 1 is shared)."""
    rounds = {}
    for round_id in params.run.rounds:
        first, own = results / "first" / f"s{seed}", results / "arms" / arm_name(method, kind, seed) / round_id
        is_first = round_id == FIRST_ROUND
        trained = results / "reward" / FIXED if kind == FIXED else first / "reward" / kind if is_first else own / "reward"
        scored = first / "score" / kind if is_first else own / "score"
        on_samples = _read_metrics(scored, params, SAMPLE_METRICS, OPTIONAL_SAMPLE_METRICS)
        rounds[round_id] = _read_metrics(trained, params, PAIR_METRICS, OPTIONAL_PAIR_METRICS) | on_samples
    return rounds


def _read_metrics(folder: Path, params: Params, required: tuple[str, ...], optional: tuple[str, ...] = ()) -> dict[str, Any]:
    values = read_metrics(folder)
    missing = [name for name in measurable(required, params.has_gold) if name not in values]
    if missing:
        raise DataError(f"{folder / 'metrics.json'}: no {', '.join(missing)}; run the stage that writes it (dvc repro) again")
    return {name: values[name] for name in measurable((*required, *optional), params.has_gold) if name in values}
