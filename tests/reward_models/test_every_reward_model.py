"""The conformance kit on every module of apo_bench/reward_models, as the profiles set it."""

import re
from pathlib import Path

import pytest

from apo_bench.config.plugins import modules
from apo_bench.conformance import fault_of
from apo_bench.conformance.lookup import find_reward_model
from apo_bench.conformance.reward_models import CHECKS

ROOT = Path(__file__).parents[2]
NAMES = modules("apo_bench.reward_models", "player")


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("name", NAMES)
def test_conforms(name: str, check: str) -> None:
    fault = fault_of(CHECKS[check], find_reward_model(name, ROOT / "params.yaml"))
    assert fault is None, f"{check}: {fault}"


@pytest.mark.parametrize("name", NAMES)
def test_a_reward_model_has_all_its_code_in_its_file(name: str) -> None:
    text = (ROOT / f"apo_bench/reward_models/{name}.py").read_text(encoding="utf-8")
    assert set(re.findall(r"apo_bench\.reward_models(?:\.| import )(\w+)", text)) <= {"player"}
