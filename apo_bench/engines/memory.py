"""Running out of memory, as one line that says what to lower."""

from apo_bench.config.params import Params
from apo_bench.core.errors import EngineError


def memory_error(params: Params) -> EngineError:
    """What to do about it with these params."""
    cures = ["compute.micro_batch_tokens or max_length lower"]
    if not params.compute.gradient_checkpointing:
        cures.append("compute.gradient_checkpointing: true")
    if params.engines.training == "in_process":
        if params.compute.device == "cuda" and params.compute.stages_per_gpu > 1:
            cures.insert(0, f"compute.stages_per_gpu below {params.compute.stages_per_gpu}")
        cures.append("engines.training: deepspeed")
    else:
        if params.compute.device == "cuda" and not params.engines.deepspeed.cpu_offload:
            cures.append("engines.deepspeed.cpu_offload: true")
        cures.append("more ranks on more devices or hosts")
    return EngineError(f"out of memory on {params.compute.device}; what helps: {', '.join(cures)}")
