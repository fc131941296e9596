"""The reward model's schedule, by hand: which golden groups a step trains on, and what its terms weigh."""

from collections import Counter

import pytest

from apo_bench.training.reward_models import schedule


@pytest.fixture
def settings(params):
    """Two pairs a step, lambda 1, alpha 0.6."""
    return params.retrained_reward("adversarial").model_copy(update={"batch_size": 2, "epochs": 1, "adversarial_weight": 0.6})


def test_groups_are_spread_and_weighed_by_their_number(settings):
    """Five pairs make three steps; four groups fall on them as 1, 1 and 2, and a mean over all four has a weight of alpha a step."""
    turns = schedule(5, 4, settings, seed=0)
    assert [len(turn.groups) for turn in turns] == [1, 1, 2]
    assert sorted(index for turn in turns for index in turn.groups) == [0, 1, 2, 3]
    assert [turn.adversarial_weight for turn in turns] == pytest.approx([0.6 * 3 / 4, 0.6 * 3 / 4, 0.6 * 6 / 4])
    assert {turn.human_weight for turn in turns} == {1.0}


def test_steps_without_a_group_have_human_pairs_alone(settings):
    turns = schedule(8, 2, settings, seed=0)
    assert [len(turn.groups) for turn in turns] == [0, 1, 0, 1]
    assert [turn.adversarial_weight for turn in turns] == pytest.approx([0.0, 1.2, 0.0, 1.2])


def test_without_human_pairs_each_step_has_a_group(settings):
    """As many steps; the groups are gone through twice."""
    turns = schedule(8, 2, settings.model_copy(update={"human_weight": 0.0}), seed=0)
    assert [len(turn.groups) for turn in turns] == [1, 1, 1, 1]
    assert Counter(index for turn in turns for index in turn.groups) == {0: 2, 1: 2}
    assert [turn.adversarial_weight for turn in turns] == pytest.approx([0.6] * 4) and turns[0].human_weight == 0.0


def test_each_epoch_has_an_order_of_its_own(settings):
    twice = settings.model_copy(update={"epochs": 2})
    turns = schedule(20, 30, twice, seed=1)
    first, second = ([index for turn in part for index in turn.groups] for part in (turns[:10], turns[10:]))
    assert sorted(first) == sorted(second) == list(range(30)) and first != second
    assert turns == schedule(20, 30, twice, seed=1) and turns != schedule(20, 30, twice, seed=2)
