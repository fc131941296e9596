"""IPO: TRL's loss, numbers by hand, and which pair is taken."""

from collections import defaultdict
from types import SimpleNamespace

import pytest
import torch

from apo_bench.methods.base import ResponseGroups
from apo_bench.methods.ipo import METHOD


def ipo(beta: float):
    return METHOD(METHOD.Hyperparameters(learning_rates=[0.1], epochs=1, batch_size=1, max_length=8, beta=beta))


def pairs(logps, lengths, reference):
    return ResponseGroups(logps, lengths, torch.tensor([[1.0, 0.0]]).expand(logps.shape), reference)


def trl_loss(logps_BKT: torch.Tensor, lengths_BK: torch.Tensor, reference_BK: torch.Tensor, beta: float) -> float:
    """The IPO loss of TRL's DPOTrainer, called on log-probabilities of tokens, 0 beyond a response's length, without building a model."""
    trainer = pytest.importorskip("trl.trainer.dpo_trainer").DPOTrainer
    flat, num_tokens = torch.cat(logps_BKT.unbind(1)), logps_BKT.shape[2]  # TRL's batch: all chosen, then all rejected
    outputs = SimpleNamespace(log_probs=flat, entropy=flat, mean_logits=flat, is_top1=flat > 0)
    self = SimpleNamespace(
        model=SimpleNamespace(training=False), beta=beta, aux_loss_enabled=False, ld_alpha=None, precompute_ref_logps=True,
        accelerator=SimpleNamespace(device="cpu", gather=lambda value: value, gather_for_metrics=lambda value: value),
        f_divergence_type="reverse_kl", use_weighting=False, loss_types=["ipo"], loss_weights=[1.0], label_smoothing=0.0,
        _metrics=defaultdict(lambda: defaultdict(list)), _total_train_tokens=0, _tp_size=1,
    )  # fmt: skip
    ids = torch.ones(len(flat), num_tokens + 1, dtype=torch.long)  # a prompt of one token before the responses
    mask = (torch.arange(num_tokens + 1) > 0) & (torch.arange(num_tokens + 1) <= torch.cat(lengths_BK.unbind(1))[:, None])
    chosen, rejected = reference_BK.unbind(1)
    inputs = {
        "input_ids": ids, "attention_mask": ids, "completion_mask": mask.long(), "ref_chosen_logps": chosen, "ref_rejected_logps": rejected,
    }  # fmt: skip
    return trainer._compute_loss(self, lambda **_: outputs, inputs, False).item()


@pytest.mark.parametrize("beta", [0.1, 0.5, 2.0])
def test_loss_is_that_of_trl(beta):
    torch.manual_seed(0)
    lengths = torch.randint(1, 10, (16, 2))
    logps = -torch.rand(16, 2, 9, dtype=torch.float64) * (torch.arange(9) < lengths[..., None])
    reference = -lengths * torch.rand(16, 2, dtype=torch.float64)
    losses, _ = ipo(beta).loss(pairs(logps.sum(2), lengths, reference))
    assert losses.mean().item() == pytest.approx(trl_loss(logps, lengths, reference, beta), abs=1e-6)


def test_loss_by_hand():
    """Log-ratios 2 over 4 tokens and -3 over 2: 0.5 + 1.5 = 2 a token; target 1 / (2 * 0.25) = 2: 0. Against the order -2: 16."""
    logps, lengths = torch.tensor([[-4.0, -9.0], [-9.0, -4.0]]), torch.tensor([[4, 2], [2, 4]])
    losses, metrics = ipo(0.25).loss(pairs(logps, lengths, torch.full((2, 2), -6.0)))
    assert losses.tolist() == pytest.approx([0.0, 16.0])
    assert metrics["reward_margin"].tolist() == pytest.approx([2.0, -2.0])
    assert metrics["reward_accuracy"].tolist() == [1.0, 0.0]


def test_beyond_the_target_the_margin_shrinks():
    logps = torch.tensor([[-1.0, -9.0]], requires_grad=True)
    losses, _ = ipo(0.5).loss(pairs(logps, torch.tensor([[2, 2]]), torch.tensor([[-5.0, -5.0]])))
    losses.sum().backward()  # margin 4, target 1
    assert logps.grad[0].tolist() == pytest.approx([3.0, -3.0])


def test_takes_best_and_worst_and_leaves_ties_out():
    assert ipo(0.1).select([0.3, -1.0, 2.0, 0.5]) == [2, 1]
    assert ipo(0.1).select([1.0, 1.0]) is None
