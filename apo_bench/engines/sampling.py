"""Sampling in this process. Shape suffixes: B prompts, K samples a prompt, S live sequences, T tokens so far, V vocabulary."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm
from transformers import PreTrainedModel, PreTrainedTokenizerFast
from transformers.cache_utils import DynamicCache, DynamicLayer
from transformers.generation import (
    LogitsProcessorList,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from apo_bench.core.errors import ModelError
from apo_bench.core.sections import Sampling
from apo_bench.core.seeds import derive_seed
from apo_bench.data.records import HUMAN
from apo_bench.models.tokenizer import encode_prompts

SEQUENCES_A_BATCH = 256
"""Sequences decoded side by side: a step costs nearly the same for one as for many until the matrix units are busy."""


@dataclass(frozen=True)
class Samples:
    """The responses to one prompt."""

    responses: list[str]
    finished: list[bool]
    """Whether each ended by itself, not at `max_new_tokens`."""


class _GrowingLayer(DynamicLayer):
    """A layer's keys and values in one buffer with room for all tokens to come; `DynamicLayer` copies everything at each token."""

    keys: Tensor
    values: Tensor

    def __init__(self, capacity: int) -> None:
        super().__init__()
        self.capacity = capacity
        self.length = 0

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
            shape = (*key_states.shape[:2], self.capacity, key_states.shape[3])
            self.keys, self.values = key_states.new_empty(shape), value_states.new_empty(shape)
        end = self.length + key_states.shape[2]
        self.keys[:, :, self.length : end] = key_states
        self.values[:, :, self.length : end] = value_states
        self.length = end
        return self.keys[:, :, :end], self.values[:, :, :end]

    def get_seq_length(self) -> int:
        return self.length

    def select(self, rows: Tensor) -> None:
        """Takes the given sequences, in that order; a sequence may be taken several times."""
        keys, values = self.keys, self.values
        shape = (len(rows), *keys.shape[1:])
        self.keys, self.values = keys.new_empty(shape), values.new_empty(shape)
        for buffer, old in ((self.keys, keys), (self.values, values)):
            buffer[:, :, : self.length] = old[rows, :, : self.length]

    def fill_and_cut(self, holes: Tensor, fillers: Tensor, num_rows: int) -> None:
        """Copies the sequences `fillers` over `holes` and keeps the first `num_rows`: cheaper than a copy of all that stay."""
        for buffer in (self.keys, self.values):
            buffer[holes, :, : self.length] = buffer[fillers, :, : self.length]
        self.keys, self.values = self.keys[:num_rows], self.values[:num_rows]


@torch.inference_mode()
def sample(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    dialogues: Sequence[str],
    settings: Sampling,
    max_prompt_length: int,
    seed: int,
    title: str,
) -> list[Samples]:
    """Samples K responses to each dialogue.

    The prompt is read once for its K samples, finished sequences leave the batch, and each prompt draws from a seed of its own, so that
    its samples do not depend on which prompts stand beside it.

    Args:
        model: the policy.
        tokenizer: its tokenizer.
        dialogues: B dialogues.
        settings: K and the sampling parameters.
        max_prompt_length: longest prompt in tokens; see `encode_prompts`.
        seed: of the whole call.
        title: what the progress bar says.

    Returns:
        B groups of K responses, in the order of the dialogues; none for none.

    Raises:
        ModelError: a prompt and its response would not fit the model's positions.
    """
    if not dialogues:
        return []
    model.eval()
    prompts = encode_prompts(tokenizer, dialogues, max_prompt_length)
    longest = max(map(len, prompts)) + settings.max_new_tokens
    if longest > model.config.max_position_embeddings:
        raise ModelError(
            f"{title}: a prompt with {settings.max_new_tokens} new tokens needs {longest} positions, "
            f"the model has {model.config.max_position_embeddings}; lower max_new_tokens or compute.max_prompt_length"
        )
    order = sorted(range(len(prompts)), key=lambda index: len(prompts[index]))
    batch_size = max(1, SEQUENCES_A_BATCH // settings.num_samples)
    results: dict[int, Samples] = {}
    with tqdm(total=len(prompts) * settings.num_samples, desc=title, unit="response", mininterval=2.0) as progress:
        for start in range(0, len(order), batch_size):
            indices = order[start : start + batch_size]
            seeds = [derive_seed(seed, dialogues[index]) for index in indices]
            tokens = _sample_batch(model, tokenizer, [prompts[index] for index in indices], settings, seeds)
            for index, group in zip(indices, tokens, strict=True):
                ended = [bool(ids) and ids[-1] == tokenizer.eos_token_id for ids in group]
                results[index] = _own_turn(tokenizer.batch_decode(group, skip_special_tokens=True), ended)
            progress.update(len(indices) * settings.num_samples)
    return [results[index] for index in range(len(dialogues))]


def _own_turn(texts: list[str], ended: list[bool]) -> Samples:
    """Cuts what a response goes on to say in the human's place; having said all it had to say, such a response is finished."""
    cut = [text.partition(HUMAN) for text in texts]
    return Samples([own.strip() for own, _, _ in cut], [end or bool(marker) for end, (_, marker, _) in zip(ended, cut, strict=True)])


def _sample_batch(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, prompts: list[list[int]], settings: Sampling, seeds: list[int]
) -> list[list[list[int]]]:
    """Samples [B][K] lists of token ids; a finished one ends with the end token."""
    num_samples, num_new = settings.num_samples, settings.max_new_tokens
    width = max(map(len, prompts))
    # On the left a prompt's own first token, not the pad token, which the repetition penalty would take for one that was said.
    ids_BT = torch.tensor([prompt[:1] * (width - len(prompt)) + prompt for prompt in prompts]).to(model.device)
    mask_BT = torch.tensor([[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts]).to(model.device)
    cache = DynamicCache()
    layers = [_GrowingLayer(width + num_new) for _ in range(model.config.num_hidden_layers)]
    cache.layers = list(layers)
    positions_BT = (mask_BT.cumsum(1) - 1).clamp(min=0)
    logits_BV = _next_logits(model, ids_BT, mask_BT, positions_BT, cache)

    # S = B * K sequences, each prompt's next to one another.
    rows = torch.arange(len(prompts), device=model.device).repeat_interleave(num_samples)
    for layer in layers:
        layer.select(rows)
    logits_SV, ids_ST, mask_ST, positions_S = logits_BV[rows], ids_BT[rows], mask_BT[rows], positions_BT[rows, -1]
    draws_S = torch.cat([torch.rand(num_samples, num_new, generator=torch.Generator().manual_seed(seed)) for seed in seeds]).to(
        model.device
    )
    live = torch.arange(len(rows), device=model.device)
    tokens: list[list[int]] = [[] for _ in range(len(rows))]
    process: Any = _processors(settings)  # typed for LongTensor and FloatTensor, which no function of torch returns
    for step in range(num_new):
        next_S = _draw(process(ids_ST, logits_SV), draws_S[live, step])
        for sequence, token in zip(live.tolist(), next_S.tolist(), strict=True):
            tokens[sequence].append(token)
        unfinished_S = next_S != tokenizer.eos_token_id
        num_left = int(unfinished_S.sum())
        if num_left == 0 or step == num_new - 1:
            break
        if num_left < len(live):
            holes = (~unfinished_S[:num_left]).nonzero()[:, 0]
            fillers = num_left + unfinished_S[num_left:].nonzero()[:, 0]
            for layer in layers:
                layer.fill_and_cut(holes, fillers, num_left)
            kept = torch.arange(num_left, device=model.device).index_copy(0, holes, fillers)
            live, next_S, positions_S, ids_ST, mask_ST = (old[kept] for old in (live, next_S, positions_S, ids_ST, mask_ST))
        positions_S = positions_S + 1
        ids_ST = torch.cat([ids_ST, next_S[:, None]], dim=1)
        mask_ST = torch.cat([mask_ST, mask_ST.new_ones(len(live), 1)], dim=1)
        logits_SV = _next_logits(model, next_S[:, None], mask_ST, positions_S[:, None], cache)
    return [tokens[first : first + num_samples] for first in range(0, len(tokens), num_samples)]


def _next_logits(model: PreTrainedModel, ids_ST: Tensor, mask_ST: Tensor, positions_ST: Tensor, cache: DynamicCache) -> Tensor:
    """Logits of the token after the last: [S, V]."""
    attention = None if bool(mask_ST.all()) else mask_ST
    output = model(
        input_ids=ids_ST, attention_mask=attention, position_ids=positions_ST, past_key_values=cache, use_cache=True, logits_to_keep=1
    )
    return output.logits[:, -1].float()


def _processors(settings: Sampling) -> LogitsProcessorList:
    """The filters of `transformers` in the order in which its own `generate` applies them."""
    processors = LogitsProcessorList()
    if settings.repetition_penalty != 1.0:
        processors.append(RepetitionPenaltyLogitsProcessor(settings.repetition_penalty))
    if settings.temperature != 1.0:
        processors.append(TemperatureLogitsWarper(settings.temperature))
    if settings.top_k > 0:
        processors.append(TopKLogitsWarper(settings.top_k))
    if settings.top_p < 1.0:
        processors.append(TopPLogitsWarper(settings.top_p))
    return processors


def _draw(logits_SV: Tensor, draws_S: Tensor) -> Tensor:
    """Inverts each row's cumulative distribution at a uniform draw: [S] token ids."""
    cumulative_SV = logits_SV.softmax(-1).cumsum(-1)
    targets_S1 = draws_S[:, None] * cumulative_SV[:, -1:]
    return torch.searchsorted(cumulative_SV, targets_S1, right=True)[:, 0].clamp(max=logits_SV.shape[1] - 1)
