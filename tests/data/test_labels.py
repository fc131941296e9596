"""Human labels as draws."""

import random

import pytest

from apo_bench.data.labels import draw_labels

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
