"""Distribution shift: how well the fixed reward model and the one of the round order what the policy of the moment says.

Where gold is known it orders the samples of a prompt that the round's policy learns from. Where it is not, a judge's verdict says which is
better, the policy's test response or SFT's. Shape suffixes: P prompts, D draws.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from apo_bench.core.errors import DataError
from apo_bench.core.files import read_jsonl
from apo_bench.core.records import Row, ScoresRow, VerdictRow
from apo_bench.core.results import VERDICT
from apo_bench.data.gold import gold_rewards
from apo_bench.data.records import SCORED, read_records
from apo_bench.evaluation.statistics import PromptBootstrap
from apo_bench.game.players import FIXED, START, Scores
from apo_bench.judge.statistics import Statistic, estimate, ratio


class OrderRow(Row):
    """How a prompt's responses are ordered."""

    num_pairs: int
    """Pairs of which one response is better."""
    correct: dict[str, float]
    """How many of them the reward models `base` and `own` order so; a tie is half right."""


def read_shifted(
    against: str,
    scored: dict[str, Path],
    judged: dict[str, Path],
    scores: Scores,
    score_by_base: Callable[[list[ScoresRow]], list[list[float]]],
) -> dict[str, list[OrderRow]] | None:
    """The rows that `shift_numbers` takes, round by round; None if nothing says which response is better.

    Args:
        against: gold, judge, or empty.
        scored: round -> the folder of the scored samples of its policy.
        judged: round whose policy is judged -> the folder of its verdicts against SFT.
        scores: of the ledger.
        score_by_base: the rewards that RM_base gives to scored samples, a list a prompt.

    Raises:
        MissingInputError: a file is not there.
        DataError: it is broken, or about other prompts than the ledger.
    """
    if against == "gold":
        samples = {name: read_records(folder / SCORED, "scores") for name, folder in scored.items()}
        by_base = iter(score_by_base([row for rows in samples.values() for row in rows]))
        return {name: [ordered_row(row, next(by_base)) for row in rows] for name, rows in samples.items()}
    if against == "judge":
        return {name: judged_rows(_verdicts(folder, scores), scores, name) for name, folder in judged.items()}
    return None


def ordered_row(row: ScoresRow, by_base_K: list[float]) -> OrderRow:
    """Of K scored samples to a prompt: its pairs are those that gold does not call equal."""
    gold_K = np.array(gold_rewards(row["dialogue"], row["responses"]))
    first, second = np.triu_indices(len(gold_K), k=1)
    by_gold = np.sign(gold_K[first] - gold_K[second])
    correct = {}
    for name, rewards_K in (("base", np.array(by_base_K)), ("own", np.array(row["rewards"]))):
        agrees = by_gold * np.sign(rewards_K[first] - rewards_K[second])
        correct[name] = float(((1 + agrees) / 2)[by_gold != 0].sum())
    return {"id": row["id"], "subset": row["subset"], "num_pairs": int((by_gold != 0).sum()), "correct": correct}


def judged_rows(verdicts: Sequence[VerdictRow], scores: Scores, round_id: str) -> list[OrderRow]:
    """A row a test prompt: the pair of the policy's response and SFT's, unless the judge calls them equal or could not be read."""
    outcomes_P = np.array([0.5 if row["outcome"] is None else row["outcome"] for row in verdicts])
    models = {"base": scores[FIXED], "own": scores.get(round_id, scores[FIXED])}
    correct = {name: _agreement(outcomes_P, found[round_id] - found[START]) for name, found in models.items()}
    return [
        {
            "id": row["id"],
            "subset": row["subset"],
            "num_pairs": int(outcome != 0.5),
            "correct": {name: float(values_P[prompt]) for name, values_P in correct.items()},
        }
        for prompt, (row, outcome) in enumerate(zip(verdicts, outcomes_P, strict=True))
    ]


def shift_numbers(rounds: dict[str, list[OrderRow]], num_draws: int, confidence: float, seed: int) -> dict[str, Any]:
    """Accuracies by round, and how they change from the first round to the last, with intervals over prompts.

    Args:
        rounds: round -> a row a prompt, the same prompts in each.
        num_draws: of the bootstrap.
        confidence: of the intervals.
        seed: of the draws.

    Returns:
        `rounds`: round -> estimates of `base` and `own`, of `gain`, own minus base on the same pairs, and `num_pairs`; what cannot be
        estimated is left out. `change`: `base` and `own`, last round minus first; empty for one round.

    Raises:
        DataError: two rounds have different prompts.
    """
    first, last = next(iter(rounds)), next(reversed(rounds))
    ids = [row["id"] for row in rounds[first]]
    for name, rows in rounds.items():
        if [row["id"] for row in rows] != ids:
            raise DataError(f"{name}: other prompts than in {first}; score the same prompts in every round (dvc repro)")
    bootstrap = PromptBootstrap([row["subset"] for row in rounds[first]], num_draws, confidence, seed)
    weights_DP = bootstrap.counts_DP.astype(np.float64)

    def estimated(statistics: dict[str, Statistic]) -> dict[str, Any]:
        found = {name: estimate(statistic, weights_DP, confidence) for name, statistic in statistics.items()}
        return {name: value.as_dict() for name, value in found.items() if value is not None}

    accuracies = {name: _accuracies(rows) for name, rows in rounds.items()}
    change = {name: _difference(accuracies[last][name], accuracies[first][name]) for name in ("base", "own")}
    return {
        "rounds": {
            name: estimated(accuracies[name]) | {"num_pairs": int(sum(row["num_pairs"] for row in rows))} for name, rows in rounds.items()
        },
        "change": estimated(change) if first != last else {},
    }


def _verdicts(folder: Path, scores: Scores) -> list[VerdictRow]:
    rows = read_jsonl(folder / "verdicts.jsonl", VERDICT)
    num_prompts = len(scores[FIXED][START])
    if len(rows) < num_prompts:
        raise DataError(f"{folder / 'verdicts.jsonl'}: {len(rows)} prompts, the ledger has {num_prompts}; judge the same (dvc repro)")
    return rows[:num_prompts]


def _accuracies(rows: Sequence[OrderRow]) -> dict[str, Statistic]:
    pairs_P = np.array([row["num_pairs"] for row in rows], dtype=np.float64)
    base_P, own_P = (np.array([row["correct"][name] for row in rows], dtype=np.float64) for name in ("base", "own"))
    return {"base": ratio(base_P, pairs_P), "own": ratio(own_P, pairs_P), "gain": ratio(own_P - base_P, pairs_P)}


def _difference(later: Statistic, earlier: Statistic) -> Statistic:
    return lambda weights_DP: later(weights_DP) - earlier(weights_DP)


def _agreement(outcomes_P: np.ndarray, margins_P: np.ndarray) -> np.ndarray:
    """1 where a margin says what the outcome says, 0.5 where it says nothing, 0 also where the outcome is a tie."""
    says_P = (margins_P > 0) + 0.5 * (margins_P == 0)
    return (outcomes_P != 0.5) * (1 - np.abs(outcomes_P - says_P))
