"""What a method is: hyperparameters, the responses it needs, and a loss on their log-probabilities. No model, no tokenizer, no loop.

Shape suffixes: B prompts, K responses a prompt.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Final, Literal

import torch.nn.functional as F
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass as validated_dataclass
from torch import Tensor

STRICT = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)
"""For the hyperparameters of a method: unknown keys, wrong types and infinity are errors."""


@validated_dataclass(frozen=True, kw_only=True, config=STRICT)
class Hyperparameters:
    """What every method needs; a method with more of its own derives from this."""

    learning_rates: Annotated[list[Annotated[float, Field(gt=0, lt=1)]], Field(min_length=1)]
    """One a round; rounds beyond the list keep its last."""
    epochs: Annotated[int, Field(gt=0)]
    """Passes over the round's groups."""
    batch_size: Annotated[int, Field(gt=0)]
    """Prompts a step, whatever the number of responses of each."""
    max_length: Annotated[int, Field(gt=0)]
    """Tokens of prompt and response."""

    def learning_rate(self, round_number: int) -> float:
        """The rate of a round, counted from 1."""
        return self.learning_rates[min(round_number, len(self.learning_rates)) - 1]


Origin = Literal["sample", "golden"]
"""Where a response is from: the policy at the round's start, or the golden responses of the data."""
SAMPLE: Final[Origin] = "sample"
GOLDEN: Final[Origin] = "golden"


class Candidates(list[float]):
    """The responses to one prompt that a method may select from: the list of their rewards, which knows where each is from."""

    def __init__(self, rewards: Iterable[float], origins: Iterable[Origin] | None = None) -> None:
        """Origins in the order of the rewards; without them all are samples."""
        super().__init__(rewards)
        self.origins: list[Origin] = [SAMPLE] * len(self) if origins is None else list(origins)

    def indices(self, origin: Origin) -> list[int]:
        """Of the responses from there, in their order."""
        return [index for index, found in enumerate(self.origins) if found == origin]


@dataclass(frozen=True)
class ResponseGroups:
    """A batch of prompts, each with the K responses that the method selected."""

    logps_BK: Tensor
    """Log-probability of each response under the policy, summed over its tokens, in nats; differentiable."""
    lengths_BK: Tensor
    """Tokens of each response, its end token included; padding is not counted."""
    rewards_BK: Tensor
    """The reward model's score of each response."""
    reference_logps_BK: Tensor | None
    """Log-probabilities under the policy at the round's start, if the method asks for them; no gradient."""

    @property
    def log_ratios_BK(self) -> Tensor:
        """log pi - log pi_ref of each response, in nats; differentiable in the policy alone."""
        assert self.reference_logps_BK is not None, "a method that uses the reference says needs_reference = True"
        return self.logps_BK - self.reference_logps_BK.detach()


Optimum = Literal["better", "best_of_two", "reward_tilt", "win_rate_tilt", "golden_tilt"]
"""Where the theory of a loss says that training on the reference's own samples ends; `apo_bench.conformance.optimum` tries it.

better: at a higher expected reward than the reference's, no more is known. best_of_two: at the better of two samples. reward_tilt: at
pi_ref exp(r / beta). win_rate_tilt: at pi_ref exp(P(y beats a sample) / beta). golden_tilt: at pi_ref (p / pi_ref)^(1 / beta), p the
distribution of golden responses.
"""


class Method(ABC):
    """An alignment method. A module of `apo_bench.methods` names its class `METHOD`."""

    Hyperparameters: ClassVar[type[Hyperparameters]] = Hyperparameters
    needs_reference: ClassVar[bool] = False
    """Whether the loss uses `reference_logps_BK`."""
    origins: ClassVar[tuple[Origin, ...]] = (SAMPLE,)
    """Which responses `select` is offered: the samples of a prompt, and after them its golden response if GOLDEN is among these."""
    prefers_golden: ClassVar[bool] = False
    """Whether the golden response is above every sample, whatever their rewards; else the rewards alone say which is better."""
    min_responses: ClassVar[int] = 1
    """How many sampled responses a prompt must have for the method to make sense."""
    imitates_all: ClassVar[bool] = False
    """Whether responses that are worse are imitated too, only less (weighted imitation); else the loss pushes them down."""
    optimum: ClassVar[Optimum] = "better"
    """What the conformance kit holds the loss to; the tilts take `beta` from the hyperparameters."""

    def __init__(self, hyperparameters: Any) -> None:
        self.hyperparameters = hyperparameters

    @abstractmethod
    def select(self, candidates: Candidates, /) -> list[int] | None:
        """Indices of the responses to one prompt that the loss needs, in the order the loss expects.

        A method that needs no more than the rewards calls them `rewards: Sequence[float]`.

        Always of the same number K; None leaves the prompt out (say, all rewards tie and the method needs an order).
        """

    def num_selected(self, num_samples: int) -> int:
        """K, with so many samples a prompt."""
        origins: list[Origin] = [SAMPLE] * num_samples + [GOLDEN] * (GOLDEN in self.origins)
        return len(self.select(Candidates(map(float, range(len(origins))), origins)) or [])

    @abstractmethod
    def loss(self, groups: ResponseGroups) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss of each prompt, [B], and metrics, each [B]; the trainer averages both over prompts."""


def best_index(rewards: Sequence[float]) -> int:
    """The index of the highest reward; the first of them if several tie."""
    return max(range(len(rewards)), key=lambda index: rewards[index])


def best_and_worst(rewards: Sequence[float]) -> list[int] | None:
    """The indices of the highest and of the lowest reward, the first of each; None if all tie."""
    best, worst = best_index(rewards), best_index([-reward for reward in rewards])
    return [best, worst] if rewards[best] > rewards[worst] else None


def cross_entropy(logps_B: Tensor, lengths_B: Tensor) -> Tensor:
    """Negative log-likelihood a token of each response, [B], in nats."""
    return -logps_B / lengths_B


def paired_loss_metrics(margins_B: Tensor) -> dict[str, Tensor]:
    """Metrics of a loss on (chosen, rejected) pairs, from the implicit reward margins [B]."""
    return {"reward_margin": margins_B.detach(), "reward_accuracy": (margins_B > 0).float()}


def negative_log_sigmoid(values_B: Tensor) -> Tensor:
    """-log sigmoid, stable at both ends: [B]."""
    return -F.logsigmoid(values_B)
