"""Where stages leave what they make: what arms share in round 1, and what is no place."""

from pathlib import Path

import pytest

from apo_bench.core.errors import ConfigError
from apo_bench.core.layout import Arm, round_number, times_file

MODELS = Path("out/models")


@pytest.mark.parametrize(
    ("kind", "first", "later"),
    [
        ("base", "s3/reward/base", "s3/reward/base"),
        ("adversarial", "s3/first/reward/adversarial", "s3/arms/dpo-adversarial/r2/reward"),
        ("base_after_golden", "s3/reward/base", "s3/reward/base"),
        ("mine", "own/reward/mine", "own/reward/mine"),
    ],
)
def test_the_reward_model_of_a_round(kind, first, later):
    arm = Arm("dpo", kind, 3)
    assert [arm.reward(MODELS, round_id, ["mine"]) for round_id in ("r1", "r2")] == [MODELS / first, MODELS / later]


@pytest.mark.parametrize(
    ("arm", "samples", "policy"),
    [
        (Arm("dpo", "adversarial", 0), "s0/first/lm.jsonl", "s0/sft"),
        (Arm("", "", 0), "s0/first/lm.jsonl", "s0/sft"),
        (Arm("dpo", "base_after_golden", 0), "s0/first/base_after_golden/lm.jsonl", "s0/references/golden"),
    ],
)
def test_arms_share_the_samples_of_their_start(arm, samples, policy):
    assert arm.samples(Path("out/samples"), "r1", "lm") == Path("out/samples") / samples
    assert arm.policy_before(MODELS, "r1") == MODELS / policy


def test_a_later_round_begins_with_the_policy_of_the_round_before():
    arm = Arm("dpo", "adversarial", 1)
    assert arm.policy_before(MODELS, "r3") == arm.policy(MODELS, "r2") == MODELS / "s1/arms/dpo-adversarial/r2/policy"


def test_what_is_no_place_is_told():
    with pytest.raises(ConfigError, match=r"arm: found '' and 'base', expected a method and a reward model; only in r1"):
        Arm("", "base", 0).score(MODELS, "r2")
    with pytest.raises(ConfigError, match=r"round: found '2', expected r1, r2"):
        round_number("2")


def test_seconds_stand_beside_the_results_in_a_folder_of_their_own():
    assert times_file(Path("out/results/first/s0/score/base")) == Path("out/times/first/s0/score/base.json")
    assert times_file(Path("results/out/results/sft")) == Path("results/out/times/sft.json")
