"""Planted games: accuracies by hand, then outcomes drawn from them. A row a reward model of r1, r2, r3; columns SFT, r1, r2, r3."""

import numpy as np
import pytest

from apo_bench.evaluation.statistics import PromptBootstrap
from apo_bench.game.dynamics import measure_game, name_game

CONVERGING = [[0.9, 0.6, 0.6, 0.6], [0.9, 0.75, 0.55, 0.55], [0.9, 0.75, 0.6, 0.55]]
"""Each reward model tells less of the policy before it; nothing that one learned is lost."""
FORGETTING = [[0.9, 0.6, 0.6, 0.6], [0.7, 0.9, 0.6, 0.6], [0.6, 0.7, 0.9, 0.6]]
"""What a reward model learned of its policy is gone with the next; policies keep what they won."""
CYCLING = [[0.9, 0.5, 0.9, 0.5], [0.5, 0.9, 0.5, 0.9], [0.9, 0.5, 0.9, 0.5]]
"""Two policies in turn, and two reward models that each know one of them."""
DIVERGING = [[0.6, 0.6, 0.6, 0.6], [0.6, 0.75, 0.7, 0.7], [0.6, 0.75, 0.95, 0.9]]
NOTHING = [[0.8] * 4] * 3
GAMES = {"converges": CONVERGING, "forgets": FORGETTING, "cycles": CYCLING, "diverges": DIVERGING, "undecided": NOTHING}
NUM_PROMPTS, NUM_GAMES = 512, 100


@pytest.fixture(scope="module")
def weights():
    """1,000 draws of 512 prompts of two subsets."""
    subsets = ["helpful"] * 333 + ["harmless"] * (NUM_PROMPTS - 333)
    return PromptBootstrap(subsets, 1000, 0.95, 0).counts_DP.astype(np.float64)


def play(accuracies, rng):
    """Outcomes with these means; a prompt that is hard for one reward model is hard for all."""
    hardness_P = rng.normal(0, 0.1, NUM_PROMPTS)
    chances_RQP = np.clip(np.array(accuracies)[:, :, None] + hardness_P, 0, 1)
    return (rng.random(chances_RQP.shape) < chances_RQP).astype(np.float64)


def test_measures_by_hand():
    """Two prompts, two rounds. Forgetting (1 + 1)/2 - (1 + 0)/2; giving back (1 + 1)/2 - (0 + 1)/2; edges |1 - 1/2|, then |1/2 - 1/2|."""
    accuracies = np.array([[[1, 1], [0, 1], [1, 1]], [[1, 0], [1, 0], [0, 0]]], dtype=np.float64)
    measures = measure_game(accuracies, np.ones((3, 2)), 0.95)
    assert {name: value.value for name, value in measures.items()} == {"forgetting": 0.5, "giving_back": 0.5, "edge_change": -0.5}


def test_measures_are_means_over_pairs_of_rounds():
    """Three rounds and one prompt. Forgetting: A[1,0] - A[2,0], A[1,0] - A[3,0], A[2,1] - A[3,1] = 0.2, 0.3, 0.2."""
    accuracies = np.array(FORGETTING)[:, :, None]
    measures = measure_game(accuracies, np.ones((3, 1)), 0.95)
    assert measures["forgetting"].value == pytest.approx(0.7 / 3)
    assert measures["giving_back"].value == pytest.approx(0)
    assert measures["edge_change"].value == pytest.approx(0)


@pytest.mark.parametrize("name", GAMES)
def test_planted_numbers_are_named(name):
    """All prompts alike: intervals have no width."""
    accuracies = np.repeat(np.array(GAMES[name])[:, :, None], 4, axis=2)
    assert name_game(measure_game(accuracies, np.ones((1000, 4)), 0.95)) == name


@pytest.mark.parametrize("name", [name for name in GAMES if name != "undecided"])
def test_planted_games_are_named_through_noise(name, weights):
    rng = np.random.default_rng(1)
    named = [name_game(measure_game(play(GAMES[name], rng), weights, 0.95)) for _ in range(NUM_GAMES)]
    assert named.count(name) >= 0.95 * NUM_GAMES


def test_a_game_in_which_nothing_happens_is_seldom_named(weights):
    """At most 5 % by construction; 5 % of 400 games are 20, and 29 are two standard errors more."""
    rng = np.random.default_rng(2)
    named = [name_game(measure_game(play(NOTHING, rng), weights, 0.95)) for _ in range(400)]
    assert 400 - named.count("undecided") <= 29


def test_few_prompts_leave_it_undecided():
    rng = np.random.default_rng(3)
    weights = PromptBootstrap(["helpful"] * 8, 1000, 0.95, 0).counts_DP.astype(np.float64)
    weak = [[0.8, 0.7, 0.7, 0.7], [0.78, 0.78, 0.7, 0.7], [0.77, 0.76, 0.78, 0.7]]
    named = [name_game(measure_game(play(weak, rng)[:, :, :8], weights, 0.95)) for _ in range(50)]
    assert named.count("undecided") >= 40


def test_two_rounds_that_cycle_are_named(weights):
    rng = np.random.default_rng(4)
    assert name_game(measure_game(play(np.array(CYCLING)[:2, :3], rng), weights, 0.95)) == "cycles"


def test_one_round_has_nothing_to_be_compared_with():
    measures = measure_game(np.full((1, 2, 4), 0.9), np.ones((10, 4)), 0.95)
    assert measures == {} and name_game(measures) == "undecided"
