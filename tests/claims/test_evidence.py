"""Contrasts from files, a number a seed, by hand."""

import numpy as np
import pytest

from apo_bench.claims.evidence import Evidence, Margins
from apo_bench.claims.paper import Contrast, PolicyCell, RewardCell
from apo_bench.core.errors import DataError, MissingInputError
from apo_bench.core.files import write_jsonl

SUBSETS = ["helpful", "helpful", "harmless", "harmless"]
MARGINS = {
    "s0/reward/base": [1.0, -1.0, 1.0, 0.0],
    "s1/reward/base": [1.0, 1.0, 1.0, 0.0],
    "s0/first/reward/wgan": [2.0, 2.0, 2.0, -1.0],
    "s1/first/reward/wgan": [2.0, 2.0, 2.0, 1.0],
    "s0/arms/dpo-wgan/r2/reward": [-2.0, 2.0, 2.0, -1.0],
    "s1/arms/dpo-wgan/r2/reward": [-2.0, -2.0, 2.0, -1.0],
}
SCORES = {
    ("dpo-base-s0", "r2"): [0, 0, 0, 0],
    ("dpo-base-s1", "r2"): [1, 1, 1, 1],
    ("dpo-wgan-s0", "r2"): [1, 2, 3, -2],
    ("dpo-wgan-s1", "r2"): [2, 3, 4, 1],
    ("dpo-wgan-s0", "r1"): [1, 1],
    ("dpo-wgan-s1", "r1"): [1, 3],
    ("golden-s0", "r0"): [0, 0, 0, 2],
    ("golden-s1", "r0"): [0, 0, 0, 4],
    ("sft-s0", "r0"): [0, 0, 2, 2],
    ("sft-s1", "r0"): [0, 0, 4, 4],
}


@pytest.fixture
def write(tmp_path):
    def write_margins(folder, margins, correct=None):
        correct = correct or [0.5 + 0.5 * float(np.sign(margin)) for margin in margins]
        rows = [
            {"id": f"p{n}", "subset": subset, "margin": margin, "correct": right}
            for n, (subset, margin, right) in enumerate(zip(SUBSETS, margins, correct, strict=True))
        ]
        write_jsonl(tmp_path / "reward_evaluations" / folder / "margins.jsonl", rows)

    for folder, margins in MARGINS.items():
        write_margins(folder, margins)
    return write_margins


@pytest.fixture
def evidence(params, tmp_path, write):
    run = params.run.model_copy(update={"seeds": [0, 1], "fixed_reward_models": ["base"], "retrained_reward_models": ["wgan"]})
    columns = {key: {"reward_all": np.array(values, dtype=float)} for key, values in SCORES.items()}
    return Evidence(tmp_path, params.model_copy(update={"run": run}), columns, Margins())


def contrast(measure, *terms):
    return Contrast("words", measure, terms)


OVER_BASE = ((1.0, RewardCell("dpo", "wgan", "r1")), (-1.0, RewardCell("", "base", "r0")))
LATER = ((1.0, RewardCell("dpo", "wgan", "r2")), (-1.0, RewardCell("dpo", "wgan", "r1")))


def test_scores_by_hand(evidence):
    """Differences 1, 2, 3, -2 and 1, 2, 3, 0: means 1 and 1.5."""
    terms = (1.0, PolicyCell("dpo", "wgan", "r2")), (-1.0, PolicyCell("dpo", "base", "r2"))
    assert evidence.values_S(contrast("RM_all", *terms)) == pytest.approx([1.0, 1.5])


def test_a_reference_is_each_seeds_own(evidence):
    terms = (1.0, PolicyCell("dpo", "base", "r2")), (-1.0, PolicyCell("golden", "", "r0"))
    assert evidence.values_S(contrast("RM_all", *terms)) == pytest.approx([-0.5, 0.0])


def test_rounds_are_compared_on_prompts_that_both_answered(evidence):
    """1 and 2 against 1 and 1; 2 and 3 against 1 and 3."""
    terms = (1.0, PolicyCell("dpo", "wgan", "r2")), (-1.0, PolicyCell("dpo", "wgan", "r1"))
    assert evidence.values_S(contrast("RM_all", *terms)) == pytest.approx([0.5, 0.5])


def test_accuracy_by_hand(evidence):
    """3/4 and 4/4 against 2.5/4 and 3.5/4, a tie as half; in round 2 2/4 and 1/4."""
    assert evidence.values_S(contrast("accuracy", *OVER_BASE)) == pytest.approx([0.125, 0.125])
    assert evidence.values_S(contrast("accuracy", *LATER)) == pytest.approx([-0.25, -0.75])


def test_where_labels_have_probabilities_these_count(evidence, write):
    """Right with 0.9, wrong with 0.8, right with 0.6, equal: (0.9 + 0.2 + 0.6 + 0.5) / 4."""
    write("s0/reward/base", MARGINS["s0/reward/base"], correct=[0.9, 0.2, 0.6, 0.5])
    found = evidence.values_S(contrast("accuracy", (1.0, RewardCell("", "base", "r0"))))
    assert found == pytest.approx([0.55, 0.875])


def test_wins_by_a_judge_are_those_over_sft(evidence, tmp_path):
    """Two wins, a tie and nothing said, against four losses; then the same in both arms."""
    for seed, base in ((0, [0.0] * 4), (1, [1.0, 1.0, 0.5, None])):
        for kind, outcomes in (("base", base), ("wgan", [1.0, 1.0, 0.5, None])):
            rows = [{"id": f"p{number}", "subset": "helpful", "outcome": outcome} for number, outcome in enumerate(outcomes)]
            write_jsonl(tmp_path / f"s{seed}/arms/dpo-{kind}/r2/judge/sft/verdicts.jsonl", rows)
    terms = (1.0, PolicyCell("dpo", "wgan", "r2")), (-1.0, PolicyCell("dpo", "base", "r2"))
    assert evidence.values_S(contrast("judge", *terms)) == pytest.approx([0.75, 0.0])


def test_smallest_effects(evidence, params):
    """SFT's standard deviations are 2 and 4 times the root of a third: their mean is 3 of it."""
    claims = params.claims
    assert evidence.smallest("RM_all") == pytest.approx(claims.smallest_effect * 3 / 3**0.5)
    assert evidence.smallest("accuracy") == claims.smallest_accuracy_effect
    assert evidence.smallest("squared calibration error") == claims.smallest_accuracy_effect**2


def test_missing_margins_and_other_pairs(evidence, tmp_path):
    file = tmp_path / "reward_evaluations/s1/first/reward/wgan/margins.jsonl"
    write_jsonl(file, [{"id": "p", "subset": "harmless", "margin": 1.0, "correct": 1.0}])
    with pytest.raises(DataError, match=f"{file}: 1 pairs that are not those of the other reward models"):
        evidence.values_S(contrast("accuracy", *OVER_BASE))
    rows = [{"id": f"q{n}", "subset": subset, "margin": 1.0, "correct": 1.0} for n, subset in enumerate(SUBSETS)]
    write_jsonl(file, rows)  # as many of each subset, but not the same pairs
    with pytest.raises(DataError, match=f"{file}: 4 pairs that are not those of the other reward models"):
        evidence.values_S(contrast("accuracy", *OVER_BASE))
    file.unlink()
    with pytest.raises(MissingInputError, match=str(file)):
        evidence.values_S(contrast("squared calibration error", *OVER_BASE))
