"""The numbers of an arm's game: its ledger with intervals, what the game does, over-optimisation, distribution shift."""

from typing import Any

import numpy as np

from apo_bench.config.sections import Compare
from apo_bench.core.records import Record
from apo_bench.evaluation.statistics import PromptBootstrap
from apo_bench.game.dynamics import measure_game, name_game
from apo_bench.game.over_optimisation import over_optimisation, proxy_gains
from apo_bench.game.players import START, Scores, golden_above
from apo_bench.game.shift import OrderRow, shift_numbers


def game_numbers(
    scores: Scores, policies: dict[str, list[Record]], target: str, shifted: dict[str, list[OrderRow]] | None, settings: Compare
) -> dict[str, Any]:
    """All numbers of an arm.

    Args:
        scores: of the ledger.
        policies: round -> a row a test prompt, from the SFT policy on.
        target: key of the rows that says how good a response is: `gold`, or `reward_all` where that is unknown.
        shifted: the rows of `shift_numbers`; None if neither gold nor a judge says which response is better.
        settings: confidence of the intervals, their seed and the number of their draws.

    Returns:
        `matrix`: reward model -> policy -> estimates of `score` and, but for the golden responses, `accuracy`; `dynamics`: `verdict` and
        `measures`, None if the reward model is fixed; `over_optimisation`, with its `target`; `shift` or None.
    """
    rounds = [name for name in policies if name != START]
    subsets = [row["subset"] for row in policies[START]]
    bootstrap = PromptBootstrap(subsets, settings.num_bootstrap_draws, settings.confidence, settings.seed)
    weights_DP = bootstrap.counts_DP.astype(np.float64)
    above = golden_above(scores)
    targets_TP = np.array([[row[target] for row in rows] for rows in policies.values()], dtype=np.float64)
    over = over_optimisation(targets_TP, proxy_gains(scores, rounds), rounds, weights_DP, settings.confidence)
    return {
        "matrix": _matrix(scores, above, bootstrap),
        "dynamics": _dynamics(above, rounds, weights_DP, settings.confidence),
        "over_optimisation": {"target": target, **over},
        "shift": shifted and shift_numbers(shifted, settings.num_bootstrap_draws, settings.confidence, settings.seed),
    }


def _matrix(scores: Scores, above: Scores, bootstrap: PromptBootstrap) -> dict[str, Any]:
    columns = {(name, policy, "score"): values_P for name, found in scores.items() for policy, values_P in found.items()}
    columns |= {(name, policy, "accuracy"): values_P for name, found in above.items() for policy, values_P in found.items()}
    estimates = bootstrap.means({" ".join(key): values_P.tolist() for key, values_P in columns.items()})
    matrix: dict[str, Any] = {name: {policy: {} for policy in found} for name, found in scores.items()}
    for name, policy, what in columns:
        matrix[name][policy][what] = estimates[f"{name} {policy} {what}"].as_dict()
    return matrix


def _dynamics(above: Scores, rounds: list[str], weights_DP: np.ndarray, confidence: float) -> dict[str, Any] | None:
    """None if the reward model is fixed: the game has one player then."""
    if not all(name in above for name in rounds):
        return None
    accuracies_RQP = np.array([[above[name][policy] for policy in (START, *rounds)] for name in rounds])
    measures = measure_game(accuracies_RQP, weights_DP, confidence)
    return {"verdict": name_game(measures), "measures": {name: value.as_dict() for name, value in measures.items()}}
