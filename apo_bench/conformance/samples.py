"""Made-up responses, and what a method makes of them. Shape suffixes: B prompts, N responses a prompt, K of them selected.

Of a method that wants golden responses one of the N is golden, and the best of all unless a check says otherwise.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from apo_bench.methods.base import GOLDEN, SAMPLE, Candidates, Method, ResponseGroups

TOLERANCE = 1e-6
"""Of values that should be equal, in float64: room for a method that computes in float32."""


@dataclass(frozen=True)
class Samples:
    """Responses as the reward model and the policy see them."""

    rewards_BN: Tensor
    logps_BN: Tensor
    lengths_BN: Tensor
    reference_BN: Tensor
    golden_B: Tensor
    """Index of the golden response; a method that wants samples alone takes it for one."""

    def changed(self, **tensors_BN: Tensor) -> "Samples":
        """A copy with other tensors."""
        return replace(self, **tensors_BN)

    def reordered(self, places: list[int]) -> "Samples":
        """The responses in another order: first that which stood at the first of `places`."""
        rewards_BN, logps_BN, lengths_BN, reference_BN = (
            tensor_BN[:, places] for tensor_BN in (self.rewards_BN, self.logps_BN, self.lengths_BN, self.reference_BN)
        )
        golden_B = torch.tensor([places.index(golden) for golden in self.golden_B.tolist()])
        return Samples(rewards_BN, logps_BN, lengths_BN, reference_BN, golden_B)

    def rows(self, *indices: int) -> "Samples":
        """Some of the prompts."""
        chosen = list(indices)
        tensors = (self.rewards_BN, self.logps_BN, self.lengths_BN, self.reference_BN, self.golden_B)
        return Samples(*(tensor[chosen] for tensor in tensors))


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
    """Enough responses for the method, golden ones among them, and an even number of at least four: two that are good, two that are not."""
    least = method.min_responses + (GOLDEN in method.origins)
    return max(4, least + least % 2)


def candidates(method: Method, rewards: list[float], golden: int) -> Candidates:
    """The responses to one prompt as the method is offered them, that with the index `golden` as the golden one if it wants one."""
    return Candidates(rewards, [GOLDEN if GOLDEN in method.origins and index == golden else SAMPLE for index in range(len(rewards))])


def graded_rewards(method: Method) -> Tensor:
    """Rewards with mean 0 from the best response to the worst: [N]."""
    return torch.linspace(3, -3, num_samples(method), dtype=torch.float64)


def at_reference(rewards_BN: Tensor, logps_BN: Tensor) -> Samples:
    """Samples of equal length under a policy that is the reference still."""
    return Samples(rewards_BN, logps_BN, torch.full(rewards_BN.shape, 6), logps_BN.clone(), rewards_BN.argmax(1))


def random_samples(method: Method, num_prompts: int, seed: int = 0) -> Samples:
    """Samples with rewards in any order, lengths that differ, and a policy that has moved from the reference."""
    generator = torch.Generator().manual_seed(seed)
    shape = (num_prompts, num_samples(method))
    rewards_BN = torch.stack([graded_rewards(method)[torch.randperm(shape[1], generator=generator)] for _ in range(num_prompts)])
    lengths_BN = torch.randint(3, 20, shape, generator=generator)
    reference_BN = -lengths_BN * (0.5 + torch.rand(shape, generator=generator, dtype=torch.float64))
    logps_BN = reference_BN + torch.randn(shape, generator=generator, dtype=torch.float64) / 4
    return Samples(rewards_BN, logps_BN, lengths_BN, reference_BN, rewards_BN.argmax(1))


def outcome(method: Method, samples: Samples) -> Outcome:
    """The loss on samples of which the method selects some of every prompt, and its gradients."""
    rows = zip(samples.rewards_BN.tolist(), samples.golden_B.tolist(), strict=True)
    selected_BK = torch.tensor([method.select(candidates(method, rewards, golden)) for rewards, golden in rows])
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
