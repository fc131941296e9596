"""KTO: TRL's loss at the same reference point, the reference point by hand, ties."""

import math
from collections import defaultdict
from types import SimpleNamespace

import pytest
import torch

from apo_bench.methods.base import ResponseGroups
from apo_bench.methods.kto import METHOD, reference_point


def kto(beta: float, desirable_weight: float = 1.0, undesirable_weight: float = 1.0):
    return METHOD(
        METHOD.Hyperparameters(
            learning_rates=[0.1], epochs=1, batch_size=1, max_length=8,
            beta=beta, desirable_weight=desirable_weight, undesirable_weight=undesirable_weight,
        )
    )  # fmt: skip


def groups(logps, rewards, reference):
    return ResponseGroups(logps, torch.full(logps.shape, 5), rewards, reference)


def trl_loss(token_logps_KT, is_good_K, reference_K, kl: float, method) -> float:
    """The loss of TRL's KTOTrainer on the responses to one prompt, with `kl` for what it estimates from mismatched ones."""
    trainer = pytest.importorskip("trl.trainer.kto_trainer").KTOTrainer
    hyper, ids = method.hyperparameters, torch.ones(token_logps_KT.shape[0], token_logps_KT.shape[1] + 1, dtype=torch.long)
    outputs = SimpleNamespace(log_probs=token_logps_KT, entropy=token_logps_KT, mean_logits=token_logps_KT)
    self = SimpleNamespace(
        model=SimpleNamespace(training=False), beta=hyper.beta, desirable_weight=hyper.desirable_weight, loss_type="kto",
        undesirable_weight=hyper.undesirable_weight, aux_loss_enabled=False, precompute_ref_logps=True, calculate_KL=True,
        accelerator=SimpleNamespace(device="cpu", gather_for_metrics=lambda value: value), _tp_size=1, _total_train_tokens=0,
        _metrics=defaultdict(lambda: defaultdict(list)), _compute_kl_logps=lambda *_: torch.tensor([kl - 3.0], dtype=torch.float64),
    )  # fmt: skip
    inputs = {
        "input_ids": ids, "attention_mask": ids, "completion_mask": ids, "label": is_good_K, "ref_logps": reference_K,
        "ref_KL_logps": torch.tensor([-3.0], dtype=torch.float64),
    }  # fmt: skip
    return trainer._compute_loss(self, lambda **_: outputs, inputs, False).item()


@pytest.mark.parametrize(("beta", "desirable", "undesirable"), [(0.1, 1.0, 1.0), (0.5, 1.33, 1.0), (2.0, 0.5, 2.0)])
def test_loss_is_that_of_trl_at_the_same_reference_point(beta, desirable, undesirable):
    torch.manual_seed(0)
    method = kto(beta, desirable, undesirable)
    tokens, reference = -torch.rand(16, 4, 5, dtype=torch.float64), -5 * torch.rand(16, 4, dtype=torch.float64)
    rewards = torch.randn(16, 4, dtype=torch.float64)
    losses, metrics = method.loss(groups(tokens.sum(2), rewards, reference))
    for row in range(16):
        is_good = rewards[row] > rewards[row].mean()
        expected = trl_loss(tokens[row], is_good, reference[row], metrics["kl"][row].item(), method)
        assert losses[row].item() == pytest.approx(expected, abs=1e-6)


def test_loss_by_hand():
    """Log-ratios log 3 and 0: w = 3/4, 1/4; z0 = 3/4 log(3/2) + 1/4 log(1/2) = 0.1308121.

    Beta 1: good 1 - sigmoid(1.0986123 - 0.1308121) = 0.2753191, bad, weight 2, 2 (1 - sigmoid(0.1308121)) = 0.9346872; mean 0.6050031.
    """
    log_ratios = torch.tensor([[math.log(3), 0.0]], dtype=torch.float64)
    losses, metrics = kto(1.0, 1.0, 2.0).loss(
        groups(log_ratios - 6, torch.tensor([[2.0, 1.0]]), torch.full((1, 2), -6.0, dtype=torch.float64))
    )
    assert metrics["kl"].tolist() == pytest.approx([0.1308121], abs=1e-6)
    assert losses.tolist() == pytest.approx([0.6050031], abs=1e-6)
    assert metrics["reward_accuracy"].tolist() == [1.0]


def test_a_response_at_the_mean_does_not_count():
    logps = torch.tensor([[-4.0, -5.0, -6.0]], requires_grad=True)
    losses, _ = kto(0.1).loss(groups(logps, torch.tensor([[2.0, 1.0, 0.0]]), logps.detach()))
    losses.sum().backward()
    assert losses.item() == pytest.approx(0.5)
    assert logps.grad[0].tolist() == pytest.approx([-0.0125, 0.0, 0.0125])  # beta sigmoid'(0) / 2


def test_reference_point_estimates_the_divergence():
    """Of a distribution over 6 responses from another, by 200,000 samples; and it is nothing but rounding at the start."""
    torch.manual_seed(0)
    policy, reference = torch.randn(2, 6, dtype=torch.float64).log_softmax(1)
    samples = torch.multinomial(reference.exp(), 200_000, replacement=True)
    expected = (policy.exp() * (policy - reference)).sum().item()
    assert reference_point((policy - reference)[samples][None]).item() == pytest.approx(expected, abs=0.01)
    assert reference_point(torch.full((1, 4), 0.3)).item() == pytest.approx(0, abs=1e-6)
    assert reference_point(torch.tensor([[1e4, 0.0, 0.0, -1e4]])).item() == pytest.approx(math.log(4))


def test_takes_all_unless_all_tie():
    assert kto(0.1).select([0.3, -1.0, 0.3]) == [0, 1, 2]
    assert kto(0.1).select([1.0, 1.0]) is None
