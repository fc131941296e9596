"""Low-rank adapters (Source: LoRA, Hu et al. 2021, through `peft`): trained in the place of all weights, then merged into them."""

from typing import Any

import torch
from transformers import PreTrainedModel

from apo_bench.config.compute_sections import LoRA
from apo_bench.core.errors import ModelError


def add_adapters(model: PreTrainedModel, lora: LoRA, seed: int) -> Any:
    """Puts adapters into `model`, freezes its weights but for a fresh reward head, and returns what `merge_adapters` takes.

    Raises:
        ModelError: `peft` is missing, or no module of the model has one of the names in `target_modules`.
    """
    try:
        from peft import LoraConfig, get_peft_model
    except ImportError as error:
        raise ModelError("compute.lora needs peft: pip install 'apo-bench[lora]', or set it to null") from error
    torch.manual_seed(seed)  # of the adapters' random half
    settings = LoraConfig(r=lora.rank, lora_alpha=lora.alpha, lora_dropout=0.0, bias="none", target_modules=list(lora.target_modules))
    try:
        adapted = get_peft_model(model, settings)
    except ValueError as error:
        names = sorted({name.rpartition(".")[2] for name, module in model.named_modules() if isinstance(module, torch.nn.Linear)})
        raise ModelError(f"compute.lora.target_modules: {lora.target_modules} not in the model, which has {', '.join(names)}") from error
    if hasattr(model, "score"):
        model.score.requires_grad_(True)
    return adapted


def merge_adapters(adapted: Any) -> None:
    """Adds the adapters to the weights they stand beside, in place, and takes them out."""
    adapted.merge_and_unload()
