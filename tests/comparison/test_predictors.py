"""What goes with the gold of policies: against pandas and SciPy, and by hand."""

import csv
import io

import numpy as np
import pandas as pd
import pytest

from apo_bench.claims.evidence import Margins
from apo_bench.comparison.predictors import AGREEMENT, PREDICTORS, PlayedRound, agreement, games_csv, played_rounds, predictors
from apo_bench.core.files import write_jsonl
from apo_bench.evaluation.statistics import Estimate, over_replicates


def rounds_of(num_seeds=3, num_kinds=5):
    rng = np.random.default_rng(0)
    return [
        PlayedRound(
            seed, method, f"rm{kind}", round_id, {"human_accuracy": rng.random(), "ece": rng.random()}, rng.random(), rng.random(), 1.0
        )
        for seed in range(num_seeds)
        for method in ("rjs", "dpo")
        for kind in range(num_kinds)
        for round_id in ("r1", "r2")
    ]


def test_correlations_are_pandas_means_over_rounds_then_students_over_replicates():
    games = rounds_of()
    frame = pd.DataFrame([vars(game) | game.measures for game in games])

    found = {one.measure: one for one in predictors(games, 0.9)}

    assert list(found) == ["human_accuracy", "ece"]
    for measure, one in found.items():
        for keys, estimate in ((["seed", "round", "method"], one.within), (["seed", "round"], one.across)):
            each = frame.groupby(keys)[[measure, "gold"]].apply(lambda group: group.corr(method="spearman").iloc[0, 1])
            expected = over_replicates(each.groupby("seed").mean().to_numpy(), 0.9)
            assert estimate.value == pytest.approx(expected.value)
            assert (estimate.low, estimate.high) == pytest.approx((expected.low, expected.high))


def test_what_cannot_be_ranked_is_left_out():
    assert predictors(rounds_of(num_seeds=1), 0.9) == []
    few = predictors(rounds_of(num_kinds=2), 0.9)
    assert [one.within for one in few] == [None, None]  # two reward models a method
    assert all(one.across for one in few)  # of four arms
    same = [PlayedRound(seed, "dpo", f"rm{kind}", "r1", {"ece": 0.5}, kind, kind, 1.0) for seed in range(3) for kind in range(5)]
    assert predictors(same, 0.9) == []


def test_agreement_is_the_share_of_common_pairs_that_both_order_alike():
    assert agreement(np.array([1.0, -2.0, 3.0, 0.0]), np.array([5.0, 1.0, 0.1, 2.0, -9.0])) == (1 + 0 + 1 + 0.5) / 4


def test_every_round_of_every_arm_is_a_row_but_of_those_that_gold_trains(params, tmp_path):
    run = params.run.model_copy(
        update={"seeds": [0], "methods": ["dpo"], "reward_models": ["base", "oracle"], "fixed_reward_models": ["base"]}
        | {"retrained_reward_models": [], "gold_reward_models": ["oracle"], "golden_start_reward_models": [], "sft_start_reward_models": []}
    )
    for name, margins in (("base", [1.0, -1.0]), ("all", [1.0, 1.0])):
        rows = [{"id": str(n), "subset": "helpful", "margin": margin, "correct": 1.0} for n, margin in enumerate(margins)]
        write_jsonl(tmp_path / "reward_evaluations/s0/reward" / name / "margins.jsonl", rows)
    reached = {name: Estimate(value, 0, 0, 0) for name, value in (("gold", 2.0), ("reward_all", 3.0), ("kl_to_sft", 4.0))}
    paths = {f"dpo-{name}-s0": dict.fromkeys(("r0", "r1", "r2", "r3"), reached) for name in run.reward_models}
    measures = {f"dpo-{name}-s0": {"r1": {"ece": 0.1, "mce": 0.2}} for name in run.reward_models}

    [row] = played_rounds(tmp_path, params.model_copy(update={"run": run}), paths, measures, Margins())

    assert row == PlayedRound(0, "dpo", "base", "r1", {"ece": 0.1, AGREEMENT: 0.5}, 2.0, 3.0, 4.0)
    [written] = csv.DictReader(io.StringIO(games_csv([row])))
    assert written["gold"] == "2.0"
    assert written["ece"] == "0.1"
    assert written["human_accuracy"] == ""
    assert {*PREDICTORS} <= {*written}
