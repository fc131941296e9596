"""OCRM: weights by hand, and their effect on the loss."""

import math

import pytest
import torch

from apo_bench.reward_models.ocrm import REWARD_MODEL
from apo_bench.reward_models.player import HUMAN, Material

PAIRS = [{"id": str(n), "chosen": "yes", "rejected": "no"} for n in range(2)]


def lessons(ratios, exponent=0.5, num_game_pairs=0):
    shared = {"epochs": 1, "batch_size": 4, "learning_rate": 0.1, "max_length": 8, "head_per_subset": False}
    player = REWARD_MODEL(REWARD_MODEL.Settings(**shared, exponent=exponent))
    return player, player.lessons(Material({HUMAN: lambda: PAIRS}, 2, num_game_pairs, log_ratios=lambda pairs: ratios))


def test_weights_by_hand():
    """Ratios of 9 and 1 in the density are 3 and 1 under the exponent 0.5, and 1.5 and 0.5 with a mean of 1."""
    assert lessons([math.log(9), 0.0])[1].weights == pytest.approx([1.5, 0.5])


def test_loss_by_hand():
    """Margins 1 and -1 weigh 1.5 and 0.5: (1.5 * 0.3132617 + 0.5 * 1.3132617) / 2 = 0.5632617."""
    player, found = lessons([math.log(9), 0.0])
    value = player.human_loss(torch.tensor([2.0, 0.0]), torch.tensor([1.0, 1.0]), torch.tensor(found.weights))
    assert value.item() == pytest.approx(0.5632617, abs=1e-6)


def test_where_the_policy_is_sfts_all_weigh_one():
    assert lessons([0.0, 0.0])[1].weights == [1.0, 1.0]


def test_ratios_far_from_one_stay_finite():
    assert lessons([5000.0, 0.0], 1.0)[1].weights == [2.0, 0.0]


def test_a_pair_weighs_the_same_when_it_comes_again():
    found = lessons([math.log(9), 0.0], num_game_pairs=3)[1]
    assert [row["id"] for row in found.pairs] == ["0", "1", "0", "1", "0"]
    assert found.weights == pytest.approx([3 / 2.2, 1 / 2.2, 3 / 2.2, 1 / 2.2, 3 / 2.2])
