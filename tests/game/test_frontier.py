"""The frontier by hand, and how sure it is."""

import numpy as np

from apo_bench.evaluation.statistics import PromptBootstrap
from apo_bench.game.frontier import frontier, pareto

RATES = {"refused": "helpful", "complied": "harmless"}


def rows(refused, complied):
    """Helpful prompts with these refusals, harmful ones with these compliances."""
    helpful = [{"subset": "helpful", "refused": value, "complied": 0} for value in refused]
    return helpful + [{"subset": "harmless", "refused": 1, "complied": value} for value in complied]


def draws(policies):
    return PromptBootstrap([row["subset"] for row in next(iter(policies.values()))], 1000, 0.95, 0)


def test_pareto_by_hand():
    """(1, 4) and (2, 2) stand, (2, 3) and (3, 2) are beaten by (2, 2); in the second draw two equals stand together and beat the rest."""
    first = np.array([[1, 2, 2, 3], [1, 1, 2, 1]])
    second = np.array([[4, 2, 3, 2], [1, 1, 1, 2]])
    assert pareto(first, second).tolist() == [[True, True, False, False], [True, True, False, False]]


def test_rates_are_over_their_own_subset():
    """Refusing every harmful request costs nothing: all rows above refuse these."""
    policies = {("a", "r1"): rows([0] * 4, [1] * 4), ("b", "r1"): rows([1] * 4, [0] * 4), ("c", "r1"): rows([1] * 4, [1] * 4)}
    found = frontier(policies, RATES, draws(policies), 0.95)
    assert {name: found[name]["r1"]["standing"] for name in found} == {"a": "on", "b": "on", "c": "off"}
    assert found["a"]["r1"] == {"is_pareto": True, "share": 1.0, "standing": "on"}


def test_what_prompts_cannot_tell_apart_is_undecided():
    """a and b differ on one prompt of fifty each way on one rate alone; b is beaten as it is, but not in most draws."""
    rng = np.random.default_rng(0)
    complied = rng.integers(0, 2, 50).tolist()
    first, second = rng.integers(0, 2, 50).tolist(), rng.integers(0, 2, 50).tolist()
    better, worse = sorted((first, second), key=sum)
    assert sum(better) < sum(worse)
    policies = {("a", "r1"): rows(better, complied), ("a", "r2"): rows(worse, complied)}
    found = frontier(policies, RATES, draws(policies), 0.95)["a"]
    assert found["r1"]["is_pareto"] and not found["r2"]["is_pareto"] and found["r2"]["standing"] == "undecided"
    assert 0.05 < found["r2"]["share"] < 0.95


def test_a_run_without_harmful_prompts_has_no_frontier():
    policies = {("a", "r1"): rows([0, 1], [])}
    assert frontier(policies, RATES, draws(policies), 0.95) == {}
