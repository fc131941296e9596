"""Running out of memory, as one line that says what to lower."""

from apo_bench.config.params import Params
from apo_bench.core.errors import EngineError


def memory_error(params: Params) -> EngineError:
    """What to do about it with these params."""
    cures = ["compute.micro_batch_tokens or max_length lower"]
    if not params.compute.gradient_checkpointing:
        cures.append("compute.gradient_checkpointing: true")
    trainer = params.engines.trainer
    if params.compute.device == "cuda" and params.compute.stages_per_gpu > 1 and not trainer.is_launched:
        cures.insert(0, f"compute.stages_per_gpu below {params.compute.stages_per_gpu}")
    cures += trainer.memory_cures(params.compute.device)
    return EngineError(f"out of memory on {params.compute.device}; what helps: {', '.join(cures)}")
