"""Seconds a token, measured by a short calibration on this machine or, for a device that is not here, assumed; and the whole run's time."""

import heapq
import math
import multiprocessing
import resource
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from apo_bench.config.params import Params
from apo_bench.config.sections import PretrainedModel, Training
from apo_bench.core.ranks import share
from apo_bench.core.records import PairRow
from apo_bench.core.seeds import use_threads
from apo_bench.core.stage import Work
from apo_bench.engines.in_process import generate
from apo_bench.engines.training import InProcess
from apo_bench.models.batching import TokenBatch, TokenSequence, longest_row, pad
from apo_bench.models.language_model import load_language_model, new_llama, pairs_a_token, response_logps, save_model
from apo_bench.models.pretrained import load_pretrained
from apo_bench.models.reward_model import load_reward_model, new_reward_model, rewards
from apo_bench.models.tokenizer import count_tokens, encode_prompts, encode_records
from apo_bench.plan import Records
from apo_bench.scheduling import Place, Places, Schedule
from apo_bench.training.loop import train

Groups = list[list[TokenSequence]]

CALIBRATED_PROMPTS = 32
"""Prompts that a calibration samples from; trained on and read are as many pairs."""
SETTLING_STEPS, TIMED_STEPS = 2, 4
LEARNING_RATE = 1e-6
"""Of the trainings that are timed: at any a step takes as long, at this one no loss can run away."""
ASSUMED_FLOPS = 312e12
"""bfloat16 operations a second of the GPU that is assumed where none is at hand (NVIDIA A100 data sheet, dense)."""
ASSUMED_UTILISATION = {"train": 0.35, "read": 0.4, "sample": 0.05}
"""Shares of it that training, reading and sampling reach; sampling waits for memory."""
BYTES_TRAINING, BYTES_READING = 16, 4
"""Bytes a parameter: float32 weights, gradients and AdamW's two moments; weights alone."""
ASSUMED_ACTIVATIONS = 2 * 2**30
"""Bytes of a batch beside the weights, where nothing was measured."""
HEAP_GROWTH = 1.2
"""How much more a long stage takes on a CPU than a few steps, as unequal batches break the heap up: a fifth with all layers trained."""
LANGUAGE_MODEL, REWARD_MODEL = "language_model", "reward_model"
"""Folders of the models that are measured."""
SECONDS_WITHOUT_MODEL = 5.0
"""`prepare`, `compare`, `times` and `track`, more or less."""


@dataclass(frozen=True)
class Rates:
    """Seconds a token of each kind of work, with all workers busy; seconds to load a model; tokens of a sampled response; memory."""

    train_policy: float
    train_reward: float
    read_policy: float
    read_reward: float
    sample: float
    start: float
    sampled: float
    memory: float
    """Bytes that a stage takes at most."""
    is_measured: bool

    def seconds(self, work: Work) -> float:
        """How long a stage takes."""
        if not work.is_model:
            return SECONDS_WITHOUT_MODEL
        kinds = ("train_policy", "train_reward", "read_policy", "read_reward", "sample")
        return self.start + sum(getattr(self, kind) * getattr(work, kind) for kind in kinds)


def assumed_rates(num_parameters: float, params: Params, num_together: int) -> Rates:
    """2 operations a parameter and token forward, 6 in training (Kaplan et al. 2020, Section 2.1), on the assumed GPU.

    Stages that share the GPU share its operations: what it gains by them is left out. So is what adapters and frozen layers save of the
    operations, and what frozen layers save of the memory.
    """
    train, read, sampling = (ASSUMED_UTILISATION[kind] * ASSUMED_FLOPS / num_together for kind in ("train", "read", "sample"))
    forward = 2 * num_parameters
    start = num_parameters * 4 / 1e9  # bytes from a disk of 1 GB/s
    mean = params.sampling.train.max_new_tokens / 2
    weights = num_parameters * (BYTES_TRAINING if params.compute.lora is None else BYTES_READING)
    memory = weights + ASSUMED_ACTIVATIONS
    return Rates(3 * forward / train, 3 * forward / train, forward / read, forward / read, forward / sampling, start, mean, memory, False)


def calibrate(params: Params, records: Records, tokenizer: PreTrainedTokenizerFast, num_workers: int) -> Rates:
    """Measures the rates in as many processes as will run side by side, as they share the memory's bandwidth."""
    rows = records["pairs_rm"][: 2 * CALIBRATED_PROMPTS]
    with TemporaryDirectory() as folder:
        if isinstance(params.base_model, PretrainedModel):
            model, tokenizer = load_pretrained(params.base_model)
        else:
            model = new_llama(params.base_model, tokenizer, seed=0)
        save_model(model, tokenizer, Path(folder) / LANGUAGE_MODEL)
        del model
        on_cpu = params.compute.model_copy(update={"device": "cpu"})  # the device's memory is for what is measured
        reward_model = new_reward_model(Path(folder) / LANGUAGE_MODEL, 0, on_cpu, params.is_pretrained, params.heads(params.base_reward))
        save_model(reward_model, tokenizer, Path(folder) / REWARD_MODEL)
        del reward_model
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(num_workers, mp_context=context) as pool:
            measured = list(pool.map(_measure, *zip(*[(params, rows, tokenizer, Path(folder))] * num_workers, strict=True)))
    return Rates(**{name: sum(values[name] for values in measured) / num_workers for name in measured[0]}, is_measured=True)


def _measure(params: Params, rows: Sequence[PairRow], tokenizer: PreTrainedTokenizerFast, models: Path) -> dict[str, float]:
    """One process's seconds a token."""
    use_threads(params.compute.num_threads)
    compute, settings = params.compute, params.base_reward
    responses = [[row["chosen"], row["rejected"]] for row in rows]
    groups = encode_records(tokenizer, rows, responses, settings.max_length, compute.max_prompt_length)
    started = time.perf_counter()
    policy = load_language_model(models / LANGUAGE_MODEL, compute, for_training=True)
    start = time.perf_counter() - started
    times = {"start": start, "train_policy": _train(policy, groups, settings, tokenizer, params, response_logps)}
    del policy
    reward_model = load_reward_model(models / REWARD_MODEL, compute, for_training=True)
    times["train_reward"] = _train(reward_model, groups, settings, tokenizer, params, rewards)
    del reward_model
    policy, reward_model = load_language_model(models / LANGUAGE_MODEL, compute), load_reward_model(models / REWARD_MODEL, compute)
    times["read_policy"] = _read(policy, groups, tokenizer, response_logps)
    times["read_reward"] = _read(reward_model, groups, tokenizer, rewards)
    prompts = [row["dialogue"] for row in rows[:CALIBRATED_PROMPTS]]
    started = time.perf_counter()
    encoded = encode_prompts(tokenizer, prompts, compute.max_prompt_length)
    seeds = list(range(len(prompts)))
    sampled = generate(policy, tokenizer.eos_token_id, encoded, params.sampling.train, seeds, "calibration")
    tokens = sum(len(ids) for group in sampled for ids in group)
    times["sample"] = (time.perf_counter() - started) / tokens
    times["sampled"] = tokens / (len(prompts) * params.sampling.train.num_samples)
    on_gpu = compute.device == "cuda"
    times["memory"] = (
        torch.cuda.max_memory_allocated() if on_gpu else HEAP_GROWTH * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    )
    return times


def _train(
    model: PreTrainedModel,
    groups: Groups,
    settings: Training,
    tokenizer: PreTrainedTokenizerFast,
    params: Params,
    value: Callable[..., Any],
) -> float:
    """Seconds a token of a training, by the training loop itself.

    The first steps are not timed, as they have to get their memory from the system; a training of one step on the longest groups is there
    for the memory that it takes.
    """
    started: list[float] = []
    num_tokens: list[float] = []

    def begin(chosen: Groups) -> int:
        if params.compute.device == "cuda":
            torch.cuda.synchronize()
        started.append(time.perf_counter())
        num_tokens.append(_num_tokens(chosen))
        return count_tokens(chosen)

    def of(chosen: Groups, num_epochs: int) -> None:
        def loss(batch: list[int], step: int) -> tuple[Tensor, dict[str, Tensor]]:
            mine = share(batch)
            return mine.fraction * value(model, _padded(model, [chosen[index] for index in mine.indices], tokenizer)).mean(), {}

        lengths = [longest_row(group, pairs_a_token(model)) for group in chosen]
        changed = settings.model_copy(update={"epochs": num_epochs, "learning_rate": LEARNING_RATE})
        engine = InProcess(params.compute)
        train(model, loss, lengths, changed, params.compute, engine, 0, "calibration", lambda batch, _: begin([chosen[n] for n in batch]))

    num_steps = SETTLING_STEPS + TIMED_STEPS + 1  # whose beginning ends the last one that is timed
    of(groups, math.ceil(num_steps / math.ceil(len(groups) / settings.batch_size)))
    timed = slice(SETTLING_STEPS, SETTLING_STEPS + TIMED_STEPS)
    seconds_a_token = (started[timed.stop] - started[timed.start]) / sum(num_tokens[timed])
    of(sorted(groups, key=lambda group: count_tokens([group]))[-settings.batch_size :], 1)
    return seconds_a_token


@torch.no_grad()
def _read(model: PreTrainedModel, groups: Groups, tokenizer: PreTrainedTokenizerFast, value: Callable[..., Any]) -> float:
    padded = _padded(model, groups, tokenizer)
    for _ in range(2):
        started = time.perf_counter()
        value(model, padded)
        seconds = time.perf_counter() - started
    return seconds / _num_tokens(groups)


def _padded(model: PreTrainedModel, groups: Groups, tokenizer: PreTrainedTokenizerFast) -> TokenBatch:
    return pad([sequence for group in groups for sequence in group], tokenizer.pad_token_id, pairs_a_token(model))


def _num_tokens(groups: Groups) -> float:
    """Tokens of the groups with each prompt once, as `Work` counts them whatever the model can share."""
    return sum(group[0].prompt_length + sum(len(item.ids) - item.prompt_length for item in group) for group in groups)


def simulate(seconds: Mapping[str, float], schedule: Schedule, places: Places) -> float:
    """Seconds of the whole run, scheduled as `make repro` schedules."""
    running: list[tuple[float, str, Place]] = []
    now = 0.0
    while not schedule.is_finished:
        while started := schedule.start(places):
            name, place = started
            heapq.heappush(running, (now + seconds[name], name, place))
        now, name, place = heapq.heappop(running)
        schedule.end(name, place, places)
    return now
