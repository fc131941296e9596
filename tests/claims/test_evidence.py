"""Contrasts from files, by hand."""

import numpy as np
import pytest

from apo_bench.claims.evidence import Evidence
from apo_bench.claims.paper import Contrast, PolicyCell, RewardCell
from apo_bench.core.errors import DataError, MissingInputError
from apo_bench.core.files import write_jsonl
from apo_bench.evaluation.statistics import PromptBootstrap

SUBSETS = ["helpful", "helpful", "harmless", "harmless"]
MARGINS = {
    "reward/base": [1.0, -1.0, 1.0, 0.0],
    "first/s0/reward/wgan": [2.0, 2.0, 2.0, -1.0],
    "first/s1/reward/wgan": [2.0, 2.0, 2.0, 1.0],
}
SCORES = {"dpo-base-s0": [0, 0, 0, 0], "dpo-base-s1": [1, 1, 1, 1], "dpo-wgan-s0": [1, 2, 3, -2], "dpo-wgan-s1": [2, 3, 4, 1]}


@pytest.fixture
def evidence(params, tmp_path):
    for folder, margins in MARGINS.items():
        rows = [
            {"id": f"p{n}", "subset": subset, "margin": margin, "correct": 0.5 + 0.5 * np.sign(margin)}
            for n, (subset, margin) in enumerate(zip(SUBSETS, margins, strict=True))
        ]
        write_jsonl(tmp_path / folder / "margins.jsonl", rows)
    two_seeds = params.model_copy(update={"run": params.run.model_copy(update={"seeds": [0, 1]})})
    columns = {(arm, "r1"): {"reward_all": np.array(values, dtype=float)} for arm, values in SCORES.items()}
    columns |= {("golden", "r0"): {"reward_all": np.zeros(4)}}
    return Evidence(tmp_path, two_seeds, columns, PromptBootstrap(SUBSETS, 2000, 0.95, 0))


def contrast(measure, *terms):
    return Contrast("words", measure, terms)


OVER_BASE = ((1.0, RewardCell("dpo", "wgan", "r1")), (-1.0, RewardCell("", "base", "r0")))


def test_scores_by_hand(evidence):
    """Differences 1, 2, 3, -2 and 1, 2, 3, 0: means 1 and 1.5."""
    found = evidence.infer(contrast("RM_all", (1.0, PolicyCell("dpo", "wgan", "r1")), (-1.0, PolicyCell("dpo", "base", "r1"))))
    assert found.value == pytest.approx(1.25) and found.low < 1.25 < found.high


def test_wins_by_hand(evidence):
    """Three wins and a loss, three wins and a tie: 0.25 and 0.375 above one half."""
    terms = ((1.0, PolicyCell("dpo", "wgan", "r1")), (-1.0, PolicyCell("dpo", "base", "r1")))
    assert evidence.infer(contrast("wins by RM_all", *terms)).value == pytest.approx((0.25 + 0.375) / 2)


def test_a_reference_is_the_same_in_every_seed(evidence):
    terms = ((1.0, PolicyCell("dpo", "base", "r1")), (-1.0, PolicyCell("golden", "", "r0")))
    assert evidence.infer(contrast("RM_all", *terms)).value == pytest.approx(0.5)


def test_accuracy_by_hand(evidence):
    """3/4 and 4/4 against 2.5/4, a tie as half."""
    assert evidence.infer(contrast("accuracy", *OVER_BASE)).value == pytest.approx(0.875 - 0.625)


def test_missing_margins_and_other_pairs(evidence, tmp_path):
    file = tmp_path / "first/s1/reward/wgan/margins.jsonl"
    write_jsonl(file, [{"id": "p", "subset": "harmless", "margin": 1.0, "correct": 1.0}])
    with pytest.raises(DataError, match=f"{file}: 1 pairs that are not those of the other reward models"):
        evidence.infer(contrast("accuracy", *OVER_BASE))
    rows = [{"id": f"q{n}", "subset": subset, "margin": 1.0, "correct": 1.0} for n, subset in enumerate(SUBSETS)]
    write_jsonl(file, rows)  # as many of each subset, but not the same pairs
    with pytest.raises(DataError, match=f"{file}: 4 pairs that are not those of the other reward models"):
        evidence.infer(contrast("accuracy", *OVER_BASE))
    file.unlink()
    with pytest.raises(MissingInputError, match=str(file)):
        evidence.infer(contrast("squared calibration error", *OVER_BASE))
