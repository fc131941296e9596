"""Made-up samples, and what a method makes of them. Shape suffixes: B prompts, N sampled responses a prompt, K of them selected."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from apo_bench.methods.base import Method, ResponseGroups

TOLERANCE = 1e-6
"""Of values that should be equal, in float64: room for a method that computes in float32."""


@dataclass(frozen=True)
class Samples:
    """Sampled responses as the reward model and the policy see them."""

    rewards_BN: Tensor
    logps_BN: Tensor
    lengths_BN: Tensor
    reference_BN: Tensor

    def changed(self, **tensors_BN: Tensor) -> "Samples":
        """A copy with other tensors."""
        return replace(self, **tensors_BN)

    def rows(self, *indices: int) -> "Samples":
        """Some of the prompts."""
        chosen = list(indices)
        return Samples(self.rewards_BN[chosen], self.logps_BN[chosen], self.lengths_BN[chosen], self.reference_BN[chosen])


@dataclass(frozen=True)
class Outcome:
    """What a method made of samples."""

    losses_B: Tensor
    metrics: dict[str, Tensor]
    selected_BK: Tensor
    gradient_BN: Tensor
    """Of the sum of the losses in the log-probabilities; 0 where a response was not selected."""
    reference_gradient_BN: Tensor | None


def num_samples(method: Method) -> int:
    """Enough responses for the method, and an even number of at least four: two that are good, two that are not."""
    return max(4, method.min_responses + method.min_responses % 2)


def graded_rewards(method: Method) -> Tensor:
    """Rewards with mean 0 from the best response to the worst: [N]."""
    return torch.linspace(3, -3, num_samples(method), dtype=torch.float64)


def at_reference(rewards_BN: Tensor, logps_BN: Tensor) -> Samples:
    """Samples of equal length under a policy that is the reference still."""
    return Samples(rewards_BN, logps_BN, torch.full(rewards_BN.shape, 6), logps_BN.clone())


def random_samples(method: Method, num_prompts: int, seed: int = 0) -> Samples:
    """Samples with rewards in any order, lengths that differ, and a policy that has moved from the reference."""
    generator = torch.Generator().manual_seed(seed)
    shape = (num_prompts, num_samples(method))
    rewards_BN = torch.stack([graded_rewards(method)[torch.randperm(shape[1], generator=generator)] for _ in range(num_prompts)])
    lengths_BN = torch.randint(3, 20, shape, generator=generator)
    reference_BN = -lengths_BN * (0.5 + torch.rand(shape, generator=generator, dtype=torch.float64))
    logps_BN = reference_BN + torch.randn(shape, generator=generator, dtype=torch.float64) / 4
    return Samples(rewards_BN, logps_BN, lengths_BN, reference_BN)


def outcome(method: Method, samples: Samples) -> Outcome:
    """The loss on samples of which the method selects some of every prompt, and its gradients."""
    selected_BK = torch.tensor([method.select(rewards) for rewards in samples.rewards_BN.tolist()])
    logps_BN = samples.logps_BN.clone().requires_grad_()
    reference_BN = samples.reference_BN.clone().requires_grad_() if method.needs_reference else None
    losses_B, metrics = method.loss(
        ResponseGroups(
            logps_BN.gather(1, selected_BK),
            samples.lengths_BN.gather(1, selected_BK),
            samples.rewards_BN.gather(1, selected_BK),
            None if reference_BN is None else reference_BN.gather(1, selected_BK),
        )
    )
    losses_B.sum().backward()
    assert logps_BN.grad is not None
    return Outcome(losses_B.detach(), metrics, selected_BK, logps_BN.grad, None if reference_BN is None else reference_BN.grad)


def close(first: Tensor, second: Tensor) -> bool:
    """Whether two tensors are equal but for rounding."""
    return torch.allclose(first.double(), second.double(), rtol=TOLERANCE, atol=TOLERANCE)


def shown(values: Tensor) -> str:
    """Numbers for a message."""
    return f"[{', '.join(f'{value:.4g}' for value in values.flatten().tolist())}]"
