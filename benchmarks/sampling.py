"""Throughput of sampling, side by side: our vLLM against a bare vLLM script, in process against `generate` of transformers.

    python -m benchmarks.sampling MODEL HH       # folders of a chat model and of HH-RLHF in its own layout

Every side samples the same responses to the same prompts with the same parameters, in turn, on one thread; loading and one run to warm up
are not timed. Seconds on the clock decide; on a busy machine look at the processor's seconds.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil
import torch
from transformers import AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerFast

from apo_bench.config.compute_sections import Compute
from apo_bench.config.params import load_params
from apo_bench.config.sections import Sampling
from apo_bench.engines import in_process
from apo_bench.models.language_model import load_language_model
from apo_bench.models.precision import reduced_dtype
from apo_bench.samplers.vllm import Copies
from benchmarks.models import PROFILE, hh_prompts, ready_model

NUM_PROMPTS, NUM_NEW = 64, 64
BATCH_SIZES = (64, 128, 256)
"""Sequences a batch of `generate`, of which the best is measured."""
THREAD = {"OMP_NUM_THREADS": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind", "VLLM_CPU_KVCACHE_SPACE": "1"}
Prompts = list[list[int]]


@dataclass
class Side:
    """One of two that are compared."""

    name: str
    run: Callable[[], int]
    """Samples once; returns how many tokens."""
    processor: Callable[[], float]
    """Processor seconds so far."""
    rates: list[float] = field(default_factory=list)
    """Tokens a second."""
    processor_rates: list[float] = field(default_factory=list)

    def measure(self) -> None:
        """Times one run."""
        busy, started = self.processor(), time.perf_counter()
        tokens = self.run()
        seconds, busy = time.perf_counter() - started, self.processor() - busy
        self.rates.append(tokens / seconds)
        self.processor_rates.append(tokens / busy)
        print(f"  {self.name}: {tokens} tokens, {seconds:.1f} s, {busy:.1f} s of processor", flush=True)


def main() -> None:
    """Measures both pairs and prints what came out."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("hh", type=Path)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    params = load_params(PROFILE)
    settings = params.sampling.train.model_copy(update={"max_new_tokens": NUM_NEW})
    with TemporaryDirectory() as scratch:
        policy = Path(scratch) / "model"
        tokenizer = ready_model(options.model, policy)
        prompts = hh_prompts(tokenizer, options.hh, NUM_PROMPTS, params.compute.max_prompt_length)
        lengths = sorted(map(len, prompts))
        print(
            f"{NUM_PROMPTS} prompts of {lengths[0]} to {lengths[-1]} tokens, {settings}, {reduced_dtype(params.compute)}, "
            f"load {os.getloadavg()[0]:.1f} of {os.cpu_count()} cores"
        )
        with vllm_sides(policy, tokenizer, prompts, settings, params.compute) as sides:
            compare(*sides, options.repeats, goal=0.95)
        compare(*process_sides(policy, tokenizer, prompts, settings, params.compute), options.repeats, goal=1.5)


def compare(ours: Side, theirs: Side, repeats: int, goal: float) -> None:
    """Measures two sides in turn; prints medians, spreads and the ratio."""
    for _ in range(repeats):
        ours.measure()
        theirs.measure()
    for side in (ours, theirs):
        low, middle, high = min(side.rates), statistics.median(side.rates), max(side.rates)
        processor = statistics.median(side.processor_rates)
        print(f"{side.name}: {middle:.0f} tokens/s [{low:.0f}, {high:.0f}], {processor:.0f} a second of processor")
    for what, rates in (("clock", (ours.rates, theirs.rates)), ("processor", (ours.processor_rates, theirs.processor_rates))):
        ratios = sorted(own / other for own, other in zip(*rates, strict=True))
        print(f"ratio by {what}: {statistics.median(ratios):.2f} [{ratios[0]:.2f}, {ratios[-1]:.2f}], goal {goal}", flush=True)


@contextmanager
def vllm_sides(
    policy: Path, tokenizer: PreTrainedTokenizerFast, prompts: Prompts, settings: Sampling, compute: Compute
) -> Iterator[tuple[Side, Side]]:
    """Our vLLM with all that a stage does after it started, and a bare script; start-ups are printed."""
    max_length = max(map(len, prompts)) + settings.max_new_tokens
    engine = load_params(PROFILE).engines.samplers["vllm"]
    started = time.perf_counter()
    with Copies(policy, max_length, compute, engine, "vLLM") as copies:
        print(f"  our vLLM started in {time.perf_counter() - started:.0f} s")

        def ours() -> int:
            groups = copies.generate(prompts, settings, list(range(len(prompts))), tokenizer.eos_token_id)
            for group in groups:
                tokenizer.batch_decode(group, skip_special_tokens=True)
            return sum(len(ids) for group in groups for ids in group)

        dtype = str(reduced_dtype(compute)).removeprefix("torch.")
        job = {
            "engine": {"model": str(policy), "dtype": dtype, "max_model_len": max_length},
            "sampling": {
                "n": settings.num_samples,
                "temperature": settings.temperature,
                "top_k": settings.top_k,
                "top_p": settings.top_p,
                "max_tokens": settings.max_new_tokens,
            },
            "prompts": prompts,
        }
        started = time.perf_counter()
        bare = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("bare_vllm.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, **THREAD, "VLLM_LOGGING_LEVEL": "ERROR"},
            text=True,
        )

        def ask(line: str) -> dict[str, float]:
            assert bare.stdin and bare.stdout
            print(line, file=bare.stdin, flush=True)
            return next(json.loads(answer) for answer in bare.stdout if answer.startswith("{"))

        try:
            ask(json.dumps(job))
            print(f"  bare vLLM started in {time.perf_counter() - started:.0f} s")
            sides = (
                Side("our vLLM", ours, lambda: _processor(copies.processes[0].pid) + time.process_time()),
                Side("bare vLLM", lambda: int(ask("")["tokens"]), lambda: _processor(bare.pid)),
            )
            for side in sides:
                side.run()
            yield sides
        finally:
            assert bare.stdin
            bare.stdin.close()
            bare.wait()


def process_sides(
    policy: Path, tokenizer: PreTrainedTokenizerFast, prompts: Prompts, settings: Sampling, compute: Compute
) -> tuple[Side, Side]:
    """Sampling in process, and `generate` with the attention and the batch size that are its best."""
    model = load_language_model(policy, compute)

    def ours() -> int:
        groups = in_process.generate(model, tokenizer.eos_token_id, prompts, settings, list(range(len(prompts))), "in process")
        for group in groups:
            tokenizer.batch_decode(group, skip_special_tokens=True)
        return sum(len(ids) for group in groups for ids in group)

    others = {
        attention: AutoModelForCausalLM.from_pretrained(policy, dtype=model.dtype, attn_implementation=attention)
        for attention in ("sdpa", "eager")
    }

    def rate(attention: str, batch_size: int) -> float:
        busy = time.process_time()
        rate = generate(others[attention], tokenizer, prompts, settings, batch_size) / (time.process_time() - busy)
        print(f"  generate, {attention}, {batch_size} sequences: {rate:.0f} tokens a second of processor", flush=True)
        return rate

    smallest, *larger = BATCH_SIZES
    rates = {(attention, smallest): rate(attention, smallest) for attention in others}
    attention, _ = max(rates, key=lambda key: rates[key])
    rates |= {(attention, size): rate(attention, size) for size in larger}
    attention, batch_size = max(rates, key=lambda key: rates[key])
    ours()
    return (
        Side("in process", ours, time.process_time),
        Side(
            f"generate ({attention}, {batch_size} sequences)",
            lambda: generate(others[attention], tokenizer, prompts, settings, batch_size),
            time.process_time,
        ),
    )


@torch.inference_mode()
def generate(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, prompts: Prompts, settings: Sampling, batch_size: int) -> int:
    """`generate` of transformers on batches of like length; how many tokens it sampled, without padding."""
    num_tokens, size = 0, batch_size // settings.num_samples
    ordered = sorted(prompts, key=len)
    for first in range(0, len(ordered), size):
        batch = tokenizer.pad({"input_ids": ordered[first : first + size]}, padding_side="left", return_tensors="pt")
        output = model.generate(
            **batch,
            do_sample=True,
            num_return_sequences=settings.num_samples,
            temperature=settings.temperature,
            top_k=settings.top_k,
            top_p=settings.top_p,
            repetition_penalty=settings.repetition_penalty,
            max_new_tokens=settings.max_new_tokens,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
        new = output[:, batch["input_ids"].shape[1] :]
        tokenizer.batch_decode(new, skip_special_tokens=True)
        num_tokens += int((new != tokenizer.pad_token_id).sum())
    return num_tokens


def _processor(pid: int) -> float:
    """Processor seconds of a process and of those that it started."""
    process = psutil.Process(pid)
    times = [each.cpu_times() for each in (process, *process.children(recursive=True))]
    return sum(each.user + each.system for each in times)


if __name__ == "__main__":
    main()
