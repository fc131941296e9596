"""Words on games are those that replicates decide together; one replicate decides nothing."""

from itertools import product

import numpy as np
import pytest

from apo_bench.core.layout import Arm
from apo_bench.game.replicates import standing_over_replicates, with_words_of_replicates


def estimate(value):
    return {"value": value, "low": value, "high": value, "standard_error": 0.0}


def numbers(forgetting, target, rng):
    """Of a replicate: its prompts are sure, whatever it says."""
    noise = 0.02 * rng.normal(size=6)
    measures = {"forgetting": forgetting + noise[0], "giving_back": noise[1], "edge_change": noise[2]}
    changes = {"r0": (1.0 + noise[3], 2.0), "r1": (target + noise[4], 1.0 + noise[5])}
    return {
        "dynamics": {"verdict": "cycles", "measures": {name: estimate(value) for name, value in measures.items()}},
        "over_optimisation": {
            "verdict": "over-optimised",
            "stops_after": "r1",
            "to_last": {name: {"target": estimate(one), "proxy": estimate(other)} for name, (one, other) in changes.items()},
        },
        "matrix": {},
    }


def played(num_seeds, games):
    rng = np.random.default_rng(0)
    return {Arm("dpo", kind, seed): numbers(*games[kind], rng) for kind, seed in product(games, range(num_seeds))}


def words(found):
    return [
        (one["dynamics"]["verdict"], one["over_optimisation"]["verdict"], one["over_optimisation"]["stops_after"]) for one in found.values()
    ]


@pytest.mark.parametrize("num_seeds", [1, 4])
def test_few_replicates_say_nothing(num_seeds):
    found = played(num_seeds, {"adversarial": (0.5, -1.0)})
    assert set(words(with_words_of_replicates(found, 0.95, 5))) == {("undecided", "undecided", None)}
    assert set(words(found)) == {("cycles", "over-optimised", "r1")}  # what came in is as it was


def test_replicates_decide_together():
    """Forgetting of 0.5, and a target that falls by 1 from round 1 on; of another arm neither."""
    found = with_words_of_replicates(played(6, {"adversarial": (0.5, -1.0), "wgan": (0.0, 0.0)}), 0.95, 5)
    assert words(found) == [("forgets", "over-optimised", "r1")] * 6 + [("undecided", "undecided", None)] * 6
    assert all(one["matrix"] == {} for one in found.values())


def test_a_fixed_reward_model_has_no_dynamics():
    found = played(6, {"base": (0.0, -1.0)})
    fixed = {arm: one | {"dynamics": None} for arm, one in found.items()}
    assert all(
        one["dynamics"] is None and one["over_optimisation"]["verdict"] == "over-optimised"
        for one in with_words_of_replicates(fixed, 0.95, 5).values()
    )


def test_replicates_that_disagree_say_nothing():
    """Forgetting of 0.9 in one and -0.5 in the others: the mean is not known to be either."""
    rng = np.random.default_rng(0)
    found = {Arm("dpo", "adversarial", seed): numbers(0.9 if seed == 0 else -0.5, 0.0, rng) for seed in range(5)}
    assert {word for word, *_ in words(with_words_of_replicates(found, 0.95, 5))} == {"undecided"}


def test_standing_is_that_of_every_replicate():
    frontier = {
        f"{name}-s{seed}": {"r1": {"is_pareto": True, "share": 1.0, "standing": standings[seed]}}
        for name, standings in {"a": ["on"] * 5, "b": ["on"] * 4 + ["undecided"]}.items()
        for seed in range(5)
    }
    found = standing_over_replicates(frontier, range(5), 5)
    assert {name[0]: rounds["r1"]["standing"] for name, rounds in found.items()} == {"a": "on", "b": "undecided"}
    assert {rounds["r1"]["standing"] for rounds in standing_over_replicates(frontier, range(5), 6).values()} == {"undecided"}
    assert found["a-s0"]["r1"]["share"] == 1.0
