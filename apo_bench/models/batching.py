"""Batches of sequences of like length: no padding to a maximum, and a prompt stands once for its several responses.

Shape suffixes: N sequences, R rows, T tokens of the longest row, or of all sequences where these are packed in one row.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, chain

import torch
from torch import Tensor

from apo_bench.models.packed_attention import Packing, Spans

POOL = 16
"""Batches that are sorted by length together: enough for little padding, few enough to keep the order random."""
PACK = math.inf
"""As `pairs_a_token`: sequences are packed in one row, where a response that shares a prompt costs nothing."""


@dataclass(frozen=True)
class TokenSequence:
    """A dialogue and a response to it as token ids."""

    ids: list[int]
    prompt_length: int
    """The first `prompt_length` of `ids` are the prompt's."""
    subset: str | None = None
    """The prompt's, where a reward model may ask for it."""


@dataclass(frozen=True)
class TokenBatch:
    """Sequences in rows, padded on the right to the longest row, or packed in one row without padding.

    A row holds a prompt and one response to it, or several one after the other, each of which sees the prompt and itself. As attention
    is causal, no position sees the padding behind it, so rows of one sequence need no attention mask.
    """

    input_ids_RT: Tensor
    prompt_lengths_N: Tensor
    lengths_N: Tensor
    """Tokens of prompt and response."""
    prompt_starts_N: Tensor
    """Where each prompt begins, of all rows one behind the other."""
    response_starts_N: Tensor
    segments_RT: Tensor | None = None
    """0 in the prompt, k in the k-th response of the row; None if no row has two."""
    positions_RT: Tensor | None = None
    """Each token's position in its own sequence; None if no row has two."""
    subsets: tuple[str | None, ...] = ()
    """That of each sequence, where it names one."""
    packing: Packing | None = None
    """Who sees whom in one row of packed sequences; None if they are padded."""


def split_into_rows(sequences: Sequence[TokenSequence], pairs_a_token: float) -> list[range]:
    """The indices of the sequences of each row: neighbours that have a prompt in common share one as long as that is less work.

    Args:
        sequences: in their order.
        pairs_a_token: a response joins a row if that spares a token of the prompt for at most so many further pairs of tokens between which
            attention computes what the mask then hides; 0 for rows of one sequence.
    """
    rows: list[range] = []
    length = 0
    for index, sequence in enumerate(sequences):
        whole, prompt = len(sequence.ids), sequence.prompt_length
        joined = length + whole - prompt
        further_pairs = joined**2 - length**2 - whole**2
        if rows and pairs_a_token and further_pairs <= pairs_a_token * prompt and _same_prompt(sequences[index - 1], sequence):
            rows[-1] = range(rows[-1].start, index + 1)
            length = joined
        else:
            rows.append(range(index, index + 1))
            length = whole
    return rows


def longest_row(sequences: Sequence[TokenSequence], pairs_a_token: float) -> int:
    """Tokens of the longest row of a group of sequences."""
    return max(_row_length(sequences[row.start : row.stop]) for row in split_into_rows(sequences, pairs_a_token))


def pad(sequences: Sequence[TokenSequence], pad_token_id: int, pairs_a_token: float = 0) -> TokenBatch:
    """Sequences in rows, padded on the right to the longest of these; or packed in one."""
    rows = split_into_rows(sequences, pairs_a_token)
    if pairs_a_token == PACK:
        return _pack(sequences, rows)
    ids: list[list[int]] = []
    segments: list[list[int]] = []
    positions: list[list[int]] = []
    starts: list[int] = []
    for row in rows:
        prompt = sequences[row.start].ids[: sequences[row.start].prompt_length]
        ids.append(list(prompt))
        segments.append([0] * len(prompt))
        positions.append(list(range(len(prompt))))
        for segment, sequence in enumerate((sequences[index] for index in row), start=1):
            response = sequence.ids[sequence.prompt_length :]
            starts.append(len(ids[-1]))
            ids[-1] += response
            segments[-1] += [segment] * len(response)
            positions[-1] += range(len(prompt), len(prompt) + len(response))
    is_shared = len(rows) < len(sequences)
    input_ids_RT = _fill(ids, pad_token_id)
    prompt_starts_N = torch.tensor([number for number, row in enumerate(rows) for _ in row]) * input_ids_RT.shape[1]
    return TokenBatch(
        input_ids_RT=input_ids_RT,
        prompt_lengths_N=torch.tensor([sequence.prompt_length for sequence in sequences]),
        lengths_N=torch.tensor([len(sequence.ids) for sequence in sequences]),
        prompt_starts_N=prompt_starts_N,
        response_starts_N=prompt_starts_N + torch.tensor(starts),
        segments_RT=_fill(segments, 0) if is_shared else None,
        positions_RT=_fill(positions, 0) if is_shared else None,
        subsets=tuple(sequence.subset for sequence in sequences),
    )


def _pack(sequences: Sequence[TokenSequence], rows: list[range]) -> TokenBatch:
    """All sequences one behind the other; or, if any share a prompt, all prompts and behind them all responses."""
    prompt_lengths = [sequence.prompt_length for sequence in sequences]
    lengths = [len(sequence.ids) for sequence in sequences]
    if len(rows) == len(sequences) or 0 in prompt_lengths:
        ids = [sequence.ids for sequence in sequences]
        positions = [range(length) for length in lengths]
        prompt_starts = list(accumulate(lengths, initial=0))[:-1]
        response_starts = [start + length for start, length in zip(prompt_starts, prompt_lengths, strict=True)]
        packing = Packing(_spans(lengths))
    else:
        firsts = [sequences[row.start] for row in rows]
        prompts = [sequence.ids[: sequence.prompt_length] for sequence in firsts]
        responses = [sequence.ids[sequence.prompt_length :] for sequence in sequences]
        ids = prompts + responses
        positions = [range(len(prompt)) for prompt in prompts]
        positions += [range(sequence.prompt_length, len(sequence.ids)) for sequence in sequences]
        starts = list(accumulate(map(len, ids), initial=0))
        prompt_starts = [starts[number] for number, row in enumerate(rows) for _ in row]
        response_starts = starts[len(prompts) : -1]
        in_rows = [sum(len(responses[index]) for index in row) for row in rows]
        packing = Packing(_spans(list(map(len, ids))), _spans(in_rows, list(map(len, prompts))), starts[len(prompts)])
    return TokenBatch(
        input_ids_RT=torch.tensor([list(chain(*ids))]),
        prompt_lengths_N=torch.tensor(prompt_lengths),
        lengths_N=torch.tensor(lengths),
        prompt_starts_N=torch.tensor(prompt_starts),
        response_starts_N=torch.tensor(response_starts),
        positions_RT=torch.tensor([list(chain(*positions))]),
        subsets=tuple(sequence.subset for sequence in sequences),
        packing=packing,
    )


def _spans(queries: Sequence[int], keys: Sequence[int] | None = None) -> Spans:
    """Of so many queries each that see so many keys, or one another."""
    begins = _begins(queries)
    return Spans(begins, begins if keys is None else _begins(keys), max(queries), max(queries if keys is None else keys))


def _begins(lengths: Iterable[int]) -> Tensor:
    return torch.tensor(list(accumulate(lengths, initial=0)), dtype=torch.int32)


def training_batches(lengths: Sequence[int], batch_size: int, generator: torch.Generator) -> Iterator[list[int]]:
    """Random batches of indices, each index once: a shuffle, sorted by length within pools of batches, batches shuffled again."""
    order = torch.randperm(len(lengths), generator=generator).tolist()
    batches = []
    for start in range(0, len(order), POOL * batch_size):
        pool = sorted(order[start : start + POOL * batch_size], key=lambda index: lengths[index])
        batches += [pool[first : first + batch_size] for first in range(0, len(pool), batch_size)]
    for number in torch.randperm(len(batches), generator=generator).tolist():
        yield batches[number]


def inference_batches(sequences: Sequence[TokenSequence], max_tokens: int, pairs_a_token: float = 0) -> Iterator[list[int]]:
    """Batches of indices, rows sorted by length, each of at most `max_tokens` tokens with its padding (or of one row)."""
    rows = split_into_rows(sequences, pairs_a_token)
    lengths = [_row_length(sequences[row.start : row.stop]) for row in rows]
    batch: list[range] = []
    num_tokens = 0
    for number in sorted(range(len(rows)), key=lambda number: lengths[number]):
        num_tokens = num_tokens + lengths[number] if pairs_a_token == PACK else lengths[number] * (len(batch) + 1)
        if batch and num_tokens > max_tokens:
            yield [index for row in batch for index in row]
            batch, num_tokens = [], lengths[number]
        batch.append(rows[number])
    if batch:
        yield [index for row in batch for index in row]


def _same_prompt(one: TokenSequence, other: TokenSequence) -> bool:
    length = one.prompt_length
    return 0 < length == other.prompt_length and one.ids[:length] == other.ids[:length]


def _row_length(sequences: Sequence[TokenSequence]) -> int:
    return sequences[0].prompt_length + sum(len(sequence.ids) - sequence.prompt_length for sequence in sequences)


def _fill(rows: list[list[int]], value: int) -> Tensor:
    longest = max(map(len, rows))
    return torch.tensor([row + [value] * (longest - len(row)) for row in rows])
