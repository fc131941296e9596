"""Batches hold each example once, like lengths together."""

import pytest
import torch

from apo_bench.models.batching import PACK, TokenSequence, inference_batches, longest_row, pad, split_into_rows, training_batches


def test_padding_by_hand():
    batch = pad([TokenSequence([5, 6, 7], 1), TokenSequence([8], 0)], pad_token_id=9)
    assert batch.input_ids_RT.tolist() == [[5, 6, 7], [8, 9, 9]]
    assert (batch.prompt_lengths_N.tolist(), batch.lengths_N.tolist()) == ([1, 0], [3, 1])
    assert (batch.prompt_starts_N.tolist(), batch.response_starts_N.tolist()) == ([0, 3], [1, 3])
    assert batch.segments_RT is None and batch.positions_RT is None


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


def sequence(prompt: list[int], response: list[int]) -> TokenSequence:
    return TokenSequence(prompt + response, len(prompt))


def test_neighbours_with_one_prompt_share_a_row():
    """By hand: two responses to one prompt, one to another, one without a prompt."""
    sequences = [sequence([5, 6], [7, 8]), sequence([5, 6], [4]), sequence([5, 7], [7]), sequence([], [5, 6]), sequence([], [5])]
    assert split_into_rows(sequences, pairs_a_token=1000) == [range(0, 2), range(2, 3), range(3, 4), range(4, 5)]
    assert split_into_rows(sequences, pairs_a_token=0) == [range(index, index + 1) for index in range(5)]
    batch = pad(sequences, 9, pairs_a_token=1000)
    assert batch.input_ids_RT.tolist() == [[5, 6, 7, 8, 4], [5, 7, 7, 9, 9], [5, 6, 9, 9, 9], [5, 9, 9, 9, 9]]
    assert batch.segments_RT[0].tolist() == [0, 0, 1, 1, 2]
    assert batch.positions_RT[0].tolist() == [0, 1, 2, 3, 2]
    assert (batch.prompt_starts_N.tolist(), batch.response_starts_N.tolist()) == ([0, 0, 5, 10, 15], [2, 4, 7, 10, 15])
    assert (longest_row(sequences, 1000), longest_row(sequences, 0)) == (5, 4)


def test_a_response_joins_a_row_as_long_as_that_is_less_work():
    """By hand: 12 tokens and 12 more of which 10 are the prompt's: 14**2 - 12**2 - 12**2 is less than nothing. With a prompt of 2 tokens
    22**2 - 12**2 - 12**2 = 196 pairs more, for 2 tokens."""
    long_prompt = [sequence([5] * 10, [7] * 2), sequence([5] * 10, [4] * 2)]
    assert split_into_rows(long_prompt, pairs_a_token=1) == [range(0, 2)]
    short_prompt = [sequence([5] * 2, [7] * 10), sequence([5] * 2, [4] * 10), sequence([5] * 2, [3] * 10)]
    assert split_into_rows(short_prompt, pairs_a_token=97) == [range(0, 1), range(1, 2), range(2, 3)]
    assert split_into_rows(short_prompt, pairs_a_token=98) == [range(0, 2), range(2, 3)]  # 32**2 - 22**2 - 12**2 = 396 for the third


def test_inference_batches_hold_each_sequence_once_within_the_limit():
    sequences = [sequence([5], [6] * (length - 1)) for length in (30, 1, 7, 100, 7, 2, 29, 30)]
    batches = list(inference_batches(sequences, max_tokens=60))
    assert sorted(index for batch in batches for index in batch) == list(range(8))
    assert all(len(batch) * max(len(sequences[index].ids) for index in batch) <= 60 or len(batch) == 1 for batch in batches)
    assert len(batches) == 4  # 1 + 2 + 7 + 7 (padded: 28), 29 + 30 (padded: 60), 30, 100
    assert list(inference_batches([], 60)) == []


def test_inference_batches_count_a_shared_prompt_once():
    sequences = [sequence([5] * 20, [6] * 10), sequence([5] * 20, [7] * 5), sequence([4] * 20, [6] * 15)]
    assert list(inference_batches(sequences, max_tokens=70, pairs_a_token=1000)) == [[0, 1, 2]]  # two rows of 35
    assert sorted(inference_batches(sequences, max_tokens=69, pairs_a_token=1000)) == [[0, 1], [2]]
    assert list(inference_batches(sequences, max_tokens=70)) == [[1, 0], [2]]


def test_packed_sequences_that_share_no_prompt_stand_as_they_are():
    batch = pad([sequence([5, 6], [7, 8]), sequence([], [4]), sequence([5, 7], [7])], 9, PACK)
    assert batch.input_ids_RT.tolist() == [[5, 6, 7, 8, 4, 5, 7, 7]] and batch.positions_RT.tolist() == [[0, 1, 2, 3, 0, 0, 1, 2]]
    assert (batch.prompt_starts_N.tolist(), batch.response_starts_N.tolist()) == ([0, 4, 5], [2, 4, 7])
    assert batch.packing.own.queries.tolist() == [0, 4, 5, 8] and batch.packing.own.longest_query == 4 and batch.packing.prompts is None


def test_packed_sequences_that_share_prompts_stand_behind_all_prompts():
    batch = pad([sequence([5, 6], [7, 8]), sequence([5, 6], [4]), sequence([5], [3, 2])], 9, PACK)
    assert batch.input_ids_RT.tolist() == [[5, 6, 5, 7, 8, 4, 3, 2]] and batch.positions_RT.tolist() == [[0, 1, 0, 2, 3, 2, 1, 2]]
    assert (batch.prompt_starts_N.tolist(), batch.response_starts_N.tolist()) == ([0, 0, 2], [3, 5, 6])
    assert batch.packing.own.queries.tolist() == [0, 2, 3, 5, 6, 8] and batch.packing.num_prompt_tokens == 3
    assert (batch.packing.prompts.queries.tolist(), batch.packing.prompts.keys.tolist()) == ([0, 3, 5], [0, 2, 3])
    assert (batch.packing.prompts.longest_query, batch.packing.prompts.longest_key) == (3, 2)


def test_packed_batches_count_tokens_without_padding():
    sequences = [sequence([token], [0] * length) for token, length in enumerate((9, 19, 29))]
    assert list(inference_batches(sequences, max_tokens=60, pairs_a_token=PACK)) == [[0, 1, 2]]
    assert list(inference_batches(sequences, max_tokens=59, pairs_a_token=PACK)) == [[0, 1], [2]]
