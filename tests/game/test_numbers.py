"""An arm's numbers from its scores: two prompts that never differ, so that every interval has no width."""

import numpy as np
import pytest
from games import played

from apo_bench.game.numbers import game_numbers


@pytest.fixture
def settings(params):
    return params.compare.model_copy(update={"num_bootstrap_draws": 1000})


def alike(**scores):
    return {name: np.full(2, float(value)) for name, value in scores.items()}


def test_by_hand(settings):
    """r1's model has golden above SFT and below r1; r2's has it above r1 and below SFT: it forgets, and r2 keeps what r1 won."""
    scores = {
        "base": alike(r0=0, r1=2, r2=3, golden=1),
        "r1": alike(r0=0, r1=2, r2=2, golden=1),
        "r2": alike(r0=2, r1=0, r2=3, golden=1),
    }
    policies = {name: [{"subset": "helpful", "gold": gold}] * 2 for name, gold in (("r0", 0), ("r1", 2), ("r2", 1))}
    numbers = game_numbers(scores, policies, "gold", None, settings)
    accuracies = {model: [found[name]["accuracy"]["value"] for name in policies] for model, found in numbers["matrix"].items()}
    assert accuracies == {"base": [1, 0, 0], "r1": [1, 0, 0], "r2": [0, 1, 0]}
    assert numbers["matrix"]["r2"]["r1"]["score"] == {"value": 0, "low": 0, "high": 0, "standard_error": 0}
    assert numbers["matrix"]["r1"]["golden"]["score"]["value"] == 1 and "accuracy" not in numbers["matrix"]["r1"]["golden"]
    assert numbers["dynamics"]["verdict"] == "forgets"
    over = numbers["over_optimisation"]  # proxy: 2 by r1's model, then 3 by r2's
    assert (over["target"], over["verdict"], over["stops_after"], over["proxy_gain"]["r2"]["value"]) == ("gold", "over-optimised", "r1", 5)
    assert numbers["shift"] is None


def test_a_fixed_reward_model_plays_no_game(params):
    numbers = played(params, "base", ["r1", "r2"], "gold")
    assert numbers["dynamics"] is None and set(numbers["matrix"]) == {"base"} and numbers["shift"]["rounds"]["r1"]["num_pairs"] == 12


def test_the_same_numbers_twice_and_one_round_is_enough(params):
    assert played(params, "adversarial", ["r1"], "judge") == played(params, "adversarial", ["r1"], "judge")
    one = played(params, "adversarial", ["r1"], "")
    assert one["dynamics"] == {"verdict": "undecided", "measures": {}} and one["over_optimisation"]["target"] == "reward_all"
