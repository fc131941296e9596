"""The reward model's schedule, by hand: which golden groups a step trains on, and what its terms weigh."""

from collections import Counter

import pytest

from apo_bench.training.reward_models import schedule


def turns_of(num_steps, num_groups, num_epochs=1, human_weight=1.0, seed=0):
    """With alpha 0.6."""
    return schedule(num_steps, num_groups, num_epochs, human_weight, 0.6, seed)


def test_groups_are_spread_and_weighed_by_their_number():
    """Four groups fall on three steps as 1, 1 and 2, and a mean over all four has a weight of alpha a step."""
    turns = turns_of(3, 4)
    assert [len(turn.groups) for turn in turns] == [1, 1, 2]
    assert sorted(index for turn in turns for index in turn.groups) == [0, 1, 2, 3]
    assert [turn.game_weight for turn in turns] == pytest.approx([0.6 * 3 / 4, 0.6 * 3 / 4, 0.6 * 6 / 4])
    assert {turn.human_weight for turn in turns} == {1.0}


def test_steps_without_a_group_have_human_pairs_alone():
    turns = turns_of(4, 2)
    assert [len(turn.groups) for turn in turns] == [0, 1, 0, 1]
    assert [turn.game_weight for turn in turns] == pytest.approx([0.0, 1.2, 0.0, 1.2])


def test_without_human_pairs_each_step_has_a_group():
    """As many steps; the groups are gone through twice."""
    turns = turns_of(4, 2, human_weight=0.0)
    assert [len(turn.groups) for turn in turns] == [1, 1, 1, 1]
    assert Counter(index for turn in turns for index in turn.groups) == {0: 2, 1: 2}
    assert [turn.game_weight for turn in turns] == pytest.approx([0.6] * 4) and turns[0].human_weight == 0.0


def test_each_epoch_has_an_order_of_its_own():
    turns = turns_of(10, 30, 2, seed=1)
    first, second = ([index for turn in part for index in turn.groups] for part in (turns[:10], turns[10:]))
    assert sorted(first) == sorted(second) == list(range(30)) and first != second
    assert turns == turns_of(10, 30, 2, seed=1) and turns != turns_of(10, 30, 2, seed=2)


def test_without_groups_there_is_no_game():
    assert [(turn.human_weight, turn.groups, turn.game_weight) for turn in turns_of(3, 0, 2)] == [(1.0, [], 0.0)] * 6
