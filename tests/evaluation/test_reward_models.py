"""Metrics of a reward model whose rewards are given: worked by hand, with gold and without.

Of a prompt of the corpus gold says -3 to an empty response and -0.6 to one unknown sentence.
"""

import numpy as np
import pytest
from scipy.special import expit

from apo_bench.data.corpus import HARMLESS, HELPFUL, load_corpus
from apo_bench.data.gold import gold_rewards
from apo_bench.data.records import format_dialogue
from apo_bench.data.writer import all_prompts
from apo_bench.evaluation import reward_models
from apo_bench.evaluation.reward_models import evaluate_on_pairs

SUBSETS = (HELPFUL, HARMLESS)

EMPTY, RUBBISH = "", "Zip zap zup."
ON_PAIRS = {
    "num_pairs", "human_accuracy", "human_accuracy_standard_error", "human_accuracy_helpful", "human_accuracy_harmless", "ece", "ace", "mce"
}  # fmt: skip


@pytest.fixture
def give(monkeypatch):
    """Fixes the rewards, a row a group of responses."""
    return lambda rewards: monkeypatch.setattr(reward_models, "group_rewards", lambda *_: np.array(rewards))


@pytest.fixture(scope="module")
def known():
    """Three dialogues that gold knows."""
    found = [format_dialogue(question) for question, situation in all_prompts(load_corpus()) if situation.subset == "helpful"][:3]
    assert gold_rewards(found[0], [EMPTY, RUBBISH]) == [-3.0, -0.6]
    return found


def pairs(texts):
    """Gold agrees with the first and the third human label, disagrees with the second, and ties on the last; two subsets by turns."""
    responses = [(RUBBISH, EMPTY), (EMPTY, RUBBISH), (RUBBISH, EMPTY), (EMPTY, EMPTY)]
    return [
        {"id": "p", "subset": subset, "dialogue": text, "chosen": chosen, "rejected": rejected}
        for subset, text, (chosen, rejected) in zip(2 * SUBSETS, [*texts, texts[0]], responses, strict=True)
    ]


def by_gold(row):
    """The probability of a label that is drawn by gold."""
    better, worse = gold_rewards(row["dialogue"], [row["chosen"], row["rejected"]])
    return float(expit(better - worse))


def test_pairs_with_gold(give, tokenizer, compute, known):
    """The human's order is kept on pairs 1, 2 and 4; of the three pairs that gold orders, gold's is kept on the first alone."""
    give([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
    rows = [row | {"probability": by_gold(row)} for row in pairs(known)]
    metrics, margins = evaluate_on_pairs(None, tokenizer, rows, 128, compute, has_gold=True)
    assert [row["margin"] for row in margins] == [1.0, 1.0, -1.0, 1.0] and set(margins[0]) == {"id", "subset", "margin", "correct"}
    high = rows[0]["probability"]
    assert high > 0.9 and [row["correct"] for row in margins] == pytest.approx([high, 1 - high, 1 - high, 0.5])
    assert set(metrics) == {*ON_PAIRS, "gold_accuracy"} and metrics["gold_accuracy"] == pytest.approx(1 / 3)
    given, _ = evaluate_on_pairs(None, tokenizer, pairs(known), 128, compute, has_gold=False)
    assert (given["human_accuracy_helpful"], given["human_accuracy_harmless"]) == (pytest.approx(1 / 2), 1.0)
    assert given["human_accuracy"] == pytest.approx(3 / 4)
    assert given["human_accuracy_standard_error"] == pytest.approx((3 / 4 * 1 / 4 / 4) ** 0.5)


def test_pairs_whose_labels_have_probabilities(give, tokenizer, compute, known):
    """Nine of ten annotators prefer the first pair's chosen response, two of ten the second's, and so on; the last rewards tie.

    Correct: 0.9, 0.2, 1 - 0.6 and 1/2, mean 0.5. Deviations 0.4, -0.3, -0.1, 0: variance 0.26 / 4, of the mean 0.26 / 16.
    Margins are +-1 or 0, so confidences s = sigmoid(1) and 1/2, in both orders. In the bin of s the three orders are correct in 0.9, 0.2
    and 0.4, 0.5 on average; the bin of 1 - s is its mirror, and that of the tie has no gap. ECE: 6/8 of s - 0.5.
    """
    give([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    rows = [row | {"probability": probability} for row, probability in zip(pairs(known), (0.9, 0.2, 0.6, 0.7), strict=True)]
    metrics, margins = evaluate_on_pairs(None, tokenizer, rows, 128, compute, has_gold=True)
    assert [row["correct"] for row in margins] == pytest.approx([0.9, 0.2, 0.4, 0.5])
    expected = {
        "human_accuracy": 0.5, "human_accuracy_helpful": 0.65, "human_accuracy_harmless": 0.35, "ece": 6 / 8 * (1 / (1 + np.exp(-1)) - 0.5),
        "human_accuracy_standard_error": (0.26 / 16) ** 0.5,
    }  # fmt: skip
    assert {key: metrics[key] for key in expected} == pytest.approx(expected)


def test_expected_accuracy_is_the_mean_over_draws_of_labels_with_less_noise(give, tokenizer, compute, known):
    """4,000 pairs, 60 draws of their labels: the mean accuracy is the expected one, and that of a single draw is off by more than it."""
    rng = np.random.default_rng(0)
    probabilities, rewards = rng.uniform(0.05, 0.95, 4000), rng.normal(size=(4000, 2))
    rows = [pairs(known)[0] | {"probability": probability} for probability in probabilities]
    give(rewards)
    metrics, _ = evaluate_on_pairs(None, tokenizer, rows, 128, compute, has_gold=False)
    agree = np.where(rewards[:, 0] > rewards[:, 1], probabilities, 1 - probabilities)
    drawn = (rng.random((60, 4000)) < agree).mean(axis=1)
    assert metrics["human_accuracy"] == pytest.approx(drawn.mean(), abs=4 * drawn.std() / 60**0.5)
    assert metrics["human_accuracy_standard_error"] < 0.6 * (0.25 / 4000) ** 0.5


def test_pairs_without_gold(give, tokenizer, compute, dialogues):
    """Dialogues that gold would refuse."""
    give([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
    metrics, _ = evaluate_on_pairs(None, tokenizer, pairs(dialogues), 128, compute, has_gold=False)
    assert set(metrics) == ON_PAIRS and metrics["human_accuracy"] == pytest.approx(3 / 4)


def test_a_subset_without_pairs_has_no_accuracy(give, tokenizer, compute, dialogues):
    give([[1.0, 0.0], [0.0, 1.0]])
    metrics, _ = evaluate_on_pairs(None, tokenizer, pairs(dialogues)[::2], 128, compute, has_gold=False)
    assert set(metrics) == ON_PAIRS - {"human_accuracy_harmless"} and metrics["human_accuracy_helpful"] == pytest.approx(1 / 2)
