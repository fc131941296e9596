"""A head per subset: which pairs and golden groups train which head."""

import pytest
from rewards import material, train_on_pairs, train_player

from apo_bench.config.plugins import load_reward_model_player
from apo_bench.data.corpus import HARMLESS, HELPFUL
from apo_bench.engines.training import InProcess
from apo_bench.models.language_model import save_model
from apo_bench.models.reward_model import new_reward_model

SUBSETS = (HELPFUL, HARMLESS)


@pytest.fixture
def reward_model(new_model, tokenizer, compute, tmp_path):
    save_model(new_model(), tokenizer, tmp_path)
    return new_reward_model(tmp_path, 0, compute, zero_head=True, subsets=SUBSETS)


def rows(subset, dialogues, **others):
    return [{"id": str(number), "subset": subset, "dialogue": text, **others} for number, text in enumerate(dialogues)]


@pytest.mark.parametrize("subset", SUBSETS)
def test_pairs_of_a_subset_train_its_head_alone(reward_model, tokenizer, dialogues, params, compute, subset):
    pairs = rows(subset, dialogues, chosen="Boil the water.", rejected="No.")
    train_on_pairs(reward_model, tokenizer, pairs, params.base_reward, compute, InProcess(compute), 0, "test")
    assert [bool(head.any()) for head in reward_model.score.weight] == [subset == name for name in SUBSETS]


def test_golden_responses_train_the_head_of_their_prompt(reward_model, tokenizer, dialogues, params, compute):
    pairs = rows("helpful", dialogues, chosen="Boil the water.", rejected="No.")
    golden, samples = rows("harmless", dialogues, response="I would rather not."), rows("harmless", dialogues)
    samples = [row | {"responses": ["Well.", "Yes."], "finished": [True, True]} for row in samples]
    gail = load_reward_model_player("gail", {"gail": params.reward["base"] | {"adversarial_weight": 0.1}})
    train_player(reward_model, tokenizer, material(pairs, golden, samples), gail, compute, InProcess(compute), 0, 0, "test")
    assert [bool(head.any()) for head in reward_model.score.weight] == [False, True]


def test_opposite_wishes_are_both_learnt(reward_model, tokenizer, dialogues, params, compute):
    """The same pairs, wanted one way of one subset and the other way of the other: no single head can order both."""
    pairs = rows("helpful", dialogues, chosen="Boil the water.", rejected="No.")
    pairs += rows("harmless", dialogues, chosen="No.", rejected="Boil the water.")
    settings = params.base_reward.model_copy(update={"epochs": 10})
    curves = train_on_pairs(reward_model, tokenizer, pairs, settings, compute, InProcess(compute), 0, "test")
    assert curves[-1]["accuracy"] == 1.0 and curves[-1]["loss"] < 0.6
