"""The numbers that DVC shows: by hand, and never more than it has room for."""

from types import SimpleNamespace

import pytest

from apo_bench.report.headline import MOST_NUMBERS, headline


def policy(gold: float, reward_all: float) -> SimpleNamespace:
    values = {"gold": SimpleNamespace(value=gold), "reward_all": SimpleNamespace(value=reward_all)}
    return SimpleNamespace(last_round="r2", rounds={"r1": {}, "r2": values})


def comparison(num_methods: int, has_gold: bool = True) -> SimpleNamespace:
    policies = {"sft": policy(1.0, 0.1)}
    differences = {}
    for number in range(num_methods):
        policies |= {f"m{number}-base": policy(2.0, 0.2), f"m{number}-adversarial": policy(2.5, 0.4)}
        differences[f"m{number}-adversarial"] = policy(0.5, 0.2)
    return SimpleNamespace(rounds=["r1", "r2"], policies=policies, differences=differences, has_gold=has_gold)


def test_gains_come_first_then_means_then_the_other_outcome():
    found = headline(comparison(1))
    assert found == {
        "gold_gain": {"m0-adversarial": 0.5},
        "gold": {"sft": 1.0, "m0-base": 2.0, "m0-adversarial": 2.5},
        "reward_all_gain": {"m0-adversarial": 0.2},
    }
    assert list(found) == ["gold_gain", "gold", "reward_all_gain"]
    assert list(headline(comparison(1, has_gold=False))) == ["reward_all_gain", "reward_all"]


@pytest.mark.parametrize("num_methods", [3, 9, 12, 50])
def test_never_more_than_dvc_has_room_for(num_methods):
    found = headline(comparison(num_methods))
    assert sum(map(len, found.values())) == min(MOST_NUMBERS, 4 * num_methods + 1) and len(found["gold_gain"]) == min(
        num_methods, MOST_NUMBERS
    )
