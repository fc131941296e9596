"""What a training engine is: where a run's optimiser works, in one process or over ranks. The loop and the losses are the same for all."""

from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor
from transformers import PreTrainedModel

Loss = Callable[[list[int], int], tuple[Tensor, dict[str, Tensor]]]
"""Maps the indices of a batch's examples, and the number of the step from 0, to this rank's part of the batch's mean loss and of metrics
for the curves: scalars that add up to the whole over the ranks (`apo_bench.core.ranks.share`)."""
Curves = list[dict[str, Any]]


class TrainingRun(Protocol):
    """A model with its optimiser under an engine, from the first step to the last."""

    steps_a_reading: int
    """Steps after which scalars are taken off the device, as to wait for each would leave it idle."""

    def resume(self) -> Curves:
        """The curves up to the last checkpoint, whose state the run now has; empty if there is none."""
        ...

    def forward(self, batch: list[int], step: int) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss and the metrics of the batch, or what its part adds to them (`apo_bench.core.ranks.parts`): scalars without a
        gradient, which the device may still be computing."""
        ...

    def backward(self, is_last: bool) -> None:
        """Adds the gradients of that loss to those of the step; `is_last`: this part is the step's last one."""
        ...

    def step(self, learning_rate: float) -> Tensor:
        """Clips the gradients, changes the weights and returns the norm of the gradients before clipping, a scalar."""
        ...

    def checkpoint(self, curves: Curves) -> None:
        """Called after each step: keeps what `resume` needs, if it is time."""
        ...

    def finish(self) -> None:
        """Leaves the model as a plain one, whole in every rank."""
        ...


class Engine(Protocol):
    """Begins training runs."""

    def prepare(self, model: PreTrainedModel, loss: Loss, optimizer: torch.optim.Optimizer, max_gradient_norm: float) -> TrainingRun:
        """Puts a model and an optimiser of its trainable parameters under the engine."""
        ...


def set_learning_rate(optimizer: torch.optim.Optimizer, learning_rate: float) -> None:
    """For all parameters."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate
