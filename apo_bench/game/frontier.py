"""The frontier of two faults that gold names: policies that no other beats on both rates at once, which are better lower.

Shape suffixes: D draws, M policies, P prompts.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from apo_bench.core.records import Record
from apo_bench.evaluation.statistics import PromptBootstrap

NUM_DRAWS = 2000
"""The share of draws in which a policy stands on the frontier then has a standard error of 1.1 points at most."""
ON, OFF, UNDECIDED = "on", "off", "undecided"


def frontier(
    policies: Mapping[tuple[str, str], Sequence[Record]], rates: Mapping[str, str | None], bootstrap: PromptBootstrap, confidence: float
) -> dict[str, dict[str, dict[str, Any]]]:
    """Where each policy and round stands.

    Args:
        policies: (policy, round) -> a row a test prompt, all on the same prompts.
        rates: the key of a row that says whether the response has the fault, and the subset whose prompts it is counted on.
        bootstrap: the draws of prompts.
        confidence: of the standing.

    Returns:
        Policy -> round -> `is_pareto`, by the rates as they are; `share` of draws in which it is; `standing`: on the frontier if that is so
        in as many draws as the confidence asks for, off if in as few as it leaves, else undecided. Empty if a rate has no prompts.
    """
    subsets = [row["subset"] for row in next(iter(policies.values()))]
    counted = []
    for key, subset in rates.items():
        members = [number for number, found in enumerate(subsets) if found == subset]
        if not members:
            return {}
        values_PM = np.array([[rows[number][key] for rows in policies.values()] for number in members], dtype=np.float64)
        counts_DP = bootstrap.counts_DP[:NUM_DRAWS, members].astype(np.float64)
        counted.append(np.vstack([values_PM.sum(axis=0), counts_DP @ values_PM]))  # the prompts as they are, then the draws
    is_pareto_DM = pareto(*counted)
    shares_M = is_pareto_DM[1:].mean(axis=0)
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for number, (name, round_id) in enumerate(policies):
        share = float(shares_M[number])
        standing = ON if share >= confidence else OFF if share <= 1 - confidence else UNDECIDED
        found.setdefault(name, {})[round_id] = {"is_pareto": bool(is_pareto_DM[0, number]), "share": share, "standing": standing}
    return found


def pareto(first_DM: np.ndarray, second_DM: np.ndarray) -> np.ndarray:
    """Whether no other policy of the row is lower on one and as low on the other: [D, M] of bool. Equals stand together."""
    is_pareto_DM = np.empty(first_DM.shape, dtype=bool)
    for number in range(first_DM.shape[1]):
        own_first_D1, own_second_D1 = first_DM[:, [number]], second_DM[:, [number]]
        no_higher_DM = (first_DM <= own_first_D1) & (second_DM <= own_second_D1)
        lower_DM = (first_DM < own_first_D1) | (second_DM < own_second_D1)
        is_pareto_DM[:, number] = ~(no_higher_DM & lower_DM).any(axis=1)
    return is_pareto_DM
