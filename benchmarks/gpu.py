"""What a GPU makes of the suite, in one command of some minutes that asks nothing of a network.

    python -m benchmarks.gpu [PART ...] [--results FILE]      # parts: exact, training, sampling, twice; all if none is named

Weights are random and sequences have one length, 200 tokens of prompt and 200 of each response: what is measured does not hang on them.
"share" is the floating-point operations that the step needs (six a weight and token that is computed, and those of attention) over the
seconds, as a part of the rate of a bfloat16 product of 8192 x 8192 matrices on the same card in the same run.
"""

import argparse
import gc
import hashlib
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, LlamaConfig, PreTrainedModel

from apo_bench.config.compute_sections import Compute, LoRA
from apo_bench.config.params import load_params
from apo_bench.config.plugins import load_method
from apo_bench.config.sections import Sampling, Training
from apo_bench.engines import in_process
from apo_bench.engines.training import InProcess
from apo_bench.losses.reward import bradley_terry_loss
from apo_bench.methods.base import ResponseGroups
from apo_bench.models.batching import TokenSequence, longest_row, pad
from apo_bench.models.language_model import pairs_a_token, ready, response_logps, send
from apo_bench.models.precision import mixed_precision
from apo_bench.models.reward_model import rewards
from apo_bench.training.loop import train
from benchmarks.models import PROFILE

PROMPT, RESPONSE, WARM_STEPS, TIMED_STEPS = 200, 200, 3, 6
SHAPES = {
    "135M": {  # SmolLM2-135M
        "vocab_size": 49152,
        "hidden_size": 576,
        "intermediate_size": 1536,
        "num_hidden_layers": 30,
        "num_attention_heads": 9,
        "num_key_value_heads": 3,
        "tie_word_embeddings": True,
    },
    "1.1B": {  # TinyLlama-1.1B
        "vocab_size": 32000,
        "hidden_size": 2048,
        "intermediate_size": 5632,
        "num_hidden_layers": 22,
        "num_attention_heads": 32,
        "num_key_value_heads": 4,
        "tie_word_embeddings": False,
    },
    "7B": {  # Llama-2-7B
        "vocab_size": 32000,
        "hidden_size": 4096,
        "intermediate_size": 11008,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 32,
        "tie_word_embeddings": False,
    },
}
ADAPTERS = LoRA(rank=8, alpha=16, target_modules=["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"])
Row = dict[str, Any]


def main() -> None:
    """Runs the parts, prints a line a measurement and writes all of them as JSON lines."""
    parts: dict[str, Callable[[Compute], Iterator[Row]]] = {"exact": exact, "training": training, "sampling": sampling, "twice": twice}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", choices=[[], *parts])
    parser.add_argument("--results", type=Path)
    parser.add_argument("--loose", action="store_true", help="compute.deterministic: false, to see what it costs")
    options = parser.parse_args()
    changes = {"device": "cuda", "dtype": "bfloat16", "micro_batch_tokens": None, "frozen_layers": 0, "deterministic": not options.loose}
    compute = load_params(PROFILE).compute.model_copy(update=changes)
    torch.set_num_threads(compute.num_threads)  # as stages do: with more, threads that wait slow down the one that starts kernels
    started = time.perf_counter()
    for name in options.parts or parts:
        for row in parts[name](compute):
            row = {"part": name, **row}
            print(
                f"{time.perf_counter() - started:6.1f} s  " + ", ".join(f"{key} {_short(value)}" for key, value in row.items()), flush=True
            )
            if options.results:
                with options.results.open("a") as file:
                    file.write(json.dumps(row) + "\n")


def exact(compute: Compute) -> Iterator[Row]:
    """Packed sequences in bfloat16 against padded ones in float32, for shared prompts of unequal lengths."""
    generator = torch.Generator().manual_seed(0)
    lengths = torch.randint(1, 180, (12, 4), generator=generator).tolist()
    groups = [random_group(length[0] + 20, length[1:], 49152, generator) for length in lengths]
    flat = [sequence for group in groups for sequence in group]
    plain = _random("135M", AutoModelForCausalLM, torch.float32)  # before fused kernels are put into `transformers`
    expected, expected_gradients = _values(plain, flat)
    for attention in ("padded", "packed"):
        model = new_model("135M", compute)
        if attention == "padded":
            model.set_attn_implementation("sdpa")
        values, gradients = _values(model.to(torch.bfloat16), flat)
        error = (values - expected).abs().max().item()
        apart = (gradients - expected_gradients).norm() / expected_gradients.norm()
        yield {"attention": attention, "largest error of log-probabilities": error, "relative error of gradients": apart.item()}


def _values(model: PreTrainedModel, flat: list[TokenSequence]) -> tuple[Tensor, Tensor]:
    logps_N = response_logps(model, pad(flat, 0, pairs_a_token(model)))
    (logps_N * torch.linspace(-1, 1, len(flat), device=logps_N.device)).sum().backward()
    return logps_N.detach().float(), torch.cat([weight.grad.flatten().float() for weight in model.parameters() if weight.grad is not None])


def training(compute: Compute) -> Iterator[Row]:
    """DPO and the reward model, beside a plain loop."""
    rate = bf16_rate()
    yield {"rate of products, TFLOP/s": rate / 1e12}
    with_adapters = compute.model_copy(update={"lora": ADAPTERS, "gradient_checkpointing": True})
    for shape, num_prompts, how in (("135M", 64, compute), ("135M", 8, compute), ("1.1B", 16, compute), ("7B", 8, with_adapters)):
        for work in ("DPO", "reward model"):
            if work == "DPO" or (shape, num_prompts) == ("1.1B", 16):
                yield {"work": work, "shape": shape, "prompts": num_prompts, **timed_training(work, shape, num_prompts, how, rate)}
    for shape, num_prompts in (("135M", 64), ("1.1B", 16)):
        yield {"work": "DPO, plain loop", "shape": shape, "prompts": num_prompts, **plain_loop(shape, num_prompts, rate)}


def timed_training(work: str, shape: str, num_prompts: int, compute: Compute, rate: float) -> Row:
    """Tokens a second of `train`, all tokens of all sequences counted."""
    with _memory() as memory:
        model = new_model(shape, compute, is_reward=work == "reward model")
        groups = [random_group(PROMPT, [RESPONSE] * 2, SHAPES[shape]["vocab_size"]) for _ in range(num_prompts)]
        clock = _Clock(WARM_STEPS)
        loss = _dpo_loss(model, groups, clock) if work == "DPO" else _reward_loss(model, groups, clock)
        lengths = [longest_row(group, pairs_a_token(model)) for group in groups]
        settings = Training(epochs=WARM_STEPS + TIMED_STEPS, batch_size=num_prompts, learning_rate=1e-6, max_length=PROMPT + RESPONSE)
        train(model, loss, lengths, settings, compute, InProcess(compute), 0, work)
        seconds = clock.stop() / TIMED_STEPS
        operations = step_operations(model, groups, head=work == "DPO")
    return {
        "tokens/s": num_prompts * 2 * (PROMPT + RESPONSE) / seconds,
        "share": operations / seconds / rate,
        "GiB": memory[0],
        "ms": 1e3 * seconds,
    }


def _dpo_loss(model: PreTrainedModel, groups: list[list[TokenSequence]], clock: "_Clock") -> Any:
    """As `apo_bench.training.policies.align` has it."""
    method = load_method("dpo", load_params(PROFILE).methods)
    reference_BK = torch.full((len(groups), 2), -2000.0)
    rewards_BK = torch.tensor([[1.0, 0.0]]).expand(len(groups), 2)

    def loss(batch: list[int], step: int) -> tuple[Tensor, dict[str, Tensor]]:
        clock.see(step)
        padded = pad([sequence for index in batch for sequence in groups[index]], 0, pairs_a_token(model))
        logps_BK = response_logps(model, padded).view(len(batch), 2)
        lengths_BK = send((padded.lengths_N - padded.prompt_lengths_N).view(len(batch), 2), model.device)
        sent = (send(each[batch], model.device) for each in (rewards_BK, reference_BK))
        losses_B, metrics = method.loss(ResponseGroups(logps_BK, lengths_BK, *sent))
        return losses_B.mean(), {name: values_B.mean() for name, values_B in metrics.items()}

    return loss


def _reward_loss(model: PreTrainedModel, groups: list[list[TokenSequence]], clock: "_Clock") -> Any:
    def loss(batch: list[int], step: int) -> tuple[Tensor, dict[str, Tensor]]:
        clock.see(step)
        padded = pad([sequence for index in batch for sequence in groups[index]], 0, pairs_a_token(model))
        return bradley_terry_loss(*rewards(model, padded).view(len(batch), 2).unbind(1)), {}

    return loss


def plain_loop(shape: str, num_prompts: int, rate: float) -> Row:
    """What one writes first: padded sequences, `transformers` as it is under autocast, fused AdamW, DPO by hand."""
    torch.use_deterministic_algorithms(False)
    with _memory() as memory:
        model: Any = AutoModelForCausalLM.from_config(LlamaConfig(**SHAPES[shape]), attn_implementation="sdpa").cuda()
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-6, fused=True)
        ids = torch.randint(1, 30000, (2 * num_prompts, PROMPT + RESPONSE), device="cuda")
        clock = _Clock(WARM_STEPS)
        for step in range(WARM_STEPS + TIMED_STEPS):
            clock.see(step)
            with torch.autocast("cuda", torch.bfloat16):
                logits = model(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False).logits[:, PROMPT - 1 : -1]
                logps = logits.log_softmax(-1).gather(-1, ids[:, PROMPT:, None])[..., 0].sum(1)
                loss = -torch.nn.functional.logsigmoid(0.1 * (logps[::2] - logps[1::2])).mean()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
            loss.item()
        seconds = clock.stop() / TIMED_STEPS
    return {"tokens/s": ids.numel() / seconds, "GiB": memory[0], "ms": 1e3 * seconds}


def sampling(compute: Compute) -> Iterator[Row]:
    """In process, and `generate` of transformers, no response of which ends before its 200 tokens."""
    for shape, num_sequences in (("135M", 256), ("135M", 1024), ("135M", 2048), ("7B", 256)):
        settings = Sampling(num_samples=4, temperature=1.0, top_k=0, top_p=1.0, repetition_penalty=1.0, max_new_tokens=RESPONSE)
        prompts = [random_group(PROMPT, [1], 30000)[0].ids[:PROMPT] for _ in range(num_sequences // 4)]
        with _memory() as memory:
            model = new_model(shape, compute, dtype=torch.bfloat16).eval()
            seconds = []
            for _ in range(2):
                started = time.perf_counter()
                tokens = in_process.generate(model, -1, prompts, settings, list(range(len(prompts))), "in process")
                torch.cuda.synchronize()
                seconds.append(time.perf_counter() - started)
            total = sum(len(ids) for group in tokens for ids in group)
            yield {"shape": shape, "sequences": num_sequences, "tokens/s": total / seconds[1], "first time": total / seconds[0]}
        if num_sequences == 1024:
            with _memory():
                yield {"shape": shape, "sequences": num_sequences, "generate, tokens/s": _generate(shape, prompts, settings)}
        yield {"shape": shape, "GiB": memory[0]}


@torch.inference_mode()
def _generate(shape: str, prompts: list[list[int]], settings: Sampling) -> float:
    model: Any = AutoModelForCausalLM.from_config(LlamaConfig(**SHAPES[shape]), dtype=torch.bfloat16, attn_implementation="sdpa").cuda()
    ids = torch.tensor(prompts).cuda()
    options = {"do_sample": True, "num_return_sequences": settings.num_samples, "eos_token_id": None, "pad_token_id": 0, "top_k": 0}
    model.generate(ids, max_new_tokens=4, **options)
    torch.cuda.synchronize()
    started = time.perf_counter()
    output = model.generate(ids, max_new_tokens=settings.max_new_tokens, **options)
    torch.cuda.synchronize()
    return (output.shape[1] - PROMPT) * len(output) / (time.perf_counter() - started)


def twice(compute: Compute) -> Iterator[Row]:
    """Whether training, scoring and sampling give the same bytes a second time."""
    hashes: dict[str, list[str]] = {}
    for _ in range(2):
        generator = torch.Generator().manual_seed(3)
        lengths = torch.randint(1, 180, (24, 3), generator=generator).tolist()
        groups = [random_group(one + 20, rest, 49152, generator) for one, *rest in lengths]
        settings = Training(epochs=4, batch_size=8, learning_rate=1e-4, max_length=400)
        for work in ("DPO", "reward model"):
            model = new_model("135M", compute, is_reward=work == "reward model")
            loss = (_dpo_loss if work == "DPO" else _reward_loss)(model, groups, _Clock(99))
            curves = train(model, loss, [len(group[0].ids) for group in groups], settings, compute, InProcess(compute), 0, work)
            hashes.setdefault(f"weights, {work}", []).append(_sha256(*model.parameters()))
            hashes.setdefault(f"curves, {work}", []).append(hashlib.sha256(repr(curves).encode()).hexdigest())
            flat = [sequence for group in groups for sequence in group]
            values = response_logps if work == "DPO" else rewards
            with torch.inference_mode(), mixed_precision(compute):  # as the stages that have just trained it
                hashes.setdefault(f"scores, {work}", []).append(_sha256(values(model, pad(flat, 0, pairs_a_token(model)))))
        model = new_model("135M", compute, dtype=torch.bfloat16).eval()
        options = Sampling(num_samples=4, temperature=0.7, top_k=0, top_p=0.9, repetition_penalty=1.1, max_new_tokens=96)
        prompts = [group[0].ids[: group[0].prompt_length] for group in groups]
        tokens = in_process.generate(model, 2, prompts, options, list(range(len(prompts))), "twice")
        hashes.setdefault("samples", []).append(hashlib.sha256(repr(tokens).encode()).hexdigest())
        _free()
    for name, (first, second) in hashes.items():
        yield {"of": name, "the same twice": first == second}


def _sha256(*tensors: Tensor) -> str:
    digest = hashlib.sha256()
    for tensor in tensors:
        digest.update(tensor.detach().float().cpu().numpy().tobytes())
    return digest.hexdigest()


def new_model(shape: str, compute: Compute, is_reward: bool = False, dtype: torch.dtype = torch.float32) -> PreTrainedModel:
    """A model with random weights as stages have it."""
    return ready(_random(shape, AutoModelForSequenceClassification if is_reward else AutoModelForCausalLM, dtype), compute)


def _random(shape: str, kind: Any, dtype: torch.dtype) -> PreTrainedModel:
    """Random weights, always the same, made on the GPU."""
    torch.manual_seed(0)
    with torch.device("cuda"):
        model: PreTrainedModel = kind.from_config(
            LlamaConfig(**SHAPES[shape], max_position_embeddings=2048, pad_token_id=0, num_labels=1), dtype=dtype
        )
    return model


def random_group(
    prompt_length: int, response_lengths: list[int], vocabulary: int, generator: torch.Generator | None = None
) -> list[TokenSequence]:
    """A prompt of random tokens and responses to it."""
    prompt = torch.randint(3, vocabulary, (prompt_length,), generator=generator).tolist()
    responses = [torch.randint(3, vocabulary, (length,), generator=generator).tolist() for length in response_lengths]
    return [TokenSequence(prompt + response, prompt_length) for response in responses]


def step_operations(model: PreTrainedModel, groups: list[list[TokenSequence]], head: bool) -> float:
    """Floating-point operations of a step: forward and backward, without what is computed again; with adapters and checkpoints, in which
    nothing is computed for the gradients of the weights, but all of the forward pass twice, it is as much."""
    config = model.config
    kv = config.num_key_value_heads * config.head_dim
    layer = config.hidden_size * (2 * config.num_attention_heads * config.head_dim + 2 * kv + 3 * config.intermediate_size)
    responses = sum(len(sequence.ids) - sequence.prompt_length for group in groups for sequence in group)
    tokens = responses + sum(group[0].prompt_length for group in groups)
    pairs = sum(
        group[0].prompt_length ** 2 / 2
        + sum((len(each.ids) - each.prompt_length) * (each.prompt_length + (len(each.ids) - each.prompt_length) / 2) for each in group)
        for group in groups
    )
    attention = 4 * pairs * config.num_attention_heads * config.head_dim * config.num_hidden_layers
    return (
        6 * (tokens * layer * config.num_hidden_layers + (responses * config.hidden_size * config.vocab_size if head else 0))
        + 3 * attention
    )


def bf16_rate() -> float:
    """Floating-point operations a second of a product of random matrices."""
    one, other = (torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    for _ in range(3):
        one @ other
    torch.cuda.synchronize()
    started = time.perf_counter()
    for _ in range(20):
        one @ other
    torch.cuda.synchronize()
    return 20 * 2 * 8192**3 / (time.perf_counter() - started)


class _Clock:
    """Starts before a given step, when the GPU has done all that came before."""

    def __init__(self, first_step: int) -> None:
        self._first_step, self._started = first_step, 0.0

    def see(self, step: int) -> None:
        if step == self._first_step:
            torch.cuda.synchronize()
            self._started = time.perf_counter()

    def stop(self) -> float:
        torch.cuda.synchronize()
        return time.perf_counter() - self._started


@contextmanager
def _memory() -> Iterator[list[float]]:
    """The most memory that tensors took inside the block, in GiB; all of it is free after it."""
    _free()
    torch.cuda.reset_peak_memory_stats()
    found: list[float] = []
    yield found
    found.append(torch.cuda.max_memory_allocated() / 2**30)
    _free()


def _free() -> None:
    gc.collect()
    torch.cuda.empty_cache()


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) and value < 100 else f"{value:,.0f}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    main()
