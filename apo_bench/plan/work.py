"""How many tokens each stage trains on, reads and writes: sizes of the files, from which stages say it in their modules."""

import inspect

from transformers import PreTrainedTokenizerFast

from apo_bench.config.params import Params
from apo_bench.core.stage import Command, Sizes, Work
from apo_bench.models.tokenizer import encode
from apo_bench.plan import Records

ASSUMED_PROMPT_TOKENS, ASSUMED_RESPONSE_TOKENS = 128, 52
"""Means of HH, at 3.9 characters a token, for a plan without the data."""


def measure(params: Params, records: Records, tokenizer: PreTrainedTokenizerFast, sampled: float) -> Sizes:
    """Encodes the records as the stages will."""
    count, prompt, sequence = {}, {}, {}
    for name, rows in records.items():
        responses = [[row[key] for key in ("chosen", "rejected", "response") if key in row] or [""] for row in rows]
        groups = encode(
            tokenizer, [row["dialogue"] for row in rows], responses, _max_length(params, name), params.compute.max_prompt_length
        )
        flat = [item for group in groups for item in group]
        count[name] = len(rows)
        prompt[name] = _mean([item.prompt_length for item in flat])
        sequence[name] = _mean([len(item.ids) for item in flat])
    return Sizes(count, prompt, sequence, sampled)


def assume(params: Params) -> Sizes:
    """What HH has on average, where the data or the model is not there yet."""
    data = params.prepare
    count = {
        "pairs_rm": data.num_rm_prompts,
        "pairs_lm": data.num_lm_prompts,
        "pairs_test": data.num_test_pairs,
        "prompts_test": data.num_test_prompts,
        "prompts_lm": data.num_game_prompts,
        "golden_rm": data.num_game_prompts,
        "golden_lm": data.num_game_prompts,
        "golden_test": data.num_test_prompts,
        "demonstrations": data.num_rm_prompts,
    }
    prompt = dict.fromkeys(count, float(min(ASSUMED_PROMPT_TOKENS, params.compute.max_prompt_length)))
    sequence = {name: tokens + ASSUMED_RESPONSE_TOKENS for name, tokens in prompt.items()}
    return Sizes(count, prompt, sequence, params.sampling.train.max_new_tokens / 2)


def work_of(command: str, params: Params, sizes: Sizes) -> Work:
    """The work of a stage by its command in dvc.yaml, as its module says: `python -m pipeline align --method dpo ...`."""
    asked = Command.of(command)
    work = getattr(asked.module, "work", None)
    if work is None:
        return Work(is_model=asked.stage.is_recorded)
    wanted = inspect.signature(work).parameters
    found: Work = work(params, sizes, **{name: value for name, value in asked.coordinates.items() if name in wanted})
    return found


def _max_length(params: Params, name: str) -> int:
    if name == "pretraining" and params.base_model.source == "scratch":
        return params.base_model.max_length
    return params.base_reward.max_length if name.startswith("pairs") else params.sft.max_length


def _mean(values: list[int]) -> float:
    return sum(values) / len(values)
