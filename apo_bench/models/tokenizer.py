"""The tokenizer: trained on a source's pretraining text, or a model's own, and the one way in which dialogues become token ids."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast

from transformers import AutoTokenizer, PreTrainedTokenizerFast

from apo_bench.core.errors import MissingInputError, ModelError
from apo_bench.core.records import PromptRow
from apo_bench.data.records import parse_dialogue
from apo_bench.models.batching import TokenSequence
from apo_bench.models.chat_template import chat_of
from apo_bench.models.loading import loading

FILES = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja")
"""What a model's folder says of its tokens."""
PAD, USER, ASSISTANT, END = "<|pad|>", "<|user|>", "<|assistant|>", "<|end|>"
CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<|' + message['role'] + '|>' + message['content'] + '<|end|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)

Messages = list[dict[str, str]]


def train_tokenizer(texts: Iterable[str], vocab_size: int) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer with a chat template; pad, roles and end of turn are tokens of their own."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[PAD, USER, ASSISTANT, END],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token=PAD, eos_token=END, clean_up_tokenization_spaces=False)
    fast.chat_template = CHAT_TEMPLATE
    return fast


def load_tokenizer(path: Path) -> PreTrainedTokenizerFast:
    """The tokenizer saved beside a model.

    Raises:
        MissingInputError: there is none.
        ModelError: it cannot be loaded, or would spoil a training; see `check_tokenizer`.
    """
    if not (Path(path) / "tokenizer.json").is_file():
        raise MissingInputError(f"{path}: no tokenizer there; run the stage that writes it (dvc repro) first")
    with loading(path, "the tokenizer"):
        tokenizer = cast(PreTrainedTokenizerFast, AutoTokenizer.from_pretrained(path))
        check_tokenizer(tokenizer, path)
    return tokenizer


def check_tokenizer(tokenizer: PreTrainedTokenizerFast, path: Path) -> None:
    """Checks what would otherwise spoil a training silently.

    Raises:
        ModelError: no chat template or end token, a pad token that is missing or the end token, a beginning token written twice, or a
            template that does not do what `apo_bench.models.chat_template` needs of it.
    """
    if getattr(tokenizer, "backend_tokenizer", None) is None:
        raise ModelError(f"{path}: {type(tokenizer).__name__} is none of the tokenizers library; save it as tokenizer.json")
    if tokenizer.chat_template is None or tokenizer.eos_token_id is None:
        raise ModelError(f"{path}: the tokenizer has no chat template or no end token; use a chat model's, or chat_template: hh")
    if tokenizer.pad_token_id in (None, tokenizer.eos_token_id):
        raise ModelError(f"{path}: the tokenizer's pad token must exist and differ from its end token {tokenizer.eos_token!r}")
    if chat_of(tokenizer).begins_twice:
        raise ModelError(f"{path}: prompts begin with {tokenizer.bos_token!r} twice; take it out of the chat template, once is enough")
    chat_of(tokenizer).check()


def encode_prompts(tokenizer: PreTrainedTokenizerFast, dialogues: Sequence[str], max_prompt_length: int) -> list[list[int]]:
    """Token ids of the dialogues, up to where the response begins; what is too long loses its oldest turns, then its oldest tokens.

    What the tokenizer begins every text with stays.
    """
    return [prompt for prompt, _ in _prompts(tokenizer, dialogues, max_prompt_length)]


def _prompts(tokenizer: PreTrainedTokenizerFast, dialogues: Sequence[str], max_length: int) -> list[tuple[list[int], Messages]]:
    """Each prompt, and the messages that are left of it."""
    chat = chat_of(tokenizer)
    messages = [parse_dialogue(dialogue) for dialogue in dialogues]
    encoded = chat.prompts(messages)
    while shortened := [index for index, ids in enumerate(encoded) if len(ids) > max_length and len(messages[index]) > 2]:
        for index in shortened:
            messages[index] = messages[index][2:]  # a human turn and the answer to it
        for index, ids in zip(shortened, chat.prompts([messages[index] for index in shortened]), strict=True):
            encoded[index] = ids
    num_kept = len(chat.beginning)
    return [(_cut(ids, max_length, num_kept), turns) for ids, turns in zip(encoded, messages, strict=True)]


def _cut(prompt: list[int], max_length: int, num_kept: int) -> list[int]:
    """The last tokens of a prompt that is too long, behind its first ones."""
    if len(prompt) <= max_length:
        return prompt
    num_kept = num_kept if num_kept < max_length else 0
    return prompt[:num_kept] + prompt[len(prompt) - (max_length - num_kept) :]


def join(prompt: list[int], response: list[int], max_length: int, num_kept: int = 0) -> TokenSequence:
    """Prompt and response in one sequence; what is too long loses its oldest tokens, never the response's end.

    Args:
        prompt: token ids.
        response: token ids.
        max_length: of both.
        num_kept: tokens at the beginning of the prompt that stay as long as there is room for more of it.
    """
    room = max(0, max_length - len(response))
    return TokenSequence(_cut(prompt, room, num_kept)[:room] + response[-max_length:], min(room, len(prompt)))


def count_tokens(groups: Iterable[Sequence[TokenSequence]]) -> int:
    """Tokens of all sequences of groups, prompt and response: a prompt counts with each of its responses, padding does not count."""
    return sum(len(sequence.ids) for group in groups for sequence in group)


def encode(
    tokenizer: PreTrainedTokenizerFast,
    dialogues: Sequence[str],
    responses: Sequence[Sequence[str]],
    max_length: int,
    max_prompt_length: int,
    finished: Sequence[Sequence[bool]] | None = None,
) -> list[list[TokenSequence]]:
    """Encodes groups of responses to the same dialogue; each prompt is tokenised once.

    Args:
        dialogues: B dialogues.
        responses: for each dialogue its K responses.
        max_length: longest sequence in tokens; see `join`.
        max_prompt_length: longest prompt in tokens; see `encode_prompts`.
        finished: for each response whether it ended by itself; all did if not given.

    Returns:
        B groups of K sequences.
    """
    prompts = _prompts(tokenizer, dialogues, max_prompt_length)
    flat = [response for group in responses for response in group]
    flat_finished = [True] * len(flat) if finished is None else [ended for group in finished for ended in group]
    chat = chat_of(tokenizer)
    turns = [messages for (_, messages), group in zip(prompts, responses, strict=True) for _ in group]
    encoded = iter(chat.answers(turns, flat, flat_finished))
    num_kept = len(chat.beginning)
    return [
        [join(prompt, next(encoded), max_length, num_kept) for _ in group] for (prompt, _), group in zip(prompts, responses, strict=True)
    ]


def encode_records(
    tokenizer: PreTrainedTokenizerFast,
    rows: Sequence[PromptRow],
    responses: Sequence[Sequence[str]],
    max_length: int,
    max_prompt_length: int,
    finished: Sequence[Sequence[bool]] | None = None,
) -> list[list[TokenSequence]]:
    """As `encode`, for a reward model: the sequences know the subset of their prompt.

    Args:
        tokenizer: the reward model's.
        rows: B records, as `read_records` returns them.
        responses: as for `encode`, like the rest.

    Returns:
        B groups of K sequences.
    """
    groups = encode(tokenizer, [row["dialogue"] for row in rows], responses, max_length, max_prompt_length, finished)
    return [[replace(sequence, subset=row["subset"]) for sequence in group] for row, group in zip(rows, groups, strict=True)]


def tokenizer_checksum(model: Path) -> str:
    """The MD5 of what the folder of a model says of its tokens."""
    digest = hashlib.md5(usedforsecurity=False)
    for file in (model / name for name in FILES):
        digest.update(file.read_bytes() if file.is_file() else b"")
    return digest.hexdigest()
