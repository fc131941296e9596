"""RPO: TRL's loss, numbers by hand, and DPO where nothing is imitated."""

from collections import defaultdict
from types import SimpleNamespace

import pytest
import torch

from apo_bench.conformance import examine
from apo_bench.methods import dpo
from apo_bench.methods.base import ResponseGroups
from apo_bench.methods.rpo import METHOD

SHARED = {"learning_rates": [0.1], "epochs": 1, "batch_size": 1, "max_length": 8}


def rpo(beta: float = 0.1, imitation_weight: float = 1.0):
    return METHOD(METHOD.Hyperparameters(**SHARED, beta=beta, imitation_weight=imitation_weight))


def pairs(logps, lengths, reference):
    return ResponseGroups(logps, lengths, torch.tensor([[1.0, 0.0]]).expand(logps.shape), reference)


def trl_loss(logps_KT: torch.Tensor, lengths_K: torch.Tensor, reference_K: torch.Tensor, method) -> float:
    """The losses `sigmoid` and `sft` of TRL's DPOTrainer, weighted, on one pair, whose padding has the log-probability 0."""
    trainer = pytest.importorskip("trl.trainer.dpo_trainer").DPOTrainer
    outputs = SimpleNamespace(log_probs=logps_KT, entropy=logps_KT, mean_logits=logps_KT, is_top1=logps_KT > 0)
    self = SimpleNamespace(
        model=SimpleNamespace(training=False), beta=method.hyperparameters.beta, aux_loss_enabled=False, ld_alpha=None,
        accelerator=SimpleNamespace(device="cpu", gather=lambda value: value, gather_for_metrics=lambda value: value),
        precompute_ref_logps=True, f_divergence_type="reverse_kl", use_weighting=False, label_smoothing=0.0,
        loss_types=["sigmoid", "sft"], loss_weights=[1.0, method.hyperparameters.imitation_weight],
        _metrics=defaultdict(lambda: defaultdict(list)), _total_train_tokens=0, _tp_size=1,
    )  # fmt: skip
    num_tokens = logps_KT.shape[1]
    ids = torch.ones(2, num_tokens + 1, dtype=torch.long)  # a prompt of one token before the responses
    places = torch.arange(num_tokens + 1)
    mask = ((places > 0) & (places <= lengths_K[:, None])).long()
    inputs = {
        "input_ids": ids, "attention_mask": ids, "completion_mask": mask,
        "ref_chosen_logps": reference_K[:1], "ref_rejected_logps": reference_K[1:],
    }  # fmt: skip
    return trainer._compute_loss(self, lambda **_: outputs, inputs, False).item()


@pytest.mark.parametrize(("beta", "imitation_weight"), [(0.1, 1.0), (0.5, 0.2), (2.0, 3.0)])
def test_loss_is_that_of_trl(beta, imitation_weight):
    torch.manual_seed(0)
    method, lengths = rpo(beta, imitation_weight), torch.randint(1, 10, (16, 2))
    logps = -torch.rand(16, 2, 9, dtype=torch.float64) * (torch.arange(9) < lengths[..., None])
    reference = -lengths * torch.rand(16, 2, dtype=torch.float64)
    losses, _ = method.loss(pairs(logps.sum(2), lengths, reference))
    for row in range(16):
        assert losses[row].item() == pytest.approx(trl_loss(logps[row], lengths[row], reference[row], method), abs=1e-6)


def test_loss_by_hand():
    """Log-ratios 2 and -3, beta 0.2: -log sigmoid(1) = 0.3132617; 4 nats over 8 tokens, weight 2: 1. The worse one is not imitated."""
    logps, lengths = torch.tensor([[-4.0, -9.0]]), torch.tensor([[8, 3]])
    losses, metrics = rpo(0.2, 2.0).loss(pairs(logps, lengths, torch.full((1, 2), -6.0)))
    assert losses.tolist() == pytest.approx([1.3132617], abs=1e-6)
    assert metrics["imitation_loss"].tolist() == [0.5] and metrics["reward_margin"].tolist() == pytest.approx([1.0])


def test_without_imitation_it_is_dpo():
    torch.manual_seed(0)
    groups = pairs(-torch.rand(8, 2), torch.full((8, 2), 5), -torch.rand(8, 2))
    expected, _ = dpo.METHOD(dpo.METHOD.Hyperparameters(**SHARED, beta=0.3)).loss(groups)
    assert torch.equal(rpo(0.3, 0.0).loss(groups)[0], expected)


def test_takes_best_and_worst_and_leaves_ties_out():
    assert rpo().select([0.3, -1.0, 2.0, 0.5]) == [2, 1] and rpo().select([1.0, 1.0]) is None


def test_the_kit_names_exchanged_sides():
    class Exchanged(METHOD):
        def loss(self, of):
            flipped = (tensor.flip(1) for tensor in (of.logps_BK, of.lengths_BK, of.rewards_BK, of.reference_logps_BK))
            return super().loss(ResponseGroups(*flipped))

    faults = {found.check: found.fault for found in examine(Exchanged(rpo().hyperparameters)) if found.fault}
    assert "a step does not make the preferred response likelier" in faults["gradient"]
    assert "is the reference's sign flipped?" in faults["reference"]
