"""Sampling by the engine that params name. What goes in and what comes out is the same for all engines: dialogues and responses."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from transformers import AutoConfig, PreTrainedTokenizerFast

from apo_bench.config.compute_sections import Compute, Engines
from apo_bench.config.sections import Sampling
from apo_bench.core.errors import EngineError, ModelError
from apo_bench.core.records import PolicyAnswerRow, PromptRow, prompt_of
from apo_bench.core.seeds import derive_seed
from apo_bench.data.records import HUMAN
from apo_bench.engines.devices import sampling_engine
from apo_bench.models.language_model import check_model_there
from apo_bench.models.tokenizer import encode_prompts
from apo_bench.models.ways import positions_of

NUM_NAMED = 3
"""Prompts without all their responses that an error names."""


SPEAKER = re.compile(r"^\s*(Human|Assistant):")


@dataclass(frozen=True)
class Samples:
    """The responses to one prompt."""

    responses: list[str]
    finished: list[bool]
    """Whether each ended by itself, not at `max_new_tokens`."""
    prompt_length: int
    """Tokens of the prompt, which is read once for all of them."""
    lengths: list[int]
    """Tokens of each as sampled, its end token and what is then cut off included."""


def counts(groups: Sequence[Samples]) -> dict[str, int]:
    """What it took to draw them: `num_samples`, `num_tokens_generated` and, a prompt counting once, `num_tokens_read`."""
    return {
        "num_samples": sum(len(group.responses) for group in groups),
        "num_tokens_generated": sum(sum(group.lengths) for group in groups),
        "num_tokens_read": sum(group.prompt_length for group in groups),
    }


def response_rows(prompts: Sequence[PromptRow], groups: Sequence[Samples]) -> list[PolicyAnswerRow]:
    """The first response to each test prompt."""
    return [
        {**prompt_of(row), "response": group.responses[0], "finished": group.finished[0]}
        for row, group in zip(prompts, groups, strict=True)
    ]


def sample_responses(
    policy: Path,
    tokenizer: PreTrainedTokenizerFast,
    dialogues: Sequence[str],
    settings: Sampling,
    compute: Compute,
    engines: Engines,
    seed: int,
    title: str,
) -> list[Samples]:
    """Samples K responses to each dialogue; the policy is gone from memory when they are there.

    Each prompt draws from a seed of its own, derived from its dialogue: its samples do not depend on which prompts stand beside it.

    Args:
        policy: the folder of the policy.
        tokenizer: its tokenizer.
        dialogues: B dialogues.
        settings: K and the sampling parameters.
        compute: device, type and longest prompt.
        engines: which engine, and how it is spread.
        seed: of the whole call.
        title: what the progress bar says.

    Returns:
        B groups of K responses, in the order of the dialogues; none for none.

    Raises:
        MissingInputError: there is no policy.
        ModelError: a prompt and its response would not fit the model's positions, or the device is not there.
        EngineError: the engine is not installed, cannot be spread as asked, ran out of memory, died or left something out.
    """
    if not dialogues:
        return []
    prompts = encode_prompts(tokenizer, dialogues, compute.max_prompt_length)
    seeds = [derive_seed(seed, dialogue) for dialogue in dialogues]
    _check_positions(policy, max(map(len, prompts)), settings, title)
    sampler = engines.samplers[sampling_engine(engines, compute)]
    tokens = sampler.generate(policy, tokenizer.eos_token_id, prompts, settings, seeds, compute, title)
    _check_complete(dialogues, tokens, settings.num_samples, title)
    return [
        _own_turn(tokenizer.batch_decode(group, skip_special_tokens=True), prompt, group, tokenizer.eos_token_id)
        for prompt, group in zip(prompts, tokens, strict=True)
    ]


def _check_positions(policy: Path, longest_prompt: int, settings: Sampling, title: str) -> None:
    check_model_there(policy)
    needed, there = longest_prompt + settings.max_new_tokens, positions_of(AutoConfig.from_pretrained(policy))
    if there is not None and needed > there:
        raise ModelError(
            f"{title}: a prompt with {settings.max_new_tokens} new tokens needs {needed} positions, "
            f"the model has {there}; lower max_new_tokens or compute.max_prompt_length"
        )


def _check_complete(dialogues: Sequence[str], tokens: list[list[list[int]]], num_samples: int, title: str) -> None:
    """Nothing may be missing: K responses of at least one token to each dialogue."""
    counts = [sum(map(bool, group)) for group in tokens]
    missing = [f"{dialogue[-60:]!r} {count}" for dialogue, count in zip(dialogues, counts, strict=True) if count != num_samples]
    if missing:
        named = ", ".join(missing[:NUM_NAMED]) + (", ..." if len(missing) > NUM_NAMED else "")
        lacking = f"{len(missing)} of {len(dialogues)} prompts lack some of their {num_samples} responses"
        raise EngineError(f"{title}: {lacking}: {named}; run the stage again")


def _own_turn(texts: list[str], prompt: list[int], tokens: list[list[int]], end_token_id: int) -> Samples:
    """Cuts what a response goes on to say in the human's place; having said all it had to say, such a response is finished.

    A speaker's name that a response begins with belongs to the form of a dialogue and not to the response, and is left out.
    """
    cut = [SPEAKER.sub("", text).partition(HUMAN) for text in texts]
    finished = [ids[-1] == end_token_id or bool(marker) for ids, (_, marker, _) in zip(tokens, cut, strict=True)]
    return Samples([own.strip() for own, _, _ in cut], finished, len(prompt), [len(ids) for ids in tokens])
