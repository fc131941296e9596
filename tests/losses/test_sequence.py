"""Log-probabilities and KL of token distributions."""

import math

import pytest
import scipy.special
import scipy.stats
import torch

from apo_bench.losses.sequence import sum_by_sequence, token_kl, token_logps


def test_token_logps_by_hand():
    """Logits 0 and log 3 are probabilities 1/4 and 3/4."""
    logits = torch.tensor([[0.0, math.log(3)], [0.0, math.log(3)]])
    assert token_logps(logits, torch.tensor([0, 1])).tolist() == pytest.approx([math.log(0.25), math.log(0.75)], abs=1e-6)


def test_token_logps_match_log_softmax():
    torch.manual_seed(0)
    logits, targets = 5 * torch.randn(20, 11), torch.randint(11, (20,))
    expected = scipy.special.log_softmax(logits.double().numpy(), axis=1)[range(20), targets]
    assert token_logps(logits, targets).tolist() == pytest.approx(expected.tolist(), abs=1e-5)


def test_token_logps_of_half_precision_logits_are_computed_in_full():
    logits = torch.randn(4, 1000, generator=torch.Generator().manual_seed(0)).bfloat16()
    expected = scipy.special.log_softmax(logits.double().numpy(), axis=1)[:, 3]
    assert token_logps(logits, torch.full((4,), 3)).tolist() == pytest.approx(expected.tolist(), abs=1e-5)


def test_sums_go_to_their_sequence():
    values, rows = torch.tensor([1.0, 20.0, 2.0, 30.0]), torch.tensor([0, 2, 0, 2])
    assert sum_by_sequence(values, rows, 4).tolist() == [3.0, 0.0, 50.0, 0.0]


def test_kl_by_hand():
    """KL[(1/4, 3/4) || (1/2, 1/2)] = log(0.5)/4 + 3 log(1.5)/4 = -0.1732868 + 0.3040988 = 0.1308120; the reverse is 0.1438410."""
    policy, reference = torch.tensor([[0.0, math.log(3)]]), torch.zeros(1, 2)
    assert token_kl(policy, reference).item() == pytest.approx(0.1308120, abs=1e-6)
    assert token_kl(reference, policy).item() == pytest.approx(0.1438410, abs=1e-6)


def test_kl_matches_scipy_and_is_zero_for_equal_logits():
    torch.manual_seed(0)
    logits, reference = 3 * torch.randn(6, 9), 3 * torch.randn(6, 9)
    expected = scipy.stats.entropy(logits.double().softmax(1).numpy(), reference.double().softmax(1).numpy(), axis=1)
    assert token_kl(logits, reference).tolist() == pytest.approx(expected.tolist(), rel=1e-5)
    assert token_kl(logits, logits + 7.0).abs().max() < 1e-6
