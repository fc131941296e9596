"""The example of docs/add-a-method.md is right as it stands: it passes the conformance kit and its own tests."""

import importlib.util
import re
import sys
from pathlib import Path

import pytest
import yaml

from apo_bench.conformance import CHECKS, examine

DOC = Path(__file__).parents[2] / "docs/add-a-method.md"


def block(of: str) -> str:
    """The block of code under the name of a file."""
    example = DOC.read_text(encoding="utf-8").partition("## An example")[2]
    found = re.search(rf"\*\*`{re.escape(of)}`\*\*.*?\n```\w+\n(.*?)\n```\n", example, re.DOTALL)
    assert found, f"{DOC.name} has no block for {of}"
    return found[1] + "\n"


def load(name: str, file: Path):
    spec = importlib.util.spec_from_file_location(name, file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def slic(tmp_path, monkeypatch):
    for path in ("apo_bench/methods/slic.py", "docs/methods/slic.md", "tests/methods/test_slic.py"):
        (tmp_path / Path(path).name).write_text(block(path), encoding="utf-8")
    module = load("apo_bench.methods.slic", tmp_path / "slic.py")
    monkeypatch.setitem(sys.modules, "apo_bench.methods.slic", module)
    return module


def test_example_passes_the_kit(slic):
    section = yaml.safe_load(block("params.yaml"))["slic"]
    method = slic.METHOD(slic.METHOD.Hyperparameters(**section))
    assert {found.check: found.fault for found in examine(method)} == dict.fromkeys(CHECKS)


def test_example_passes_its_tests(slic, tmp_path):
    module = load("test_slic", tmp_path / "test_slic.py")
    tests = [value for name, value in vars(module).items() if name.startswith("test_")]
    assert len(tests) == 2
    for test in tests:
        test()
