"""Training in this process, and the engine that params name."""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from apo_bench.config.compute_sections import Compute
from apo_bench.config.params import Params
from apo_bench.engines.protocol import Curves, Engine, Loss, TrainingRun, set_learning_rate
from apo_bench.models.precision import ReducedWeights, mixed_precision, trains_reduced


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


def training_engine(params: Params) -> Engine:
    """The engine that `engines.training` names.

    Raises:
        EngineError: DeepSpeed is not installed, or this process is none of its ranks.
    """
    if params.engines.training == "in_process":
        return InProcess(params.compute)
    params.engines.trainer.check_installed()
    from apo_bench.engines.deepspeed import DeepSpeed  # imports the package, 2 s

    return DeepSpeed(params.engines.deepspeed, params.compute)
