"""The win rate at equal length against AlpacaEval's published one, and the choice of the two numbers that hold the effect of length.

    python -m benchmarks.length_control annotations.json.gz

The file is a JSON list of models, each with `model`, `published` (its row of the leaderboard) and `rows` (`preference`, `len_model`,
`len_reference`) of the 805 prompts; AlpacaEval's repository has them (Apache License 2.0), this one does not.

The numbers are chosen on every second model, and judged on the others: fixed there, they are `LENGTH_EFFECT` and `LENGTH_WEIGHT`.
"""

import argparse
import gzip
import json
from itertools import product
from pathlib import Path

import numpy as np

from apo_bench.judge import statistics
from apo_bench.judge.statistics import length_controlled

EFFECTS, WEIGHTS = (0.6, 0.8, 1.0, 1.2, 1.5), (0.01, 0.03, 0.05, 0.1, 0.2, 1.0)


def read(path: Path) -> list[tuple[dict, np.ndarray, np.ndarray]]:
    """Of each model what is published, its soft preferences in 0..1, and how much longer its answers are."""
    models = json.loads(gzip.decompress(path.read_bytes()))
    judged = [(model, [row for row in model["rows"] if row["preference"] is not None]) for model in models]
    return [
        (
            {"model": model["model"], **model["published"]},
            np.array([row["preference"] - 1 if row["preference"] else 0.5 for row in rows]),  # AlpacaEval writes 0 for a draw as well
            np.array([float(row["len_model"] - row["len_reference"]) for row in rows]),
        )
        for model, rows in judged
    ]


def at_equal_length(preferences_P: np.ndarray, differences_P: np.ndarray) -> float:
    """In percent."""
    return 100 * float(length_controlled(preferences_P, differences_P)(np.ones((1, len(preferences_P))))[0])


def main() -> None:
    """Prints the choice and the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("annotations", type=Path)
    models = read(parser.parse_args().annotations)
    published = np.array([float(model["length_controlled_winrate"]) for model, _, _ in models])
    own = statistics.LENGTH_EFFECT, statistics.LENGTH_WEIGHT
    errors = {}
    for statistics.LENGTH_EFFECT, statistics.LENGTH_WEIGHT in {own: 0, **dict.fromkeys(product(EFFECTS, WEIGHTS), 0)}:
        found = np.array([at_equal_length(preferences, differences) for _, preferences, differences in models])
        errors[statistics.LENGTH_EFFECT, statistics.LENGTH_WEIGHT] = found - published
    for first in (1, 0):
        mine, others = np.arange(first, len(models), 2), np.arange(1 - first, len(models), 2)
        best = min(errors, key=lambda choice: np.abs(errors[choice][mine]).max())
        print(
            f"chosen on models {mine.tolist()}: {best}, largest error there {np.abs(errors[best][mine]).max():.2f}, "
            f"on the others {np.abs(errors[best][others]).max():.2f}"
        )
    print("\n| model | win rate | at equal length, published | here | difference |\n|---|---:|---:|---:|---:|")
    for (model, _, _), error in zip(models, errors[own], strict=True):
        rates = float(model["win_rate"]), float(model["length_controlled_winrate"])
        print(f"| {model['model']} | {rates[0]:.2f} | {rates[1]:.2f} | {rates[1] + error:.2f} | {error:+.2f} |")
    print(f"\nmean {np.abs(errors[own]).mean():.2f}, largest {np.abs(errors[own]).max():.2f} points")


if __name__ == "__main__":
    main()
