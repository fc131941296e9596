"""The one training loop: for the base model, SFT, reward models and every method."""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm
from transformers import PreTrainedModel

from apo_bench.config.compute_sections import Compute
from apo_bench.config.sections import Training
from apo_bench.core.errors import ModelError
from apo_bench.core.ranks import num_ranks, parts
from apo_bench.engines.protocol import Curves, Engine, Loss
from apo_bench.models.batching import training_batches
from apo_bench.training.adapters import add_adapters, merge_adapters
from apo_bench.training.freezing import freeze_lowest

WARMUP_FRACTION = 0.05
FINAL_RATE_FRACTION = 0.1
MAX_GRADIENT_NORM = 1.0
BETAS = (0.9, 0.95)
"""As GPT-3 (Brown et al. 2020) and Llama: runs of a few hundred steps are over before a second moment of 0.999 has settled."""


def train(
    model: PreTrainedModel,
    loss: Loss,
    lengths: Sequence[int],
    settings: Training,
    compute: Compute,
    engine: Engine,
    seed: int,
    title: str,
    num_tokens: Callable[[list[int], int], int] | None = None,
) -> Curves:
    """Trains `model` in place: AdamW, warm-up then cosine, gradients clipped to norm 1, no weight decay.

    Args:
        model: the model that `loss` uses.
        loss: see `apo_bench.engines.training.Loss`.
        lengths: tokens of each example, by which batches are made of like lengths.
        settings: epochs, batch size, rate.
        compute: precision, checkpointing, adapters, frozen layers.
        engine: where the optimiser works.
        seed: of the order of the examples, and of adapters.
        title: what the progress bar says.
        num_tokens: tokens of all sequences that `loss` of a batch and a step trains on; that of the batch's `lengths` if not given.

    Returns:
        The curves: a row a step with `step`, `epoch`, `loss`, `learning_rate`, `gradient_norm`, `num_tokens` and the metrics
        of `loss`.

    Raises:
        ModelError: the loss is not finite, or the adapters or frozen layers do not fit the model.
    """
    model.train()
    adapted = add_adapters(model, compute.lora, seed) if compute.lora else None
    freeze_lowest(model, compute.frozen_layers)
    if compute.gradient_checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    batches = list(_epochs(lengths, settings, seed))
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=settings.learning_rate, betas=BETAS, weight_decay=0.0, fused=True)
    rate_factor = _rate_factor(len(batches))

    run = engine.prepare(model, loss, optimizer, MAX_GRADIENT_NORM)
    history = run.resume()
    done = len(history)
    pending: list[tuple[dict[str, Any], dict[str, list[Tensor]]]] = []
    for step, (epoch, batch) in enumerate(tqdm(batches[done:], desc=title, unit="step", initial=done, total=len(batches)), start=done):
        tokens = num_tokens(batch, step) if num_tokens else sum(lengths[index] for index in batch)
        num_parts = num_micro_batches(len(batch), tokens, compute)
        scalars: dict[str, list[Tensor]] = {"loss": []}
        for part in parts(num_parts):
            value, metrics = run.forward(batch, step)
            for name, scalar in {"loss": value, **metrics}.items():
                scalars.setdefault(name, []).append(scalar)
            run.backward(is_last=part == num_parts - 1)
        rate = settings.learning_rate * rate_factor(step)
        scalars["gradient_norm"] = [run.step(rate)]
        counts = {
            "step": step + 1,
            "epoch": epoch,
            "loss": math.nan,
            "learning_rate": rate,
            "gradient_norm": math.nan,
            "num_tokens": tokens,
        }
        pending.append((counts, scalars))
        if len(pending) == run.steps_a_reading or step == len(batches) - 1:
            history += _read(pending, title, settings.learning_rate)
            pending.clear()
            run.checkpoint(history)
    run.finish()
    if compute.gradient_checkpointing:
        model.gradient_checkpointing_disable()
    if adapted:
        merge_adapters(adapted)
    model.requires_grad_(True)
    model.eval()
    return history


def _read(pending: list[tuple[dict[str, Any], dict[str, list[Tensor]]]], title: str, learning_rate: float) -> Curves:
    """The rows of steps whose scalars are taken off the device, all at once: to wait for each would leave it idle."""
    flat = iter(torch.stack([scalar for _, scalars in pending for parts in scalars.values() for scalar in parts]).tolist())
    rows = [counts | {name: sum(next(flat) for _ in parts) for name, parts in scalars.items()} for counts, scalars in pending]
    for row in rows:
        if not math.isfinite(row["loss"]):
            raise ModelError(f"{title}: the loss became {row['loss']} at step {row['step']}; lower learning_rate {learning_rate}")
    return rows


def num_micro_batches(size: int, tokens: int, compute: Compute) -> int:
    """In how many parts a batch of so many examples and tokens is worked off: each of at least one example a rank."""
    if compute.micro_batch_tokens is None:
        return 1
    return min(-(-size // num_ranks()), -(-tokens // (compute.micro_batch_tokens * num_ranks())))


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
