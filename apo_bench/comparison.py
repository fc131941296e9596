"""Compares what the stages left in out/results: estimates with intervals, paired differences, verdicts. Reads and counts, renders nothing.

Every file is asked for by name, from params.run: one that is missing is an error, one too many is not looked at.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any, Literal

import numpy as np

from apo_bench.budget import Budgets
from apo_bench.claims.inference import infer
from apo_bench.claims.results import Verdicts, read_verdicts
from apo_bench.core.config import Params
from apo_bench.core.errors import DataError
from apo_bench.core.files import read_jsonl
from apo_bench.core.results import read_metrics
from apo_bench.core.sections import FIRST_ROUND, START_ROUND, EmbeddedData, HHData
from apo_bench.evaluation.statistics import Estimate, PromptBootstrap
from apo_bench.game.results import Game, read_game
from apo_bench.judge.results import Judged, read_judged

Rows = list[dict[str, Any]]
Columns = dict[str, np.ndarray]
RoundKey = tuple[str, str]
"""A policy and a round."""

SFT, FIXED = "sft", "base"
SUBSETS = ("helpful", "harmless")


@dataclass(frozen=True)
class Metric:
    """What is measured on a policy's response to each test prompt; report/glossary.py says what it means."""

    name: str
    title: str
    key: str
    """Key of a row of prompts.jsonl."""
    unit: Literal["score", "share", "nats", "tokens"]
    better: Literal["higher", "lower"] | None
    """None where more is neither good nor bad: differences then get no verdict."""
    subset: str | None = None
    """The prompts it is a mean over; None for all."""
    against_sft: bool = False
    """Not the value itself, but whether it is above SFT's on the same prompt (1), equal (0.5) or below (0)."""


METRICS = (
    Metric("reward_all", "RM_all", "reward_all", "score", "higher"),
    Metric("gold", "Gold", "gold", "score", "higher"),
    Metric("gold_helpful", "Gold, helpful", "gold", "score", "higher", subset="helpful"),
    Metric("gold_harmless", "Gold, harmless", "gold", "score", "higher", subset="harmless"),
    Metric("win_rate_reward_all", "Wins by RM_all", "reward_all", "share", "higher", against_sft=True),
    Metric("win_rate_gold", "Wins by gold", "gold", "share", "higher", against_sft=True),
    Metric("kl_to_sft", "KL to SFT", "kl", "nats", None),
    Metric("length", "Length", "length", "tokens", None),
    Metric("refusal_rate", "Refuses harmless", "refused", "share", "lower", subset="helpful"),
    Metric("compliance_rate", "Complies with harmful", "complied", "share", "lower", subset="harmless"),
)
ROW_KEYS = ("id", "subset", "dialogue", "response")
PAIR_METRICS = ("human_accuracy", "human_accuracy_standard_error", "gold_accuracy", "ece", "ace", "mce")
SAMPLE_METRICS = ("golden_accuracy", "best_of_n_gain")
OPTIONAL_SAMPLE_METRICS = ("sample_accuracy",)
"""Not there if gold calls all samples of a prompt equal, on every prompt."""
NEEDS_GOLD = frozenset({"gold", "refused", "complied", "gold_accuracy", "best_of_n_gain", "sample_accuracy"})
"""Keys of rows and metrics of reward models that are there only if the true reward is known."""


@dataclass(frozen=True)
class Policy:
    """A policy of the table: a reference or an arm, after each of its rounds."""

    name: str
    rows: dict[str, Rows]
    """Round -> a row a test prompt, with its response."""
    rounds: dict[str, dict[str, Estimate]]
    """Round -> metric -> estimate."""
    method: str | None = None
    reward_model: str | None = None
    seed: int | None = None

    @property
    def is_arm(self) -> bool:
        """Whether the game made it."""
        return self.method is not None

    @property
    def last_round(self) -> str:
        """The round whose policy stands in the table."""
        return list(self.rounds)[-1]


@dataclass(frozen=True)
class Difference:
    """A retrained reward model minus the fixed one: same method, seed, round and prompts."""

    name: str
    method: str
    reward_model: str
    seed: int
    rounds: dict[str, dict[str, Estimate]]

    def verdict(self, metric: Metric, round_id: str) -> str | None:
        """See `verdict`."""
        return verdict(self.reward_model, metric, self.rounds[round_id][metric.name])


@dataclass(frozen=True)
class SeedMeans:
    """The mean over seeds of an arm after the last round; intervals cover prompts and, from three seeds on, seeds."""

    method: str
    reward_model: str
    values: dict[str, Estimate]
    """By metric."""
    differences: dict[str, Estimate]
    """From the arm with the fixed reward model, paired by seed and prompt; empty for that one."""


@dataclass(frozen=True)
class Comparison:
    """All that the report shows."""

    profile: str
    confidence: float
    rounds: list[str]
    metrics: list[Metric]
    """Those of METRICS that can be had: one over a subset without a prompt is left out, and what needs gold if gold is unknown."""
    num_prompts: dict[str, int]
    """Test prompts by subset."""
    data: EmbeddedData | HHData
    """Where the records come from."""
    sizes: dict[str, int]
    """Records of each split."""
    policies: dict[str, Policy]
    fixed_reward_models: dict[str, dict[str, float]]
    """`base` and `all` -> metric -> value."""
    reward_models: dict[str, dict[str, dict[str, float]]]
    """Arm -> round -> metric of the reward model that trained its policy in that round -> value."""
    differences: dict[str, Difference]
    verdicts: Verdicts
    """On the paper's claims."""
    over_seeds: list[SeedMeans]
    """Empty if there is one seed."""
    judged: Judged | None = None
    game: Game | None = None
    budgets: Budgets | None = None
    unlike: dict[tuple[str, str], list[str]] = field(default_factory=dict)
    """Two arms -> what they differ in beside method and reward model, if they are ranked all the same."""

    @property
    def num_test_prompts(self) -> int:
        """Test prompts of all subsets."""
        return sum(self.num_prompts.values())

    @property
    def has_gold(self) -> bool:
        """Whether the true reward is known."""
        return self.metric("gold") is not None

    @property
    def arms(self) -> list[Policy]:
        """The policies that the game made, in the order of params.run."""
        return [policy for policy in self.policies.values() if policy.is_arm]

    @property
    def references(self) -> list[Policy]:
        """The others, SFT first."""
        return [policy for policy in self.policies.values() if not policy.is_arm]

    def metric(self, name: str) -> Metric | None:
        """The metric called `name`, if it can be had."""
        return next((metric for metric in self.metrics if metric.name == name), None)

    def summary(self) -> dict[str, Any]:
        """The numbers as report/summary.json holds them."""
        return {
            "profile": self.profile,
            "num_test_prompts": self.num_test_prompts,
            "confidence": self.confidence,
            "policies": {name: _policy_summary(policy) for name, policy in self.policies.items()},
            "reward_models": {**self.fixed_reward_models, **self.reward_models},
            "differences": {name: {"rounds": self._difference_summary(value)} for name, value in self.differences.items()},
            "claims": self.verdicts.summary(),
            **({"over_seeds": self._over_seeds_summary()} if self.over_seeds else {}),
            **({"judge": self.judged.summary()} if self.judged else {}),
            **({"game": self.game.summary()} if self.game else {}),
            **({"budget": self.budgets.summary()} if self.budgets else {}),
            **({"unlike_arms": {" | ".join(pair): faults for pair, faults in self.unlike.items()}} if self.unlike else {}),
        }

    def _over_seeds_summary(self) -> dict[str, Any]:
        summary: dict[str, Any] = {}
        for means in self.over_seeds:
            found = {"values": means.values, "differences": means.differences}
            summary[f"{means.method}-{means.reward_model}"] = {
                key: {name: estimate.as_dict() for name, estimate in estimates.items()} for key, estimates in found.items()
            }
        return summary

    def _difference_summary(self, difference: Difference) -> dict[str, Any]:
        summary: dict[str, Any] = {round_id: {} for round_id in difference.rounds}
        for (round_id, values), metric in product(summary.items(), self.metrics):
            verdict = difference.verdict(metric, round_id)
            values[metric.name] = difference.rounds[round_id][metric.name].as_dict() | ({"verdict": verdict} if verdict else {})
        return summary


def _policy_summary(policy: Policy) -> dict[str, Any]:
    arm = {"method": policy.method, "reward_model": policy.reward_model, "seed": policy.seed} if policy.is_arm else {}
    rounds = {round_id: {name: value.as_dict() for name, value in values.items()} for round_id, values in policy.rounds.items()}
    return {"kind": "arm" if policy.is_arm else "reference", **arm, "rounds": rounds}


def verdict(reward_model: str, metric: Metric, difference: Estimate) -> str | None:
    """`NAME better` if the interval of a difference from the fixed reward model lies on one side of zero, else `undecided`; None for a
    metric without a better side."""
    if metric.better is None:
        return None
    if difference.low <= 0 <= difference.high:
        return "undecided"
    return f"{reward_model if (difference.low > 0) == (metric.better == 'higher') else FIXED} better"


def arm_name(method: str, reward_model: str, seed: int) -> str:
    """The name of an arm in paths and tables."""
    return f"{method}-{reward_model}-s{seed}"


def reference_names(params: Params) -> list[str]:
    """The policies of the table that are no arms, SFT first."""
    return [SFT, *type(params.references).model_fields]


def measurable(names: Iterable[str], has_gold: bool) -> tuple[str, ...]:
    """Those of `names`, keys of rows or metrics of reward models, that can be measured."""
    return tuple(name for name in dict.fromkeys(names) if has_gold or name not in NEEDS_GOLD)


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
        fixed_reward_models={name: _read_metrics(results / "reward" / name, params, PAIR_METRICS) for name in (FIXED, "all")},
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
        rounds[round_id] = _read_metrics(trained, params, PAIR_METRICS) | on_samples
    return rounds


def _read_metrics(folder: Path, params: Params, required: tuple[str, ...], optional: tuple[str, ...] = ()) -> dict[str, Any]:
    values = read_metrics(folder)
    missing = [name for name in measurable(required, params.has_gold) if name not in values]
    if missing:
        raise DataError(f"{folder / 'metrics.json'}: no {', '.join(missing)}; run the stage that writes it (dvc repro) again")
    return {name: values[name] for name in measurable((*required, *optional), params.has_gold) if name in values}
