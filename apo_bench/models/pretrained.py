"""Instruction-tuned models from elsewhere: made ready for the pipeline, as a plain model with a tokenizer that is safe to train with."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerFast

from apo_bench.config.compute_sections import Compute
from apo_bench.config.sections import ModelFolder
from apo_bench.core.errors import MissingInputError, ModelError
from apo_bench.models.chat_template import DATE_KEY, DEFAULT_DATE
from apo_bench.models.loading import WHOLE, check_finite, check_generation, check_whole, loading
from apo_bench.models.reward_model import LENGTH, load_reward_model, longest_scored
from apo_bench.models.tokenizer import check_tokenizer
from apo_bench.models.ways import positions_of

HH_CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{{ ('\n\nHuman: ' if message['role'] == 'user' else '\n\nAssistant: ') + message['content'] }}"
    "{% if message['role'] == 'assistant' %}{{ eos_token }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '\n\nAssistant:' }}{% endif %}"
)
"""The dialogue as HH writes it (PAPER: prompt form), for base models, which have no template of their own."""


def load_pretrained(settings: ModelFolder) -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
    """The model of `settings.folder` in float32, and its tokenizer with a chat template and a pad token of its own.

    Raises:
        MissingInputError: there is no model in the folder.
        ModelError: the model or the tokenizer cannot be loaded or made safe; it says why.
    """
    tokenizer = load_pretrained_tokenizer(settings)
    with loading(Path(settings.folder), "the model"):
        loaded: Any = AutoModelForCausalLM.from_pretrained(settings.folder, dtype=torch.float32, **WHOLE)
        model, found = cast(tuple[PreTrainedModel, dict[str, Any]], loaded)
        check_whole(Path(settings.folder), model, found)
        check_generation(Path(settings.folder), model)
        check_finite(Path(settings.folder), model)
    model.config.pad_token_id = model.generation_config.pad_token_id = tokenizer.pad_token_id
    model.config.eos_token_id = model.generation_config.eos_token_id = tokenizer.eos_token_id
    return model, tokenizer


def load_own_policy(settings: ModelFolder, key: str) -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
    """As `load_pretrained`, a policy from elsewhere; `key` is its place in params.yaml.

    Raises:
        MissingInputError: there is no model in the folder, or adapters of one alone.
        ModelError: it is no policy, or cannot be loaded or made safe.
    """
    _check_own(Path(settings.folder), key, "a causal language model", is_expected=lambda name: "Classification" not in name)
    return load_pretrained(settings)


def load_own_reward_model(
    settings: ModelFolder, key: str, compute: Compute, max_length: int
) -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
    """As `load_own_policy`, a reward model: a sequence classifier with one label, or one for each subset, in float32.

    Args:
        settings: where it lies.
        key: its place in params.yaml.
        compute: the device.
        max_length: tokens of the longest sequence that it is to score, if it has the positions and its configuration says nothing.
    """
    _check_own(Path(settings.folder), key, "a sequence classifier with one label", is_expected=lambda name: "Classification" in name)
    tokenizer = load_pretrained_tokenizer(settings)
    model = load_reward_model(Path(settings.folder), compute, for_training=True)
    model.config.pad_token_id = tokenizer.pad_token_id
    setattr(model.config, LENGTH, longest_scored(model, min(max_length, positions_of(model.config) or max_length)))
    return model, tokenizer


def _check_own(folder: Path, key: str, expected: str, is_expected: Callable[[str], bool]) -> None:
    """Whether a folder of one's own holds a model of the kind that is asked for, as far as its configuration tells."""
    if not (folder / "config.json").is_file():
        if (folder / "adapter_config.json").is_file():
            raise MissingInputError(
                f"{key}.folder: {folder} holds adapters alone, expected {expected}; merge them (peft's merge_and_unload) and save the model"
            )
        raise MissingInputError(f"{key}.folder: no config.json in {folder}, expected {expected} as save_pretrained leaves it")
    with loading(folder, "the configuration"):
        names = AutoConfig.from_pretrained(folder).architectures or []
    if names and not any(map(is_expected, names)):
        raise ModelError(f"{key}.folder: {folder} holds {names[0]}, expected {expected}; name the folder of the other kind")


def load_pretrained_tokenizer(settings: ModelFolder) -> PreTrainedTokenizerFast:
    """The tokenizer of `settings.folder`, made safe; errors as those of `load_pretrained`."""
    folder = Path(settings.folder)
    if not (folder / "config.json").is_file():
        raise MissingInputError(f"{folder}: no model there; `apo-bench fetch` gets it")
    with loading(folder, "the tokenizer"):
        tokenizer = cast(PreTrainedTokenizerFast, AutoTokenizer.from_pretrained(folder))
        if settings.chat_template == "hh":
            tokenizer.chat_template = HH_CHAT_TEMPLATE
        if tokenizer.pad_token_id in (None, tokenizer.eos_token_id):
            tokenizer.pad_token = _spare_token(tokenizer, folder)
        if settings.chat_date != DEFAULT_DATE:
            tokenizer.init_kwargs[DATE_KEY] = settings.chat_date
        check_tokenizer(tokenizer, folder)
    return tokenizer


def convert_gguf(file: Path, folder: Path) -> None:
    """Saves the Llama of a GGUF file as plain safetensors with its tokenizer.

    Raises:
        ModelError: the file is no GGUF file of a model that `transformers` knows.
    """
    place = {"pretrained_model_name_or_path": str(file.parent), "gguf_file": file.name}
    try:
        tokenizer = AutoTokenizer.from_pretrained(**place)
        quantized = AutoModelForCausalLM.from_pretrained(**place, dtype=torch.float32)
    except (ImportError, OSError, ValueError, KeyError) as error:
        raise ModelError(f"{file}: cannot be read as a GGUF model ({' '.join(str(error).split())})") from error
    config = quantized.config.to_dict()
    for key in ("quantization_config", "_name_or_path", "_model_name_or_path"):  # the weights are plain now
        config.pop(key, None)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(**config), dtype=torch.float32)
    model.load_state_dict(quantized.state_dict())
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _spare_token(tokenizer: PreTrainedTokenizerFast, folder: Path) -> str:
    """A special token that no dialogue uses, to pad with: were it the end token, a reward would be read off the wrong place."""
    used = {tokenizer.bos_token, tokenizer.eos_token}
    named = [token for token in tokenizer.all_special_tokens if token not in used]
    reserved = [token.content for token in tokenizer.added_tokens_decoder.values() if "pad" in token.content or "reserved" in token.content]
    spare = [tokenizer.unk_token, *reserved, *named]
    for token in spare:
        if token is not None and token not in used:
            return str(token)
    raise ModelError(
        f"{folder}: no pad token but the end token {tokenizer.eos_token!r} and no spare token; "
        "add one to the tokenizer and a row to the model's embeddings (resize_token_embeddings)"
    )
