"""Matrix products of a model's layers in float32 and in bfloat16, on one core, and which of them `compute.dtype: auto` takes.

python -m benchmarks.precision
"""

import time

import torch

from apo_bench.models.precision import is_bfloat16_fast

SIZES = {"attention": (1024, 576, 576), "feed-forward": (1024, 576, 1536), "head": (256, 576, 49152)}
"""Tokens, inputs and outputs of layers of SmolLM2-135M."""
REPEATS = 20


def main() -> None:
    """Prints billions of operations a second."""
    torch.set_num_threads(1)
    print("auto takes", "bfloat16" if is_bfloat16_fast("cpu") else "float32", "on", torch.cpu.get_capabilities().get("cpu_name"))
    for name, (tokens, inputs, outputs) in SIZES.items():
        rates = {str(dtype).removeprefix("torch."): rate(tokens, inputs, outputs, dtype) for dtype in (torch.float32, torch.bfloat16)}
        print(f"  {name:12}", ", ".join(f"{kind} {value / 1e9:.0f} GFLOP/s" for kind, value in rates.items()))


def rate(tokens: int, inputs: int, outputs: int, dtype: torch.dtype) -> float:
    """Operations a second of the fastest of a few products."""
    states, weights = torch.randn(tokens, inputs).to(dtype), torch.randn(outputs, inputs).to(dtype)
    times = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        torch.nn.functional.linear(states, weights)
        times.append(time.perf_counter() - started)
    return 2 * tokens * inputs * outputs / min(times)


if __name__ == "__main__":
    main()
