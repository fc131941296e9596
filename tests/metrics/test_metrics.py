"""The `evaluate` modules against counting by hand and by brute force, without network."""

import math
import random

import pytest

from apo_bench.core.errors import DataError
from apo_bench.metrics import compute_metric


def brute_force_calibration(chosen, rejected, num_bins):
    """ECE, ACE, MCE pair by pair: both orders, each put into its bin by comparing with the edges."""
    pairs = [(1 / (1 + math.exp(b - a)), 1) for a, b in zip(chosen, rejected, strict=True)]
    pairs += [(1 / (1 + math.exp(a - b)), 0) for a, b in zip(chosen, rejected, strict=True)]
    gaps = []
    for number in range(num_bins):
        low, high = number / num_bins, (number + 1) / num_bins
        inside = [pair for pair in pairs if low <= pair[0] < high or (number == num_bins - 1 and pair[0] == 1)]
        if inside:
            gaps.append((abs(sum(p for p, _ in inside) - sum(won for _, won in inside)) / len(inside), len(inside)))
    weighted = sum(gap * count for gap, count in gaps) / len(pairs)
    return {"ece": weighted, "ace": sum(gap for gap, _ in gaps) / len(gaps), "mce": max(gap for gap, _ in gaps)}


@pytest.fixture(scope="module")
def rewards():
    """300 pairs, some tied."""
    draw = random.Random(3)
    chosen = [draw.gauss(0.5, 1.5) for _ in range(300)]
    return chosen, [value if number % 20 == 0 else draw.gauss(0, 1.5) for number, value in enumerate(chosen)]


@pytest.mark.parametrize("num_bins", [1, 7, 10])
def test_calibration_agrees_with_counting(rewards, num_bins):
    assert compute_metric("calibration_error", *rewards, num_bins=num_bins) == pytest.approx(
        brute_force_calibration(*rewards, num_bins), abs=1e-9
    )


def test_calibration_of_one_pair_by_hand():
    """Margin log 4: probability 0.8 of the preferred (gap 0.2) and 0.2 of the other (gap 0.2)."""
    assert compute_metric("calibration_error", [math.log(4)], [0.0]) == pytest.approx({"ece": 0.2, "ace": 0.2, "mce": 0.2})


def test_calibration_against_probabilities_by_hand():
    """Margins log 4 and log 4, preferred with probability 0.9 and 0.3: 0.8 against 0.6 in one bin, 0.2 against 0.4 in its mirror."""
    found = compute_metric("calibration_error", [math.log(4)] * 2, [0.0] * 2, probabilities=[0.9, 0.3])
    assert found == pytest.approx({"ece": 0.2, "ace": 0.2, "mce": 0.2})
    certain = compute_metric("calibration_error", [1.0, 0.0], [0.0, 2.0], probabilities=[1.0, 1.0])
    assert certain == compute_metric("calibration_error", [1.0, 0.0], [0.0, 2.0])


def test_calibration_of_extreme_margins_is_finite():
    assert compute_metric("calibration_error", [1e4, -1e4], [0.0, 0.0]) == pytest.approx({"ece": 0.5, "ace": 0.5, "mce": 0.5})


def test_preference_accuracy_agrees_with_counting(rewards):
    counted = sum(1.0 if a > b else 0.5 if a == b else 0.0 for a, b in zip(*rewards, strict=True)) / 300
    assert compute_metric("preference_accuracy", *rewards) == {"preference_accuracy": pytest.approx(counted)}


def test_preference_accuracy_is_turned_by_swapping_the_responses(rewards):
    there, back = compute_metric("preference_accuracy", *rewards), compute_metric("preference_accuracy", *rewards[::-1])
    assert there["preference_accuracy"] + back["preference_accuracy"] == pytest.approx(1)


def test_win_rate_by_hand():
    assert compute_metric("win_rate", [1, 2, 3, 4, 5], [0, 2, 4, 4, 4]) == {"win_rate": 0.6, "wins": 2, "ties": 2, "losses": 1}


@pytest.mark.parametrize("name", ["preference_accuracy", "calibration_error", "win_rate"])
def test_nothing_to_compute_on(name):
    with pytest.raises(DataError, match=f"{name}: no values to compute on"):
        compute_metric(name, [], [])
