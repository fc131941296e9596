"""The README's run in git (benchmarks/result.py), on a run made by hand."""

import gzip
import json
import subprocess
from pathlib import Path

import pytest

from apo_bench.core.errors import DataError, MissingInputError
from benchmarks import result

LOCK = """schema: '2.0'
stages:
  score:
    cmd: x
    outs:
    - path: out/models/a
      md5: {a}
    - path: out/times/a.json
      md5: {t}
"""


@pytest.fixture
def run(tmp_path, monkeypatch, root):
    """A finished run in a folder of git; its stages are not asked."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(result, "sealed", lambda: 2)
    for name, text in {
        "params.yaml": (root / "params.yaml").read_text(),
        "dvc.lock": LOCK.format(a="aa", t="11"),
        "report/summary.json": '{"policies": {}}',
        "out/results/s0/sft/environment.json": '{"device": "a processor", "torch": "2.13.0"}',
        "out/times/a.json": '{"cpu_seconds": 1.6}',
    }.items():
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text(text)
    for command in (
        ["init", "--quiet"],
        ["add", "params.yaml"],
        ["-c", "user.name=A", "-c", "user.email=a@b.c", "commit", "--quiet", "-m", "m"],
    ):
        subprocess.run(["git", *command], check=True)
    return tmp_path


def test_what_is_kept_says_how_it_was_made_and_is_the_run(run):
    assert result.keep().startswith("2 stages of commit ")
    kept = result.KEPT
    assert gzip.decompress((kept / "summary.json.gz").read_bytes()) == Path("report/summary.json").read_bytes()
    made = json.loads((kept / "run.json").read_text())
    assert made["device"] == ["a processor"] and made["torch"] == ["2.13.0"] and made["cpu_seconds"] == 2 and made["num_stages"] == 2
    assert made["commit"] == subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
    before = {file: file.read_bytes() for file in kept.iterdir()}
    result.keep()
    assert before == {file: file.read_bytes() for file in kept.iterdir()}


@pytest.mark.parametrize(("a", "same"), [("aa", "1 of 1 outputs are"), ("bb", "0 of 1 outputs are")])
def test_another_run_is_compared_by_bytes_and_not_by_its_seconds(run, a, same):
    result.keep()
    Path("dvc.lock").write_text(LOCK.format(a=a, t="22"))
    said = result.compare()
    assert said.startswith(same) and "on a processor" in said and ("out/models/a" in said) == (a == "bb")


def test_a_run_that_is_of_no_commit_is_not_kept(run):
    Path("params.yaml").write_text(Path("params.yaml").read_text() + "# mine\n")
    with pytest.raises(DataError, match=r"^params\.yaml: differs from the commit"):
        result.keep()


def test_a_run_with_stages_to_run_is_not_kept(run, monkeypatch):
    monkeypatch.setattr(result, "sealed", lambda: None)
    with pytest.raises(DataError, match="run `make repro` once more"):
        result.keep()


def test_without_a_kept_run_there_is_nothing_to_compare_with(run):
    with pytest.raises(MissingInputError, match="no run is kept there"):
        result.compare()


def test_the_readme_shows_the_kept_run(root):
    """Its policies' gold, where a run is kept."""
    kept = root / result.KEPT / "summary.json.gz"
    if not kept.is_file():
        pytest.skip("no run is kept")
    policies = json.loads(gzip.decompress(kept.read_bytes()))["policies"]
    found = policies["sft"]["rounds"]["r0"]["gold"]
    row = next(line for line in (root / "README.md").read_text().splitlines() if line.startswith("| SFT |"))
    assert f"| {found['value']:.2f} [{found['low']:.2f}, {found['high']:.2f}] |" in row
