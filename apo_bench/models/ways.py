"""Which short cuts give the numbers of a model's own `forward`: found out by trying them on a few made-up tokens.

Prompts that responses share, padding, and logits of chosen positions alone change nothing in most models, and something in others: a
convolution slides from one response into the next, positions count places in the row, logits are capped behind the head. What decides is
therefore not a list of architectures but the model itself, as it was loaded. Shape suffixes: R rows, T tokens, H hidden size, V vocabulary.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from typing import Any, cast

import torch
from torch import Tensor
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutputWithPast

KNOWN = "_apo_bench_ways"
"""Attribute of a model: its `Ways`."""
RECORD = "apo_bench_plain_ways"
"""Key of config.json: ways that `base_model` found to be wrong for this model at the lengths of the run. Absent where all are right."""
TOLERANCES = {torch.float32: (1e-4, 2e-5), torch.float64: (1e-4, 2e-5)}
"""Differences of logits or hidden states up to which two ways are the same: absolute, and of the largest value. Ten times the rounding of
30 layers."""
REDUCED_TOLERANCE = (2**-4, 2**-4)
"""In bfloat16 and float16."""
PROMPT, RESPONSES = 9, (6, 4, 3)
"""Tokens of the prompt and of the responses that are tried."""
NEARNESS = ("window", "chunk", "local", "block_size", "sparse", "attention_types")
"""Parts of the names of settings that make it matter how far apart two tokens stand in a row, maybe farther than is tried here."""
HARMLESS = ("max_window_layers", "use_sliding_window", "num_local_experts", "decoder_sparse_step")
"""Settings with such a part that say nothing of the kind."""
LENGTH_DEPENDENT = ("dynamic", "longrope")
"""Rotary positions that change for all sequences of a batch once one of them is longer than `original_max_position_embeddings`."""


@dataclass(frozen=True)
class Ways:
    """What gives the same numbers as each sequence alone through the whole model."""

    head_apart: bool
    """Hidden states first, and logits where they are needed (a language model's)."""
    shared_prompts: bool
    """One prompt for several responses in a row."""
    batches: bool
    """Sequences of different lengths side by side, padded on the right."""


def ways_of(model: PreTrainedModel) -> Ways:
    """The model's ways, tried out at the first call."""
    known = vars(model).get(KNOWN)
    if known is None:
        known = vars(model)[KNOWN] = _without(_tried(model, made_up(model)), getattr(model.config, RECORD, ()))
    return cast(Ways, known)


def try_ways(model: PreTrainedModel, ids: list[list[int]]) -> list[str]:
    """The ways that fail on a prompt `ids[0]` and responses to it, `ids[1:]`."""
    found = _tried(model, ids)
    return [field.name for field in fields(Ways) if not getattr(found, field.name)]


def record(model: PreTrainedModel, failed: list[str]) -> None:
    """Leaves ways that failed in the model's configuration, for all stages that load it."""
    if failed:
        setattr(model.config, RECORD, sorted(failed))
    vars(model)[KNOWN] = _without(ways_of(model), failed)


def has_failed(model: PreTrainedModel, way: str) -> bool:
    """Whether `base_model` found a way to be wrong for this model."""
    return way in getattr(model.config, RECORD, ())


class _Given(BaseModelOutputWithPast):
    """The output of a body: hidden states, and nothing of all else that a body may give."""

    def __getattr__(self, name: str) -> None:
        if name.startswith("__"):
            raise AttributeError(name)


def logits_of(model: PreTrainedModel, states_CH: Tensor) -> Tensor:
    """Logits [C, V] that the model's own `forward` makes of final hidden states [C, H], whatever it does behind its head."""
    body = model.base_model
    given = _Given(last_hidden_state=cast(Any, states_CH[None]))
    own = vars(body).get("forward")
    body.forward = lambda *args, **kwargs: given
    try:
        ids_1C = torch.zeros(1, len(states_CH), dtype=torch.int64, device=states_CH.device)
        logits_CV: Tensor = model(input_ids=ids_1C, use_cache=False).logits[0]
    finally:
        del body.forward
        if own is not None:
            body.forward = own
    return logits_CV


def same(one: Tensor, other: Tensor, dtype: torch.dtype) -> bool:
    """Whether two results differ by no more than rounding."""
    if one.shape != other.shape:
        return False
    absolute, relative = TOLERANCES.get(dtype, REDUCED_TOLERANCE)
    largest = max(other.abs().max().item(), 1.0)
    return bool((one.float() - other.float()).abs().max().item() <= max(absolute, relative * largest))


def made_up(model: PreTrainedModel) -> list[list[int]]:
    """Tokens of a prompt and of responses to it; none that the configuration names, as images and the like have."""
    vocabulary = vocabulary_size(model)
    settings = [*vars(model.config).items(), *vars(model.config.get_text_config()).items()]
    named = {value for name, value in settings if name.endswith(("_token_id", "_token_index", "_id")) and isinstance(value, int)}
    plain = [number for number in range(vocabulary) if number not in named] or [0]
    tokens = iter(plain[(7919 * place + 13) % len(plain)] for place in range(PROMPT + sum(RESPONSES)))
    return [[next(tokens) for _ in range(length)] for length in (PROMPT, *RESPONSES)]


def vocabulary_size(model: PreTrainedModel) -> int:
    """Of the logits."""
    return int(getattr(model.config, "vocab_size", None) or model.config.get_text_config().vocab_size)


def length_limit(config: PreTrainedConfig) -> int | None:
    """Tokens up to which a sequence's rotary positions do not depend on what stands beside it in a batch; None if they never do."""
    config = config.get_text_config()
    rope = getattr(config, "rope_parameters", None) or {}
    kinds = [rope, *(value for value in rope.values() if isinstance(value, dict))]
    limits = [
        kind.get("original_max_position_embeddings")
        or getattr(config, "original_max_position_embeddings", None)
        or getattr(config, "max_position_embeddings", None)
        for kind in kinds
        if kind.get("rope_type") in LENGTH_DEPENDENT
    ]
    return min((limit for limit in limits if limit), default=None)


def positions_of(config: PreTrainedConfig) -> int | None:
    """The longest sequence that the model takes; None if its configuration names none."""
    found = getattr(config.get_text_config(), "max_position_embeddings", None)
    return found if isinstance(found, int) and found > 0 else None


def minds_length(config: PreTrainedConfig) -> bool:
    """Whether the model takes sequences that are longer than its `length_limit`."""
    limit, positions = length_limit(config), positions_of(config)
    return limit is not None and (positions is None or positions > limit)


@contextmanager
def evaluating(model: PreTrainedModel) -> Iterator[None]:
    """The model without dropout and without gradients; afterwards it is in the mode that it was in."""
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        model.train(was_training)


def shared_row(ids: list[list[int]], dtype: torch.dtype, device: torch.device) -> dict[str, Tensor]:
    """A prompt and all responses to it in a row, as the model's `forward` takes it."""
    prompt, responses = ids[0], ids[1:]
    segments = torch.tensor([0] * len(prompt) + [number for number, response in enumerate(responses, 1) for _ in response])
    places = [*range(len(prompt)), *(place for response in responses for place in range(len(prompt), len(prompt) + len(response)))]
    row = torch.tensor([[token for part in ids for token in part]])
    return {
        "input_ids": row.to(device),
        "position_ids": torch.tensor([places]).to(device),
        "attention_mask": prompt_mask(segments[None].to(device), dtype),
    }


def prompt_mask(segments_RT: Tensor, dtype: torch.dtype) -> Tensor:
    """What is added to attention: a token sees what stands before it in the prompt (segment 0) and in its own response: [R, 1, T, T]."""
    seen_R1TT = (segments_RT[:, None, None, :] == 0) | (segments_RT[:, None, :, None] == segments_RT[:, None, None, :])
    hidden_R1TT = ~seen_R1TT.tril()
    mask_R1TT = torch.zeros(hidden_R1TT.shape, dtype=dtype, device=hidden_R1TT.device)
    return mask_R1TT.masked_fill_(hidden_R1TT, torch.finfo(dtype).min)


def _without(ways: Ways, failed: Any) -> Ways:
    return Ways(**{field.name: getattr(ways, field.name) and field.name not in failed for field in fields(Ways)})


def _tried(model: PreTrainedModel, ids: list[list[int]]) -> Ways:
    sequences = [ids[0] + response for response in ids[1:]]
    has_head = model.get_output_embeddings() is not None
    with evaluating(model):
        try:
            alone = [_states(model, input_ids=_row(model, sequence)) for sequence in sequences]
        except Exception:  # whoever runs the model meets the fault, with its cause
            return Ways(head_apart=False, shared_prompts=False, batches=False)

        def holds(attempt: Callable[[], bool]) -> bool:
            try:
                return attempt()
            except Exception:  # a model that does not take what the way needs: any library may raise anything
                return False

        def by_head() -> bool:
            whole = model(input_ids=_row(model, sequences[0]), use_cache=False).logits[0]
            return same(logits_of(model, alone[0][0]), whole, model.dtype)

        def by_sharing() -> bool:
            if _minds_distance(model.config) or minds_length(model.config):
                return False
            states_TH = _states(model, **shared_row(ids, model.dtype, model.device))[0]
            start = prompt = len(ids[0])
            for response, states in zip(ids[1:], alone, strict=True):
                own = torch.cat([states_TH[:prompt], states_TH[start : start + len(response)]])
                if not same(own, states[0], model.dtype):
                    return False
                start += len(response)
            return True

        def by_padding() -> bool:
            longest = max(map(len, sequences))
            rows = [sequence + sequence[:1] * (longest - len(sequence)) for sequence in sequences]
            states_RTH = _states(model, input_ids=torch.tensor(rows).to(model.device))
            return all(same(row[: states.shape[1]], states[0], model.dtype) for row, states in zip(states_RTH, alone, strict=True))

        head_apart, batches = has_head and holds(by_head), holds(by_padding)
        return Ways(head_apart or not has_head, batches and holds(by_sharing), batches)


def _minds_distance(config: PreTrainedConfig) -> bool:
    config = config.get_text_config()
    settings = {name: value for name, value in vars(config).items() if value and name not in HARMLESS}
    if "use_sliding_window" in vars(config) and not config.use_sliding_window:
        settings.pop("sliding_window", None)
    kinds = settings.pop("layer_types", None) or []
    return any(part in name for name in settings for part in NEARNESS) or any(kind != "full_attention" for kind in kinds)


def _states(model: PreTrainedModel, **inputs: Tensor) -> Tensor:
    states_RTH: Tensor = model.base_model(**inputs, use_cache=False).last_hidden_state
    return states_RTH


def _row(model: PreTrainedModel, sequence: list[int]) -> Tensor:
    return torch.tensor([sequence]).to(model.device)
