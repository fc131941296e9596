"""The tokenizer: trained for the embedded corpus, and the one way in which dialogues become token ids."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from transformers import AutoTokenizer, PreTrainedTokenizerFast

from apo_bench.core.errors import MissingInputError, ModelError
from apo_bench.data.records import parse_dialogue

PAD, USER, ASSISTANT, END = "<|pad|>", "<|user|>", "<|assistant|>", "<|end|>"
CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<|' + message['role'] + '|>' + message['content'] + '<|end|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)


@dataclass(frozen=True)
class TokenSequence:
    """A dialogue and a response to it as token ids."""

    ids: list[int]
    prompt_length: int
    """The first `prompt_length` of `ids` are the prompt's."""


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
        ModelError: it lacks what training needs: a chat template, an end token, and a pad token that is not the end token.
    """
    if not (Path(path) / "tokenizer.json").is_file():
        raise MissingInputError(f"{path}: no tokenizer there; run the stage that writes it (dvc repro) first")
    tokenizer = cast(PreTrainedTokenizerFast, AutoTokenizer.from_pretrained(path))
    if tokenizer.chat_template is None or tokenizer.eos_token_id is None:
        raise ModelError(f"{path}: the tokenizer has no chat template or no end token; use an instruction-tuned model's")
    if tokenizer.pad_token_id in (None, tokenizer.eos_token_id):
        raise ModelError(f"{path}: the tokenizer's pad token must exist and differ from its end token {tokenizer.eos_token!r}")
    return tokenizer


def encode_prompts(tokenizer: PreTrainedTokenizerFast, dialogues: Sequence[str]) -> list[list[int]]:
    """Token ids of the dialogues, up to where the response begins."""
    texts = [tokenizer.apply_chat_template(parse_dialogue(text), tokenize=False, add_generation_prompt=True) for text in dialogues]
    return tokenizer(texts, add_special_tokens=False).input_ids  # the template has written the special tokens


def encode_responses(tokenizer: PreTrainedTokenizerFast, responses: Sequence[str], finished: Sequence[bool]) -> list[list[int]]:
    """Token ids of the responses; the end token follows those that are finished."""
    encoded = tokenizer(list(responses), add_special_tokens=False).input_ids
    return [ids + [tokenizer.eos_token_id] * ended for ids, ended in zip(encoded, finished, strict=True)]


def join(prompt: list[int], response: list[int], max_length: int) -> TokenSequence:
    """Prompt and response in one sequence; what is too long loses the prompt's oldest tokens, never the response's end.

    Raises:
        ModelError: the response alone leaves no room for a prompt token.
    """
    room = max_length - len(response)
    if room < 1:
        raise ModelError(f"a response of {len(response)} tokens does not fit max_length {max_length} with its prompt; raise max_length")
    kept = prompt[-room:]
    return TokenSequence(kept + response, len(kept))


def encode(
    tokenizer: PreTrainedTokenizerFast,
    dialogues: Sequence[str],
    responses: Sequence[Sequence[str]],
    max_length: int,
    finished: Sequence[Sequence[bool]] | None = None,
) -> list[list[TokenSequence]]:
    """Encodes groups of responses to the same dialogue; each prompt is tokenised once.

    Args:
        dialogues: B dialogues.
        responses: for each dialogue its K responses.
        max_length: longest sequence in tokens; see `join`.
        finished: for each response whether it ended by itself; all did if not given.

    Returns:
        B groups of K sequences.
    """
    prompts = encode_prompts(tokenizer, dialogues)
    flat = [response for group in responses for response in group]
    flat_finished = [True] * len(flat) if finished is None else [ended for group in finished for ended in group]
    encoded = iter(encode_responses(tokenizer, flat, flat_finished) if flat else [])
    return [[join(prompt, next(encoded), max_length) for _ in group] for prompt, group in zip(prompts, responses, strict=True)]
