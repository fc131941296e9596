"""DPO with the golden response: DPO's loss, and which pair is taken."""

import pytest
import torch

from apo_bench.conformance import CHECKS
from apo_bench.methods import dpo
from apo_bench.methods.base import GOLDEN, SAMPLE, Candidates, ResponseGroups, best_and_worst
from apo_bench.methods.golden_dpo import METHOD

SHARED = {"learning_rates": [0.1], "epochs": 1, "batch_size": 1, "max_length": 8}


def golden_dpo(beta: float = 0.1):
    return METHOD(METHOD.Hyperparameters(**SHARED, beta=beta))


@pytest.mark.parametrize("beta", [0.1, 2.0])
def test_loss_is_that_of_dpo(beta):
    """Which is TRL's: tests/methods/test_dpo.py."""
    torch.manual_seed(0)
    groups = ResponseGroups(-torch.rand(16, 2), torch.full((16, 2), 5), torch.rand(16, 2), -torch.rand(16, 2))
    expected, expected_metrics = dpo.METHOD(dpo.METHOD.Hyperparameters(**SHARED, beta=beta)).loss(groups)
    losses, metrics = golden_dpo(beta).loss(groups)
    assert torch.equal(losses, expected)
    assert all(torch.equal(metrics[name], expected_metrics[name]) for name in expected_metrics)


def test_loss_by_hand():
    """Log-ratios 2 and -3, beta 0.2: margin 1, -log sigmoid(1) = 0.3132617."""
    losses, _ = golden_dpo(0.2).loss(
        ResponseGroups(torch.tensor([[-4.0, -9.0]]), torch.tensor([[5, 5]]), torch.tensor([[1.0, 0.0]]), torch.full((1, 2), -6.0))
    )
    assert losses.tolist() == pytest.approx([0.3132617], abs=1e-6)


@pytest.mark.parametrize(("golden_reward", "expected"), [(9.0, [3, 1]), (0.5, [2, 1]), (-9.0, [2, 3])])
def test_the_golden_response_is_chosen_or_rejected_by_its_reward(golden_reward, expected):
    assert golden_dpo().select(Candidates([0.3, -1.0, 2.0, golden_reward], [SAMPLE, SAMPLE, SAMPLE, GOLDEN])) == expected


def test_with_one_sample_there_is_a_pair_unless_they_tie():
    assert golden_dpo().min_responses == 1 and golden_dpo().num_selected(1) == 2
    assert golden_dpo().select(Candidates([1.0, 1.0], [SAMPLE, GOLDEN])) is None


def test_the_kit_names_a_golden_response_that_is_not_used_or_always_chosen():
    class Unused(METHOD):
        def select(self, candidates, /):
            samples = candidates.indices(SAMPLE)
            return [samples[index] for index in best_and_worst([candidates[index] for index in samples])]

    class Always(METHOD):
        def select(self, candidates, /):
            golden, worst = candidates.indices(GOLDEN)[0], candidates.index(min(candidates))
            return [golden, worst] if golden != worst else None

    kinds = {kind: kind(golden_dpo().hyperparameters) for kind in (Unused, Always)}
    assert "the golden response, the best of all, is not selected" in CHECKS["origins"](kinds[Unused])
    assert "another response of the same is golden, and the loss changes" in CHECKS["origins"](kinds[Always])
