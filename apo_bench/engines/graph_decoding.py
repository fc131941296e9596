"""Sampling on a GPU: all sequences of a batch at once, a prompt's keys and values once for its samples, each step a CUDA graph.

A step of a small model is some hundred small kernels, which a processor cannot start as fast as the GPU ends them; a graph starts them
all at once (https://pytorch.org/blog/accelerating-pytorch-with-cuda-graphs). It needs the same shapes and places at every step, so keys
and values of the samples have their place from the beginning, and finished sequences leave at a few sizes of the batch alone.

Shape suffixes: B prompts, K samples a prompt, S places for sequences, P tokens of all prompts, N tokens of a response at most, M tokens,
H query heads, G heads of keys and values, Q query heads to a head of keys and values, D size of a head, V vocabulary.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import accumulate
from typing import Any, cast

import torch
from torch import Tensor
from transformers import PreTrainedModel

from apo_bench.config.sections import Sampling
from apo_bench.models.packed_attention import Spans, attend, put_together

MOST_SEQUENCES = 2048
"""Of a batch: beyond, a step takes as much longer as it has more sequences, and logits of a large vocabulary fill the memory."""
CACHE_FRACTION = 0.4
"""Of the process's share of the GPU's memory (and not of what is free now: the batches must be the same each time) for keys and values."""
STEPS_A_LOOK = 8
"""Steps after which finished sequences are looked for, for which the GPU has to wait."""
PROMPT_TOKENS_AT_ONCE = 2**15
"""Of the prompts, which are read before the first step."""


@dataclass
class _Cache:
    """Keys and values of a layer: those of the prompts one behind the other, and a place of N tokens for each sequence."""

    prompt_keys_PGD: Tensor
    prompt_values_PGD: Tensor
    keys_SNGD: Tensor
    values_SNGD: Tensor


class _Reading:
    """A plan (`apo_bench.models.packed_attention.Plan`): prompts are read, and their keys and values kept."""

    def __init__(self, caches: list[_Cache], first: int, lengths: list[int], device: torch.device) -> None:
        self._caches, self._first, self._longest = caches, first, max(lengths)
        begins = torch.tensor(list(accumulate(lengths, initial=0)), dtype=torch.int32).to(device)
        self._spans = Spans(begins, begins, max(lengths), max(lengths))

    def attend(self, layer: int, query_MHD: Tensor, key_MGD: Tensor, value_MGD: Tensor, scale: float) -> Tensor:
        """See `Plan`."""
        at = slice(self._first, self._first + len(key_MGD))
        self._caches[layer].prompt_keys_PGD[at] = key_MGD
        self._caches[layer].prompt_values_PGD[at] = value_MGD
        return attend(query_MHD, key_MGD, value_MGD, self._spans, True, scale)[0]


class _Step:
    """A plan: one new token of each sequence sees its prompt and the tokens before it."""

    def __init__(self, caches: list[_Cache], size: int, prompts: Tensor, longest_prompt: int, num_samples: int, num_heads: int) -> None:
        first = caches[0].keys_SNGD
        num_new, groups = first.shape[1], first.shape[2]
        self._caches, self._size, self._groups = caches, size, num_heads // groups
        device = first.device
        self.length = torch.zeros(1, dtype=torch.int64, device=device)
        """Tokens of the responses so far."""
        used_S = torch.zeros(size, dtype=torch.int32, device=device)
        places = torch.arange(size + 1, dtype=torch.int32, device=device)
        # The heads that share keys stand one behind the other as further queries: their keys are read once.
        self.own = Spans(places * self._groups, places * num_new, self._groups, num_new, used_S)
        queries_of_prompts = torch.zeros(len(prompts), dtype=torch.int32, device=device)
        self.prompts = Spans(queries_of_prompts, prompts, num_samples * self._groups, longest_prompt)

    def place(self, prompt_of_sequence: Tensor) -> None:
        """Says whose samples the live sequences are, in the order of the prompts: [at most S] on the CPU."""
        counts = torch.bincount(prompt_of_sequence, minlength=len(self.prompts.queries) - 1)
        counts[-1] += self._size - len(prompt_of_sequence)  # empty places look at the last prompt, in vain
        begins = torch.cat([torch.zeros(1, dtype=torch.int64), counts.cumsum(0)]) * self._groups
        self.prompts.queries.copy_(begins.to(torch.int32))

    def advance(self) -> None:
        """One more token is there, and will be written."""
        assert self.own.keys_used is not None
        self.own.keys_used.copy_((self.length + 1).to(torch.int32).expand(self._size))

    def attend(self, layer: int, query_MHD: Tensor, key_MGD: Tensor, value_MGD: Tensor, scale: float) -> Tensor:
        """See `Plan`; M is S."""
        cache, size = self._caches[layer], self._size
        keys_SNGD, values_SNGD = cache.keys_SNGD[:size], cache.values_SNGD[:size]
        keys_SNGD.index_copy_(1, self.length, key_MGD[:, None])
        values_SNGD.index_copy_(1, self.length, value_MGD[:, None])
        num_groups, head = key_MGD.shape[1:]
        query = query_MHD.view(size, num_groups, self._groups, head).transpose(1, 2).reshape(size * self._groups, num_groups, head)
        own, own_sums = attend(query, keys_SNGD.flatten(0, 1), values_SNGD.flatten(0, 1), self.own, False, scale)
        seen, seen_sums = attend(query, cache.prompt_keys_PGD, cache.prompt_values_PGD, self.prompts, False, scale)
        out, _ = put_together(own, own_sums, seen, seen_sums)
        return out.view(size, self._groups, num_groups, head).transpose(1, 2).reshape(size, num_groups * self._groups, head)


def num_prompts_at_once(model: PreTrainedModel, longest_prompt: int, settings: Sampling) -> int:
    """Prompts whose samples are drawn side by side: as many as this process's share of the GPU has room for, whatever else is on it."""
    share = torch.cuda.get_per_process_memory_fraction(model.device) * torch.cuda.get_device_properties(model.device).total_memory
    layers, groups, head = _heads(model)
    bytes_a_token = 2 * layers * groups * head * model.dtype.itemsize
    tokens_a_prompt = longest_prompt + settings.num_samples * settings.max_new_tokens
    fitting = int(CACHE_FRACTION * share) // (bytes_a_token * tokens_a_prompt)
    return max(1, min(fitting, MOST_SEQUENCES // settings.num_samples))


@torch.inference_mode()
def generate_batch(
    model: PreTrainedModel,
    end_token_id: int,
    prompts: list[list[int]],
    settings: Sampling,
    draws_SN: Tensor,
    process: Callable[[Tensor, Tensor], Tensor],
    draw: Callable[[Tensor, Tensor], Tensor],
) -> list[list[int]]:
    """Samples K responses to each prompt of a batch.

    Args:
        model: whose attention is `PACKED`.
        end_token_id: ends a response.
        prompts: B lists of token ids.
        settings: K and the longest response.
        draws_SN: a uniform draw for each token, [B * K, N].
        process: changes logits [S, V], given the tokens so far.
        draw: takes a token for each row of logits and its draw.

    Returns:
        B * K lists of token ids, each prompt's next to one another.
    """
    device, num_samples, num_new = model.device, settings.num_samples, settings.max_new_tokens
    layers, groups, head = _heads(model)
    total, most = sum(map(len, prompts)), len(prompts) * num_samples
    empty = partial(torch.empty, dtype=model.dtype, device=device)
    shapes = [(total, groups, head)] * 2 + [(most, num_new, groups, head)] * 2
    caches = [_Cache(*(empty(shape) for shape in shapes)) for _ in range(layers)]
    logits_BV = _read_prompts(model, prompts, caches)
    prompt_S = torch.arange(len(prompts)).repeat_interleave(num_samples)
    logits_SV = logits_BV[prompt_S.to(device)]
    draws_SN = draws_SN.to(device)
    width = max(map(len, prompts))
    said_ST = torch.tensor([prompt[:1] * (width - len(prompt)) + prompt for prompt in prompts])[prompt_S].to(device)
    said_ST = torch.cat([said_ST, said_ST.new_zeros(most, num_new)], dim=1)
    live_S, has_ended_S = torch.arange(most), torch.zeros(most, dtype=torch.bool, device=device)
    drawn_SN = said_ST.new_full((most, num_new), end_token_id)
    steps = _Steps(model, caches, prompts, num_samples)
    step = steps.of_size(most, prompt_S, 0)
    for number in range(num_new):
        on_device = live_S.to(device, non_blocking=True)
        next_S = draw(process(said_ST[: len(live_S), : width + number], logits_SV), draws_SN[on_device, number])
        next_S = next_S.masked_fill(has_ended_S, end_token_id)
        drawn_SN[on_device, number] = next_S
        has_ended_S = has_ended_S | (next_S == end_token_id)
        if number == num_new - 1:
            break
        if (number + 1) % STEPS_A_LOOK == 0:
            going = (~has_ended_S).nonzero()[:, 0].cpu()
            if len(going) == 0:
                break
            if (size := steps.size_for(len(going))) < steps.size:
                kept = going.to(device)
                _keep(caches, kept, number)
                said_ST[: len(going)] = said_ST[kept]
                live_S, next_S, has_ended_S = live_S[going], next_S[kept], has_ended_S[kept]
                step = steps.of_size(size, prompt_S[live_S], number)
        said_ST[: len(live_S), width + number] = next_S
        logits_SV = step(next_S)[: len(live_S)]
    return _tokens(drawn_SN, end_token_id)


class _Steps:
    """The steps of a batch as graphs, one for each size that the batch comes to have."""

    def __init__(self, model: PreTrainedModel, caches: list[_Cache], prompts: list[list[int]], num_samples: int) -> None:
        self._model, self._caches, self._num_samples = model, caches, num_samples
        self._begins = torch.tensor(list(accumulate(map(len, prompts), initial=0)), dtype=torch.int32).to(model.device)
        self._lengths = torch.tensor([len(prompt) for prompt in prompts])
        self.size = 0

    def size_for(self, num_sequences: int) -> int:
        """The size of the batch that so many sequences are decoded in: it halves as they end."""
        size = self.size
        while size // 2 >= max(num_sequences, 1):
            size //= 2
        return size

    def of_size(self, size: int, prompt_of_sequence: Tensor, done: int) -> Callable[[Tensor], Tensor]:
        """What maps the newest token of each sequence to the logits [S, V] of the next; `done` tokens are in the caches."""
        self.size = size
        plan = _Step(self._caches, size, self._begins, int(self._lengths.max()), self._num_samples, self._model.config.num_attention_heads)
        device = self._model.device
        plan.place(prompt_of_sequence)
        plan.length.fill_(done)
        ids_1S = torch.zeros(1, size, dtype=torch.int64, device=device)
        positions_1S = torch.zeros(1, size, dtype=torch.int64, device=device)
        positions_1S[0, : len(prompt_of_sequence)] = (self._lengths[prompt_of_sequence] + done).to(device)

        def run() -> Tensor:
            plan.advance()
            logits_1SV: Tensor = self._model(input_ids=ids_1S, position_ids=positions_1S, plan=plan, use_cache=False).logits
            return logits_1SV[0].float()

        replay = as_graph(run)

        def step(next_S: Tensor) -> Tensor:
            ids_1S[0, : len(next_S)] = next_S
            logits_SV = replay()
            positions_1S.add_(1)
            plan.length.add_(1)
            return logits_SV

        return step


def as_graph(run: Callable[[], Tensor]) -> Callable[[], Tensor]:
    """What does the same as `run`, with the same tensors, as one graph."""
    stream = torch.cuda.Stream()  # what is recorded has to have run before, on a stream of its own
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        run()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        result = run()

    def replay() -> Tensor:
        graph.replay()
        return result

    return replay


def _read_prompts(model: PreTrainedModel, prompts: list[list[int]], caches: list[_Cache]) -> Tensor:
    """Fills the caches with the prompts; returns the logits behind each: [B, V]."""
    logits, first, done = [], 0, 0
    while first < len(prompts):
        last, num_tokens = first, 0
        while last < len(prompts) and (last == first or num_tokens + len(prompts[last]) <= PROMPT_TOKENS_AT_ONCE):
            num_tokens += len(prompts[last])
            last += 1
        part = prompts[first:last]
        lengths = [len(prompt) for prompt in part]
        ids = torch.tensor([[token for prompt in part for token in prompt]]).to(model.device)
        positions = torch.tensor([[position for length in lengths for position in range(length)]]).to(model.device)
        ends = (torch.tensor(lengths).cumsum(0) - 1).to(model.device)
        plan = _Reading(caches, done, lengths, model.device)
        output: Any = model(input_ids=ids, position_ids=positions, plan=plan, use_cache=False, logits_to_keep=ends)
        logits.append(output.logits[0].float())
        first, done = last, done + num_tokens
    return torch.cat(logits)


def _keep(caches: list[_Cache], rows: Tensor, num_tokens: int) -> None:
    """The given sequences take the first places, in their order."""
    for cache in caches:
        for buffer_SNGD in (cache.keys_SNGD, cache.values_SNGD):
            buffer_SNGD[: len(rows), :num_tokens] = buffer_SNGD[rows, :num_tokens]


def _tokens(drawn_SN: Tensor, end_token_id: int) -> list[list[int]]:
    """Each row up to its first end token."""
    rows = drawn_SN.tolist()
    return [row[: row.index(end_token_id) + 1] if end_token_id in row else row for row in rows]


def _heads(model: PreTrainedModel) -> tuple[int, int, int]:
    """Layers, heads of keys and values, and the size of a head."""
    config = model.config
    groups = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return config.num_hidden_layers, groups, cast(int, head)
