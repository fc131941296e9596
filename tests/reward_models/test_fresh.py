"""Fresh and stale labels: whose samples are labelled, how many, by whom, and that no other k changes them."""

import pytest

from apo_bench.core.errors import DataError
from apo_bench.reward_models import fresh, stale
from apo_bench.reward_models.player import HUMAN, SAMPLES, SFT_SAMPLES, Material, pairs_to_label

SHARED = {"epochs": 1, "batch_size": 4, "learning_rate": 0.1, "max_length": 8, "head_per_subset": False}
PROMPTS = [{"id": str(n), "subset": "helpful", "dialogue": f"\n\nHuman: {n}?\n\nAssistant:"} for n in range(5)]
PAIRS = [{**row, "chosen": "yes", "rejected": "no"} for row in PROMPTS]


def samples(name, num_samples=3):
    return [
        {**row, "responses": [f"{name} {k}" for k in range(num_samples)], "finished": [True, False, True][:num_samples]} for row in PROMPTS
    ]


def lessons(module, num_labels, most=8):
    """Of a round with room for 8 pairs beside the human ones; the annotator says what it labelled."""
    rows = {HUMAN: lambda: PAIRS, SAMPLES: lambda: samples("now"), SFT_SAMPLES: lambda: samples("first")}
    material = Material(rows, len(PAIRS), most, 3, lambda pairs: [row | {"label": number} for number, row in enumerate(pairs)])
    player = module.REWARD_MODEL(module.REWARD_MODEL.Settings(**SHARED, num_labels=num_labels))
    return player.lessons(material.only(player.trains_on)).pairs


@pytest.mark.parametrize(("module", "whose"), [(fresh, "now"), (stale, "first")])
def test_whose_samples_are_labelled(module, whose):
    pairs = lessons(module, 6)
    labelled = [row for row in pairs if "label" in row]
    assert len(labelled) == 6 and all(row[side].startswith(whose) for row in labelled for side in ("chosen", "rejected"))
    assert pairs[:5] == PAIRS and pairs[11:] == PAIRS[:2], "human pairs first, and some of them again in the place of labels"


def test_training_is_as_long_for_every_k():
    assert {len(lessons(fresh, k)) for k in (0, 1, 8)} == {13}
    assert lessons(fresh, 0) == [*PAIRS, *PAIRS, *PAIRS][:13]


def test_fewer_labels_are_the_first_of_more():
    """So that k alone differs between two arms."""
    few, many = ([row for row in lessons(fresh, k) if "label" in row] for k in (3, 8))
    assert many[:3] == few


def test_each_prompt_is_asked_about_before_one_is_asked_about_twice():
    pairs = pairs_to_label(samples("now"), 15, seed=0)
    for turn in (pairs[:5], pairs[5:10], pairs[10:]):
        assert sorted(row["id"] for row in turn) == ["0", "1", "2", "3", "4"]
    assert len({(row["id"], frozenset((row["chosen"], row["rejected"]))) for row in pairs}) == 15, "no pair twice"
    assert pairs != pairs_to_label(samples("now"), 15, seed=1)


def test_a_text_against_itself_comes_last_and_cut_off_texts_stay_so():
    same = [row | {"responses": ["a", "a", "b"]} for row in samples("now")]
    pairs = pairs_to_label(same, 15, seed=0)
    assert [row["chosen"] == row["rejected"] for row in pairs] == [False] * 10 + [True] * 5
    ended = {f"now {k}": finished for k, finished in enumerate([True, False, True])}
    for row in pairs_to_label(samples("now"), 15, seed=0):
        assert row["finished"] == [ended[row["chosen"]], ended[row["rejected"]]]


def test_more_labels_than_pairs():
    with pytest.raises(DataError, match="16 pairs of samples to label, and there are 15; label fewer, or sample more a prompt"):
        pairs_to_label(samples("now"), 16, seed=0)
