"""Planted paths: gold as Gao et al. 2022 have it, d (alpha - beta log d) at d = sqrt(KL); proxies that are gold, or that only rise."""

import numpy as np
import pytest

from apo_bench.evaluation.statistics import PromptBootstrap
from apo_bench.game.over_optimisation import over_optimisation, proxy_gains

ROUNDS = ["r1", "r2", "r3", "r4"]
DISTANCES = np.array([0.0, 0.5, 1.0, 2.0, 4.0])
ALPHA, BETA = 1.0, 1.0
"""Gold is 0, 0.85, 1, 0.61, -1.55: highest after r2 (d = exp(alpha / beta - 1) = 1)."""
NUM_PROMPTS, NOISE = 512, 1.6
"""Test prompts of the default profile, and about the spread of gold over them."""


@pytest.fixture(scope="module")
def weights():
    """1,000 draws."""
    return PromptBootstrap(["helpful"] * NUM_PROMPTS, 1000, 0.95, 0).counts_DP.astype(np.float64)


def gold_means():
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.nan_to_num(DISTANCES * (ALPHA - BETA * np.log(DISTANCES)))


def noisy(means, rng):
    """Values with these means; half of a prompt's deviation is the prompt's own and stays from round to round."""
    shared_P = rng.normal(0, NOISE * 0.5**0.5, NUM_PROMPTS)
    return np.array(means)[:, None] + shared_P + rng.normal(0, NOISE * 0.5**0.5, (len(means), NUM_PROMPTS))


def gains(values_TP):
    return values_TP - values_TP[0]


def test_planted_rise_and_fall_is_found_with_its_round(weights):
    rng = np.random.default_rng(0)
    found = [over_optimisation(noisy(gold_means(), rng), gains(noisy(DISTANCES, rng)), ROUNDS, weights, 0.95) for _ in range(50)]
    assert all(numbers["verdict"] == "over-optimised" for numbers in found)
    # r1 and r2 are 0.15 apart, two standard errors of a mean: now and then the draw puts r1 above.
    assert sum(numbers["stops_after"] == "r2" for numbers in found) >= 40
    assert all(numbers["stops_after"] in ("r1", "r2") for numbers in found)
    assert sum(numbers["peak"]["low"] <= "r2" <= numbers["peak"]["high"] for numbers in found) >= 45


def test_proxy_that_is_gold_is_never_called_over_optimised(weights):
    """On the same path: gold falls, and so does the proxy."""
    rng = np.random.default_rng(1)
    for _ in range(50):
        gold = noisy(gold_means(), rng)
        assert over_optimisation(gold, gains(gold), ROUNDS, weights, 0.95)["verdict"] == "falls"
    rising = noisy(DISTANCES, rng)
    assert over_optimisation(rising, gains(rising), ROUNDS, weights, 0.95)["verdict"] == "still rises"


def test_flat_gold_under_a_rising_proxy_is_seldom_called_over_optimised(weights):
    """Each round's chance of a fall is 2.5 % / 4, together 2.5 %: of 400 paths 10, and 17 are two standard errors more."""
    rng = np.random.default_rng(2)
    found = [over_optimisation(noisy(np.zeros(5), rng), gains(noisy(DISTANCES, rng)), ROUNDS, weights, 0.95) for _ in range(400)]
    assert sum(numbers["verdict"] == "over-optimised" for numbers in found) <= 17
    assert sum(numbers["verdict"] == "undecided" for numbers in found) >= 370


def test_numbers_by_hand():
    """Two prompts whose values never differ: gold 0, 2, 1; proxy 0, 1, 3."""
    gold, proxy = (np.repeat(np.array(values, dtype=np.float64)[:, None], 2, axis=1) for values in ([0, 2, 1], [0, 1, 3]))
    numbers = over_optimisation(gold, proxy, ["r1", "r2"], np.ones((10, 2)), 0.95)
    assert (numbers["verdict"], numbers["stops_after"]) == ("over-optimised", "r1")
    assert numbers["peak"] == {"round": "r1", "low": "r1", "high": "r1"}
    assert {name: value["value"] for name, value in numbers["proxy_gain"].items()} == {"r0": 0, "r1": 1, "r2": 3}
    to_last = {name: (found["target"]["value"], found["proxy"]["value"]) for name, found in numbers["to_last"].items()}
    assert to_last == {"r0": (1, 3), "r1": (-1, 2)}


def test_one_round():
    gold, proxy = (np.repeat(np.array(values, dtype=np.float64)[:, None], 2, axis=1) for values in ([0, -1], [0, 1]))
    numbers = over_optimisation(gold, proxy, ["r1"], np.ones((10, 2)), 0.95)
    assert (numbers["verdict"], numbers["stops_after"]) == ("over-optimised", "r0")


def test_proxy_of_a_retrained_reward_model_adds_up_what_each_round_gained():
    """r1's gains 2 - 1 by its own reward model, r2's 5 - 7 by its own: 0, 1, -1. The fixed one is read as it is: 0, 4, 6."""
    scores = {
        "base": {"r0": np.array([0.0]), "r1": np.array([4.0]), "r2": np.array([6.0])},
        "r1": {"r0": np.array([1.0]), "r1": np.array([2.0]), "r2": np.array([9.0])},
        "r2": {"r0": np.array([3.0]), "r1": np.array([7.0]), "r2": np.array([5.0])},
    }
    assert proxy_gains(scores, ["r1", "r2"]).tolist() == [[0], [1], [-1]]
    assert proxy_gains({"base": scores["base"]}, ["r1", "r2"]).tolist() == [[0], [4], [6]]
