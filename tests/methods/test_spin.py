"""SPIN: TRL's sigmoid loss, numbers by hand, and no reward."""

import pytest
import torch

from apo_bench.conformance import CHECKS, examine
from apo_bench.methods import dpo
from apo_bench.methods.base import GOLDEN, SAMPLE, Candidates, ResponseGroups
from apo_bench.methods.spin import METHOD

SHARED = {"learning_rates": [0.1], "epochs": 1, "batch_size": 1, "max_length": 8}


def spin(beta: float = 0.1):
    return METHOD(METHOD.Hyperparameters(**SHARED, beta=beta))


def groups(logps, reference):
    return ResponseGroups(logps, torch.full(logps.shape, 5), torch.zeros(logps.shape), reference)


def authors_loss(real: float, generated: float, opponent_real: float, opponent_generated: float, beta: float) -> float:
    """`spin_loss` of the authors' trainer: the logistic loss of the policy's margin less the opponent's."""
    logit = torch.tensor((real - generated) - (opponent_real - opponent_generated), dtype=torch.float64)
    return torch.log1p(torch.exp(-beta * logit)).item()


@pytest.mark.parametrize("beta", [0.1, 1.0, 5.0])
@pytest.mark.parametrize("num_samples", [1, 4])
def test_loss_is_that_of_the_authors(beta, num_samples):
    torch.manual_seed(0)
    logps, reference = torch.randn(2, 16, 1 + num_samples, dtype=torch.float64)
    losses, _ = spin(beta).loss(groups(logps, reference))
    for loss, (real, *generated), (opponent_real, *opponent) in zip(losses.tolist(), logps.tolist(), reference.tolist(), strict=True):
        each = [authors_loss(real, mine, opponent_real, theirs, beta) for mine, theirs in zip(generated, opponent, strict=True)]
        assert loss == pytest.approx(sum(each) / num_samples, abs=1e-6)


def test_loss_by_hand():
    """Golden 2 nats up, samples 3 down and 7 up, beta 0.2: margins 1 and -1, losses 0.3132617 and 1.3132617."""
    losses, metrics = spin(0.2).loss(groups(torch.tensor([[-4.0, -9.0, 1.0]]), torch.full((1, 3), -6.0)))
    assert losses.tolist() == pytest.approx([(0.3132617 + 1.3132617) / 2], abs=1e-6)
    assert metrics["reward_margin"].tolist() == pytest.approx([0.0], abs=1e-6) and metrics["reward_accuracy"].tolist() == [0.5]


def test_against_one_sample_it_is_dpo_with_the_golden_response_chosen():
    torch.manual_seed(0)
    pairs = groups(-torch.rand(8, 2), -torch.rand(8, 2))
    expected, _ = dpo.METHOD(dpo.METHOD.Hyperparameters(**SHARED, beta=0.3)).loss(pairs)
    assert torch.equal(spin(0.3).loss(pairs)[0], expected)


def test_takes_the_golden_response_first_whatever_the_rewards():
    assert spin().select(Candidates([5.0, -9.0, 1.0], [SAMPLE, GOLDEN, SAMPLE])) == [1, 0, 2]
    assert spin().select(Candidates([1.0, 1.0], [SAMPLE, GOLDEN])) == [1, 0]


def test_the_kit_names_exchanged_sides_and_rewards_that_are_read():
    class Exchanged(METHOD):
        def select(self, candidates, /):
            return [*candidates.indices(SAMPLE), *candidates.indices(GOLDEN)]

    class ByReward(METHOD):
        def select(self, candidates, /):
            return sorted(range(len(candidates)), key=lambda index: -candidates[index])

    faults = {found.check: found.fault for found in examine(Exchanged(spin().hyperparameters)) if found.fault}
    assert "a sample better than the golden response, and a step does not mend that" in faults["gradient"]
    assert "the optimum (golden_tilt) is" in faults["optimum"]
    assert "prefers_golden, and yet other rewards change the loss" in CHECKS["origins"](ByReward(spin().hyperparameters))
