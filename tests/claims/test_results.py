"""Verdicts on the claims from the files and scores of a run of two methods and one round, what they say planted."""

import json
from itertools import product
from math import isfinite

import numpy as np
import pytest

from apo_bench.claims.evidence import Margins
from apo_bench.claims.results import _claims_of, outcomes, read_verdicts
from apo_bench.core.files import write_jsonl

SUBSETS = ["helpful", "harmless"] * 64
GAINS = {("rjs", "adversarial"): {"gold": 2.0, "reward_all": -2.0}, ("dpo", "adversarial"): {"gold": -2.0, "reward_all": 0.0}}
"""Over the fixed reward model. SFT's scores have a standard deviation of 10, so a difference of 1 matters."""
NOT_TESTED = {"C2", "C4", "C6", "C7", "C8", "C9", "C10", "C11", "C12", "AB", "GOLDEN"}


@pytest.fixture
def read(params, tmp_path):
    def read_run(num_seeds, looks=()):
        seeds = list(range(num_seeds))
        run = {"methods": ["rjs", "dpo"], "reward_models": ["base", "adversarial"], "later_rounds": [], "seeds": seeds}
        run |= {"fixed_reward_models": ["base"], "retrained_reward_models": ["adversarial"], "gold_reward_models": []}
        run |= {"golden_start_reward_models": [], "sft_start_reward_models": ["base", "adversarial"]}
        changes = {"run": params.run.model_copy(update=run), "claims": params.claims.model_copy(update={"looks": list(looks)})}
        rng = np.random.default_rng(0)
        for folder in (f"reward_evaluations/s{seed}/{name}" for seed in seeds for name in ("reward/base", "first/reward/adversarial")):
            margins = rng.normal(size=len(SUBSETS)).tolist()
            rows = [
                {"id": str(n), "subset": SUBSETS[n], "margin": margin, "correct": float(margin > 0)} for n, margin in enumerate(margins)
            ]
            write_jsonl(tmp_path / folder / "margins.jsonl", rows)
        metrics = ("gold", "reward_all", "reward_all_equal_length")
        columns = {
            (f"{method}-{kind}-s{seed}", "r1"): {
                metric: GAINS.get((method, kind), {}).get(metric, 0.0) + 0.2 * rng.normal() + 0.2 * rng.normal(size=len(SUBSETS))
                for metric in metrics
            }
            for method, kind, seed in product(("rjs", "dpo"), ("base", "adversarial"), seeds)
        }
        columns |= {(f"sft-s{seed}", "r0"): {metric: rng.normal(scale=10, size=len(SUBSETS)) for metric in metrics} for seed in seeds}
        return read_verdicts(tmp_path, params.model_copy(update=changes), columns, Margins())

    return read_run


def of(verdicts, outcome):
    family = next(family for family in verdicts.families if family.outcome == outcome)
    return {tested.claim.name: tested for tested in family.claims}


def test_verdicts_are_what_was_planted(read):
    verdicts = read(8)
    gold, by_rm = of(verdicts, "gold"), of(verdicts, "RM_all")
    assert verdicts.primary.outcome == "gold" and list(gold) == [*(f"C{number}" for number in range(1, 13)), "APO", "AB", "GOLDEN"]
    assert gold["C1"].verdict == "reproduced" and gold["C1"].reason == "as claimed"
    assert gold["C3"].verdict == "not reproduced" and gold["C3"].reason.startswith("the opposite: DPO with APO over with base")
    assert gold["APO"].verdict == "no difference beyond d" and gold["APO"].reason == "within ± d"
    assert gold["C5"].verdict == "undecided" and "seeds would" in gold["C5"].reason
    untested = {name: tested.reason for name, tested in gold.items() if tested.verdict == "not tested"}
    assert set(untested) == NOT_TESTED
    assert untested["C2"] == "the run has no method rrhf" and untested["C8"] == "the run has no reward model no_adversarial"
    assert (by_rm["C1"].verdict, by_rm["C3"].verdict) == ("not reproduced", "no difference beyond d")
    assert "C5" not in by_rm and of(verdicts, "RM_all at equal length")["C1"].verdict == "no difference beyond d"


@pytest.mark.parametrize("num_seeds", [1, 2, 4])
def test_fewer_seeds_than_the_least_speak_no_verdict(read, num_seeds):
    verdicts = read(num_seeds)
    for family in verdicts.families:
        assert {tested.verdict for tested in family.claims} <= {"undecided", "not tested"}
        assert all("it takes 5" in tested.reason for tested in family.claims if tested.verdict == "undecided")
    assert verdicts.note.endswith("nothing is decided with fewer than 5.") and verdicts.summary()["families"]["gold"]["C1"]["p"] == 1.0
    assert isfinite(json.loads(json.dumps(verdicts.summary(), allow_nan=False))["families"]["gold"]["C1"]["contrasts"][0]["value"])


def test_looks_decide_by_what_they_may_spend(read):
    """Six of 12 seeds are a look; eight are as good as six; four and thirteen say why they add nothing."""
    fixed, look, between = (of(read(num_seeds, looks), "gold") for num_seeds, looks in ((6, ()), (6, (6, 12)), (8, (6, 12))))
    assert fixed["C1"].p_value < look["C1"].p_value <= 0.025 and look["C1"].verdict == between["C1"].verdict == "reproduced"
    assert between["C5"].reason == "the next look is at 12 seeds" and between["C5"].verdict == "undecided"
    assert of(read(13, (6, 12)), "gold")["C5"].reason == "the last look was at 12 seeds"
    assert "for looks at 6, 12 seeds" in read(6, (6, 12)).note


def test_small_effects_that_are_there_are_said_to_be_small(read, monkeypatch):
    monkeypatch.setitem(GAINS, ("rjs", "adversarial"), {"gold": 0.6})
    found = of(read(24), "gold")["C1"]
    assert (found.verdict, found.reason) == ("reproduced", "as claimed, though less than d")


@pytest.fixture
def without_gold(params):
    """Params of two seeds on data without gold, whose judge judges the rounds and seeds given."""

    def changed(rounds, seeds):
        run = params.run.model_copy(update={"seeds": [0, 1]})
        judge = params.judge.model_copy(update={"rounds": rounds, "seeds": seeds})
        prepare = params.prepare.model_copy(update={"source": "hh"})
        return params.model_copy(update={"run": run, "judge": judge, "prepare": prepare})

    return changed


def test_outcomes(params, without_gold):
    assert outcomes(params) == ("gold", "RM_all", "RM_all at equal length")
    assert outcomes(without_gold([], [0])) == outcomes(without_gold(["r3"], [0])) == ("RM_all", "RM_all at equal length")
    assert outcomes(without_gold(["r3"], [0, 1])) == ("RM_all", "RM_all at equal length", "judge")
    assert outcomes(without_gold(["r1"], [0, 1])) == ("RM_all", "RM_all at equal length")


@pytest.mark.parametrize(("rounds", "more"), [(["r3"], []), (["r1", "r3"], ["C10"])])
def test_a_judge_says_something_of_the_arms_that_it_judged(without_gold, rounds, more):
    """Of SFT on golden (C12) nothing."""
    found = [claim.name for claim in _claims_of(without_gold(rounds, [0, 1]), "judge")]
    assert sorted(found) == sorted(["C1", "C2", "C3", *more, "C11", "APO", "AB"])


def test_summary_says_what_verdicts_generalise_over(read):
    summary = read(8).summary()
    assert summary["note"].startswith("8 seeds, each with labels, SFT, reward models and samples of its own; base model, prompts")
    assert "over 4 claims" in summary["note"] and summary["primary"] == "gold"
    claims = summary["families"]["gold"]
    assert claims["C1"]["contrasts"][0]["low"] > 0 > claims["C3"]["contrasts"][0]["high"]
    assert claims["C1"]["contrasts"][0]["smallest"] == pytest.approx(1.0, rel=0.1) and claims["C1"]["contrasts"][0]["detectable"] > 0
    assert claims["C2"] == {
        "claim": "APO beats the fixed reward model with RRHF",
        "verdict": "not tested",
        "p": None,
        "why": "the run has no method rrhf",
        "num_seeds_needed": None,
        "contrasts": [],
    }
