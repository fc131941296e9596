"""REBEL: the authors' loss, numbers by hand, where the regression ends."""

from itertools import combinations

import pytest
import torch

from apo_bench.conformance import CHECKS, examine
from apo_bench.methods.base import ResponseGroups
from apo_bench.methods.rebel import METHOD


def rebel(beta: float = 1.0):
    return METHOD(METHOD.Hyperparameters(learning_rates=[0.1], epochs=1, batch_size=1, max_length=8, beta=beta))


def groups(logps, rewards, reference):
    return ResponseGroups(logps, torch.full(logps.shape, 5), rewards, reference)


def authors_loss(log_ratios: list[float], rewards: list[float], eta: float) -> float:
    """Gao et al. 2024, Algorithm 1, as their code scales it: two responses' log-ratios against eta times their rewards."""
    errors = [(log_ratios[i] - log_ratios[j]) - eta * (rewards[i] - rewards[j]) for i, j in combinations(range(len(rewards)), 2)]
    return sum(error**2 for error in errors) / len(errors)


@pytest.mark.parametrize("beta", [0.1, 1.0, 4.0])
@pytest.mark.parametrize("num_responses", [2, 4])
def test_loss_is_that_of_the_authors(beta, num_responses):
    torch.manual_seed(0)
    logps, reference, rewards = torch.randn(3, 16, num_responses, dtype=torch.float64)
    losses, _ = rebel(beta).loss(groups(logps, rewards, reference))
    expected = [authors_loss((logps - reference)[row].tolist(), rewards[row].tolist(), 1 / beta) for row in range(16)]
    assert losses.tolist() == pytest.approx(expected, abs=1e-6)


def test_loss_and_metrics_by_hand():
    """Log-ratios 2 and -1 differ by 3, rewards 4 and 2 by 2, over beta 0.5 by 4: (3 - 4)^2 = 1; with the rewards exchanged (3 + 4)^2."""
    logps, reference = torch.tensor([[-4.0, -7.0], [-4.0, -7.0]]), torch.full((2, 2), -6.0)
    losses, metrics = rebel(0.5).loss(groups(logps, torch.tensor([[4.0, 2.0], [2.0, 4.0]]), reference))
    assert losses.tolist() == pytest.approx([1.0, 49.0])
    assert metrics["log_ratio"].tolist() == pytest.approx([0.5, 0.5])
    assert metrics["reward_accuracy"].tolist() == [1.0, 0.0]


def test_gradient_is_nothing_where_log_ratios_are_rewards_over_beta():
    """Whatever is added to all of them."""
    rewards = torch.tensor([[0.5, -1.0, 2.0]])
    logps = (rewards / 0.25 - 7).requires_grad_()
    losses, _ = rebel(0.25).loss(groups(logps, rewards, torch.zeros(1, 3)))
    losses.sum().backward()
    assert losses.item() == pytest.approx(0, abs=1e-6) and logps.grad.abs().max() < 1e-5


def test_takes_all_also_those_that_tie():
    assert rebel().select([0.3, -1.0, 0.3]) == [0, 1, 2] and rebel().select([1.0, 1.0]) == [0, 1]


def test_the_kit_names_exchanged_sides_and_another_scale():
    class Exchanged(METHOD):
        def loss(self, of):
            return super().loss(ResponseGroups(of.logps_BK, of.lengths_BK, -of.rewards_BK, of.reference_logps_BK))

    class Doubled(METHOD):
        def loss(self, of):
            return super().loss(ResponseGroups(of.logps_BK, of.lengths_BK, 2 * of.rewards_BK, of.reference_logps_BK))

    exchanged = {found.check: found.fault for found in examine(Exchanged(rebel().hyperparameters)) if found.fault}
    assert "by reward better than response 1, and a step does not mend that" in exchanged["gradient"]
    assert "the optimum (reward_tilt) is" in CHECKS["optimum"](Doubled(rebel().hyperparameters))
