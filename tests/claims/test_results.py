"""Verdicts on the claims from the files and scores of a run of two methods, one round and three seeds, what they say planted."""

from itertools import product

import numpy as np
import pytest

from apo_bench.claims.inference import minimum_detectable_effect
from apo_bench.claims.results import read_verdicts
from apo_bench.core.files import write_jsonl
from apo_bench.evaluation.statistics import PromptBootstrap

SUBSETS = ["helpful", "harmless"] * 64
SEEDS = [0, 1, 2]
GAINS = {("rjs", "adversarial"): 2.0, ("dpo", "adversarial"): -2.0}
"""Over the fixed reward model, by RM_all."""


@pytest.fixture
def verdicts(params, tmp_path):
    run = {"methods": ["rjs", "dpo"], "reward_models": ["base", "adversarial"], "later_rounds": [], "seeds": SEEDS}
    params = params.model_copy(update={"run": params.run.model_copy(update=run)})
    rng = np.random.default_rng(0)
    for folder in ("reward/base", *(f"first/s{seed}/reward/adversarial" for seed in SEEDS)):
        margins = rng.normal(size=len(SUBSETS)).tolist()
        rows = [{"id": str(n), "subset": SUBSETS[n], "margin": margin, "correct": float(margin > 0)} for n, margin in enumerate(margins)]
        write_jsonl(tmp_path / folder / "margins.jsonl", rows)
    columns = {
        (f"{method}-{kind}-s{seed}", "r1"): {"reward_all": GAINS.get((method, kind), 0.0) + rng.normal(scale=0.5, size=len(SUBSETS))}
        for method, kind, seed in product(("rjs", "dpo"), ("base", "adversarial"), SEEDS)
    }
    columns |= {("golden", "r0"): {"reward_all": np.zeros(len(SUBSETS))}}
    return read_verdicts(tmp_path, params, columns, PromptBootstrap(SUBSETS, 2000, 0.95, 0))


def test_verdicts_are_what_was_planted(verdicts):
    found = {tested.claim.name: tested for tested in verdicts.claims}
    assert list(found) == [f"C{number}" for number in range(1, 13)]
    assert found["C1"].verdict == "reproduced" and found["C1"].reason == "all as claimed"
    assert found["C3"].verdict == "not reproduced" and found["C3"].reason.startswith("the opposite: DPO with APO over with base")
    assert found["C5"].verdict == "undecided" and found["C5"].reason.startswith("cannot be told from nothing")
    untested = {name: tested.reason for name, tested in found.items() if tested.verdict == "not tested"}
    assert set(untested) == {"C2", "C4", "C6", "C7", "C8", "C9", "C10", "C11", "C12"}
    assert untested["C2"] == "the run has no method rrhf" and untested["C8"] == "the run has no reward model no_adversarial"
    assert untested["C4"] == "the run has no round after r1"


def test_effects_are_detectable_at_the_strictest_level_of_what_is_tested(verdicts):
    """Three claims are tested, one-sided at 2.5 %."""
    for tested in verdicts.claims:
        for one in tested.contrasts:
            assert one.detectable == pytest.approx(minimum_detectable_effect(one.inferred, 0.025 / 3)) and one.detectable > 0


def test_summary_says_what_intervals_cover(verdicts):
    summary = verdicts.summary()
    assert (
        summary["note"].startswith("3 seeds of the game; data, base model, SFT and RM_base have one") and "over 3 claims" in summary["note"]
    )
    assert summary["claims"]["C1"]["contrasts"][0]["low"] > 0 > summary["claims"]["C3"]["contrasts"][0]["high"]
    assert summary["claims"]["C2"] == {
        "claim": "APO beats the fixed reward model with RRHF",
        "verdict": "not tested",
        "p": None,
        "why": "the run has no method rrhf",
        "contrasts": [],
    }
