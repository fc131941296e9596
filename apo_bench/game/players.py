"""Who plays in a game, by name, and what the ledger says of them. Imports no model, as the report reads it too."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from apo_bench.core import layout
from apo_bench.core.layout import Arm
from apo_bench.core.records import Row

Scores = dict[str, dict[str, np.ndarray]]
"""Reward model -> policy, or golden -> its score on each prompt."""


class LedgerRow(Row):
    """What the reward models of a game make of the responses to a prompt."""

    scores: dict[str, dict[str, float]]
    """Reward model -> policy, or golden -> its score."""


FIXED, START, GOLDEN = layout.BASE, layout.START_ROUND, "golden"
"""The fixed reward model, the SFT policy, and the golden responses; the others go by their round."""


def reward_model_folders(arm: Arm, models: Path, rounds: list[str]) -> dict[str, Path]:
    """The reward models of an arm's game: the fixed one, then the one of each round, if the game retrains it."""
    fixed = {FIXED: layout.reward_model(models, FIXED, arm.seed)}
    return fixed if arm.reward_model == FIXED else fixed | {name: arm.reward(models, name) for name in rounds}


def golden_above(scores: Scores) -> Scores:
    """Whether a reward model scores the golden response above the policy's to the same prompt: 1, 0.5 for a tie, 0."""
    return {
        name: {
            policy: (found[GOLDEN] > scores_P) + 0.5 * (found[GOLDEN] == scores_P) for policy, scores_P in found.items() if policy != GOLDEN
        }
        for name, found in scores.items()
    }


def ledger_rows(golden: Sequence[Row], scores: Scores) -> list[LedgerRow]:
    """A row a prompt."""
    return [
        {
            "id": row["id"],
            "subset": row["subset"],
            "scores": {name: {policy: float(values_P[prompt]) for policy, values_P in found.items()} for name, found in scores.items()},
        }
        for prompt, row in enumerate(golden)
    ]
