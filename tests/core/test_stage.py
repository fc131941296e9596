"""Commands of dvc.yaml are parsed to stages and coordinates, and each stage says what it makes for an arm and how much work it is."""

import importlib
from pathlib import Path

import pytest

from apo_bench.core.stage import Command, Stage, Step

FILES = sorted(file.stem for file in (Path(__file__).parents[2] / "pipeline/stages").glob("[!_]*.py"))


def test_a_command_is_a_stage_at_its_coordinates():
    found = Command.of("exec python -m pipeline evaluate_reward --own --reward-model mine --seed 0\n")
    assert (found.script, found.coordinates) == ("evaluate_reward", {"own": True, "reward_model": "mine", "seed": "0"})
    assert Command.of("exec python -m pipeline track").coordinates == {}


@pytest.mark.parametrize("command", ["python my_own.py --half rm", "exec python -m pipeline my_own", "make pipeline"])
def test_of_a_stage_of_somebody_else_nothing_is_known(command):
    found = Command.of(command)
    assert found.module is None and found.stage == Stage()


@pytest.mark.parametrize(
    ("command", "step"),
    [
        ("sample --half rm --seed 0 --round r1", Step.GOLDEN_SAMPLES),
        ("sample --half lm --seed 0 --round r1", Step.SAMPLES),
        ("reward --reward-model all --seed 0", Step.TEST_REWARD_MODEL),
        ("reward --reward-model base --seed 0", Step.REWARD_MODEL),
        ("respond --reference sft --seed 0 --round r0", Step.RESPONSES_OF_SFT),
        ("respond --method dpo --reward-model base --seed 0 --round r1", Step.RESPONSES),
        ("judge_human --provider gold --pairs pairs_test", None),
    ],
)
def test_the_step_hangs_on_the_coordinates_where_a_script_makes_two(command, step):
    found = Command.of(f"exec python -m pipeline {command}")
    assert found.stage.step_at(found.coordinates) == step


@pytest.mark.parametrize("name", FILES)
def test_what_runs_models_says_on_how_many_tokens(name):
    """But for the two that only check models and make them ready."""
    module = importlib.import_module(f"pipeline.stages.{name}")
    assert hasattr(module, "work") == (module.STAGE.is_recorded and name not in ("own_policy", "own_reward"))
