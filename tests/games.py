"""Numbers of a small game for the tests of what shows them: six prompts, scores drawn at random, counted by the real functions."""

import numpy as np

from apo_bench.game.numbers import game_numbers

SUBSETS = ["helpful", "harmless"] * 3


def played(params, kind: str, rounds: list[str], against: str) -> dict:
    """What the stage `game` writes for an arm of a reward model `kind`; `against`: gold, judge or empty, what the shift is measured by."""
    rng = np.random.default_rng(0)
    models = ["base", *(rounds if kind != "base" else [])]
    scores = {model: {player: rng.normal(size=6) for player in ("r0", *rounds, "golden")} for model in models}
    target = "gold" if against == "gold" else "reward_all"
    policies = {name: [{"subset": subset, target: float(rng.normal())} for subset in SUBSETS] for name in ("r0", *rounds)}
    correct = {"base": 1.0, "own": 2.0}
    rows = [{"id": str(number), "subset": subset, "num_pairs": 2, "correct": correct} for number, subset in enumerate(SUBSETS)]
    settings = params.compare.model_copy(update={"num_bootstrap_draws": 1000})
    return game_numbers(scores, policies, target, dict.fromkeys(rounds, rows) if against else None, settings)
