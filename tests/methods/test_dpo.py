"""DPO: TRL's loss, numbers by hand, and which pair is taken."""

from collections import defaultdict
from types import SimpleNamespace

import pytest
import torch

from apo_bench.methods.base import ResponseGroups
from apo_bench.methods.dpo import METHOD


def dpo(beta: float):
    return METHOD(METHOD.Hyperparameters(learning_rates=[0.1], epochs=1, batch_size=1, max_length=8, beta=beta))


def pairs(logps, reference):
    return ResponseGroups(logps, torch.full(logps.shape, 5), torch.tensor([[1.0, 0.0]]).expand(logps.shape), reference)


def trl_loss(token_logps_BKT: torch.Tensor, reference_BKT: torch.Tensor, beta: float) -> float:
    """The sigmoid loss of TRL's DPOTrainer, called on log-probabilities of tokens without building a trainer or a model."""
    trainer = pytest.importorskip("trl.trainer.dpo_trainer").DPOTrainer
    num_tokens = token_logps_BKT.shape[2]

    def fake_model(token_logps):
        flat = torch.cat(token_logps.unbind(1))  # TRL's batch: all chosen, then all rejected
        outputs = SimpleNamespace(log_probs=flat, entropy=flat, mean_logits=flat, is_top1=flat > 0)
        return lambda **_: outputs

    accelerator = SimpleNamespace(device="cpu", gather=lambda value: value, gather_for_metrics=lambda value: value)
    self = SimpleNamespace(
        model=SimpleNamespace(training=False), ref_model=fake_model(reference_BKT), accelerator=accelerator, beta=beta,
        aux_loss_enabled=False, ld_alpha=None, precompute_ref_logps=True, f_divergence_type="reverse_kl", use_weighting=False,
        loss_types=["sigmoid"], loss_weights=[1.0], label_smoothing=0.0, _metrics=defaultdict(lambda: defaultdict(list)),
        _total_train_tokens=0, _tp_size=1,
    )  # fmt: skip
    chosen, rejected = reference_BKT.sum(2).unbind(1)
    ids = torch.ones(2 * len(chosen), num_tokens + 1, dtype=torch.long)
    inputs = {"input_ids": ids, "attention_mask": ids, "completion_mask": ids, "ref_chosen_logps": chosen, "ref_rejected_logps": rejected}
    return trainer._compute_loss(self, fake_model(token_logps_BKT), inputs, False).item()


@pytest.mark.parametrize("beta", [0.1, 0.5, 2.0])
def test_loss_is_that_of_trl(beta):
    torch.manual_seed(0)
    tokens, reference = -torch.rand(16, 2, 5), -torch.rand(16, 2, 5)
    losses, _ = dpo(beta).loss(pairs(tokens.sum(2), reference.sum(2)))
    assert losses.mean().item() == pytest.approx(trl_loss(tokens, reference, beta), abs=1e-6)


def test_loss_by_hand():
    """Log ratios 2 and -3, beta 0.2: margin 0.2 * (2 + 3) = 1, -log sigmoid(1) = 0.3132617. Against the order: 1.3132617."""
    logps, reference = torch.tensor([[-4.0, -9.0], [-9.0, -4.0]]), torch.tensor([[-6.0, -6.0], [-6.0, -6.0]])
    losses, metrics = dpo(0.2).loss(pairs(logps, reference))
    assert losses.tolist() == pytest.approx([0.3132617, 1.3132617], abs=1e-6)
    assert metrics["reward_margin"].tolist() == pytest.approx([1.0, -1.0])
    assert metrics["reward_accuracy"].tolist() == [1.0, 0.0]


def test_gradient_raises_chosen_and_lowers_rejected():
    logps = torch.tensor([[-4.0, -5.0]], requires_grad=True)
    losses, _ = dpo(0.1).loss(pairs(logps, torch.tensor([[-4.0, -5.0]])))
    losses.sum().backward()
    assert logps.grad[0].tolist() == pytest.approx([-0.05, 0.05])  # beta * sigmoid(0), with opposite signs


def test_takes_best_and_worst():
    assert dpo(0.1).select([0.3, -1.0, 2.0, 0.5]) == [2, 1]


def test_ties():
    assert dpo(0.1).select([1.0, 1.0, 1.0]) is None
    assert dpo(0.1).select([1.0, 2.0, 2.0, 1.0]) == [1, 0]  # the first of each


def test_needs_two_responses_to_compare():
    assert dpo(0.1).min_responses == 2
