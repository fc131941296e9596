"""RLOO: TRL's loss, numbers by hand, the unbiased gradient."""

from collections import defaultdict
from types import SimpleNamespace

import pytest
import torch

from apo_bench.methods.base import ResponseGroups
from apo_bench.methods.rloo import METHOD, leave_one_out


def rloo(beta: float = 0.03, clip_range: float = 0.2):
    return METHOD(METHOD.Hyperparameters(learning_rates=[0.1], epochs=1, batch_size=1, max_length=8, beta=beta, clip_range=clip_range))


def groups(logps, rewards, reference):
    return ResponseGroups(logps, torch.full(logps.shape, 5), rewards, reference)


def trl_loss(token_logps_NT, reference_N, advantages_N, clip_range: float) -> float:
    """The loss of TRL's RLOOTrainer on given advantages, called on log-probabilities of tokens without building a trainer or a model."""
    trainer = pytest.importorskip("trl.trainer.rloo_trainer").RLOOTrainer
    self = SimpleNamespace(
        _get_per_token_logps_and_entropies=lambda *_, **__: (token_logps_NT, token_logps_NT, None), aux_loss_enabled=False,
        accelerator=SimpleNamespace(gather=lambda value: value, reduce=lambda value, reduction: value),
        epsilon_low=clip_range, epsilon_high=clip_range, _metrics=defaultdict(lambda: defaultdict(list)),
        model=SimpleNamespace(training=False),
    )  # fmt: skip
    ids = torch.ones(token_logps_NT.shape, dtype=torch.long)
    inputs = {"prompt_ids": ids, "prompt_mask": ids, "completion_ids": ids, "completion_mask": ids}
    return trainer._compute_loss(self, None, {**inputs, "old_logps": reference_N, "advantages": advantages_N}).item()


@pytest.mark.parametrize("clip_range", [0.1, 0.2, 0.5])
def test_loss_is_that_of_trl(clip_range):
    """The advantages, of which TRL has no function of its own, by a plain loop."""
    torch.manual_seed(0)
    tokens = -torch.rand(16, 4, 5, dtype=torch.float64)
    logps, rewards = tokens.sum(2), torch.randn(16, 4, dtype=torch.float64)
    reference = logps + torch.randn(16, 4, dtype=torch.float64) / 3
    penalised = rewards - 0.03 * (logps - reference)
    advantages = torch.tensor([[row[i] - (sum(row) - row[i]) / 3 for i in range(4)] for row in penalised.tolist()], dtype=torch.float64)
    losses, metrics = rloo(0.03, clip_range).loss(groups(logps, rewards, reference))
    expected = trl_loss(tokens.flatten(0, 1), reference.flatten(), advantages.flatten(), clip_range)
    assert losses.mean().item() == pytest.approx(expected, abs=1e-6)
    assert 0.05 < metrics["clip_fraction"].mean() < 0.6


def test_leave_one_out_by_hand():
    """1, 2, 6: the others' means are 4, 3.5 and 1.5."""
    assert leave_one_out(torch.tensor([[1.0, 2.0, 6.0]])).tolist() == [[-3.0, -1.5, 4.5]]


def test_loss_and_gradient_by_hand():
    """At the reference w = 1: L = -(A_1 + A_2) / 2 = 0, and its gradient in log pi is -A / n."""
    logps = torch.tensor([[-4.0, -9.0]], requires_grad=True)
    losses, metrics = rloo().loss(groups(logps, torch.tensor([[3.0, 1.0]]), logps.detach()))
    losses.sum().backward()
    assert losses.item() == pytest.approx(0.0)
    assert logps.grad[0].tolist() == pytest.approx([-1.0, 1.0])
    assert (metrics["log_ratio"].item(), metrics["clip_fraction"].item()) == (0.0, 0.0)


def test_clip_stops_what_went_far_the_right_way_only():
    """Good: ratio 1.5 is clipped, 0.5 is not; bad: 0.5 is clipped, 1.5 is not."""
    ratios = torch.tensor([[1.5, 0.5], [0.5, 1.5]])
    logps = ratios.log().requires_grad_()
    losses, metrics = rloo(beta=1e-6).loss(groups(logps, torch.tensor([[1.0, 0.0]]).expand(2, 2), torch.zeros(2, 2)))
    losses.sum().backward()
    assert losses.tolist() == pytest.approx([-(1.2 - 0.8) / 2, -(0.5 - 1.5) / 2], abs=1e-5)
    assert logps.grad[0].tolist() == [0.0, 0.0]
    assert logps.grad[1].tolist() == pytest.approx([-0.25, 0.75], abs=1e-5)
    assert metrics["clip_fraction"].tolist() == [1.0, 0.0]


def test_without_reward_the_policy_goes_back():
    """All rewards tie, so that only the price of divergence is left: what became likelier goes down, the other up."""
    logps = torch.tensor([[0.1, -0.1]], requires_grad=True)
    losses, _ = rloo(beta=0.5).loss(groups(logps, torch.tensor([[1.0, 1.0]]), torch.zeros(1, 2)))
    losses.sum().backward()
    assert logps.grad[0, 0] > 0 > logps.grad[0, 1]


def test_takes_all():
    assert rloo().select([0.3, -1.0, 0.3]) == [0, 1, 2]
    assert rloo().min_responses == 2
