"""Whether a model may enter a run: one check of all that later stages need of it, before anything is trained or sampled.

Our numbers are compared with those of the model's own `forward` and `generate`, on a prompt and responses as long as those of the run. What
fails is left to the plain way from then on (`apo_bench.models.ways.record`); where there is none, the model is refused.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import (
    AutoModelForSequenceClassification,
    GenerationConfig,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)
from transformers.models.auto.modeling_auto import MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING

from apo_bench.config.params import Params
from apo_bench.config.sections import Sampling
from apo_bench.core.errors import ApoBenchError, ModelError, is_out_of_memory
from apo_bench.data.records import format_dialogue
from apo_bench.engines.in_process import CACHE, KNOWN, cache_agrees, generate
from apo_bench.models.batching import TokenSequence, pad
from apo_bench.models.language_model import pairs_a_token, response_logps
from apo_bench.models.precision import attention
from apo_bench.models.reward_model import heads_of, rewards
from apo_bench.models.tokenizer import encode_prompts
from apo_bench.models.ways import RECORD, evaluating, positions_of, record, same, try_ways, vocabulary_size

QUESTION = "How do I descale a kettle when there is no vinegar in the house, and may I drink of it right after that? "
RESPONSES = (
    "Boil it with citric acid, wait for an hour, and rinse it twice. ",
    "With lemon juice. ",
    "No idea, ask somebody else, please. ",
)
NUM_GREEDY = 12
"""Tokens that the greedy samples have."""
NEAR_TIE = 10.0
"""Rounding errors that two likeliest tokens may lie apart and still be taken in either order."""


def admit(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, params: Params, where: str, is_start: bool = True) -> list[str]:
    """Checks a language model that enters a run; the ways that fail are recorded in its configuration.

    Args:
        model: in float32; it stays where and as it is.
        tokenizer: its tokenizer, checked for itself.
        params: the lengths of the run.
        where: what messages call the model.
        is_start: whether reward models will be made of it, as of the base model; a policy of one's own is only sampled from and read.

    Returns:
        The ways that fail, by name.

    Raises:
        ModelError: the model cannot give the numbers of the run; the line names the architecture and the reason.
    """
    name = f"{where}: {type(model).__name__}"
    with _as_in_the_run(model, params, name, "a causal language model"):
        check_room(model, tokenizer, name)
        check_positions(model.config, params, name)
        if not hasattr(model, "base_model") or model.get_output_embeddings() is None:
            raise ModelError(f"{name} has no body with a language-model head on it; take another architecture")
        ids = _tokens(tokenizer, params)
        _check_causality(model, ids, name)
        failed = try_ways(model, ids)
        prompts = [ids[0][-params.compute.max_prompt_length :], ids[0][:3]]
        if not cache_agrees(model, prompts, NUM_GREEDY):
            failed.append(CACHE)
        record(model, failed)
        vars(model)[KNOWN] = CACHE not in failed
        _check_logps(model, ids, name)
        _check_greedy(model, tokenizer.eos_token_id, prompts, name)
        if is_start:
            _check_rewards(model, ids, name)
    return failed


def admit_reward_model(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, params: Params, where: str) -> list[str]:
    """As `admit`, of a reward model, which scores prompts and samples of the run."""
    name = f"{where}: {type(model).__name__}"
    with _as_in_the_run(model, params, name, "a reward model"):
        check_room(model, tokenizer, name)
        check_positions(model.config, params, name)
        ids = _tokens(tokenizer, params)
        failed = try_ways(model, ids)
        record(model, failed)
        _check_own_rewards(model, ids, name)
    return failed


@contextmanager
def _as_in_the_run(model: PreTrainedModel, params: Params, name: str, what: str) -> Iterator[None]:
    """The model with the attention of the run; whatever it raises in the block becomes one line."""
    own_attention = model.config._attn_implementation
    try:
        model.set_attn_implementation(attention(params.compute))
        yield
    except (ApoBenchError, MemoryError):
        raise
    except Exception as error:  # an architecture that does not take what others take: any part of it may raise anything
        if is_out_of_memory(error):
            raise
        message = " ".join(str(error).split())[:200] or type(error).__name__
        raise ModelError(f"{name} cannot be run as {what} ({message}); take another architecture") from error
    finally:
        model.set_attn_implementation(own_attention)


def check_room(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, name: str) -> None:
    """Whether the model has an embedding for each token that can be asked of it.

    Raises:
        ModelError: it has not.
    """
    rows = cast(nn.Embedding, model.get_input_embeddings()).weight.shape[0]
    [prompt] = encode_prompts(tokenizer, [format_dialogue(QUESTION)], 10**6)
    written = {repr(tokenizer.decode([id])): id for id in prompt}
    plain = {repr(token): id for token, id in tokenizer.get_vocab().items() if id not in tokenizer.added_tokens_decoder}
    named = {"pad token": tokenizer.pad_token_id, "end token": tokenizer.eos_token_id, "beginning token": tokenizer.bos_token_id or 0}
    beyond = [what for what, id in (named | written | plain).items() if id >= rows]
    if beyond:
        raise ModelError(
            f"{name} has embeddings for {rows} tokens, the tokenizer has {len(tokenizer)}, and {beyond[0]} is beyond them; "
            f"give it a row for each (model.resize_token_embeddings({len(tokenizer)})) and save it, or name a pad token that it has"
        )
    if vocabulary_size(model) < min(rows, len(plain)):
        raise ModelError(
            f"{name} gives logits of {vocabulary_size(model)} tokens, the tokenizer has {len(tokenizer)}; take the one that belongs to it"
        )


def check_positions(config: PreTrainedConfig, params: Params, name: str) -> None:
    """Whether prompts and samples of the run fit the model's positions.

    Raises:
        ModelError: they do not.
    """
    there = positions_of(config)
    for key, settings in (("train", params.sampling.train), ("test", params.sampling.test)):
        needed = params.compute.max_prompt_length + settings.max_new_tokens
        if there is not None and needed > there:
            raise ModelError(
                f"{name}: a prompt with {settings.max_new_tokens} new tokens needs {needed} positions, the model has {there}; "
                f"lower sampling.{key}.max_new_tokens or compute.max_prompt_length"
            )


def _tokens(tokenizer: PreTrainedTokenizerFast, params: Params) -> list[list[int]]:
    """A prompt as long as the run's longest, and responses to it that fill the longest sequence."""
    longest, length = params.compute.max_prompt_length, params.sft.max_length
    [prompt] = encode_prompts(tokenizer, [format_dialogue(QUESTION * (1 + longest // 8))], longest)
    responses = [tokenizer(text, add_special_tokens=False).input_ids or [tokenizer.eos_token_id] for text in RESPONSES]
    room = max(1, length - len(prompt))
    return [prompt, *((response * (1 + room // len(response)))[: max(1, room // part)] for part, response in enumerate(responses, 1))]


def _check_causality(model: PreTrainedModel, ids: list[list[int]], name: str) -> None:
    sequence = ids[0] + ids[1]
    half = len(sequence) // 2
    with evaluating(model):
        whole, part = (_logits(model, row) for row in (sequence, sequence[:half]))
    if not same(whole[:half], part, model.dtype):
        raise ModelError(f"{name} is no causal language model: what it says of a token changes with the tokens behind it")


def _check_logps(model: PreTrainedModel, ids: list[list[int]], name: str) -> None:
    """Our log-probabilities of responses, as they will be computed, against the model's logits of each alone."""
    sequences = [TokenSequence(ids[0] + response, len(ids[0])) for response in ids[1:]]
    with evaluating(model):
        found_N = response_logps(model, pad(sequences, 0, pairs_a_token(model)))
        for found, sequence in zip(found_N, sequences, strict=True):
            logps_TV = _logits(model, sequence.ids).float().log_softmax(-1)
            targets_T1 = torch.tensor(sequence.ids[sequence.prompt_length :], device=logps_TV.device)[:, None]
            expected_T1 = logps_TV[sequence.prompt_length - 1 : -1].gather(1, targets_T1)
            if not same(found[None] / len(targets_T1), expected_T1.mean()[None], model.dtype):
                raise ModelError(
                    f"{name}: the log-probability of a response would be {found:.4f} nats, by the model's own forward it is "
                    f"{expected_T1.sum():.4f}; take another architecture"
                )


def _check_greedy(model: PreTrainedModel, end: int, prompts: list[list[int]], name: str) -> None:
    """Our greedy samples against those of the model's `generate`, up to ties."""
    settings = Sampling(num_samples=1, temperature=1.0, top_k=1, top_p=1.0, repetition_penalty=1.0, max_new_tokens=NUM_GREEDY)
    own_config, was_training = model.generation_config, model.training
    found = generate(model, end, prompts, settings, [0] * len(prompts), "greedy")
    model.train(was_training)
    for prompt, [tokens] in zip(prompts, found, strict=True):
        row = torch.tensor([prompt], device=model.device)
        plain = GenerationConfig(max_new_tokens=NUM_GREEDY, do_sample=False, eos_token_id=end, pad_token_id=end)
        with evaluating(model):
            try:
                model.generation_config = plain
                output: Any = model.generate(input_ids=row, attention_mask=torch.ones_like(row))  # type: ignore[operator]
            finally:
                model.generation_config = own_config
            expected = output[0, len(prompt) :].tolist()
            if tokens == expected:
                continue
            at = next((place for place, pair in enumerate(zip(tokens, expected, strict=False)) if pair[0] != pair[1]), 0)
            logits_V = _logits(model, prompt + expected[:at])[-1]
        gap = (logits_V[expected[at]] - logits_V[tokens[at]]).abs()
        if not same(gap[None] / NEAR_TIE, torch.zeros_like(gap)[None], model.dtype):
            raise ModelError(
                f"{name}: our greedy sample is not that of the model's own generate, from token {at} on; take another architecture"
            )


def _check_rewards(model: PreTrainedModel, ids: list[list[int]], name: str) -> None:
    """Our rewards against the forward of the architecture's sequence classifier, put on this model's body."""
    if type(model.config) not in MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING:
        raise ModelError(f"{name} has no sequence classifier in transformers, and reward models are such; take another architecture")
    config = type(model.config).from_dict(model.config.to_dict() | {"num_labels": 1})
    with torch.device("meta"):
        classifier = AutoModelForSequenceClassification.from_config(config, attn_implementation=model.config._attn_implementation)
    keys = {key for key in classifier.state_dict() if not key.startswith("score.")}
    head = getattr(classifier, "score", None)
    if not isinstance(head, nn.Linear) or type(classifier.base_model) is not type(model.base_model) or keys - set(model.state_dict()):
        raise ModelError(f"{name}: {type(classifier).__name__} is no scalar head on the same body; take another architecture")
    setattr(classifier, classifier.base_model_prefix, model.base_model)
    states = torch.sin(torch.arange(head.weight.numel(), dtype=torch.float32)).view(head.weight.shape)
    classifier.score = nn.Linear(head.in_features, 1, bias=head.bias is not None, device=model.device)
    with torch.no_grad():
        classifier.score.weight.copy_(states)
        if head.bias is not None:
            classifier.score.bias.fill_(0.5)
    record(classifier, list(getattr(model.config, RECORD, ())))
    with evaluating(model):  # whose body it is
        _check_own_rewards(classifier, ids, name)


def _check_own_rewards(classifier: PreTrainedModel, ids: list[list[int]], name: str) -> None:
    """Our rewards against those of the classifier's own forward, by its first head."""
    sequences = [TokenSequence(ids[0] + response, len(ids[0]), subset=next(iter(heads_of(classifier)), None)) for response in ids[1:]]
    with evaluating(classifier):
        found_N = rewards(classifier, pad(sequences, 0, pairs_a_token(classifier)))
        expected: list[Tensor] = [
            classifier(input_ids=torch.tensor([sequence.ids], device=classifier.device), use_cache=False).logits[0, 0]
            for sequence in sequences
        ]
    if not same(found_N, torch.stack(expected), classifier.dtype):
        raise ModelError(f"{name}: rewards are not those of {type(classifier).__name__}'s own forward; take another architecture")


def _logits(model: PreTrainedModel, ids: list[int]) -> Tensor:
    logits_TV: Tensor = model(input_ids=torch.tensor([ids], device=model.device), use_cache=False).logits[0]
    return logits_TV
