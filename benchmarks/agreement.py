"""Greedy responses of vLLM against those in process, of the same prompts: how many are equal, and how near a tie the others part at.

python -m benchmarks.agreement MODEL HH      # folders of a chat model and of HH-RLHF in its own layout
"""

import argparse
import statistics
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from transformers import PreTrainedModel

from apo_bench.config.compute_sections import Compute
from apo_bench.config.params import load_params
from apo_bench.config.sections import Sampling
from apo_bench.engines import in_process
from apo_bench.models.language_model import load_language_model
from benchmarks.models import PROFILE, hh_prompts, ready_model

NUM_PROMPTS = 64
GREEDY = Sampling(num_samples=1, temperature=1.0, top_k=1, top_p=1.0, repetition_penalty=1.0, max_new_tokens=64)


def main() -> None:
    """Compares in float32 and in bfloat16."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("hh", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    params = load_params(PROFILE)
    with TemporaryDirectory() as scratch:
        policy = Path(scratch) / "model"
        tokenizer = ready_model(options.model, policy)
        prompts = hh_prompts(tokenizer, options.hh, NUM_PROMPTS, params.compute.max_prompt_length)
        for dtype in ("float32", "bfloat16"):
            compute = params.compute.model_copy(update={"dtype": dtype})
            compare(policy, tokenizer.eos_token_id, prompts, compute)


def compare(policy: Path, end_token_id: int, prompts: list[list[int]], compute: Compute) -> None:
    """Prints how many responses are equal and, where one parts, the difference of the two likeliest logits there, in process."""
    seeds = [0] * len(prompts)
    model = load_language_model(policy, compute)
    own = [ids for [ids] in in_process.generate(model, end_token_id, prompts, GREEDY, seeds, "in process")]
    engine = load_params(PROFILE).engines.samplers["vllm"]
    other = [ids for [ids] in engine.generate(policy, end_token_id, prompts, GREEDY, seeds, compute, "vLLM")]
    tokens = sum(map(len, own))
    parted = [(prompt, ids, found) for prompt, ids, found in zip(prompts, own, other, strict=True) if ids != found]
    gaps = sorted(gap_where_they_part(model, *each) for each in parted)
    usual = statistics.median(gap for prompt, ids in zip(prompts[:8], own[:8], strict=True) for gap in gaps_along(model, prompt, ids))
    print(f"{compute.dtype}: {len(prompts) - len(parted)} of {len(prompts)} equal, {tokens} tokens", flush=True)
    print(
        f"  gap of the two likeliest where the others part: {[round(gap, 4) for gap in gaps]}; usually {usual:.2f} (median of 8 responses)"
    )


def gap_where_they_part(model: PreTrainedModel, prompt: list[int], own: list[int], other: list[int]) -> float:
    """The gap at the first token that differs."""
    first = next(index for index, pair in enumerate(zip(own, other, strict=False)) if pair[0] != pair[1])
    return gaps_along(model, prompt, own)[first]


@torch.inference_mode()
def gaps_along(model: PreTrainedModel, prompt: list[int], response: list[int]) -> list[float]:
    """The difference of the two likeliest logits before each token of a response."""
    logits_TV = model(input_ids=torch.tensor([prompt + response])).logits[0, len(prompt) - 1 : -1].float()
    likeliest_T2 = logits_TV.topk(2).values
    return (likeliest_T2[:, 0] - likeliest_T2[:, 1]).tolist()


if __name__ == "__main__":
    main()
