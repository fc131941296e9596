"""Where a training run's optimiser works: in this process, or by DeepSpeed over ranks. The loop and the losses are the same for both."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from apo_bench.config.compute_sections import Compute
from apo_bench.config.params import Params
from apo_bench.models.precision import ReducedWeights, mixed_precision, trains_reduced

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


class InProcess:
    """All in this process."""

    def __init__(self, compute: Compute) -> None:
        self._compute = compute

    def prepare(self, model: PreTrainedModel, loss: Loss, optimizer: torch.optim.Optimizer, max_gradient_norm: float) -> TrainingRun:
        """See `Engine`."""
        weights = ReducedWeights(model) if trains_reduced(self._compute) else None
        return InProcessRun(loss, optimizer, max_gradient_norm, mixed_precision(self._compute), weights)


class InProcessRun:
    """See `TrainingRun`; it keeps no checkpoints."""

    steps_a_reading = 16

    def __init__(
        self,
        loss: Loss,
        optimizer: torch.optim.Optimizer,
        max_gradient_norm: float,
        products: AbstractContextManager,
        weights: ReducedWeights | None,
    ) -> None:
        self._loss, self._optimizer, self._max_gradient_norm = loss, optimizer, max_gradient_norm
        self._precision, self._weights = nullcontext() if weights else products, weights
        if weights:
            [group] = optimizer.param_groups
            group["params"] = weights.to_optimise

    def resume(self) -> Curves:
        """See `TrainingRun`."""
        return []

    def forward(self, batch: list[int], step: int) -> tuple[Tensor, dict[str, Tensor]]:
        """See `TrainingRun`."""
        with self._precision:
            self._value, metrics = self._loss(batch, step)
        return self._value.detach(), {name: metric.detach() for name, metric in metrics.items()}

    def backward(self, is_last: bool) -> None:
        """See `TrainingRun`."""
        self._value.backward()
        if self._weights:
            self._weights.collect_gradients()

    def step(self, learning_rate: float) -> Tensor:
        """See `TrainingRun`."""
        parameters = [parameter for group in self._optimizer.param_groups for parameter in group["params"]]
        norm = nn.utils.clip_grad_norm_(parameters, self._max_gradient_norm)
        set_learning_rate(self._optimizer, learning_rate)
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        if self._weights:
            self._weights.follow()
        return norm

    def checkpoint(self, curves: Curves) -> None:
        """See `TrainingRun`."""

    def finish(self) -> None:
        """See `TrainingRun`."""
        if self._weights:
            self._weights.restore()


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
        return InProcess(params.compute)
    from apo_bench.engines.deepspeed import DeepSpeed  # imports the package, 2 s

    return DeepSpeed(params.engines.deepspeed, params.compute)
