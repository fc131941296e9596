"""Who plays in a game, by name, and what the ledger says of them. Imports no model, as the report reads it too."""

from pathlib import Path
from typing import Any

import numpy as np

from apo_bench.core.sections import FIRST_ROUND

Rows = list[dict[str, Any]]
Scores = dict[str, dict[str, np.ndarray]]
"""Reward model -> policy, or golden -> its score on each prompt."""
FIXED, START, GOLDEN = "base", "r0", "golden"
"""The fixed reward model, the SFT policy, and the golden responses; the others go by their round."""


def reward_model_folders(kind: str, rounds: list[str], fixed: Path, first: Path, later: Path) -> dict[str, Path]:
    """The reward models of a game: the fixed one, then the one of each round, if the game retrains it."""
    if kind == FIXED:
        return {FIXED: fixed}
    return {FIXED: fixed} | {name: first if name == FIRST_ROUND else later / name / "reward" for name in rounds}


def golden_above(scores: Scores) -> Scores:
    """Whether a reward model scores the golden response above the policy's to the same prompt: 1, 0.5 for a tie, 0."""
    return {
        name: {
            policy: (found[GOLDEN] > scores_P) + 0.5 * (found[GOLDEN] == scores_P) for policy, scores_P in found.items() if policy != GOLDEN
        }
        for name, found in scores.items()
    }


def ledger_rows(golden: Rows, scores: Scores) -> Rows:
    """A row a prompt: `id`, `subset`, and `scores` by reward model and policy."""
    return [
        {
            "id": row["id"],
            "subset": row["subset"],
            "scores": {name: {policy: float(values_P[prompt]) for policy, values_P in found.items()} for name, found in scores.items()},
        }
        for prompt, row in enumerate(golden)
    ]
