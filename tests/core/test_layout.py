"""Where stages leave what they make: which reward model trains an arm's policy in a round."""

from pathlib import Path

import pytest

from apo_bench.core.layout import Arm

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
    assert [arm.reward(MODELS, round_id, ["base"], ["mine"]) for round_id in ("r1", "r2")] == [MODELS / first, MODELS / later]
