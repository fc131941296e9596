"""Sampling in this process.

Shape suffixes: B prompts, K samples a prompt, S live sequences, T tokens so far, V vocabulary, L likeliest tokens,
N tokens of a response at most.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm
from transformers import GenerationConfig, PreTrainedModel
from transformers.cache_utils import DynamicCache, DynamicLayer
from transformers.generation import (
    LogitsProcessor,
    LogitsProcessorList,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from apo_bench.config.sections import Sampling
from apo_bench.core.seeds import any_order
from apo_bench.engines.graph_decoding import generate_batch, num_prompts_at_once
from apo_bench.models.packed_attention import PACKED
from apo_bench.models.ways import evaluating, has_failed, made_up, same

SEQUENCES_A_BATCH = 256
"""Sequences decoded side by side: a step costs nearly the same for one as for many until the matrix units are busy."""


Process = Callable[[Tensor, Tensor], Tensor]
"""Tokens so far [S, T] and logits [S, V] -> changed logits."""
KNOWN = "_apo_bench_caches"
"""Attribute of a model: whether its cache was found to be right here."""
CACHE = "cache"
"""What `base_model` calls it in a model's configuration where it is not."""
TRIED_TOKENS = 4
NUM_LIKELY = 256
"""Tokens of a row among which `top_p` looks for its mass before it sorts them all."""


class _TopPWarper(TopPLogitsWarper):
    """`top_p` of `transformers`, but of likely tokens alone where they hold the mass: to sort them all takes longer than the model."""

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        likely_SL, tokens_SL = scores.topk(min(NUM_LIKELY, scores.shape[1]))
        probabilities_SL = (likely_SL - scores.logsumexp(-1, keepdim=True)).exp()
        cumulative_SL = probabilities_SL.cumsum(-1)
        is_out_SL = cumulative_SL - probabilities_SL >= self.top_p  # those before it hold the mass
        filtered_SV = torch.full_like(scores, self.filter_value).scatter(1, tokens_SL, likely_SL.masked_fill(is_out_SL, self.filter_value))
        is_flat_S = cumulative_SL[:, -1] < self.top_p
        if bool(is_flat_S.any()):
            filtered_SV[is_flat_S] = super().__call__(input_ids[is_flat_S], scores[is_flat_S])
        return filtered_SV


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
            self.keys, self.values = (
                states.new_empty((*states.shape[:2], self.capacity, states.shape[3])) for states in (key_states, value_states)
            )
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
        self.keys, self.values = (buffer.new_empty((len(rows), *buffer.shape[1:])) for buffer in (keys, values))
        for buffer, old in ((self.keys, keys), (self.values, values)):
            buffer[:, :, : self.length] = old[rows, :, : self.length]

    def fill_and_cut(self, holes: Tensor, fillers: Tensor, num_rows: int) -> None:
        """Copies the sequences `fillers` over `holes` and keeps the first `num_rows`: cheaper than a copy of all that stay."""
        for buffer in (self.keys, self.values):
            buffer[holes, :, : self.length] = buffer[fillers, :, : self.length]
        self.keys, self.values = self.keys[:num_rows], self.values[:num_rows]


@torch.inference_mode()
def generate(
    model: PreTrainedModel, end_token_id: int, prompts: list[list[int]], settings: Sampling, seeds: list[int], title: str
) -> list[list[list[int]]]:
    """Samples K responses to each prompt.

    The prompt is read once for its K samples, finished sequences leave the batch, and each prompt draws from a seed of its own, so that
    its samples do not depend on which prompts stand beside it.

    Args:
        model: the policy.
        end_token_id: ends a response.
        prompts: B lists of token ids.
        settings: K and the sampling parameters.
        seeds: B seeds.
        title: what the progress bar says.

    Returns:
        [B][K] lists of token ids, in the order of the prompts; a finished one ends with the end token.
    """
    model.eval()
    order = sorted(range(len(prompts)), key=lambda index: len(prompts[index]))
    batch_size = max(1, SEQUENCES_A_BATCH // settings.num_samples)
    generate_one = _generate_batch if caches_well(model) else _generate_plainly
    if model.config._attn_implementation == PACKED:
        generate_one = _generate_by_graphs
        batch_size = num_prompts_at_once(model, max(map(len, prompts)), settings)
    process: Any = _processors(settings)  # typed for LongTensor and FloatTensor, which no function of torch returns
    results: dict[int, list[list[int]]] = {}
    with tqdm(total=len(prompts) * settings.num_samples, desc=title, unit="response", mininterval=2.0) as progress, any_order():
        for start in range(0, len(order), batch_size):
            indices = order[start : start + batch_size]
            batch = [prompts[index] for index in indices]
            draws_SN = _draws([seeds[index] for index in indices], settings)
            tokens = generate_one(model, end_token_id, batch, settings, draws_SN, process)
            results |= zip(indices, tokens, strict=True)
            progress.update(len(indices) * settings.num_samples)
    return [results[index] for index in range(len(prompts))]


def _draws(seeds: list[int], settings: Sampling) -> Tensor:
    """A uniform draw for each token of each sequence of a batch: [S, tokens]."""
    shape = (settings.num_samples, settings.max_new_tokens)
    return torch.cat([torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) for seed in seeds])


def _generate_by_graphs(
    model: PreTrainedModel, end_token_id: int, prompts: list[list[int]], settings: Sampling, draws_SN: Tensor, process: Process
) -> list[list[list[int]]]:
    """`generate` for one batch on a GPU."""
    tokens = generate_batch(model, end_token_id, prompts, settings, draws_SN, process, _draw)
    return [tokens[first : first + settings.num_samples] for first in range(0, len(tokens), settings.num_samples)]


def _generate_plainly(
    model: PreTrainedModel, end_token_id: int, prompts: list[list[int]], settings: Sampling, draws_SN: Tensor, process: Process
) -> list[list[list[int]]]:
    """`generate` for one batch by the model's own `generate`, with whatever it keeps of the tokens so far; only prompts of one length at
    a time, as not every model passes over padding."""
    num_samples = settings.num_samples
    tokens: list[list[list[int]]] = [[] for _ in prompts]
    own = model.generation_config
    model.generation_config = GenerationConfig(
        max_new_tokens=settings.max_new_tokens, do_sample=False, eos_token_id=end_token_id, pad_token_id=end_token_id, use_cache=True
    )
    try:
        for length in sorted({len(prompt) for prompt in prompts}):
            mine = [index for index, prompt in enumerate(prompts) if len(prompt) == length]
            rows = [index * num_samples + number for index in mine for number in range(num_samples)]
            ids_ST = torch.tensor([prompts[index] for index in mine]).repeat_interleave(num_samples, 0).to(model.device)
            drawn = _Drawn(process, draws_SN[rows].to(model.device), length)
            output: Any = model.generate(  # type: ignore[operator]
                input_ids=ids_ST, attention_mask=torch.ones_like(ids_ST), logits_processor=LogitsProcessorList([drawn])
            )
            found = [_up_to(row, end_token_id) for row in output[:, length:].tolist()]
            for number, index in enumerate(mine):
                tokens[index] = found[number * num_samples : (number + 1) * num_samples]
    finally:
        model.generation_config = own
    return tokens


def _up_to(tokens: list[int], end_token_id: int) -> list[int]:
    return tokens[: tokens.index(end_token_id) + 1] if end_token_id in tokens else tokens


class _Drawn(LogitsProcessor):
    """Leaves of all tokens the one that is drawn."""

    def __init__(self, process: Process, draws_SN: Tensor, prompt_length: int) -> None:
        self._process, self._draws_SN, self._prompt_length = process, draws_SN, prompt_length

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        next_S = _draw(self._process(input_ids, scores), self._draws_SN[:, input_ids.shape[1] - self._prompt_length])
        return torch.full_like(scores, -torch.inf).scatter(1, next_S[:, None], 0.0)


def caches_well(model: PreTrainedModel) -> bool:
    """Whether the cache used here, prompts padded on the left, and positions give the logits of the whole forward pass: tried once."""
    known = vars(model).get(KNOWN)
    if known is None:
        first, *others = made_up(model)
        prompts = [first + others[0], first[:4]]
        known = vars(model)[KNOWN] = not has_failed(model, CACHE) and cache_agrees(model, prompts, TRIED_TOKENS)
    return bool(known)


def cache_agrees(model: PreTrainedModel, prompts: list[list[int]], num_new: int) -> bool:
    """Whether samples of two prompts at once, `num_new` tokens each, come of the logits of the model's forward pass over them."""
    if model.config._attn_implementation == PACKED:
        return True  # the prompts' keys and values and the graphs are tests' business: no other way is there for this attention
    settings = Sampling(num_samples=2, temperature=1.0, top_k=0, top_p=1.0, repetition_penalty=1.0, max_new_tokens=num_new)
    seen: list[Tensor] = []

    def process(ids_ST: Tensor, logits_SV: Tensor) -> Tensor:
        seen.append(logits_SV)
        return logits_SV

    with evaluating(model):
        try:
            tokens = _generate_batch(model, -1, prompts, settings, _draws([0, 1], settings), process)
            for row, (prompt, sampled) in enumerate((prompt, one) for prompt, group in zip(prompts, tokens, strict=True) for one in group):
                ids = torch.tensor([prompt + sampled[:-1]]).to(model.device)
                expected_NV = model(input_ids=ids, use_cache=False).logits[0, len(prompt) - 1 :].float()
                if not same(torch.stack([logits_SV[row] for logits_SV in seen]), expected_NV, model.dtype):
                    return False
        except Exception:  # a model whose cache or arguments are others: any part of it may raise anything
            return False
    return True


def _generate_batch(
    model: PreTrainedModel, end_token_id: int, prompts: list[list[int]], settings: Sampling, draws_SN: Tensor, process: Process
) -> list[list[list[int]]]:
    """`generate` for one batch."""
    num_samples, num_new = settings.num_samples, settings.max_new_tokens
    width = max(map(len, prompts))
    # On the left a prompt's own first token, not the pad token, which the repetition penalty would take for one that was said.
    ids_BT = torch.tensor([prompt[:1] * (width - len(prompt)) + prompt for prompt in prompts]).to(model.device)
    mask_BT = torch.tensor([[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts]).to(model.device)
    cache = DynamicCache()
    layers = [_GrowingLayer(width + num_new) for _ in range(model.config.get_text_config().num_hidden_layers)]
    cache.layers = list(layers)
    positions_BT = (mask_BT.cumsum(1) - 1).clamp(min=0)
    logits_BV = _next_logits(model, ids_BT, mask_BT, positions_BT, cache)

    # S = B * K sequences, each prompt's next to one another.
    rows = torch.arange(len(prompts), device=model.device).repeat_interleave(num_samples)
    for layer in layers:
        layer.select(rows)
    logits_SV, ids_ST, mask_ST, positions_S = logits_BV[rows], ids_BT[rows], mask_BT[rows], positions_BT[rows, -1]
    draws_SN = draws_SN.to(model.device)
    live = torch.arange(len(rows), device=model.device)
    tokens: list[list[int]] = [[] for _ in range(len(rows))]
    for step in range(num_new):
        next_S = _draw(process(ids_ST, logits_SV), draws_SN[live, step])
        for sequence, token in zip(live.tolist(), next_S.tolist(), strict=True):
            tokens[sequence].append(token)
        unfinished_S = next_S != end_token_id
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
    """The filters of `transformers`, in the order in which its own `generate` applies them."""
    processors = LogitsProcessorList()
    if settings.repetition_penalty != 1.0:
        processors.append(RepetitionPenaltyLogitsProcessor(settings.repetition_penalty))
    if settings.temperature != 1.0:
        processors.append(TemperatureLogitsWarper(settings.temperature))
    if settings.top_k > 0:
        processors.append(TopKLogitsWarper(settings.top_k))
    if settings.top_p < 1.0:
        processors.append(_TopPWarper(settings.top_p))
    return processors


def _draw(logits_SV: Tensor, draws_S: Tensor) -> Tensor:
    """Inverts each row's cumulative distribution at a uniform draw: [S] token ids."""
    cumulative_SV = logits_SV.softmax(-1).cumsum(-1)
    targets_S1 = draws_S[:, None] * cumulative_SV[:, -1:]
    return torch.searchsorted(cumulative_SV, targets_S1, right=True)[:, 0].clamp(max=logits_SV.shape[1] - 1)
