"""Human labels as draws: annotators who were asked again would not all say the same."""

import math
import random
from collections.abc import Sequence
from statistics import median

from apo_bench.core.errors import DataError
from apo_bench.core.records import PairRow
from apo_bench.data.gold import gold_rewards


def draw_labels(pairs: Sequence[PairRow], rng: random.Random) -> list[PairRow]:
    """The same pairs with labels drawn anew, by the probability of each; those without one keep theirs.

    A draw is used up for each pair, so that a pair's label does not depend on the others' probabilities.
    """
    return [row if rng.random() < row.get("probability", 1.0) else _turned(row) for row in pairs]


def labels_by_gold(pairs: Sequence[PairRow], human: Sequence[PairRow], seed: int) -> list[PairRow]:
    """Pairs of the embedded corpus as the annotator of the human pairs orders them: Bradley-Terry draws from gold, at their temperature.

    Args:
        pairs: records of kind pairs whose `chosen` and `rejected` stand in any order.
        human: the human pairs, with their labels' probabilities.
        seed: of the draws, one a pair in their order, so that the first of more pairs are labelled as they are without the others.

    Returns:
        The same pairs with `probability`, labels drawn.

    Raises:
        DataError: the human pairs do not say how their annotator labels.
    """
    temperature = temperature_of(human)
    rows: list[PairRow] = []
    for row in pairs:
        first, second = gold_rewards(row["dialogue"], [row["chosen"], row["rejected"]])
        rows.append({**row, "probability": 1 / (1 + math.exp((second - first) / temperature))})
    return draw_labels(rows, random.Random(seed))


def temperature_of(human: Sequence[PairRow]) -> float:
    """The temperature t of Bradley-Terry labels, P(chosen) = sigmoid(difference of gold / t), read off the pairs they were drawn for.

    Raises:
        DataError: no pair has a probability that tells.
    """
    found = []
    for row in human:
        probability = row.get("probability", 1.0)
        if 0.01 < probability < 0.99 and probability != 0.5:  # the file has six places: further out they tell less
            chosen, rejected = gold_rewards(row["dialogue"], [row["chosen"], row["rejected"]])
            found.append((chosen - rejected) / math.log(probability / (1 - probability)))
    if not found:
        raise DataError("no human pair has a label whose probability tells how gold was read; expected pairs of the embedded corpus")
    return median(found)


def _turned(row: PairRow) -> PairRow:
    turned: PairRow = {**row, "chosen": row["rejected"], "rejected": row["chosen"], "probability": 1 - row["probability"]}
    if "finished" in turned:
        turned["finished"] = turned["finished"][::-1]
    return turned
