"""Where models run and with how many bits."""

import logging
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from importlib.util import find_spec

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from apo_bench.config.compute_sections import Compute
from apo_bench.core.errors import ModelError
from apo_bench.core.ranks import num_ranks
from apo_bench.core.seeds import use_one_order

SHARED_FRACTION = 0.9
"""Of a GPU's memory, for what the stages on it allocate; the rest is for CUDA itself, some 0.5 GiB a process."""


def is_bfloat16_fast(device: str) -> bool:
    """Whether the device multiplies bfloat16 in hardware and faster than float32.

    Intel's processors do so by AMX alone: by AVX-512 they have it at half of float32's rate (`python -m benchmarks.precision`).
    """
    if device == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    capabilities = torch.cpu.get_capabilities()
    by_vectors = capabilities.get("avx512_bf16") and "Intel" not in capabilities.get("cpu_name", "")
    return bool(by_vectors or capabilities.get("amx_bf16") or capabilities.get("bf16"))


def check_device(compute: Compute) -> None:
    """Checks that the device is there, and has a GPU work in one order if it is to.

    Raises:
        ModelError: it is not there.
    """
    if compute.device == "cpu":
        return
    if not torch.cuda.is_available():
        raise ModelError("compute.device: found cuda, but PyTorch sees no GPU here; install a CUDA build of PyTorch or write cpu")
    use_one_order(compute.deterministic)


def share_memory(compute: Compute) -> None:
    """Keeps this process to its share of the GPU's memory, so that it runs out of its own and not of its neighbours'."""
    if compute.device == "cuda" and compute.stages_per_gpu > 1 and num_ranks() == 1:
        torch.cuda.set_per_process_memory_fraction(SHARED_FRACTION / compute.stages_per_gpu)


def reduced_dtype(compute: Compute) -> torch.dtype:
    """The type of matrix products in training and of whole models in sampling and scoring."""
    wanted = compute.dtype == "bfloat16" or (compute.dtype == "auto" and is_bfloat16_fast(compute.device))
    return torch.bfloat16 if wanted else torch.float32


def attention(compute: Compute) -> str:
    """Which of transformers' attentions: on CPUs the plain one is 1.6 times as fast in bfloat16, and no slower in float32."""
    return "eager" if compute.device == "cpu" else "sdpa"


def mixed_precision(compute: Compute) -> AbstractContextManager:
    """Matrix products in the reduced type while weights, sums and optimiser stay float32 (does nothing for float32)."""
    dtype = reduced_dtype(compute)
    return torch.autocast(compute.device, dtype=dtype, enabled=dtype is not torch.float32)


def fuse_kernels(model: PreTrainedModel) -> None:
    """Puts fused kernels for norms, rotary positions and gates in the place of chains of small ones (Hsu et al. 2024, arXiv 2410.10989).

    A model that they are not written for stays as it is.

    Raises:
        ModelError: they are not installed.
    """
    if find_spec("liger_kernel") is None:
        raise ModelError("compute.device: cuda in bfloat16 needs liger-kernel; pip install 'apo-bench[cuda]', or write dtype: float32")
    logging.getLogger("liger_kernel").setLevel(logging.ERROR)  # it tells of kernels for other makers' devices
    from liger_kernel.transformers import _apply_liger_kernel_to_instance

    _apply_liger_kernel_to_instance(model, cross_entropy=False, fused_linear_cross_entropy=False)


class ReducedWeights:
    """A model's weights in bfloat16, beside the float32 ones that the optimiser works on (Micikevicius et al. 2018, arXiv 1710.03740).

    Weights that are trained stand one behind the other in one tensor, so that the optimiser starts a few kernels instead of some for each.
    Those that are not have their float32 values in the host's memory meanwhile. Reward heads stay as they are.
    """

    def __init__(self, model: nn.Module) -> None:
        head = getattr(model, "score", None)
        heads = {id(parameter) for parameter in head.parameters()} if isinstance(head, nn.Module) else set()
        reduced = [parameter for parameter in model.parameters() if id(parameter) not in heads]
        self._trained = [parameter for parameter in reduced if parameter.requires_grad]
        self._frozen = [(parameter, parameter.data.cpu()) for parameter in reduced if not parameter.requires_grad]
        self._heads = [parameter for parameter in model.parameters() if id(parameter) in heads and parameter.requires_grad]
        self.master = nn.Parameter(torch.cat([parameter.data.float().flatten() for parameter in self._trained] or [torch.empty(0)]))
        self._reduced = self.master.data.bfloat16()
        for parameter, values in zip(self._trained, self._views(self._reduced), strict=True):
            parameter.data = values
        for parameter, _ in self._frozen:
            parameter.data = parameter.data.bfloat16()

    @property
    def to_optimise(self) -> list[nn.Parameter]:
        """What the optimiser works on in the place of the model's parameters."""
        return [self.master, *self._heads]

    def collect_gradients(self) -> None:
        """Adds the gradients of the bfloat16 weights to those of the float32 ones, and clears them."""
        flat = torch.cat([(torch.zeros_like(each) if each.grad is None else each.grad).flatten() for each in self._trained])
        if self.master.grad is None:
            self.master.grad = flat.float()
        else:
            self.master.grad += flat
        for parameter in self._trained:
            parameter.grad = None

    def follow(self) -> None:
        """The bfloat16 weights become what the float32 ones are."""
        self._reduced.copy_(self.master.data)

    def restore(self) -> None:
        """The model has its float32 weights again."""
        for parameter, values in zip(self._trained, self._views(self.master.data), strict=True):
            parameter.data = values.clone()
        for parameter, values in self._frozen:
            parameter.data = values.to(parameter.device)

    def _views(self, flat: Tensor) -> list[Tensor]:
        parts = flat.split([parameter.numel() for parameter in self._trained])
        return [part.view(parameter.shape) for part, parameter in zip(parts, self._trained, strict=True)]


@contextmanager
def reduced_weights(model: PreTrainedModel, compute: Compute) -> Iterator[None]:
    """The model as it is while it is trained in process: on a GPU its weights are in the reduced type, elsewhere its products alone."""
    if not trains_reduced(compute):
        with mixed_precision(compute):
            yield
        return
    weights = ReducedWeights(model)
    try:
        yield
    finally:
        weights.restore()


def trains_reduced(compute: Compute) -> bool:
    """Whether weights are in bfloat16 in training in process: on GPUs, whose memory then moves half as much."""
    return compute.device == "cuda" and reduced_dtype(compute) is torch.bfloat16
