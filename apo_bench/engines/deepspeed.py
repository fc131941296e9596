"""Training by DeepSpeed: ZeRO shards optimiser, gradients and, in stage 3, weights over the ranks (Rajbhandari et al. 2020).

Weights and sums are float32 and products as `compute` says, as in one process; each rank computes its part of a batch's loss. The model is
whole in every rank before and after a run, and sharded during it.
"""

import os
import shutil
from pathlib import Path
from typing import Any, cast

import deepspeed
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from apo_bench.config.compute_sections import Compute, DeepspeedEngine
from apo_bench.core.errors import EngineError, OutputError
from apo_bench.core.ranks import CHECKPOINTS_VARIABLE, add_up, num_ranks, rank
from apo_bench.engines.checkpoints import COMPLETE, PARTIAL, last_step
from apo_bench.engines.protocol import Curves, Loss, TrainingRun, set_learning_rate
from apo_bench.models.precision import mixed_precision


class DeepSpeed:
    """See `apo_bench.engines.training.Engine`."""

    def __init__(self, settings: DeepspeedEngine, compute: Compute) -> None:
        """Raises EngineError if this process was not launched as a rank."""
        if CHECKPOINTS_VARIABLE not in os.environ:
            raise EngineError("engines.training: deepspeed works in ranks, which `python -m pipeline STAGE` launches")
        self._settings, self._compute = settings, compute

    def prepare(self, model: PreTrainedModel, loss: Loss, optimizer: torch.optim.Optimizer, max_gradient_norm: float) -> TrainingRun:
        """See `Engine`."""
        folder = Path(os.environ[CHECKPOINTS_VARIABLE])
        module = _LossModule(model, loss, self._compute)
        return DeepSpeedRun(module, optimizer, configuration(self._settings, model, max_gradient_norm), folder, self._settings)


def configuration(settings: DeepspeedEngine, model: PreTrainedModel, max_gradient_norm: float) -> dict[str, Any]:
    """DeepSpeed's own; buckets follow the hidden size, as in `transformers`."""
    hidden = model.config.get_text_config().hidden_size
    zero: dict[str, Any] = {"stage": settings.zero_stage, "reduce_bucket_size": hidden * hidden}
    if settings.zero_stage == 3:
        zero |= {"stage3_prefetch_bucket_size": int(0.9 * hidden * hidden), "stage3_param_persistence_threshold": 10 * hidden}
    if settings.cpu_offload:
        zero |= {name: {"device": "cpu"} for name in ["offload_optimizer", *(["offload_param"] if settings.zero_stage == 3 else [])]}
    return {
        "train_micro_batch_size_per_gpu": 1,  # a word for DeepSpeed's counters: we make the batches
        "gradient_clipping": max_gradient_norm,
        "zero_optimization": zero,
        "zero_force_ds_cpu_optimizer": False,  # torch's fused AdamW is the same maths, and asks for no compiler
        "zero_allow_untested_optimizer": True,
    }


class _LossModule(nn.Module):
    """The computation of a loss as a module, so that all of it is inside the forward pass that ZeRO watches."""

    def __init__(self, model: PreTrainedModel, loss: Loss, compute: Compute) -> None:
        super().__init__()
        self.model, self._loss, self._compute = model, loss, compute
        self.metrics: dict[str, Tensor] = {}

    def forward(self, batch: list[int], step: int) -> Tensor:
        """This rank's part of the batch's loss."""
        with mixed_precision(self._compute):
            value, self.metrics = self._loss(batch, step)
        return value


class DeepSpeedRun:
    """See `apo_bench.engines.training.TrainingRun`."""

    steps_a_reading = 1  # it waits for the device at each step, and a checkpoint holds the curves

    def __init__(
        self,
        module: _LossModule,
        optimizer: torch.optim.Optimizer,
        config: dict[str, Any],
        folder: Path,
        settings: DeepspeedEngine,
    ) -> None:
        # Compiled at the first start, for half a minute and with a compiler, it would serve inference alone.
        deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
        self._linear = nn.functional.linear  # stage 3 puts its own in the place of it
        self._optimizer, self._folder, self._checkpoint_steps = optimizer, folder, settings.checkpoint_steps
        self._module = module
        self._engine: Any = deepspeed.initialize(model=self._module, optimizer=optimizer, config=config)[0]

    def resume(self) -> Curves:
        """See `TrainingRun`."""
        step = last_step(self._folder)
        if step == 0:
            return []
        _, state = self._engine.load_checkpoint(str(self._folder), tag=f"{COMPLETE}{step}")
        return cast(Curves, state["curves"])

    def forward(self, batch: list[int], step: int) -> tuple[Tensor, dict[str, Tensor]]:
        """See `TrainingRun`."""
        self._value = self._engine(batch, step)
        parts = torch.stack([self._value.detach(), *(metric.detach() for metric in self._module.metrics.values())])
        value, *metrics = add_up(parts.double().cpu())
        return value, dict(zip(self._module.metrics, metrics, strict=True))

    def backward(self, is_last: bool) -> None:
        """See `TrainingRun`."""
        self._engine.set_gradient_accumulation_boundary(is_last)
        self._engine.backward(self._value * num_ranks())  # DeepSpeed takes the mean of the ranks' gradients, ours add up

    def step(self, learning_rate: float) -> Tensor:
        """See `TrainingRun`."""
        set_learning_rate(self._optimizer, learning_rate)
        self._engine.step()
        return torch.as_tensor(self._engine.get_global_grad_norm(), dtype=torch.float64)

    def checkpoint(self, curves: Curves) -> None:
        """See `TrainingRun`. A checkpoint has its name once it is whole, and only then is the one before it deleted."""
        if len(curves) % self._checkpoint_steps:
            return
        try:
            self._engine.save_checkpoint(str(self._folder), tag=PARTIAL, client_state={"curves": curves}, save_latest=False)
            torch.distributed.barrier()
            if rank() == 0:
                older = list(self._folder.glob(f"{COMPLETE}*"))
                (self._folder / PARTIAL).rename(self._folder / f"{COMPLETE}{len(curves)}")
                for path in older:
                    shutil.rmtree(path)
        except (OSError, RuntimeError) as error:
            if isinstance(error, RuntimeError) and "inline_container" not in str(error):  # PyTorch's writer of files
                raise
            free = shutil.disk_usage(self._folder).free / 2**30
            cure = "make room, or raise engines.deepspeed.checkpoint_steps to write none"
            raise OutputError(f"{self._folder}: a checkpoint cannot be written, {free:.1f} GiB are free; {cure}") from error
        torch.distributed.barrier()  # the next checkpoint waits for the name

    def finish(self) -> None:
        """See `TrainingRun`."""
        model = self._module.model
        parameters = list(model.parameters())
        if hasattr(parameters[0], "ds_id"):  # sharded: gathered for as long as the block takes
            with deepspeed.zero.GatheredParameters(parameters):
                whole = {id(parameter): parameter.detach().clone() for parameter in parameters}
        else:
            whole = {id(parameter): parameter.detach().clone() for parameter in parameters}
        self._engine.destroy()
        nn.functional.linear = self._linear
        fresh = {key: nn.Parameter(values) for key, values in whole.items()}  # without DeepSpeed's attributes; tied ones stay tied
        for module in model.modules():
            module._parameters = {name: None if old is None else fresh[id(old)] for name, old in module._parameters.items()}
