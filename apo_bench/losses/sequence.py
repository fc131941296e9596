"""Log-probabilities of sequences. Shape suffixes: M predicted tokens of all sequences in a row, V vocabulary, N sequences."""

import torch
import torch.nn.functional as F
from torch import Tensor


def token_logps(logits_MV: Tensor, targets_M: Tensor) -> Tensor:
    """Log-probability of each target token, in nats.

    Args:
        logits_MV: [M, V] float, unnormalised.
        targets_M: [M] int64.

    Returns:
        [M] float, each at most 0.
    """
    return -F.cross_entropy(logits_MV.float(), targets_M, reduction="none")


def sum_by_sequence(values_M: Tensor, rows_M: Tensor, num_sequences: int) -> Tensor:
    """Sums token values over the sequence that each token belongs to.

    Args:
        values_M: [M] float.
        rows_M: [M] int64, the sequence of each token.
        num_sequences: N; a sequence without tokens sums to 0.

    Returns:
        [N] float.
    """
    return torch.zeros(num_sequences, dtype=values_M.dtype, device=values_M.device).index_add(0, rows_M, values_M)


def token_kl(logits_MV: Tensor, reference_logits_MV: Tensor) -> Tensor:
    """Exact Kullback-Leibler divergence KL[policy || reference] of the next-token distributions, in nats.

    Args:
        logits_MV: [M, V] float, the policy's.
        reference_logits_MV: [M, V] float.

    Returns:
        [M] float, each at least 0.
    """
    logps_MV = logits_MV.float().log_softmax(-1)
    return (logps_MV.exp() * (logps_MV - reference_logits_MV.float().log_softmax(-1))).sum(-1)
