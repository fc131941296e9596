"""Human labels as draws."""

import random

import pytest

from apo_bench.core.errors import DataError
from apo_bench.data.labels import draw_labels, labels_by_gold, temperature_of

PAIR = {"id": "1", "subset": "helpful", "dialogue": "\n\nHuman: Hi?\n\nAssistant:", "chosen": " Yes.", "rejected": " No."}


@pytest.mark.parametrize("probability", [0.2, 0.5, 0.9])
def test_a_label_is_kept_as_often_as_it_is_probable(probability):
    drawn = draw_labels([PAIR | {"probability": probability}] * 4000, random.Random(0))
    share = sum(row["chosen"] == PAIR["chosen"] for row in drawn) / len(drawn)
    assert share == pytest.approx(probability, abs=4 * (probability * (1 - probability) / 4000) ** 0.5)


def test_a_turned_pair_has_the_probability_of_its_own_label():
    drawn = draw_labels([PAIR | {"probability": 0.3}] * 50, random.Random(0))
    turned = [row for row in drawn if row["chosen"] == PAIR["rejected"]]
    assert turned and all(row["rejected"] == PAIR["chosen"] and row["probability"] == pytest.approx(0.7) for row in turned)


def test_given_labels_stay():
    assert draw_labels([PAIR] * 100, random.Random(0)) == [PAIR] * 100


def test_a_label_does_not_hang_on_the_other_pairs():
    certain, open_ = PAIR | {"probability": 1.0}, PAIR | {"probability": 0.5}
    first, second = (draw_labels([before, *[open_] * 30], random.Random(3))[1:] for before in (certain, PAIR))
    assert first == second


@pytest.fixture(scope="module")
def embedded(params):
    """Human pairs of a small embedded world, and the temperature that its labels were drawn at."""
    sizes = {"num_rm_prompts": 40, "num_lm_prompts": 4, "num_game_prompts": 4, "num_further_pairs": 0, "num_test_pairs": 40}
    small = params.prepare.model_copy(update=sizes | {"num_test_prompts": 4, "num_pretraining_examples": 4, "num_demonstrations": 4})
    files, report = small.prepare()
    return files["pairs_rm"], report["label_temperature"]


def test_the_annotators_temperature_is_read_off_their_pairs(embedded):
    human, temperature = embedded
    assert temperature_of(human) == pytest.approx(temperature, rel=1e-3)


def test_new_labels_are_as_probable_as_the_old_ones(embedded):
    """The same pairs, asked about again without what was known of their labels."""
    human, _ = embedded
    asked = [{key: row[key] for key in PAIR} for row in human]
    again = labels_by_gold(asked, human, seed=0)
    for row, old in zip(again, human, strict=True):
        expected = old["probability"] if row["chosen"] == old["chosen"] else 1 - old["probability"]
        assert row["probability"] == pytest.approx(expected, abs=1e-3)
    assert labels_by_gold(asked[:7], human, seed=0) == again[:7], "the first of more pairs get the labels that they get alone"
    assert labels_by_gold(asked, human, seed=1) != again


def test_a_turned_pair_of_samples_keeps_who_was_cut_off(embedded):
    human, _ = embedded
    asked = [{key: row[key] for key in PAIR} | {"finished": [True, False]} for row in human]
    for row, old in zip(labels_by_gold(asked, human, seed=0), asked, strict=True):
        assert row["finished"] == ([True, False] if row["chosen"] == old["chosen"] else [False, True])


def test_pairs_whose_annotator_is_not_known():
    with pytest.raises(DataError, match="no human pair has a label whose probability tells how gold was read"):
        temperature_of([PAIR])
