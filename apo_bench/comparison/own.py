"""What reward models of one's own make of the test responses, beside RM_all: a column of the table each."""

from pathlib import Path

from apo_bench.comparison.estimates import RoundKey
from apo_bench.config.params import Params
from apo_bench.core.errors import DataError
from apo_bench.core.files import read_jsonl
from apo_bench.core.layout import Reference, own_scores
from apo_bench.core.records import Record
from apo_bench.core.results import OWN_SCORE, OWN_SCORES
from apo_bench.evaluation.metrics import METRICS, Metric

NUM_BEFORE = 2
"""Of METRICS: those by RM_all, behind which others' scores stand."""


def all_metrics(params: Params) -> list[Metric]:
    """METRICS, with the scores by reward models of one's own behind those by RM_all."""
    return [*METRICS[:NUM_BEFORE], *map(_metric, params.own_reward_models), *METRICS[NUM_BEFORE:]]


def with_own_scores(results: Path, params: Params, rows: dict[RoundKey, list[Record]]) -> dict[RoundKey, list[Record]]:
    """The rows of evaluations, by replicate of a policy and round, with these scores in them.

    Raises:
        MissingInputError: scores are not there.
        DataError: they are not those of these responses.
    """
    for name in params.own_reward_models:
        rows = rows | _scored_by(name, results, params, rows)
    return rows


def _scored_by(name: str, results: Path, params: Params, rows: dict[RoundKey, list[Record]]) -> dict[RoundKey, list[Record]]:
    key, found = _metric(name).key, {}
    for seed in params.run.seeds:
        file = own_scores(results, name, seed) / OWN_SCORES
        for scored in read_jsonl(file, OWN_SCORE):
            policy, round_id = scored["policy"], scored["round"]
            replicate = Reference(policy, seed).name  # arms are called alike
            responses = rows.get((replicate, round_id), [])
            if len(responses) != len(scored["rewards"]):
                raise DataError(
                    f"{file}: {len(scored['rewards'])} rewards of {policy} after {round_id}, expected {len(responses)}, one a test "
                    "response; run the stage score_responses (dvc repro) again"
                )
            found[replicate, round_id] = [{**row, key: reward} for row, reward in zip(responses, scored["rewards"], strict=True)]
    if missing := [key for key in rows if key not in found]:
        raise DataError(f"{results}: no rewards of {missing[0][0]} by {name}; run the stage score_responses (dvc repro) again")
    return found


def _metric(name: str) -> Metric:
    return Metric(
        f"own_reward_{name}",
        f"RM_{name}",
        f"Mean score by {name}, a reward model from elsewhere (reward.own). Only differences count; of policies that were trained with it "
        "it is no test.",
        f"own_reward_{name}",
        "score",
        "higher",
    )
