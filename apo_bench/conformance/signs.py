"""Which way a loss pushes: the preferred response up, the dispreferred down, the reference not at all.

Shape suffixes: N responses.
"""

import itertools

import torch

from apo_bench.conformance.samples import at_reference, candidates, graded_rewards, num_samples, outcome, random_samples, shown
from apo_bench.methods.base import Method

NUDGE = 1e-3
"""Nats by which a reference log-probability is moved."""


def check_selection(method: Method) -> str | None:
    """`select` takes as many responses as it says, always the same number, each at most once."""
    if not method.num_selected(method.min_responses):
        return f"select leaves out a prompt of min_responses = {method.min_responses} responses with different rewards"
    generator = torch.Generator().manual_seed(0)
    patterns = [graded_rewards(method).tolist()]
    patterns += torch.randint(3, (100, num_samples(method)), generator=generator).double().tolist()
    expected = len(method.select(candidates(method, patterns[0], golden=0)) or [])
    if not expected:
        return "select leaves out a prompt whose rewards all differ"
    for rewards in patterns:
        selected = method.select(candidates(method, rewards, golden=0))
        if selected is None:
            continue
        if len(selected) != expected:
            return f"select takes {expected} responses of one prompt and {len(selected)} of another ; always take as many"
        if len(set(selected)) != expected or not set(selected) <= set(range(len(rewards))):
            return f"select returns {selected} for rewards {rewards}: not indices of different responses"
    return None


def check_gradient(method: Method) -> str | None:
    """Where the policy has a good and a bad response the wrong way round, and no other such two, a step mends that.

    The bad one becomes less likely, unless the method imitates all, and the good one gains on it, if both are selected; the best of all
    becomes likelier.
    """
    rewards_N = graded_rewards(method)
    total = len(rewards_N)
    good_and_bad = itertools.product(range(total // 2), range(total // 2, total))
    for good, bad in ((0, other) for other in range(1, total)) if method.prefers_golden else good_and_bad:
        others = [index for index in range(total) if index not in (good, bad)]
        places = [*(index for index in others if index < total // 2), bad, good, *(index for index in others if index >= total // 2)]
        logps_N = torch.empty(total, dtype=torch.float64)
        logps_N[places] = torch.linspace(-5, -20, total, dtype=torch.float64)
        found = outcome(method, at_reference(rewards_N[None], logps_N[None]))
        gradient_N, selected = found.gradient_BN[0], set(found.selected_BK[0].tolist())
        if (good, bad) == (0, total - 1) and not gradient_N[0] < 0:
            return f"a step does not make the preferred response likelier: its gradient is {gradient_N[0]:.4g}, not negative"
        goes_down = method.imitates_all or gradient_N[bad] > 0
        if {good, bad} <= selected and not (goes_down and gradient_N[good] < gradient_N[bad]):
            by_reward = f"response {bad + 1} of {total} by reward better than response {good + 1}"
            liked = "a sample better than the golden response" if method.prefers_golden else by_reward
            return (
                f"the policy likes {liked}, and a step does not mend that: "
                f"their gradients are {shown(gradient_N[[bad, good]])}; does a comparison lack some of its pairs?"
            )
    return None


def check_reference(method: Method) -> str | None:
    """The reference gets no gradient, and stands against the policy: what the reference likes better counts for less."""
    if not method.needs_reference:
        return None
    gradient_BN = outcome(method, random_samples(method, 3)).reference_gradient_BN
    if gradient_BN is not None and gradient_BN.any():
        return "the loss sends a gradient into the reference: use groups.log_ratios_BK, or detach reference_logps_BK"
    rewards_N = graded_rewards(method)
    samples = at_reference(rewards_N[None], torch.linspace(-20, -10, len(rewards_N), dtype=torch.float64)[None])
    start = outcome(method, samples)
    for name, index, sign in (("preferred", 0, 1), ("dispreferred", len(rewards_N) - 1, -1)):
        if index not in start.selected_BK[0].tolist():
            continue
        moved_BN = samples.reference_BN.clone()
        moved_BN[0, index] += NUDGE
        change = (outcome(method, samples.changed(reference_BN=moved_BN)).losses_B - start.losses_B).item()
        if not sign * change > 0:
            verb = "raise" if sign > 0 else "lower"
            return (
                f"{NUDGE} nats more for the {name} response under the reference should {verb} the loss, which changes by {change:+.4g}: is "
                "the reference's sign flipped?"
            )
    return None
