"""Where models run and with how many bits."""

from contextlib import AbstractContextManager

import torch

from apo_bench.core.compute_sections import Compute
from apo_bench.core.errors import ModelError


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
    """Checks that the device is there.

    Raises:
        ModelError: it is not.
    """
    if compute.device == "cuda" and not torch.cuda.is_available():
        raise ModelError("compute.device: found cuda, but PyTorch sees no GPU here; install a CUDA build of PyTorch or write cpu")


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
