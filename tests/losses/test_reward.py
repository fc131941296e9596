"""The losses of reward models: numbers by hand, plain Python loops, invariances."""

import math

import pytest
import torch

from apo_bench.losses.reward import adversarial_reward_loss, bradley_terry_loss, difference_loss

# -log sigmoid(m) for the margins below: m = 1: 0.3132617, m = 0: 0.6931472, m = -1: 1.3132617.


def test_bradley_terry_by_hand():
    """Margins 1 and -1: (0.3132617 + 1.3132617) / 2 = 0.8132617."""
    assert bradley_terry_loss(torch.tensor([2.0, 0.0]), torch.tensor([1.0, 1.0])).item() == pytest.approx(0.8132617, abs=1e-6)


def test_equal_rewards_cost_log_2():
    assert bradley_terry_loss(torch.full((5,), 3.0), torch.full((5,), 3.0)).item() == pytest.approx(math.log(2), abs=1e-6)


def test_huge_margins_stay_finite():
    assert bradley_terry_loss(torch.tensor([-500.0]), torch.tensor([500.0])).item() == pytest.approx(1000.0)
    assert bradley_terry_loss(torch.tensor([500.0]), torch.tensor([-500.0])).item() == 0.0


def test_adversarial_by_hand():
    """One human pair of margin 1; golden 2 over samples 1, 2 and golden 0 over samples 0, 1; lambda 3, alpha 0.1, n = 2.

    Human term 0.3132617. Game margins 1, 0, 0, -1: mean (0.3132617 + 2 * 0.6931472 + 1.3132617) / 4 = 0.7532044.
    3 * 0.3132617 + 0.1 / 2 * 0.7532044 = 0.9397851 + 0.0376602 = 0.9774453.
    """
    value = adversarial_reward_loss(
        torch.tensor([1.0]), torch.tensor([0.0]), torch.tensor([2.0, 0.0]), torch.tensor([[1.0, 2.0], [0.0, 1.0]]), 3.0, 0.1
    )
    assert value.item() == pytest.approx(0.9774453, abs=1e-6)


@pytest.mark.parametrize(("num_pairs", "num_golden", "num_samples"), [(1, 1, 1), (7, 2, 4), (3, 9, 5)])
def test_adversarial_matches_plain_loops(num_pairs, num_golden, num_samples):
    torch.manual_seed(num_pairs)
    chosen, rejected, golden = torch.randn(num_pairs), torch.randn(num_pairs), torch.randn(num_golden)
    samples = torch.randn(num_golden, num_samples)
    human = sum(math.log1p(math.exp(low - high)) for high, low in zip(chosen.tolist(), rejected.tolist(), strict=True))
    game = 0.0
    for gold, row in zip(golden.tolist(), samples.tolist(), strict=True):
        for sample in row:
            game += math.log1p(math.exp(sample - gold))
    expected = 0.7 * human / num_pairs + 0.3 / num_samples * game / (num_golden * num_samples)
    assert adversarial_reward_loss(chosen, rejected, golden, samples, 0.7, 0.3).item() == pytest.approx(expected, abs=1e-6)


def test_each_term_is_divided_by_its_own_count():
    """Doubling the human pairs, or the golden groups, changes neither mean."""
    torch.manual_seed(0)
    chosen, rejected, golden, samples = torch.randn(3), torch.randn(3), torch.randn(2), torch.randn(2, 4)
    value = adversarial_reward_loss(chosen, rejected, golden, samples, 1.0, 1.0)
    assert torch.allclose(adversarial_reward_loss(chosen.repeat(2), rejected.repeat(2), golden, samples, 1.0, 1.0), value)
    assert torch.allclose(adversarial_reward_loss(chosen, rejected, golden.repeat(2), samples.repeat(2, 1), 1.0, 1.0), value)


def test_order_changes_nothing():
    torch.manual_seed(0)
    chosen, rejected, golden, samples = torch.randn(3), torch.randn(3), torch.randn(2), torch.randn(2, 4)
    pairs, groups, columns = [2, 0, 1], [1, 0], [3, 1, 0, 2]
    value = adversarial_reward_loss(chosen, rejected, golden, samples, 1.0, 0.5)
    shuffled = adversarial_reward_loss(chosen[pairs], rejected[pairs], golden[groups], samples[groups][:, columns], 1.0, 0.5)
    assert torch.allclose(shuffled, value, atol=1e-6)


def test_gradient_raises_golden_and_chosen_and_lowers_samples_and_rejected():
    rewards = [torch.zeros(2, requires_grad=True), torch.zeros(2, requires_grad=True)]
    game = [torch.zeros(2, requires_grad=True), torch.zeros(2, 3, requires_grad=True)]
    adversarial_reward_loss(*rewards, *game, 1.0, 1.0).backward()
    assert (rewards[0].grad < 0).all() and (game[0].grad < 0).all()
    assert (rewards[1].grad > 0).all() and (game[1].grad > 0).all()


NONE, NO_GROUPS = torch.empty(0), torch.empty(0, 2)


def test_wgan_by_hand():
    """One human pair of margin 1; golden 2 over samples 1, 2 and golden 0 over samples 0, 1; lambda 3, alpha 0.1, n = 2.

    Human term 0.3132617. Game margins 1, 0, 0, -1: mean 0, and with golden 5 in the place of 2: 4, 3, 0, -1: mean 1.5.
    3 * 0.3132617 - 0.1 / 2 * 1.5 = 0.9397851 - 0.075 = 0.8647851.
    """
    human, samples = (torch.tensor([1.0]), torch.tensor([0.0])), torch.tensor([[1.0, 2.0], [0.0, 1.0]])
    assert adversarial_reward_loss(*human, torch.tensor([5.0, 0.0]), samples, 3.0, 0.1, difference_loss).item() == pytest.approx(0.8647851)
    assert adversarial_reward_loss(*human, torch.tensor([2.0, 0.0]), samples, 3.0, 0.1, difference_loss).item() == pytest.approx(0.9397851)


def test_gail_by_hand():
    """No human pairs: alpha / n = 0.05 times the mean 0.7532044 over the margins 1, 0, 0, -1."""
    value = adversarial_reward_loss(NONE, NONE, torch.tensor([2.0, 0.0]), torch.tensor([[1.0, 2.0], [0.0, 1.0]]), 0.0, 0.1)
    assert value.item() == pytest.approx(0.0376602, abs=1e-7)


def test_no_adversarial_by_hand():
    """No game: lambda = 3 times Bradley-Terry of margins 1 and -1."""
    value = adversarial_reward_loss(torch.tensor([2.0, 0.0]), torch.tensor([1.0, 1.0]), NONE, NO_GROUPS, 3.0, 0.0)
    assert value.item() == pytest.approx(3 * 0.8132617, abs=1e-6)
