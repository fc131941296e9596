"""Batches hold each example once, like lengths together."""

import pytest
import torch

from apo_bench.data.batching import inference_batches, pad, training_batches
from apo_bench.models.tokenizer import TokenSequence


def test_padding_by_hand():
    batch = pad([TokenSequence([5, 6, 7], 1), TokenSequence([8], 0)], pad_token_id=9)
    assert batch.input_ids_NT.tolist() == [[5, 6, 7], [8, 9, 9]]
    assert (batch.prompt_lengths_N.tolist(), batch.lengths_N.tolist()) == ([1, 0], [3, 1])


@pytest.mark.parametrize(("num_examples", "batch_size"), [(1, 4), (64, 8), (301, 8)])
def test_training_batches_hold_each_example_once(num_examples, batch_size):
    lengths = [index * 37 % 101 + 1 for index in range(num_examples)]
    batches = list(training_batches(lengths, batch_size, torch.Generator().manual_seed(0)))
    assert sorted(index for batch in batches for index in batch) == list(range(num_examples))
    assert len(batches) == -(-num_examples // batch_size)
    assert all(len(batch) <= batch_size for batch in batches)


def test_training_batches_are_of_like_length_and_in_random_order():
    lengths = list(range(1, 129))
    first = list(training_batches(lengths, 8, torch.Generator().manual_seed(0)))
    assert all(max(batch) - min(batch) == 7 for batch in first)  # 128 examples make one pool, sorted
    assert [min(batch) for batch in first] != sorted(min(batch) for batch in first)
    assert first == list(training_batches(lengths, 8, torch.Generator().manual_seed(0)))
    assert first != list(training_batches(lengths, 8, torch.Generator().manual_seed(1)))


def test_inference_batches_hold_each_sequence_once_within_the_limit():
    lengths = [30, 1, 7, 100, 7, 2, 29, 30]
    batches = list(inference_batches(lengths, max_tokens=60))
    assert sorted(index for batch in batches for index in batch) == list(range(8))
    assert all(len(batch) * max(lengths[index] for index in batch) <= 60 or len(batch) == 1 for batch in batches)
    assert len(batches) == 4  # 1 + 2 + 7 + 7 (padded: 28), 29 + 30 (padded: 60), 30, 100
    assert list(inference_batches([], 60)) == []
