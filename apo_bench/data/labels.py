"""Human labels as draws: annotators who were asked again would not all say the same."""

import random
from typing import Any

Rows = list[dict[str, Any]]
PROBABILITY = "probability"
"""Column of a pair: how probable it was that its `chosen` response would be preferred. Absent where labels are given, as in HH."""


def draw_labels(pairs: Rows, rng: random.Random) -> Rows:
    """The same pairs with labels drawn anew, by the probability of each; those without one keep theirs.

    A draw is used up for each pair, so that a pair's label does not depend on the others' probabilities.
    """
    return [row if rng.random() < row.get(PROBABILITY, 1.0) else _turned(row) for row in pairs]


def _turned(row: dict[str, Any]) -> dict[str, Any]:
    return row | {"chosen": row["rejected"], "rejected": row["chosen"], PROBABILITY: 1 - row[PROBABILITY]}
