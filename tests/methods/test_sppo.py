"""SPPO: the authors' loss and TRL's, numbers by hand."""

import math
from collections import defaultdict
from types import SimpleNamespace

import pytest
import torch

from apo_bench.conformance import examine
from apo_bench.methods.base import ResponseGroups
from apo_bench.methods.sppo import METHOD, win_rates


def sppo(beta: float = 0.1):
    return METHOD(METHOD.Hyperparameters(learning_rates=[0.1], epochs=1, batch_size=1, max_length=8, beta=beta))


def groups(logps, rewards, reference):
    return ResponseGroups(logps, torch.full(logps.shape, 5), rewards, reference)


def authors_loss(log_ratios: list[float], rewards: list[float], beta: float) -> float:
    """Their "sppo" loss of each response, the probabilities as their script computes them: the row sums of a matrix, over its size."""
    num = len(rewards)
    probabilities = [sum(1 / (1 + math.exp(other - mine)) for other in rewards) / num for mine in rewards]
    return sum((ratio - (1 / beta) * (win - 0.5)) ** 2 for ratio, win in zip(log_ratios, probabilities, strict=True)) / num


def trl_hard_loss(logps_BK: torch.Tensor, reference_BK: torch.Tensor, beta: float) -> float:
    """The `sppo_hard` loss of TRL's DPOTrainer, where the winner's probability is 1, on responses of one token each."""
    trainer = pytest.importorskip("trl.trainer.dpo_trainer").DPOTrainer
    flat = torch.cat(logps_BK.unbind(1))[:, None]  # TRL's batch: all chosen, then all rejected
    outputs = SimpleNamespace(log_probs=flat, entropy=flat, mean_logits=flat, is_top1=flat > 0)
    self = SimpleNamespace(
        model=SimpleNamespace(training=False), beta=beta, aux_loss_enabled=False, ld_alpha=None, precompute_ref_logps=True,
        accelerator=SimpleNamespace(device="cpu", gather=lambda value: value, gather_for_metrics=lambda value: value),
        f_divergence_type="reverse_kl", use_weighting=False, loss_types=["sppo_hard"], loss_weights=[1.0], label_smoothing=0.0,
        _metrics=defaultdict(lambda: defaultdict(list)), _total_train_tokens=0, _tp_size=1,
    )  # fmt: skip
    ids = torch.ones(len(flat), 2, dtype=torch.long)
    chosen, rejected = reference_BK.unbind(1)
    inputs = {"input_ids": ids, "attention_mask": ids, "completion_mask": ids, "ref_chosen_logps": chosen, "ref_rejected_logps": rejected}
    return trainer._compute_loss(self, lambda **_: outputs, inputs, False).item()


@pytest.mark.parametrize("beta", [0.01, 0.1, 1.0])
@pytest.mark.parametrize("num_responses", [2, 5])
def test_loss_is_that_of_the_authors(beta, num_responses):
    torch.manual_seed(0)
    logps, reference, rewards = torch.randn(3, 16, num_responses, dtype=torch.float64)
    losses, _ = sppo(beta).loss(groups(logps, rewards, reference))
    expected = [authors_loss((logps - reference)[row].tolist(), rewards[row].tolist(), beta) for row in range(16)]
    assert losses.tolist() == pytest.approx(expected, rel=1e-9, abs=1e-6)


def test_loss_is_that_of_trl_where_one_response_surely_wins():
    """Of two samples the winner beats the other and ties with itself: 3/4, where TRL counts the other alone, hence half its target."""
    torch.manual_seed(0)
    logps, reference = -torch.rand(2, 16, 2, dtype=torch.float64)
    losses, _ = sppo(0.1).loss(groups(logps, torch.tensor([[50.0, -50.0]]).expand(16, 2), reference))
    assert losses.mean().item() == pytest.approx(trl_hard_loss(logps, reference, 0.2) / 2, abs=1e-6)  # theirs is a sum over the two


def test_loss_and_metrics_by_hand():
    """Rewards log 3 apart: 3/4 against the other, 5/8 and 3/8 in all; over beta 1/8 the targets are 1 and -1.

    Log-ratios 2 and -1: (1 + 0) / 2; -1 and 2: (4 + 9) / 2.
    """
    logps, rewards = torch.tensor([[-4.0, -7.0], [-7.0, -4.0]]), torch.tensor([[math.log(3), 0.0]]).expand(2, 2)
    assert win_rates(rewards)[0].tolist() == pytest.approx([0.625, 0.375])
    losses, metrics = sppo(0.125).loss(groups(logps, rewards, torch.full((2, 2), -6.0)))
    assert losses.tolist() == pytest.approx([0.5, (4 + 9) / 2])
    assert metrics["log_ratio"].tolist() == pytest.approx([0.5, 0.5])
    assert metrics["reward_accuracy"].tolist() == [1.0, 0.0]


def test_takes_all_also_those_that_tie():
    assert sppo().select([0.3, -1.0, 0.3]) == [0, 1, 2] and sppo().select([1.0, 1.0]) == [0, 1]


def test_the_kit_names_exchanged_sides():
    class Exchanged(METHOD):
        def loss(self, of):
            return super().loss(ResponseGroups(of.logps_BK, of.lengths_BK, -of.rewards_BK, of.reference_logps_BK))

    faults = {found.check: found.fault for found in examine(Exchanged(sppo().hyperparameters)) if found.fault}
    assert "by reward better than response 1, and a step does not mend that" in faults["gradient"]
    assert "training does not raise the expected reward" in faults["optimum"]
