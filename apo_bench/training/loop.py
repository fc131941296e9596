"""The one training loop: for the base model, SFT, reward models and every method."""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm
from transformers import PreTrainedModel

from apo_bench.core.errors import ModelError
from apo_bench.core.sections import Compute, Training
from apo_bench.data.batching import training_batches
from apo_bench.models.precision import mixed_precision
from apo_bench.training.adapters import add_adapters, merge_adapters

WARMUP_FRACTION = 0.05
FINAL_RATE_FRACTION = 0.1
MAX_GRADIENT_NORM = 1.0
BETAS = (0.9, 0.95)
"""As GPT-3 (Brown et al. 2020) and Llama: runs of a few hundred steps are over before a second moment of 0.999 has settled."""

Loss = Callable[[list[int]], tuple[Tensor, dict[str, Tensor]]]
"""Maps the indices of a batch's examples to the mean loss over them (scalar) and to metrics (scalars) for the curves."""


def train(
    model: PreTrainedModel,
    loss: Loss,
    lengths: Sequence[int],
    settings: Training,
    compute: Compute,
    seed: int,
    title: str,
) -> list[dict[str, Any]]:
    """Trains `model` in place: AdamW, warm-up then cosine, gradients clipped to norm 1, no weight decay.

    Args:
        model: the model that `loss` uses.
        loss: see `Loss`.
        lengths: tokens of each example, by which batches are made of like lengths.
        settings: epochs, batch size, rate.
        compute: precision, checkpointing, adapters.
        seed: of the order of the examples, and of adapters.
        title: what the progress bar says.

    Returns:
        The curves: a row a step with `step`, `epoch`, `loss`, `learning_rate`, `gradient_norm` and the metrics of `loss`.

    Raises:
        ModelError: the loss is not finite.
    """
    model.train()
    adapted = add_adapters(model, compute.lora, seed) if compute.lora else None
    if compute.gradient_checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
        model.enable_input_require_grads()  # under adapters nothing else before the first block has a gradient
    batches = list(_epochs(lengths, settings, seed))
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=settings.learning_rate, betas=BETAS, weight_decay=0.0, fused=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, _rate_factor(len(batches)))
    history: list[dict[str, Any]] = []
    for step, (epoch, indices) in enumerate(tqdm(batches, desc=title, unit="step"), start=1):
        with mixed_precision(compute):
            value, metrics = loss(indices)
        if not math.isfinite(value.item()):
            raise ModelError(f"{title}: the loss became {value.item()} at step {step}; lower learning_rate {settings.learning_rate}")
        value.backward()
        norm = nn.utils.clip_grad_norm_(parameters, MAX_GRADIENT_NORM)
        history.append(
            {
                "step": step,
                "epoch": epoch,
                "loss": value.item(),
                "learning_rate": schedule.get_last_lr()[0],
                "gradient_norm": norm.item(),
                **{name: metric.item() for name, metric in metrics.items()},
            }
        )
        optimizer.step()
        schedule.step()
        optimizer.zero_grad(set_to_none=True)
    if compute.gradient_checkpointing:
        model.gradient_checkpointing_disable()
        model.disable_input_require_grads()
    if adapted:
        merge_adapters(adapted)
    model.eval()
    return history


def _epochs(lengths: Sequence[int], settings: Training, seed: int) -> Iterator[tuple[int, list[int]]]:
    generator = torch.Generator().manual_seed(seed)
    for epoch in range(1, settings.epochs + 1):
        for indices in training_batches(lengths, settings.batch_size, generator):
            yield epoch, indices


def _rate_factor(num_steps: int) -> Callable[[int], float]:
    num_warmup = max(1, round(WARMUP_FRACTION * num_steps))

    def factor(step: int) -> float:
        if step < num_warmup:
            return (step + 1) / num_warmup
        progress = (step - num_warmup) / max(1, num_steps - num_warmup)
        return FINAL_RATE_FRACTION + (1 - FINAL_RATE_FRACTION) * 0.5 * (1 + math.cos(math.pi * progress))

    return factor
