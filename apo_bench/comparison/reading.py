"""Reads what the stages left in out/results and compares it: estimates with intervals, paired differences, verdicts.

Every file is asked for by name, from params.run: one that is missing is an error, one too many is not looked at.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from apo_bench.claims.evidence import Margins
from apo_bench.claims.paper import APO
from apo_bench.claims.results import read_verdicts
from apo_bench.comparison.differences import differences
from apo_bench.comparison.estimates import Columns, Estimator, RoundKey
from apo_bench.comparison.label_equivalent import label_equivalents
from apo_bench.comparison.own import all_metrics, with_own_scores
from apo_bench.comparison.predictors import played_rounds
from apo_bench.comparison.results import FIXED, Comparison, Difference, Policy
from apo_bench.comparison.reward_models import means_over_seeds, read_fixed, read_measured, read_on_pairs, read_reward_models
from apo_bench.config.params import Params
from apo_bench.core.errors import DataError
from apo_bench.core.files import read_jsonl
from apo_bench.core.layout import (
    NO_ADVERSARIAL,
    SFT,
    START_ROUND,
    TEST_REWARD_MODEL,
    Arm,
    Reference,
    own_reward_model,
    reward_evaluations,
)
from apo_bench.core.records import Record, Row
from apo_bench.core.schemas import Number, Schema, row_with
from apo_bench.evaluation.length import length_slope
from apo_bench.evaluation.metrics import FAULT_RATES, METRICS, Metric, measurable
from apo_bench.evaluation.statistics import Estimate
from apo_bench.game.results import read_game
from apo_bench.judge.results import read_judged

KL = "kl"
"""Key of a row that a policy of one's own may have no number for."""


def read_comparison(results: Path, params: Params) -> Comparison:
    """Reads the results of all stages and compares the policies.

    Raises:
        MissingInputError: a file that params.run asks for is not there.
        DataError: a file is broken, or two stages evaluated different prompts.
    """
    keys = measurable((metric.key for metric in METRICS), params.has_gold)
    unknown = {metric.key for metric in METRICS} - {*keys}
    replicates = [*_references(params), *map(_Replicate, params.run.arms)]
    rows = with_own_scores(results, params, _read_rows(results, params, replicates, keys))
    start = rows[Reference(SFT, params.run.seeds[0]).name, START_ROUND]
    subsets = [row["subset"] for row in start]
    _check_subsets(subsets, params)
    metrics = [metric for metric in all_metrics(params) if metric.key not in unknown and metric.subset in (None, *subsets)]
    made = [one for one in replicates if not one.is_own]  # so that a policy of one's own changes no number of another
    slopes = {seed: _length_slope([one for one in made if one.seed == seed], params, rows) for seed in params.run.seeds}
    columns = {
        (one.name, round_id): _columns(
            metrics, rows[one.name, round_id], rows[Reference(SFT, one.seed).name, START_ROUND], slopes[one.seed]
        )
        for one in replicates
        for round_id in one.rounds(params)
    }
    numbers = Estimator(params, metrics, subsets, columns)
    policies = _policies(params, replicates, rows, numbers)
    groups = {group: _mean_policy(group, members, numbers) for group, members in _by_group(policies.values()).items()}
    ledgers = [arm for arm in params.run.arms if arm.seed in params.game.seeds and arm.reward_model not in _without_ledger(params)]
    reward_models = {arm.name: read_reward_models(results, params, arm) for arm in params.run.arms}
    margins = Margins()
    paths = {name: policy.path for name, policy in policies.items() if policy.is_arm}
    return Comparison(
        profile=params.profile,
        confidence=params.compare.confidence,
        run=params.run,
        metrics=metrics,
        num_prompts={subset: subsets.count(subset) for subset in params.prepare.kinds if subset in subsets},
        num_path_prompts=numbers.num_common,
        data=params.prepare,
        sizes=read_measured(results / "prepare", params, ("num_records",))["num_records"],
        policies=groups,
        replicates=policies,
        fixed_reward_models={name: read_fixed(results, params, name) for name in (*params.run.fixed_reward_models, TEST_REWARD_MODEL)}
        | {name: read_on_pairs(own_reward_model(reward_evaluations(results), name), params) for name in params.own_reward_models},
        reward_models=means_over_seeds(params, reward_models) | reward_models,
        differences=_differences(params, numbers),
        judged=read_judged(results, params),
        doses=_doses(params),
        verdicts=read_verdicts(results, params, columns, margins),
        label_equivalents=label_equivalents(params, paths),
        played=played_rounds(results, params, paths, reward_models, margins),
        game=read_game(
            results,
            params,
            ledgers,
            _common_rows(params, replicates, rows, numbers.num_common),
            {metric.key: metric.subset for metric in METRICS if metric.name in FAULT_RATES},
            numbers.bootstrap(numbers.num_common),
        ),
    )


@dataclass(frozen=True)
class _Replicate:
    """A reference or an arm in one replicate."""

    policy: Reference | Arm

    @property
    def name(self) -> str:
        return self.policy.name

    @property
    def seed(self) -> int:
        return self.policy.seed

    @property
    def arm(self) -> Arm | None:
        return self.policy if isinstance(self.policy, Arm) else None

    @property
    def is_own(self) -> bool:
        return isinstance(self.policy, Reference) and self.policy.is_own

    def rounds(self, params: Params) -> list[str]:
        return params.run.rounds if self.arm else [START_ROUND]

    def evaluation(self, results: Path, round_id: str) -> Path:
        return self.policy.evaluation(results, round_id) / "prompts.jsonl"


def _references(params: Params) -> list[_Replicate]:
    return [_Replicate(Reference(name, seed)) for name in params.references.names for seed in params.run.seeds]


def _without_ledger(params: Params) -> list[str]:
    """Reward models that play no game, beside the fixed one that all are measured by."""
    run = params.run
    without = run.fixed_reward_models, run.gold_reward_models, run.golden_start_reward_models, run.own_reward_models
    return [name for names in without for name in names if name != FIXED]


def _read_rows(results: Path, params: Params, replicates: list[_Replicate], keys: tuple[str, ...]) -> dict[RoundKey, list[Record]]:
    """(replicate, round) -> its rows, all on the same prompts in the same order, or on the first of them."""
    schema, own_schema = (Schema(row_with(Row, {**dict.fromkeys(keys, Number), KL: kl_type})) for kl_type in (Number, Number | None))
    files, rows = {}, {}
    for one in replicates:
        for key in ((one.name, round_id) for round_id in one.rounds(params)):
            files[key] = one.evaluation(results, key[1])
            rows[key] = read_jsonl(files[key], own_schema if one.is_own else schema)
    start, last = rows[replicates[0].name, START_ROUND], params.run.rounds[-1]
    for (name, round_id), file in files.items():
        num_expected = len(start) if round_id in (START_ROUND, last) else min(len(start), params.evaluate.num_earlier_prompts)
        _check(file, rows[name, round_id], start[:num_expected])
    return rows


def _check(file: Path, rows: list[Record], start: list[Record]) -> None:
    """Refuses rows that are not about SFT's prompts in SFT's order."""
    if len(rows) != len(start):
        raise DataError(
            f"{file}: {len(rows)} prompts, expected {len(start)} of SFT's evaluation; evaluate the same test prompts (dvc repro)"
        )
    for line, (row, first) in enumerate(zip(rows, start, strict=True), start=1):
        if (row["id"], row["subset"]) != (first["id"], first["subset"]):
            raise DataError(f"{file}:{line}: prompt {row['id']}, SFT's evaluation has {first['id']}; evaluate the same test prompts")


def _check_subsets(subsets: list[str], params: Params) -> None:
    """Refuses prompts of a subset that the data does not have: they would be in no table."""
    known = params.prepare.kinds
    if unknown := sorted(set(subsets) - set(known)):
        raise DataError(f"test prompts: subset {unknown[0]!r}, expected {' or '.join(known)} as prepare has it; prepare again (dvc repro)")


def _length_slope(replicates: list[_Replicate], params: Params, rows: dict[RoundKey, list[Record]]) -> float:
    """What RM_all gives a token, by all last responses of a replicate."""
    scores_AP, lengths_AP = (
        np.array([[row[key] for row in rows[one.name, one.rounds(params)[-1]]] for one in replicates], dtype=np.float64)
        for key in ("reward_all", "length")
    )
    return length_slope(scores_AP, lengths_AP)


def _columns(metrics: list[Metric], rows: list[Record], start: list[Record], slope: float) -> Columns:
    """Metric -> its value on each prompt; the mean of a win-rate column is what the `win_rate` module computes.

    The divergence from SFT is left out of a policy of one's own whose tokens are others.
    """
    start = start[: len(rows)]
    longer = np.array([row["length"] - first["length"] for row, first in zip(rows, start, strict=True)], dtype=np.float64)
    columns = {}
    for metric in (metric for metric in metrics if rows[0][metric.key] is not None):
        values = np.array([row[metric.key] for row in rows], dtype=np.float64)
        if metric.against_sft:
            margins = values - np.array([row[metric.key] for row in start], dtype=np.float64)
            values = (margins > 0) + 0.5 * (margins == 0)
        columns[metric.name] = values - slope * longer if metric.at_equal_length else values
    return columns


def _policies(params: Params, replicates: list[_Replicate], rows: dict[RoundKey, list[Record]], numbers: Estimator) -> dict[str, Policy]:
    policies = {}
    for seed in params.run.seeds:
        keys = [(one.name, round_id) for one in replicates if one.seed == seed for round_id in one.rounds(params)]
        mine = {key: numbers.columns[key] for key in keys}
        whole, common = numbers.over_prompts(mine), numbers.over_prompts({key: numbers.cut(found) for key, found in mine.items()})
        start = {START_ROUND: common[Reference(SFT, seed).name, START_ROUND]}
        for one in (one for one in replicates if one.seed == seed):
            policies[one.name] = Policy(
                name=one.name,
                rows={round_id: rows[one.name, round_id] for round_id in one.rounds(params)},
                rounds={round_id: whole[one.name, round_id] for round_id in one.rounds(params)},
                path=(start if one.arm else {}) | {round_id: common[one.name, round_id] for round_id in one.rounds(params)},
                members=(one.name,),
                seed=seed,
                is_own=one.is_own,
                **({"method": one.arm.method, "reward_model": one.arm.reward_model} if one.arm else {}),
            )
    return {one.name: policies[one.name] for one in replicates}


def _doses(params: Params) -> dict[str, float]:
    """The reward models of the run that are APO's but for their alpha, with that, the lowest first; alpha 0 is `no_adversarial`."""
    if APO not in params.run.retrained_reward_models:
        return {}
    kinds = [*params.run.retrained_reward_models, *(kind for kind in params.run.fixed_reward_models if kind == NO_ADVERSARIAL)]
    players = {kind: params.reward_model(kind) for kind in kinds}
    apo = players[APO]
    same = apo.settings.model_dump(exclude={"adversarial_weight"})
    found = {
        kind: player.game_weight
        for kind, player in players.items()
        if (isinstance(player, type(apo)) and player.settings.model_dump(exclude={"adversarial_weight"}) == same)
        or (kind == NO_ADVERSARIAL and player.settings.model_dump().items() <= same.items())
    }
    return dict(sorted(found.items(), key=lambda pair: pair[1]))


def _by_group(policies: Iterable[Policy]) -> dict[str, list[Policy]]:
    found: dict[str, list[Policy]] = {}
    for policy in policies:
        found.setdefault(policy.name.removesuffix(f"-s{policy.seed}"), []).append(policy)
    return found


def _mean_policy(group: str, members: list[Policy], numbers: Estimator) -> Policy:
    def columns(round_id: str) -> list[Columns]:
        if round_id == START_ROUND and members[0].is_arm:
            return [numbers.columns[Reference(SFT, member.seed).name, START_ROUND] for member in members if member.seed is not None]
        return [numbers.columns[member.name, round_id] for member in members]

    return replace(
        members[0],
        name=group,
        rounds={round_id: numbers.over_replicates(columns(round_id)) for round_id in members[0].rounds},
        path={round_id: numbers.over_replicates(list(map(numbers.cut, columns(round_id)))) for round_id in members[0].path},
        members=tuple(member.name for member in members),
        seed=None,
    )


def _differences(params: Params, numbers: Estimator) -> dict[str, Difference]:
    """Each reward model minus the fixed one, by method."""

    def of_one_seed(arm: Arm, round_id: str) -> dict[str, Estimate]:
        own, fixed = numbers.columns[arm.name, round_id], numbers.columns[arm.against(FIXED).name, round_id]
        return numbers.over_replicates([{name: own[name] - fixed[name] for name in own}])

    smallest = {metric.name: numbers.smallest(metric) for metric in numbers.metrics if metric.better}
    return differences(params, numbers.metrics, numbers.mean, smallest, of_one_seed)


def _common_rows(
    params: Params, replicates: list[_Replicate], rows: dict[RoundKey, list[Record]], num_prompts: int
) -> dict[RoundKey, list[Record]]:
    """Those of the replicates with a game ledger, on the prompts that every round answered."""
    seeds = params.game.seeds
    return {
        (one.name, round_id): rows[one.name, round_id][:num_prompts]
        for one in replicates
        if one.seed in seeds
        for round_id in one.rounds(params)
    }
