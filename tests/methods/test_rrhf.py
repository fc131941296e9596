"""RRHF: numbers by hand, a plain double loop, ties."""

import pytest
import torch

from apo_bench.methods.base import ResponseGroups
from apo_bench.methods.rrhf import METHOD

RRHF = METHOD(METHOD.Hyperparameters(learning_rates=[0.1], epochs=1, batch_size=1, max_length=8))


def loop_loss(logps: list[float], lengths: list[int], rewards: list[float]) -> float:
    """RRHF of one prompt, Yuan et al. 2023, Eq. 2-4, pair by pair."""
    scores = [logp / length for logp, length in zip(logps, lengths, strict=True)]
    total = -scores[rewards.index(max(rewards))]
    for better in range(len(rewards)):
        for worse in range(len(rewards)):
            if rewards[better] > rewards[worse] and scores[worse] > scores[better]:
                total += scores[worse] - scores[better]
    return total


def test_loss_by_hand():
    """p = -4/2, -2/2, -9/3 = -2, -1, -3; rewards 3 > 2 = 2.

    Pair (0, 1) costs -1 + 2 = 1, pair (0, 2) is ordered, 1 and 2 tie; imitation of the best costs 2: 3 in all.
    """
    groups = ResponseGroups(torch.tensor([[-4.0, -2.0, -9.0]]), torch.tensor([[2, 2, 3]]), torch.tensor([[3.0, 2.0, 2.0]]), None)
    losses, metrics = RRHF.loss(groups)
    assert losses.tolist() == pytest.approx([3.0])
    assert (metrics["ranking_loss"].item(), metrics["imitation_loss"].item()) == pytest.approx((1.0, 2.0))


@pytest.mark.parametrize("num_levels", [2, 3, 1000])
def test_loss_matches_double_loop(num_levels):
    """Few reward levels make many ties."""
    generator = torch.Generator().manual_seed(num_levels)
    for _ in range(20):
        rewards = torch.randint(num_levels, (5,), generator=generator).float()
        order = RRHF.select(rewards.tolist())
        logps, lengths = -20 * torch.rand(5, generator=generator), torch.randint(1, 9, (5,), generator=generator)
        losses, _ = RRHF.loss(ResponseGroups(logps[order][None], lengths[order][None], rewards[order][None], None))
        assert losses.item() == pytest.approx(loop_loss(logps.tolist(), lengths.tolist(), rewards.tolist()), abs=1e-4)


def test_gradient_raises_best_and_lowers_the_misranked():
    """The best, too unlikely, goes up for both terms; the worse one above it goes down; the worst, ranked rightly, stays."""
    logps = torch.tensor([[-4.0, -2.0, -9.0]], requires_grad=True)
    losses, _ = RRHF.loss(ResponseGroups(logps, torch.tensor([[2, 2, 2]]), torch.tensor([[3.0, 2.0, 1.0]]), None))
    losses.sum().backward()
    assert logps.grad[0].tolist() == pytest.approx([-1.0, 0.5, 0.0])


def test_select_orders_all_best_first_and_keeps_ties_in_place():
    assert RRHF.select([0.0, 2.0, -1.0, 2.0]) == [1, 3, 0, 2]
    assert RRHF.select([1.0, 1.0]) == [0, 1]


def test_needs_two_responses_to_compare():
    assert RRHF.min_responses == 2
