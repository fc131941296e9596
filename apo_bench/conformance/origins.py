"""What it means to a method where a response is from: nothing but its reward, or that the golden one is above every sample.

Shape suffixes: B prompts, N responses.
"""

import torch

from apo_bench.conformance.samples import close, num_samples, outcome, random_samples
from apo_bench.methods.base import GOLDEN, Method


def check_origins(method: Method) -> str | None:
    """Of a method that wants golden responses: they are used, and preferred for their origin or for their reward as it says."""
    if GOLDEN not in method.origins:
        return "prefers_golden, and yet GOLDEN is not among its origins" if method.prefers_golden else None
    samples = random_samples(method, 1)
    straight = outcome(method, samples)
    if samples.golden_B.item() not in straight.selected_BK[0].tolist():
        return "the golden response, the best of all, is not selected: leave GOLDEN out of origins, or select it"
    if method.prefers_golden:
        other = outcome(method, samples.changed(rewards_BN=-samples.rewards_BN))
        if close(other.losses_B, straight.losses_B) and close(other.gradient_BN, straight.gradient_BN):
            return None
        return (
            f"prefers_golden, and yet other rewards change the loss from {straight.losses_B.item():.6g} to {other.losses_B.item():.6g}: "
            "tell the golden response by candidates.origins, and read no reward"
        )
    for golden in range(num_samples(method)):
        other = outcome(method, samples.changed(golden_B=torch.tensor([golden])))
        if not close(other.losses_B, straight.losses_B) or not close(other.gradient_BN, straight.gradient_BN):
            return (
                f"another response of the same is golden, and the loss changes from {straight.losses_B.item():.6g} to "
                f"{other.losses_B.item():.6g}: select by the rewards alone, or say prefers_golden = True"
            )
    return None
