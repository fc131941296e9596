"""Contrasts from files, by hand; the calibration error also by simulation."""

import numpy as np
import pytest

from apo_bench.claims.evidence import Evidence, calibration_errors
from apo_bench.claims.inference import infer
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
            {"id": f"p{n}", "subset": subset, "margin": margin} for n, (subset, margin) in enumerate(zip(SUBSETS, margins, strict=True))
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


def test_squared_calibration_error_by_hand():
    """Margins log 4 and -log 4 three times and once: confidence 0.8, right in 3 of 4.

    Gaps of the pairs -0.2, -0.2, -0.2, 0.8: mean 0.05, mean square (3 * 0.04 + 0.64) / 4 = 0.19, variance of the mean
    (0.19 - 0.0025) / 3 = 0.0625. 0.0025 - 0.0625 = -0.06.
    """
    margins = np.log(4.0) * np.array([[1.0, 1.0, 1.0, -1.0]])
    assert calibration_errors(margins, np.ones((1, 4))).tolist() == [[pytest.approx(-0.06)]]
    twice = calibration_errors(margins[:, [0, 0, 3]], np.ones((1, 3)))
    assert calibration_errors(margins, np.array([[2.0, 0.0, 0.0, 1.0]])).tolist() == twice.tolist()
    assert calibration_errors(np.array([[9.0]]), np.ones((1, 1))).tolist() == [[0.0]]


def test_squared_calibration_error_has_no_bias_and_intervals_are_not_too_short():
    """A calibrated model against one that is 1.5 times as sure: the truth from 400,000 pairs, 300 runs of 512 pairs with three seeds."""
    rng = np.random.default_rng(0)

    def margins(size, sureness):
        true_P = rng.normal(0.0, 1.2, size=size)
        is_right_P = rng.random(size) < 1 / (1 + np.exp(-true_P))
        return np.stack([np.where(is_right_P, sure * true_P, -sure * true_P) for sure in sureness])

    truth = np.subtract(*calibration_errors(margins(400_000, (1.5, 1.0)), np.ones((1, 400_000)))[0])
    assert truth > 0.003
    values, covered = [], []
    for _ in range(300):
        sure, calibrated = margins(512, (1.5, 1.0))
        counts = rng.multinomial(512, np.full(512, 1 / 512), size=200).astype(float)
        once, draws = (np.subtract(*calibration_errors(np.stack([sure, calibrated]), by).T) for by in (np.ones((1, 512)), counts))
        found = infer(once, draws[:, None], 512, 0.95)
        values.append(found.value)
        covered.append(found.low <= truth <= found.high)
    assert np.mean(values) == pytest.approx(truth, abs=3 * np.std(values) / 300**0.5)
    assert np.mean(covered) >= 0.93


def test_missing_margins_and_other_pairs(evidence, tmp_path):
    file = tmp_path / "first/s1/reward/wgan/margins.jsonl"
    write_jsonl(file, [{"id": "p", "subset": "harmless", "margin": 1.0}])
    with pytest.raises(DataError, match=f"{file}: 1 pairs that are not those of the other reward models"):
        evidence.infer(contrast("accuracy", *OVER_BASE))
    rows = [{"id": f"q{n}", "subset": subset, "margin": 1.0} for n, subset in enumerate(SUBSETS)]
    write_jsonl(file, rows)  # as many of each subset, but not the same pairs
    with pytest.raises(DataError, match=f"{file}: 4 pairs that are not those of the other reward models"):
        evidence.infer(contrast("accuracy", *OVER_BASE))
    file.unlink()
    with pytest.raises(MissingInputError, match=str(file)):
        evidence.infer(contrast("squared calibration error", *OVER_BASE))
