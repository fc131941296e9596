"""What of a reward model predicts the policy that it trains: rank correlations over all games, and the games as rows.

Shape suffixes: S replicates, G games, P pairs.
"""

import csv
import io
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import spearmanr

from apo_bench.claims.evidence import Margins
from apo_bench.config.params import Params
from apo_bench.core.layout import TEST_REWARD_MODEL, reward_evaluations, reward_model
from apo_bench.evaluation.statistics import Estimate, over_replicates

AGREEMENT = "agreement_with_all"
"""Share of the test pairs that it orders as RM_all does."""
PREDICTORS = ("human_accuracy", "sample_accuracy", "golden_accuracy", "ece", "best_of_n_gain", AGREEMENT)
MIN_GAMES = 3
"""That are ranked against each other: two have no order but one of two."""


@dataclass(frozen=True)
class PlayedRound:
    """A round of an arm in a replicate: what its reward model was worth, and what became of the policy."""

    seed: int
    method: str
    reward_model: str
    round: str
    measures: dict[str, float]
    """Of PREDICTORS, those that there are."""
    gold: float
    """The policy's mean gold after the round."""
    reward_all: float
    """The same by RM_all."""
    kl_to_sft: float
    """How far the policy is from SFT then, in nats."""


@dataclass(frozen=True)
class Predictor:
    """How a measure of reward models goes with the gold of the policies that they train."""

    measure: str
    within: Estimate | None
    """Spearman's rank correlation over the reward models of one method in one round, the mean over methods and rounds; over replicates.
    None where fewer than MIN_GAMES reward models differ."""
    across: Estimate | None
    """The same over all arms of a round together, whatever their method."""


def played_rounds(
    results: Path,
    params: Params,
    paths: Mapping[str, Mapping[str, Mapping[str, Estimate]]],
    reward_models: Mapping[str, Mapping[str, dict[str, float]]],
    margins: Margins,
) -> list[PlayedRound]:
    """Every round of every arm whose reward model is not gold itself, in the order of params.run; none where gold is unknown.

    Args:
        results: the folder of all results.
        params: all of params.yaml.
        paths: arm, of each replicate -> round -> metric -> estimate, over the prompts that every round answered.
        reward_models: arm -> round -> measure of its reward model -> value.
        margins: of the reward models of the run.

    Raises:
        MissingInputError: margins are not there.
        DataError: they are not of the same pairs.
    """
    if not params.has_gold:
        return []
    run, found, evaluations = params.run, [], reward_evaluations(results)
    for arm in (arm for arm in run.arms if arm.reward_model not in run.gold_reward_models):
        of_all = margins.of(reward_model(evaluations, TEST_REWARD_MODEL, arm.seed))
        for round_id, measures in reward_models[arm.name].items():
            own = margins.of(arm.reward(evaluations, round_id, run.own_reward_models))
            measured = measures | {AGREEMENT: agreement(own.margins_P, of_all.margins_P)}
            known = {name: measured[name] for name in PREDICTORS if name in measured}
            reached = (paths[arm.name][round_id][metric].value for metric in ("gold", "reward_all", "kl_to_sft"))
            found.append(PlayedRound(arm.seed, arm.method, arm.reward_model, round_id, known, *reached))
    return found


def agreement(margins_P: np.ndarray, others_P: np.ndarray) -> float:
    """Share of the pairs that both have which two reward models order alike; an order that one of them does not have counts as half.

    Args:
        margins_P: [P] the reward of one response minus that of the other.
        others_P: [P] the same by the other reward model, of as many or more pairs.
    """
    num_common = min(len(margins_P), len(others_P))
    return float((0.5 + 0.5 * np.sign(margins_P[:num_common]) * np.sign(others_P[:num_common])).mean())


def predictors(games: list[PlayedRound], confidence: float) -> list[Predictor]:
    """The correlations of each measure, those alone that there are in two replicates or more."""
    measures = [name for name in PREDICTORS if any(name in game.measures for game in games)]
    found = [
        Predictor(
            name,
            _over_replicates(games, name, ("seed", "round", "method"), confidence),
            _over_replicates(games, name, ("seed", "round"), confidence),
        )
        for name in measures
    ]
    return [one for one in found if one.within or one.across]


def games_csv(games: list[PlayedRound]) -> str:
    """The games as a table, a row each; empty cells for measures that a reward model lacks."""
    text = io.StringIO()
    columns = ("seed", "method", "reward_model", "round", *PREDICTORS, "gold", "reward_all", "kl_to_sft")
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    for game in games:
        whole = asdict(game)
        writer.writerow(whole.pop("measures") | whole)
    return text.getvalue()


def _over_replicates(games: list[PlayedRound], measure: str, group: tuple[str, ...], confidence: float) -> Estimate | None:
    """The mean correlation of a replicate's groups, over replicates."""
    by_seed: dict[int, list[float]] = {}
    for members in _groups([game for game in games if measure in game.measures], group):
        if (correlation := _correlation(members, measure)) is not None:
            by_seed.setdefault(members[0].seed, []).append(correlation)
    means_S = np.array([np.mean(found) for found in by_seed.values()])
    return over_replicates(means_S, confidence) if len(means_S) > 1 else None


def _groups(games: list[PlayedRound], keys: tuple[str, ...]) -> Iterator[list[PlayedRound]]:
    def key(game: PlayedRound) -> tuple[Any, ...]:
        return tuple(getattr(game, name) for name in keys)

    for _, members in groupby(sorted(games, key=key), key):
        yield list(members)


def _correlation(games: list[PlayedRound], measure: str) -> float | None:
    """Spearman's; None where fewer than MIN_GAMES differ in one of the two."""
    pairs_G2 = np.array([(game.measures[measure], game.gold) for game in games])
    if min(len(np.unique(column_G)) for column_G in pairs_G2.T) < MIN_GAMES:
        return None
    return float(spearmanr(pairs_G2).statistic)
