"""A new reward model passes its test and the kit at once in a copy of the repository, and leaves no trace if it is refused."""

import shutil
import subprocess
import sys
from pathlib import Path

import forked
import pytest
import yaml

ROOT = Path(__file__).parents[2]
COPIED = ("apo_bench", "pipeline", "docs/reward_models", "tests/reward_models", "params.yaml", "pyproject.toml")
FILES = ("apo_bench/reward_models/my_own.py", "tests/reward_models/test_my_own.py", "docs/reward_models/my_own.md")


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """What of the repository a new reward model touches and needs."""
    for name in COPIED:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs a module on the copy's own code."""
    return forked.run(folder, sys.executable, "-m", *arguments, code=folder, PYTHONDONTWRITEBYTECODE="1")


def test_it_passes_its_test_and_the_kit_at_once(copy: Path) -> None:
    before = yaml.safe_load((copy / "params.yaml").read_text())
    done = run(copy, "apo_bench.cli", "new-reward-model", "my_own")
    assert done.returncode == 0, done.stderr
    assert all((copy / file).is_file() and f"  {file}: " in done.stdout for file in FILES)
    after = yaml.safe_load((copy / "params.yaml").read_text())
    assert after["reward"].pop("my_own") == before["reward"]["base"] and after == before
    checked = run(copy, "apo_bench.cli", "check-reward-model", "my_own")
    assert checked.returncode == 0 and "check-reward-model: my_own passes" in checked.stdout, checked.stdout + checked.stderr
    tested = run(copy, "pytest", "-q", "-p", "no:cacheprovider", "tests/reward_models/test_my_own.py")
    assert tested.returncode == 0, tested.stdout


def test_a_fault_is_exit_status_one(copy: Path) -> None:
    assert run(copy, "apo_bench.cli", "new-reward-model", "my_own").returncode == 0
    (copy / FILES[2]).unlink()
    checked = run(copy, "apo_bench.cli", "check-reward-model", "my_own")
    assert checked.returncode == 1 and "page            FAILS  my_own.md: no such page" in checked.stdout


@pytest.mark.parametrize("name", ["adversarial", "base", "Mine", "class"])
def test_refusals_leave_nothing(copy: Path, name: str) -> None:
    before = (copy / "params.yaml").read_text()
    done = run(copy, "apo_bench.cli", "new-reward-model", name)
    assert done.returncode == 1 and done.stdout == "" and done.stderr.count("\n") == 1, done.stderr
    assert (copy / "params.yaml").read_text() == before
