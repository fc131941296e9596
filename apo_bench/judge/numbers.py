"""The numbers of a judgement: win rates with intervals, and the audit of the judge that they come from. Shape suffix: P prompts."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
from scipy.stats import rankdata

from apo_bench.config.sections import Compare
from apo_bench.evaluation.statistics import Estimate, PromptBootstrap
from apo_bench.judge.questions import VERDICTS, JudgementRow, Verdict
from apo_bench.judge.statistics import correlation, estimate, kappa, length_controlled, mean_and_error, ratio

Sum = Literal["num_requests", "num_asked_again", "prompt_tokens", "completion_tokens", "usd"]
SUMS: tuple[Sum, ...] = ("num_requests", "num_asked_again", "prompt_tokens", "completion_tokens", "usd")
MIRRORED: dict[Verdict | None, Verdict] = {"A": "B", "B": "A", "tie": "tie"}
"""What a verdict is called when the answers change places."""
REFERENCES = {"human": "people", "gold": "gold"}
"""What the judge's verdicts may be compared with, in words."""
MAX_UNREADABLE = 0.05
"""Share of unreadable verdicts from which on the audit speaks of it: what is left out may then move a win rate by as much."""


def judgement_numbers(rows: Sequence[JudgementRow], settings: Compare, seed: int, references: dict[str, list[float]]) -> dict[str, Any]:
    """Win rates, counts and audit of the rows of `judge_matchups`.

    Args:
        rows: one a prompt.
        settings: confidence of the intervals, and the number of their draws.
        seed: of the draws.
        references: name -> for each prompt what the right outcome is (1 the response is better, 0.5 equal, 0 worse).

    Returns:
        `estimates`, each as an `Estimate`, those that cannot be estimated left out; `counts`; `served_models`; `findings`, in words.
    """
    subsets_P = np.array([row["subset"] for row in rows])
    bootstrap = PromptBootstrap(subsets_P.tolist(), settings.num_bootstrap_draws, settings.confidence, seed)
    outcomes_P = np.array([np.nan if row["outcome"] is None else row["outcome"] for row in rows])
    differences_P = np.array([float(len(row["response"]) - len(row["opponent"])) for row in rows])
    is_judged_P, is_asked_P = np.isfinite(outcomes_P), np.array([not row["is_identical"] for row in rows])

    def draws(members: np.ndarray) -> np.ndarray:
        return bootstrap.counts_DP[:, members].astype(np.float64)

    estimates: dict[str, Estimate | None] = {}
    for subset in (None, *sorted(set(subsets_P.tolist()))):
        members = np.flatnonzero(is_judged_P & ((subsets_P == subset) | (subset is None)))
        found = _win_rates(outcomes_P[members], differences_P[members], draws(members), settings.confidence)
        estimates |= {f"{name}_{subset}" if subset else name: value for name, value in found.items()}
    members = np.flatnonzero(is_judged_P & is_asked_P)
    asked, weights_DP = [rows[index] for index in members.tolist()], draws(members)
    estimates |= _audit(asked, outcomes_P[members], differences_P[members], weights_DP, settings.confidence)
    for name, right in references.items():
        estimates |= _agreement(name, asked, outcomes_P[members], np.array(right)[members], weights_DP, settings.confidence)
    numbers = {
        "estimates": {name: value.as_dict() for name, value in estimates.items() if value is not None},
        "counts": _counts(rows, outcomes_P),
        "served_models": sorted({model for row in rows for model in row["served_models"]}),
    }
    return numbers | {"findings": _findings(numbers, list(references))}


def _win_rates(outcomes_P: np.ndarray, differences_P: np.ndarray, weights_DP: np.ndarray, confidence: float) -> dict[str, Estimate | None]:
    """By the judge, by the judge at equal length, and by a judge who takes the longer answer."""
    ones_P = np.ones(len(outcomes_P))
    by_judge = estimate(ratio(outcomes_P, ones_P), weights_DP, confidence)
    if by_judge and len(outcomes_P) > 1:
        by_judge = replace(by_judge, standard_error=mean_and_error(outcomes_P)[1])
    longer_P = (differences_P > 0) + 0.5 * (differences_P == 0)
    return {
        "win_rate": by_judge,
        "length_controlled_win_rate": estimate(length_controlled(outcomes_P, differences_P), weights_DP, confidence),
        "longer_win_rate": estimate(ratio(longer_P, ones_P), weights_DP, confidence),
    }


def _audit(
    rows: Sequence[JudgementRow], outcomes_P: np.ndarray, differences_P: np.ndarray, weights_DP: np.ndarray, confidence: float
) -> dict[str, Estimate | None]:
    """How verdicts hang on the order and on the length of the answers, over prompts that the judge was asked about and judged."""
    pairs = [(row["verdict_own_first"], row["verdict_opponent_first"]) for row in rows]
    flips_P = np.array([own_first != MIRRORED[opponent_first] for own_first, opponent_first in pairs], dtype=np.float64)
    firsts_P, decided_P = (np.array([sum(verdict in kinds for verdict in pair) for pair in pairs], float) for kinds in (("A",), ("A", "B")))
    ranks = [rankdata(column) for column in (outcomes_P, differences_P)]
    return {
        "flip_fraction": estimate(ratio(flips_P, np.ones(len(rows))), weights_DP, confidence),
        "first_position_fraction": estimate(ratio(firsts_P, decided_P), weights_DP, confidence),
        "length_correlation": estimate(correlation(*ranks), weights_DP, confidence),
    }


def _agreement(
    name: str, rows: Sequence[JudgementRow], outcomes_P: np.ndarray, right_P: np.ndarray, weights_DP: np.ndarray, confidence: float
) -> dict[str, Estimate | None]:
    """Accuracy of the outcomes where one response is better, a tie as half right; kappa of the verdicts of both orders with what was right.

    Kappa is about the positions A, B and tie as they were shown, so that a judge who always says A agrees by chance alone.
    """
    decided_P = (right_P != 0.5).astype(np.float64)
    correct_P = decided_P * (1 - np.abs(outcomes_P - right_P))
    confusion_PKK = np.zeros((len(rows), len(VERDICTS), len(VERDICTS)))
    positions: dict[float, Verdict] = {1.0: "A", 0.5: "tie", 0.0: "B"}
    for table_KK, row, right in zip(confusion_PKK, rows, right_P.tolist(), strict=True):
        shown = positions[right]
        table_KK[VERDICTS.index(shown), VERDICTS.index(row["verdict_own_first"])] += 1
        table_KK[VERDICTS.index(MIRRORED[shown]), VERDICTS.index(row["verdict_opponent_first"])] += 1
    return {
        f"{name}_accuracy": estimate(ratio(correct_P, decided_P), weights_DP, confidence),
        f"{name}_kappa": estimate(kappa(confusion_PKK), weights_DP, confidence),
    }


def _counts(rows: Sequence[JudgementRow], outcomes_P: np.ndarray) -> dict[str, float]:
    counts: dict[str, float] = {"num_prompts": len(rows), "num_judged": int(np.isfinite(outcomes_P).sum())}
    for subset in (None, *sorted({row["subset"] for row in rows})):
        members = np.array([subset in (None, row["subset"]) for row in rows])
        for name, outcome in (("wins", 1.0), ("ties", 0.5), ("losses", 0.0)):
            counts[f"num_{name}_{subset}" if subset else f"num_{name}"] = int((outcomes_P[members] == outcome).sum())
    asked = [row for row in rows if not row["is_identical"]]
    counts["num_identical"] = len(rows) - len(asked)
    verdicts = [verdict for row in asked for verdict in (row["verdict_own_first"], row["verdict_opponent_first"])]
    counts["num_unreadable"] = verdicts.count(None)
    counts["unreadable_fraction"] = counts["num_unreadable"] / max(1, len(verdicts))
    return counts | {name: sum(row[name] for row in rows) for name in SUMS}


def _findings(numbers: dict[str, Any], references: list[str]) -> list[str]:
    """What a reader must know of the judge before its win rates: each a sentence, none if the audit found nothing."""
    estimates, counts = numbers["estimates"], numbers["counts"]
    num_asked = counts["num_prompts"] - counts["num_identical"]
    num_left_out = counts["num_prompts"] - counts["num_judged"]
    if num_asked and num_left_out == num_asked:
        return ["It gave no verdict that can be read in both orders."]
    said = []
    if counts["unreadable_fraction"] > MAX_UNREADABLE:
        said.append(f"{counts['unreadable_fraction']:.0%} of its verdicts cannot be read, so that {num_left_out} prompts are left out.")
    first = estimates.get("first_position_fraction")
    if first and not first["low"] <= 0.5 <= first["high"]:
        said.append(
            f"It favours the {'first' if first['value'] > 0.5 else 'second'} answer: {first['value']:.0%} of its verdicts go there."
        )
    flips = estimates.get("flip_fraction")
    if flips and flips["value"] > 0.5:
        said.append(f"{flips['value']:.0%} of its verdicts change with the order of the answers.")
    length = estimates.get("length_correlation")
    if length and not length["low"] <= 0 <= length["high"]:
        said.append(f"Its verdicts go with {'longer' if length['value'] > 0 else 'shorter'} answers: correlation {length['value']:+.2f}.")
    for name in references:
        agreement = estimates.get(f"{name}_kappa")
        if agreement is None or agreement["low"] <= 0:
            said.append(f"Its agreement with {REFERENCES[name]} cannot be told from chance.")
    return said
