"""Where a training run's optimiser works: in this process, or by DeepSpeed over ranks. The loop and the losses are the same for both."""

from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from apo_bench.core.config import Params

Loss = Callable[[list[int], int], tuple[Tensor, dict[str, Tensor]]]
"""Maps the indices of a batch's examples, and the number of the step from 0, to this rank's part of the batch's mean loss and of metrics
for the curves: scalars that add up to the whole over the ranks (`apo_bench.core.ranks.share`)."""
Curves = list[dict[str, Any]]


class TrainingRun(Protocol):
    """A model with its optimiser under an engine, from the first step to the last."""

    def resume(self) -> Curves:
        """The curves up to the last checkpoint, whose state the run now has; empty if there is none."""
        ...

    def forward(self, batch: list[int], step: int) -> tuple[float, dict[str, float]]:
        """The loss and the metrics of the batch, or what its part adds to them (`apo_bench.core.ranks.parts`)."""
        ...

    def backward(self, is_last: bool) -> None:
        """Adds the gradients of that loss to those of the step; `is_last`: this part is the step's last one."""
        ...

    def step(self, learning_rate: float) -> float:
        """Clips the gradients, changes the weights and returns the norm of the gradients before clipping."""
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


class InProcess:
    """All in this process."""

    def prepare(self, model: PreTrainedModel, loss: Loss, optimizer: torch.optim.Optimizer, max_gradient_norm: float) -> TrainingRun:
        """See `Engine`."""
        return InProcessRun(loss, optimizer, max_gradient_norm)


class InProcessRun:
    """See `TrainingRun`; it keeps no checkpoints."""

    def __init__(self, loss: Loss, optimizer: torch.optim.Optimizer, max_gradient_norm: float) -> None:
        self._loss, self._optimizer, self._max_gradient_norm = loss, optimizer, max_gradient_norm

    def resume(self) -> Curves:
        """See `TrainingRun`."""
        return []

    def forward(self, batch: list[int], step: int) -> tuple[float, dict[str, float]]:
        """See `TrainingRun`."""
        self._value, metrics = self._loss(batch, step)
        return self._value.item(), {name: metric.item() for name, metric in metrics.items()}

    def backward(self, is_last: bool) -> None:
        """See `TrainingRun`."""
        self._value.backward()

    def step(self, learning_rate: float) -> float:
        """See `TrainingRun`."""
        parameters = [parameter for group in self._optimizer.param_groups for parameter in group["params"]]
        norm = nn.utils.clip_grad_norm_(parameters, self._max_gradient_norm)
        set_learning_rate(self._optimizer, learning_rate)
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        return norm.item()

    def checkpoint(self, curves: Curves) -> None:
        """See `TrainingRun`."""

    def finish(self) -> None:
        """See `TrainingRun`."""


def set_learning_rate(optimizer: torch.optim.Optimizer, learning_rate: float) -> None:
    """For all parameters."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate


def training_engine(params: Params) -> Engine:
    """The engine that `engines.training` names.

    Raises:
        EngineError: DeepSpeed is not installed, or this process is none of its ranks.
    """
    if params.engines.training == "in_process":
        return InProcess()
    from apo_bench.engines.deepspeed import DeepSpeed  # imports the package, 2 s

    return DeepSpeed(params.engines.deepspeed, params.compute)
