"""Reward-model training and scoring with a row a sequence, with prompts shared where that is less work, and with all of them shared.

python -m benchmarks.sharing FOLDER      # a profile's folder after `make repro`, or after its stages prepare and base_model
"""

import argparse
import os
import time
from collections.abc import Callable
from pathlib import Path

import torch
from transformers import PreTrainedModel

from apo_bench.config.params import PARAMS, Params, load_params
from apo_bench.data.records import read_records
from apo_bench.models.batching import TokenSequence, inference_batches, pad, split_into_rows
from apo_bench.models.language_model import TOKENS_A_BATCH, pairs_a_token
from apo_bench.models.precision import mixed_precision
from apo_bench.models.reward_model import new_reward_model, rewards
from apo_bench.models.tokenizer import encode, load_tokenizer

NUM_PROMPTS, BATCH, REPEATS = 64, 8, 3
ALL = 2**40
"""Pairs a token for which every prompt is shared."""


def main() -> None:
    """Prints processor seconds for groups of two responses to a prompt, as in human pairs, and of five, as in the game."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    os.chdir(parser.parse_args().folder)
    torch.set_num_threads(1)
    params = load_params(PARAMS)
    base = Path("out/models/base_model")
    tokenizer, model = load_tokenizer(base), new_reward_model(base, 0, params.compute, zero_head=False)
    pairs = read_records(Path("out/data/pairs_rm.jsonl"), "pairs")[:NUM_PROMPTS]
    for num_responses in (2, 5):
        texts = [[row["chosen"] if number % 2 else row["rejected"] for number in range(num_responses)] for row in pairs]
        groups = encode(tokenizer, [row["dialogue"] for row in pairs], texts, params.sft.max_length, params.compute.max_prompt_length)
        flat = [sequence for group in groups for sequence in group]
        prompt = sum(item.prompt_length for item in flat) / len(flat)
        response = sum(len(item.ids) for item in flat) / len(flat) - prompt
        print(f"{num_responses} responses of {response:.0f} tokens to a prompt of {prompt:.0f}, {len(flat)} in all")
        for name, worth in (("a row each", 0), ("shared where less work", pairs_a_token(model)), ("all shared", ALL)):
            rows = len(split_into_rows(flat, worth))
            read = best(lambda worth=worth, flat=flat: score(model, flat, tokenizer.pad_token_id, worth, params))
            train = best(lambda worth=worth, groups=groups: step(model, groups, tokenizer.pad_token_id, worth, params))
            print(f"  {name:24} {rows:4} rows, scoring {read:6.2f} s, training {train:6.2f} s", flush=True)


def best(work: Callable[[], None]) -> float:
    """The shortest of a few runs, in seconds of the processor."""
    times = []
    for _ in range(REPEATS):
        started = time.process_time()
        work()
        times.append(time.process_time() - started)
    return min(times)


@torch.no_grad()
def score(model: PreTrainedModel, flat: list[TokenSequence], pad_token_id: int, worth: int, params: Params) -> None:
    """All rewards once."""
    with mixed_precision(params.compute):
        for indices in inference_batches(flat, TOKENS_A_BATCH, worth):
            rewards(model, pad([flat[index] for index in indices], pad_token_id, worth))


def step(model: PreTrainedModel, groups: list[list[TokenSequence]], pad_token_id: int, worth: int, params: Params) -> None:
    """All gradients once, in batches."""
    for first in range(0, len(groups), BATCH):
        with mixed_precision(params.compute):
            flat = [sequence for group in groups[first : first + BATCH] for sequence in group]
            loss = rewards(model, pad(flat, pad_token_id, worth)).sum()
        loss.backward()
        model.zero_grad()


if __name__ == "__main__":
    main()
