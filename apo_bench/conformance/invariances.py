"""What must not change a loss: the order of the responses, ties, other prompts of the batch, how a batch is divided, extreme values.

Shape suffixes: B prompts, N responses.
"""

import itertools

import torch

from apo_bench.conformance.samples import (
    Samples,
    at_reference,
    candidates,
    close,
    graded_rewards,
    num_samples,
    outcome,
    random_samples,
    shown,
)
from apo_bench.methods.base import Method

EXTREMES = (0.0, -1e-3, -1e4)
"""Log-probabilities of a response, in nats: certain, nearly so, and one that a few hundred tokens of nonsense come to."""


def check_order(method: Method) -> str | None:
    """Loss and gradient are the same however the responses are ordered."""
    samples = random_samples(method, 1)
    straight = outcome(method, samples)
    for order in itertools.islice(itertools.permutations(range(num_samples(method))), 24):
        places = list(order)
        shuffled = outcome(method, samples.reordered(places))
        if not close(shuffled.losses_B, straight.losses_B) or not close(shuffled.gradient_BN, straight.gradient_BN[:, places]):
            return f"the order of the responses changes the loss: {straight.losses_B.item():.6g} or {shuffled.losses_B.item():.6g}"
    return None


def check_ties(method: Method) -> str | None:
    """Responses with equal rewards are not ranked, but for a golden one by a method that prefers it."""
    total = num_samples(method)
    logps_BN = torch.linspace(-20, -10, total, dtype=torch.float64)[None]
    tied_BN = torch.ones(1, total, dtype=torch.float64)
    if not method.prefers_golden and method.select(candidates(method, tied_BN[0].tolist(), golden=0)) is not None:
        gradient_BN = outcome(method, at_reference(tied_BN, logps_BN)).gradient_BN
        if (gradient_BN > 0).any():
            return f"all rewards tie, and yet a response is pushed down: gradients {shown(gradient_BN)}; rank only where r_i > r_j"
    rewards_BN = graded_rewards(method)[None].clone()
    rewards_BN[0, 2] = rewards_BN[0, 1]
    straight = outcome(method, at_reference(rewards_BN, logps_BN))
    if {1, 2} <= set(straight.selected_BK[0].tolist()):
        swapped_BN = logps_BN.clone()
        swapped_BN[0, [1, 2]] = swapped_BN[0, [2, 1]]
        swapped = outcome(method, at_reference(rewards_BN, swapped_BN))
        if not close(swapped.losses_B, straight.losses_B):
            return f"of two responses with equal rewards the first counts for better: {straight.losses_B.item():.6g} is not " + (
                f"{swapped.losses_B.item():.6g} when their log-probabilities change places"
            )
    return None


def check_padding(method: Method) -> str | None:
    """Longer responses to another prompt, to which a batch is padded, change nothing."""
    samples = random_samples(method, 2)
    longer_BN = samples.lengths_BN.clone()
    longer_BN[1] *= 10
    before, after = outcome(method, samples), outcome(method, samples.changed(lengths_BN=longer_BN))
    if close(before.losses_B[:1], after.losses_B[:1]) and close(before.gradient_BN[:1], after.gradient_BN[:1]):
        return None
    return (
        f"longer responses to another prompt of the batch change the loss from {before.losses_B[0]:.6g} to {after.losses_B[0]:.6g}: "
        "normalise by each response's own length, not by the padded one"
    )


def check_accumulation(method: Method) -> str | None:
    """A batch at once and its parts one after another give the same losses and gradients, and each prompt has its metrics."""
    samples = random_samples(method, 5)
    whole = outcome(method, samples)
    if whole.losses_B.shape != (5,):
        return f"the loss of 5 prompts has the shape {tuple(whole.losses_B.shape)}, expected (5,): one a prompt, no mean over the batch"
    for name, values_B in whole.metrics.items():
        if values_B.shape != (5,) or values_B.requires_grad:
            return f"metric {name} of 5 prompts has the shape {tuple(values_B.shape)}, expected (5,), detached from the graph"
    parts = [outcome(method, samples.rows(*indices)) for indices in ((0,), (1, 2), (3, 4))]
    losses_B, gradient_BN = (torch.cat([getattr(part, name) for part in parts]) for name in ("losses_B", "gradient_BN"))
    if not close(losses_B, whole.losses_B) or not close(gradient_BN, whole.gradient_BN):
        return (
            f"prompts of a batch mix: their losses are {shown(whole.losses_B)} together and {shown(losses_B)} in parts, so gradient "
            "accumulation changes the method; let each prompt's loss depend on its own responses"
        )
    return None


def check_extremes(method: Method) -> str | None:
    """Loss, metrics and gradient stay finite in float32 at extreme log-probabilities."""
    values = torch.tensor(list(itertools.product(EXTREMES, repeat=4)))  # best and worst, under policy and reference
    rewards_BN = graded_rewards(method).float().expand(len(values), -1)
    logps_BN, reference_BN = torch.full_like(rewards_BN, -10.0), torch.full_like(rewards_BN, -10.0)
    logps_BN[:, [0, -1]], reference_BN[:, [0, -1]] = values[:, :2], values[:, 2:]
    for length in (1, 10_000):
        samples = Samples(rewards_BN, logps_BN, torch.full(rewards_BN.shape, length), reference_BN, rewards_BN.argmax(1))
        found = outcome(method, samples)
        for name, tensor in {"loss": found.losses_B, "gradient": found.gradient_BN, **found.metrics}.items():
            wrong_B = ~tensor.isfinite().view(len(values), -1).all(1)
            if wrong_B.any():
                worst = int(wrong_B.nonzero()[0])
                return (
                    f"{name} is not finite with best and worst response at {shown(values[worst, :2])} nats, under the reference at "
                    f"{shown(values[worst, 2:])}: use logsigmoid, log_softmax or a clamp"
                )
    return None
