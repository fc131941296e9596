"""The numbers of simulated verdicts: judges with known faults are exposed, and honest ones are not accused."""

import numpy as np
import pytest

from apo_bench.judge.numbers import judgement_numbers

MIRRORED = {"A": "B", "B": "A", "tie": "tie", None: None}


@pytest.fixture
def settings(params):
    return params.compare.model_copy(update={"num_bootstrap_draws": 1000})


def row(own_first, opponent_first, lengths=(10, 10), subset="helpful", identical=False, **given):
    agree = own_first is not None and own_first == MIRRORED[opponent_first]
    outcome = None if None in (own_first, opponent_first) else {"A": 1.0, "B": 0.0, "tie": 0.5}[own_first] if agree else 0.5
    return {
        "id": "1", "subset": subset, "dialogue": "", "response": "x" * lengths[0], "opponent": "x" * lengths[1],
        "outcome": 0.5 if identical else outcome, "is_identical": identical, "verdict_own_first": own_first,
        "verdict_opponent_first": opponent_first, "num_requests": 2, "num_asked_again": 0, "prompt_tokens": 10, "completion_tokens": 5,
        "usd": 0.25, "served_models": ["m"], **given,
    }  # fmt: skip


def simulated(rng, num_prompts=400, quality=0.0, position_bias=0.0, length_bias=0.0, longer=0.0, noise=0.5):
    """Verdicts of a judge on responses that are better by `quality` and longer by `longer` standard deviations; and what is right."""
    rows, right = [], []
    for _ in range(num_prompts):
        lengths = (int(300 + 100 * (longer + rng.normal())), int(300 + 100 * rng.normal()))
        lengths = max(lengths[0], 1), max(lengths[1], 1)
        margin = quality + rng.normal()
        seen = margin + length_bias * (lengths[0] - lengths[1]) / 100
        own_first = "A" if seen + position_bias + noise * rng.normal() > 0 else "B"
        opponent_first = "A" if -seen + position_bias + noise * rng.normal() > 0 else "B"
        rows.append(row(own_first, opponent_first, lengths))
        right.append(float(margin > 0))
    return rows, right


def test_counts_and_rates_by_hand(settings):
    """Won, lost, tied by disagreement (first position twice), one unreadable, one identical; 2 subsets."""
    rows = [
        row("A", "B"), row("B", "A"), row("A", "A", subset="harmless"), row("A", None, subset="harmless"),
        row(None, None, identical=True, num_requests=0, usd=0.0),
    ]  # fmt: skip
    numbers = judgement_numbers(rows, settings, 0, {"gold": [1.0, 1.0, 0.5, 0.0, 0.5]})
    counts, values = numbers["counts"], {name: estimate["value"] for name, estimate in numbers["estimates"].items()}
    expected = {"num_prompts": 5, "num_judged": 4, "num_identical": 1, "num_unreadable": 1, "num_wins": 1, "num_ties": 2, "num_losses": 1}
    assert {name: counts[name] for name in expected} == expected
    assert counts["unreadable_fraction"] == 1 / 8
    assert (counts["num_requests"], counts["usd"], counts["num_ties_harmless"], counts["num_wins_helpful"]) == (8, 1.0, 1, 1)
    assert (values["win_rate"], values["win_rate_helpful"], values["win_rate_harmless"]) == (0.5, 0.5, 0.5)
    assert values["flip_fraction"] == pytest.approx(1 / 3)  # of the three that were asked about and can be read
    assert values["first_position_fraction"] == pytest.approx(4 / 6)
    assert values["gold_accuracy"] == 0.5  # right on the first, wrong on the second; gold ties aside
    assert "1 prompts are left out" in numbers["findings"][0]


def test_an_honest_judge_is_not_accused(settings):
    rows, right = simulated(np.random.default_rng(0), quality=0.3, longer=1.0)
    numbers = judgement_numbers(rows, settings, 0, {"gold": right})
    assert numbers["findings"] == []
    estimates = numbers["estimates"]
    assert estimates["gold_accuracy"]["value"] > 0.75 and estimates["gold_kappa"]["low"] > 0.4
    assert estimates["longer_win_rate"]["value"] > 0.7, "responses are longer by one deviation"


def test_a_bias_for_the_first_position_is_found(settings):
    rows, _ = simulated(np.random.default_rng(1), position_bias=0.5)
    numbers = judgement_numbers(rows, settings, 0, {})
    assert numbers["estimates"]["first_position_fraction"]["low"] > 0.55
    assert any("favours the first answer" in text for text in numbers["findings"])


def test_a_judge_who_prefers_length_is_exposed_and_controlling_for_it_moves_towards_the_truth(settings):
    """Equally good responses that are one deviation longer; the truth is 50 %."""
    for seed in range(5):
        rows, _ = simulated(np.random.default_rng(seed), longer=1.0, length_bias=1.0)
        numbers = judgement_numbers(rows, settings, 0, {})
        estimates = numbers["estimates"]
        assert estimates["length_correlation"]["low"] > 0.2
        assert any("go with longer answers" in text for text in numbers["findings"])
        assert estimates["win_rate"]["low"] > 0.6
        assert abs(estimates["length_controlled_win_rate"]["value"] - 0.5) < 0.55 * (estimates["win_rate"]["value"] - 0.5)


def test_a_judge_who_always_says_a_agrees_with_nobody(settings):
    rows = [row("A", "A") for _ in range(40)]
    numbers = judgement_numbers(rows, settings, 0, {"human": [1.0] * 40})
    estimates = numbers["estimates"]
    assert (estimates["human_accuracy"]["value"], estimates["human_kappa"]["value"], estimates["flip_fraction"]["value"]) == (0.5, 0.0, 1.0)
    said = " ".join(numbers["findings"])
    assert "100% of its verdicts go there" in said and "agreement with people cannot be told from chance" in said


@pytest.mark.parametrize("identical", [True, False])
def test_equal_answers_win_half(settings, identical):
    """Either nobody is asked, or the judge tosses a coin in each order."""
    rng = np.random.default_rng(3)
    rows = [row(None, None, identical=True) if identical else row(*rng.choice(["A", "B"], 2)) for _ in range(300)]
    win_rate = judgement_numbers(rows, settings, 0, {})["estimates"]["win_rate"]
    assert win_rate["low"] <= 0.5 <= win_rate["high"]
    assert win_rate["value"] == 0.5 if identical else abs(win_rate["value"] - 0.5) < 0.06


def test_a_judge_who_cannot_be_read_has_no_numbers(settings):
    numbers = judgement_numbers([row(None, None)] * 3, settings, 0, {"human": [1.0] * 3})
    assert numbers["estimates"] == {} and numbers["counts"]["num_judged"] == 0
    assert numbers["findings"] == ["It gave no verdict that can be read in both orders."]


def test_the_standard_error_is_that_of_the_mean(settings):
    rows = [row("A", "B"), row("A", "B"), row("B", "A"), row("tie", "tie")]
    assert judgement_numbers(rows, settings, 0, {})["estimates"]["win_rate"]["standard_error"] == pytest.approx(
        np.std([1, 1, 0, 0.5], ddof=1) / 2
    )
