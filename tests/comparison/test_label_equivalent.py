"""k*, on curves that are known: by hand, against SciPy's paired t test, and how often its set holds the truth."""

from types import SimpleNamespace

import numpy as np
import pytest
from scipy import stats

from apo_bench.comparison.label_equivalent import (
    BOUNDED,
    FRESH,
    MORE_THAN_ALL,
    NONE_AT_ALL,
    NOT_TOLD,
    STALE,
    UNDECIDED,
    gold_at,
    k_star_of,
    label_doses,
    label_equivalents,
)
from apo_bench.evaluation.statistics import Estimate

DOSES = (0, 25, 50, 100, 200, 400)
NUM_SEEDS = 8


def curve(seeds_S, gain, noise=0.0, rng=None):
    """k -> gold in each replicate: its level, and `gain` for each doubling of 1 + k / 25."""
    rng = rng or np.random.default_rng(0)
    return {k: seeds_S + gain * np.log2(1 + k / 25) + noise * rng.normal(size=len(seeds_S)) for k in DOSES}


def test_gold_is_read_where_the_path_first_comes_so_far_straight_between_rounds():
    divergences, golds = np.array([0.0, 1.0, 3.0, 2.0]), np.array([2.0, 3.0, 5.0, 9.0])

    assert gold_at(divergences, golds, 0.0) == 2.0
    assert gold_at(divergences, golds, 0.25) == 2.25
    assert gold_at(divergences, golds, 2.0) == 4.0  # on the way out, not on the way back
    assert gold_at(divergences, golds, 7.0) == 5.0  # never so far: where it is farthest


def test_k_star_is_where_the_curve_reaches_apo_straight_over_the_log_of_labels():
    seeds_S = np.random.default_rng(1).normal(size=NUM_SEEDS)
    fresh = curve(seeds_S, 0.5, 0.01)
    apo_S = seeds_S + 0.5 * np.log2(1 + 150 / 25)  # 150 labels, between two doses

    k_star, low, high, verdict = k_star_of(apo_S, fresh, 0.95)

    at_100, at_200 = (np.log2(1 + k / 25) for k in (100, 200))
    shares = [(apo_S.mean() - fresh[100].mean()) / (fresh[200].mean() - fresh[100].mean())]
    expected = 25 * (2 ** (at_100 + shares[0] * (at_200 - at_100)) - 1)
    assert verdict == BOUNDED
    assert k_star == pytest.approx(expected, rel=1e-5)
    assert low < 150 < high
    assert high - low < 20


def test_the_ends_are_where_the_paired_t_test_no_longer_tells_apo_from_so_many_labels():
    rng = np.random.default_rng(2)
    seeds_S = rng.normal(size=NUM_SEEDS)
    fresh = curve(seeds_S, 0.5, 0.3, rng)
    apo_S = seeds_S + 0.5 * np.log2(1 + 100 / 25) + 0.3 * rng.normal(size=NUM_SEEDS)

    _, low, high, _ = k_star_of(apo_S, fresh, 0.95)

    def p_value(k):
        golds_S = [
            np.interp(np.log1p(k / 25), np.log1p(np.array(DOSES) / 25), [fresh[dose][s] for dose in DOSES]) for s in range(NUM_SEEDS)
        ]
        return stats.ttest_rel(apo_S, golds_S).pvalue

    assert p_value(low) >= 0.05 > p_value(low - 1)
    assert p_value(high) >= 0.05 > p_value(high + 2)


@pytest.mark.parametrize(
    ("lead", "gain", "verdict"),
    [(9.0, 0.5, MORE_THAN_ALL), (-2.0, 0.5, NONE_AT_ALL), (0.0, 0.0, NOT_TOLD), (2.0, 0.5, UNDECIDED)],
    ids=["above all", "below none", "labels do nothing", "about as the most"],
)
def test_what_can_be_said_beside_a_number(lead, gain, verdict):
    rng = np.random.default_rng(3)
    seeds_S = rng.normal(size=NUM_SEEDS)
    noise = 0.2

    k_star, low, high, found = k_star_of(seeds_S + lead + noise * rng.normal(size=NUM_SEEDS), curve(seeds_S, gain, noise, rng), 0.95)

    assert found == verdict
    ends = {MORE_THAN_ALL: (None, None, None), NONE_AT_ALL: (0.0, 0.0, 0.0)}
    if found in ends:
        assert (k_star, low, high) == ends[found]
    else:
        assert high is None


def test_the_set_holds_the_true_number_as_often_as_it_says():
    rng, truth, held = np.random.default_rng(4), 100, 0
    for _ in range(300):
        seeds_S = rng.normal(size=NUM_SEEDS)
        fresh = curve(seeds_S, 0.4, 0.5, rng)
        apo_S = seeds_S + 0.4 * np.log2(1 + truth / 25) + 0.5 * rng.normal(size=NUM_SEEDS)
        _, low, high, verdict = k_star_of(apo_S, fresh, 0.9)
        held += verdict not in (MORE_THAN_ALL, NONE_AT_ALL) and low <= truth and (high is None or truth <= high)

    assert held / 300 > 0.86  # 0.90 wanted, its standard error 0.017


def made(params, names, num_seeds=6):
    """Params of a run of DPO with fresh and stale labels, and the path of each arm: gold rises with labels, APO's as 100 do."""
    labels = {"epochs": 1, "batch_size": 1, "learning_rate": 0.5, "max_length": 9, "head_per_subset": False}
    section = {
        **params.reward,
        **{f"{kind}_{k}": labels | {"player": kind, "num_labels": k} for kind, k in names},
    }
    run = params.run.model_copy(
        update={
            **{"seeds": list(range(num_seeds)), "methods": ["dpo"], "fixed_reward_models": ["base", "no_adversarial"]},
            **{"reward_models": ["base", "no_adversarial", "adversarial", "oracle", *(f"{kind}_{k}" for kind, k in names)]},
            **{"retrained_reward_models": ["adversarial", *(f"{kind}_{k}" for kind, k in names)], "gold_reward_models": ["oracle"]},
        }
    )
    params = params.model_copy(update={"reward": section, "run": run})
    rng = np.random.default_rng(0)
    worth = {f"{kind}_{k}": k if kind == "fresh" else k / 4 for kind, k in names} | {"adversarial": 100, "oracle": 10**4}
    paths = {}
    for seed in run.seeds:
        for name in run.reward_models:
            last = np.log2(1 + worth.get(name, 0) / 25) + 0.05 * rng.normal()
            kls = {"r0": 0.0, "r1": 1.0, "r2": 2.0, "r3": 4.0 if name == "adversarial" else 3.0}
            paths[f"dpo-{name}-s{seed}"] = {
                round_id: {"kl_to_sft": Estimate(kl, kl, kl, 0.0), "gold": Estimate(last * kl / 3, 0.0, 0.0, 0.0)}
                for round_id, kl in kls.items()
            }
    return params, paths


NAMES = [*(("fresh", k) for k in DOSES), ("stale", 100), ("stale", 400)]


def test_a_run_is_read_at_the_divergence_that_all_that_are_compared_reach(params):
    params, paths = made(params, NAMES)

    found = label_equivalents(params, paths)["dpo"]

    assert label_doses(params) == {
        FRESH: {k: f"fresh_{k}" for k in DOSES},
        STALE: {100: "stale_100", 400: "stale_400"},
    }
    assert found.divergence == 3.0  # not APO's own 4
    assert (found.num_rounds, found.verdict) == (len(params.run.rounds), BOUNDED)
    assert found.low < 100 < found.high
    assert list(found.levels) == ["no_adversarial", "adversarial", "oracle"]
    assert found.levels["adversarial"].value == pytest.approx(np.log2(5), abs=0.1)
    assert found.freshness[400].value == pytest.approx(np.log2(17) - np.log2(5), abs=0.1)
    assert set(found.freshness) == {100, 400}
    assert found.gain.value == pytest.approx(np.log2(17), abs=0.1)


@pytest.mark.parametrize("names", [[("fresh", 0), ("fresh", 25)], [("fresh", 25), ("fresh", 50), ("fresh", 100)], [("stale", 25)]])
def test_too_few_numbers_of_labels_or_none_at_zero_say_nothing(params, names):
    assert label_equivalents(*made(params, names)) == {}


def test_few_replicates_decide_nothing_and_one_says_nothing(params):
    found = label_equivalents(*made(params, NAMES, num_seeds=3))["dpo"]

    assert (found.verdict, found.k_star is None) == (UNDECIDED, False)
    assert label_equivalents(*made(params, NAMES, num_seeds=1)) == {}


def test_nothing_is_said_where_gold_is_unknown(params):
    params, paths = made(params, NAMES)

    assert label_equivalents(SimpleNamespace(run=params.run, has_gold=False, reward_model=params.reward_model), paths) == {}
