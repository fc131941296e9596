"""Batches of sequences of like length: no padding to a maximum. Shape suffixes: N sequences, T tokens of the longest."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from apo_bench.models.tokenizer import TokenSequence

POOL = 16
"""Batches that are sorted by length together: enough for little padding, few enough to keep the order random."""


@dataclass(frozen=True)
class TokenBatch:
    """Sequences padded on the right to the longest of them.

    As attention is causal, no position of a sequence sees the padding behind it, so no attention mask is needed.
    """

    input_ids_NT: Tensor
    prompt_lengths_N: Tensor
    lengths_N: Tensor

    def to(self, device: torch.device) -> "TokenBatch":
        """The batch on a device."""
        return TokenBatch(self.input_ids_NT.to(device), self.prompt_lengths_N.to(device), self.lengths_N.to(device))


def pad(sequences: Sequence[TokenSequence], pad_token_id: int) -> TokenBatch:
    """Pads sequences on the right to the longest of them."""
    lengths = [len(sequence.ids) for sequence in sequences]
    longest = max(lengths)
    rows = [sequence.ids + [pad_token_id] * (longest - length) for sequence, length in zip(sequences, lengths, strict=True)]
    return TokenBatch(torch.tensor(rows), torch.tensor([s.prompt_length for s in sequences]), torch.tensor(lengths))


def training_batches(lengths: Sequence[int], batch_size: int, generator: torch.Generator) -> Iterator[list[int]]:
    """Random batches of indices, each index once: a shuffle, sorted by length within pools of batches, batches shuffled again."""
    order = torch.randperm(len(lengths), generator=generator).tolist()
    batches = []
    for start in range(0, len(order), POOL * batch_size):
        pool = sorted(order[start : start + POOL * batch_size], key=lambda index: lengths[index])
        batches += [pool[first : first + batch_size] for first in range(0, len(pool), batch_size)]
    for number in torch.randperm(len(batches), generator=generator).tolist():
        yield batches[number]


def inference_batches(lengths: Sequence[int], max_tokens: int) -> Iterator[list[int]]:
    """Batches of indices sorted by length, each of at most `max_tokens` tokens with its padding (or of one sequence)."""
    batch: list[int] = []
    for index in sorted(range(len(lengths)), key=lambda index: lengths[index]):
        if batch and lengths[index] * (len(batch) + 1) > max_tokens:
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch
