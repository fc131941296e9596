"""What all methods share."""

import pytest
import torch

from apo_bench.methods.base import GOLDEN, SAMPLE, Candidates, Hyperparameters, best_index, cross_entropy, negative_log_sigmoid


def test_each_round_has_its_learning_rate_and_later_rounds_the_last():
    hyperparameters = Hyperparameters(learning_rates=[0.3, 0.2], epochs=1, batch_size=1, max_length=8)
    assert [hyperparameters.learning_rate(round_number) for round_number in (1, 2, 3, 4)] == [0.3, 0.2, 0.2, 0.2]


def test_candidates_are_their_rewards_and_know_where_each_is_from():
    candidates = Candidates([0.5, -1.0, 2.0], [SAMPLE, GOLDEN, SAMPLE])
    assert candidates == [0.5, -1.0, 2.0] and candidates.index(max(candidates)) == 2
    assert (candidates.indices(SAMPLE), candidates.indices(GOLDEN)) == ([0, 2], [1])
    assert Candidates([0.5, -1.0]).origins == [SAMPLE, SAMPLE]


def test_best_index_is_the_first_of_a_tie():
    assert best_index([-2.0, 5.0, 5.0, 1.0]) == 1


def test_cross_entropy_is_a_mean_over_tokens():
    assert cross_entropy(torch.tensor([-6.0, -6.0]), torch.tensor([3, 12])).tolist() == [2.0, 0.5]


def test_negative_log_sigmoid_is_stable():
    values = negative_log_sigmoid(torch.tensor([-1000.0, 0.0, 1000.0]))
    assert values.tolist() == pytest.approx([1000.0, 0.6931472, 0.0], abs=1e-6)
