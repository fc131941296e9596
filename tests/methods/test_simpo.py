"""SimPO: TRL's loss, numbers by hand, and which pair is taken."""

from types import SimpleNamespace

import pytest
import torch

from apo_bench.methods.base import ResponseGroups
from apo_bench.methods.simpo import METHOD


def simpo(beta: float, gamma: float):
    return METHOD(METHOD.Hyperparameters(learning_rates=[0.1], epochs=1, batch_size=1, max_length=8, beta=beta, gamma=gamma))


def pairs(logps, lengths):
    return ResponseGroups(logps, lengths, torch.tensor([[1.0, 0.0]]).expand(logps.shape), None)


@pytest.mark.parametrize(("beta", "gamma"), [(2.0, 1.0), (2.5, 0.25), (10.0, 0.0)])
def test_loss_is_that_of_trl(beta, gamma, monkeypatch):
    """CPOTrainer's own functions: log-probabilities a token from logits, then the loss."""
    monkeypatch.setenv("TRL_EXPERIMENTAL_SILENCE", "1")
    trainer = pytest.importorskip("trl.experimental.cpo").CPOTrainer
    torch.manual_seed(0)
    num_pairs, longest, vocabulary = 16, 9, 11
    lengths = torch.randint(1, longest + 1, (2 * num_pairs,))  # all chosen, then all rejected
    logits = torch.randn(2 * num_pairs, longest + 1, vocabulary, dtype=torch.float64)
    labels = torch.randint(vocabulary, (2 * num_pairs, longest + 1))
    is_response = (torch.arange(longest + 1) > 0) & (torch.arange(longest + 1) <= lengths[:, None])  # after a prompt of one token
    masked = labels.masked_fill(~is_response, -100)
    chosen, rejected = trainer.get_batch_logps(logits, masked, average_log_prob=True, is_encoder_decoder=False).chunk(2)
    settings = SimpleNamespace(
        alpha=0.0, beta=beta, simpo_gamma=gamma, loss_type="simpo", label_smoothing=0.0, accelerator=SimpleNamespace(device="cpu")
    )
    expected, _, _ = trainer.cpo_loss(settings, chosen, rejected)
    tokens = logits[:, :-1].log_softmax(-1).gather(2, labels[:, 1:, None])[..., 0]
    logps = (tokens * is_response[:, 1:]).sum(1)
    losses, _ = simpo(beta, gamma).loss(pairs(torch.stack(logps.chunk(2), 1), torch.stack(lengths.chunk(2), 1)))
    assert torch.allclose(losses, expected, rtol=0, atol=1e-6)


def test_loss_by_hand():
    """-4 over 4 tokens and -6 over 2: 2 (-1 + 3) = 4; gamma 3: -log sigmoid(1) = 0.3132617. Against the order -4 - 3: 7.0009115."""
    logps, lengths = torch.tensor([[-4.0, -6.0], [-6.0, -4.0]]), torch.tensor([[4, 2], [2, 4]])
    losses, metrics = simpo(2.0, 3.0).loss(pairs(logps, lengths))
    assert losses.tolist() == pytest.approx([0.3132617, 7.0009115], abs=1e-6)
    assert metrics["reward_margin"].tolist() == pytest.approx([4.0, -4.0])
    assert metrics["reward_accuracy"].tolist() == [1.0, 0.0]


def test_takes_best_and_worst_and_leaves_ties_out():
    assert simpo(2.0, 1.0).select([0.3, -1.0, 2.0, 0.5]) == [2, 1]
    assert simpo(2.0, 1.0).select([1.0, 1.0]) is None


def test_needs_no_reference():
    assert not simpo(2.0, 1.0).needs_reference
