"""RRHF with the golden response: RRHF's loss, and the order in which the responses are taken."""

import pytest
import torch

from apo_bench.conformance import CHECKS
from apo_bench.methods import rrhf
from apo_bench.methods.base import GOLDEN, SAMPLE, Candidates, ResponseGroups
from apo_bench.methods.golden_rrhf import METHOD

SHARED = {"learning_rates": [0.1], "epochs": 1, "batch_size": 1, "max_length": 8}
GOLDEN_RRHF = METHOD(METHOD.Hyperparameters(**SHARED))


def test_loss_is_that_of_rrhf():
    """Which is the authors' by a plain loop: tests/methods/test_rrhf.py."""
    torch.manual_seed(0)
    rewards = torch.randn(16, 5).sort(1, descending=True).values
    groups = ResponseGroups(-20 * torch.rand(16, 5), torch.randint(1, 20, (16, 5)), rewards, None)
    expected, expected_metrics = rrhf.METHOD(rrhf.METHOD.Hyperparameters(**SHARED)).loss(groups)
    losses, metrics = GOLDEN_RRHF.loss(groups)
    assert torch.equal(losses, expected)
    assert all(torch.equal(metrics[name], expected_metrics[name]) for name in expected_metrics)


def test_loss_by_hand():
    """Scores a token -2, -1 and -3 from the best on: the second is 1 above the first, and the best costs 2 a token."""
    groups = ResponseGroups(torch.tensor([[-4.0, -2.0, -9.0]]), torch.tensor([[2, 2, 3]]), torch.tensor([[3.0, 2.0, 1.0]]), None)
    assert GOLDEN_RRHF.loss(groups)[0].tolist() == pytest.approx([1.0 + 2.0])


@pytest.mark.parametrize(("golden_reward", "expected"), [(9.0, [2, 0, 1]), (0.0, [0, 2, 1]), (-9.0, [0, 1, 2])])
def test_the_golden_response_is_ranked_by_its_reward(golden_reward, expected):
    assert GOLDEN_RRHF.select(Candidates([1.0, -1.0, golden_reward], [SAMPLE, SAMPLE, GOLDEN])) == expected


def test_with_one_sample_there_is_an_order():
    assert GOLDEN_RRHF.min_responses == 1 and GOLDEN_RRHF.num_selected(1) == 2


def test_the_kit_names_a_golden_response_that_always_comes_first():
    class First(METHOD):
        def select(self, candidates, /):
            return [*candidates.indices(GOLDEN), *candidates.indices(SAMPLE)]

    assert "another response of the same is golden, and the loss changes" in CHECKS["origins"](First(GOLDEN_RRHF.hyperparameters))
