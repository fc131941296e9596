"""RJS: cross-entropy a token on the best response."""

import pytest
import torch

from apo_bench.methods.base import ResponseGroups
from apo_bench.methods.rjs import METHOD

RJS = METHOD(METHOD.Hyperparameters(learning_rates=[0.1], epochs=1, batch_size=1, max_length=8))


def test_loss_by_hand():
    """6 nats over 3 tokens are 2 a token, 5 over 10 are 0.5."""
    logps = torch.tensor([[-6.0], [-5.0]], requires_grad=True)
    losses, metrics = RJS.loss(ResponseGroups(logps, torch.tensor([[3], [10]]), torch.tensor([[1.5], [0.5]]), None))
    losses.sum().backward()
    assert losses.tolist() == pytest.approx([2.0, 0.5])
    assert logps.grad[:, 0].tolist() == pytest.approx([-1 / 3, -0.1])  # the best response goes up
    assert metrics["best_reward"].tolist() == [1.5, 0.5]


def test_select_takes_the_best_and_the_first_of_a_tie():
    assert RJS.select([-3.0, -1.0, -2.0]) == [1]
    assert RJS.select([0.0, 4.0, 4.0]) == [1]


def test_needs_two_responses_to_compare():
    assert RJS.min_responses == 2
