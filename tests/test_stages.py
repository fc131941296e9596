"""Which stages of the graph have to run: what has changed, what an arm needs, what a profile that has not run yet needs."""

import errno
import logging
import os
import shutil
import subprocess
from pathlib import Path

import forked
import pytest
import yaml
from dvc.repo import lock_repo
from dvc_objects.fs.local import LocalFileSystem
from fsspec.implementations.memory import MemoryFileSystem
from stages_file import with_own_models

from apo_bench.config.params import load_params
from apo_bench.core.errors import ConfigError
from apo_bench.stages import TRANSFERS, changed_stages, parse_params_once, raise_failed_transfers, stage_graph, stage_index, stages_of_arm

STAGES = {
    "a": {"cmd": "echo a > a.txt", "deps": ["code"], "params": ["one"], "outs": ["a.txt"]},
    "b": {"cmd": "mkdir b && cp a.txt b/b.txt", "deps": ["a.txt"], "params": ["two.three"], "outs": ["b"]},
    "c": {"cmd": "cp b/b.txt c.txt", "deps": ["b"], "outs": ["c.txt"]},
    "d": {"cmd": "echo d > d.txt", "deps": ["code"], "outs": [{"d.txt": {"cache": False}}]},
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A project of four stages that have run."""
    folder = tmp_path_factory.mktemp("finished")
    (folder / "code").mkdir()
    (folder / "code/one.py").write_text("1")
    (folder / "params.yaml").write_text("one: 1\ntwo: {three: 3, four: 4}\n")
    (folder / "dvc.yaml").write_text(yaml.safe_dump({"stages": STAGES}, sort_keys=False))
    for command in (["init", "--no-scm", "--quiet"], ["repro", "--quiet"]):
        forked.run(folder, "dvc", *command).check_returncode()
    return folder


def change_cache(folder: Path) -> None:
    """The content of c.txt, which a.txt has as well."""
    [file] = [file for file in (folder / ".dvc/cache/files/md5").rglob("*") if file.is_file() and file.read_text() == "a\n"]
    file.unlink()


def change_lock(folder: Path) -> None:
    lock = yaml.safe_load((folder / "dvc.lock").read_text())
    del lock["stages"]["b"]
    (folder / "dvc.lock").write_text(yaml.safe_dump(lock))


CHANGES = {
    "nothing": (lambda folder: None, ""),
    "code": (lambda folder: (folder / "code/two.py").write_text("2"), "abcd"),
    "a param": (lambda folder: (folder / "params.yaml").write_text("one: 2\ntwo: {three: 3, four: 4}\n"), "abc"),
    "a param below": (lambda folder: (folder / "params.yaml").write_text("one: 1\ntwo: {three: 4, four: 4}\n"), "bc"),
    "a param that is not there": (lambda folder: (folder / "params.yaml").write_text("one: 1\ntwo: {four: 4}\n"), "bc"),
    "a param of no stage": (lambda folder: (folder / "params.yaml").write_text("one: 1\ntwo: {three: 3, four: 5}\n"), ""),
    "an output": (lambda folder: (folder / "b/b.txt").write_text("else"), "bc"),
    "an output that is not there": (lambda folder: (folder / "c.txt").unlink(), "c"),
    "an output that is not cached": (lambda folder: (folder / "d.txt").unlink(), "d"),
    "the cache": (change_cache, "abc"),
    "dvc.lock": (change_lock, "bc"),
    "a command": (lambda folder: (folder / "dvc.yaml").write_text((folder / "dvc.yaml").read_text().replace("cp b/", "cp ./b/")), "c"),
}


@pytest.mark.parametrize("what", CHANGES)
def test_what_has_changed_is_what_dvc_says_and_what_follows(finished, tmp_path, monkeypatch, what):
    from dvc.repo import lock_repo

    folder = shutil.copytree(finished, tmp_path / "copy")
    change, expected = CHANGES[what]
    change(folder)
    monkeypatch.chdir(folder)
    index = stage_index()
    order, parents = stage_graph(index)
    stages = {stage.addressing: stage for stage in index.stages}
    assert changed_stages(stages, order, parents) == set(expected)
    assert not MemoryFileSystem.store, "listings of folders, which DVC goes through at each further one"
    with lock_repo(index.repo):
        changed = {name for name, stage in stages.items() if stage.changed()}
    assert changed <= set(expected) and all(name in changed or parents[name] & set(expected) for name in expected)


@pytest.fixture(scope="module")
def arms(tmp_path_factory, root):
    """The stages of the default profile with two seeds, by name, their parents and the params."""
    folder = tmp_path_factory.mktemp("arms")
    shutil.copy(root / "dvc.yaml", folder)
    params = yaml.safe_load((root / "params.yaml").read_text())
    params["run"]["seeds"] = [0, 1]
    (folder / "params.yaml").write_text(yaml.safe_dump(params))
    forked.run(folder, "dvc", "init", "--no-scm", "--quiet").check_returncode()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        index = stage_index()
        _, parents = stage_graph(index)
        return {stage.addressing: stage for stage in index.stages}, parents, load_params(Path("params.yaml"))


def test_an_arm_needs_its_own_stages_and_what_they_come_from(arms):
    stages, parents, params = arms
    found = stages_of_arm("dpo-adversarial", stages, parents, params)
    own = {name for name in found if "dpo" in name}
    kinds = ("sample", "sample_golden", "adversarial_reward", "evaluate_reward", "score", "align", "respond", "evaluate")
    later = {f"{kind}@dpo-adversarial-{seed}-round{number}" for kind in kinds for seed in (0, 1) for number in (0, 1)}
    assert own == later | {
        f"{kind}@dpo-adversarial-{seed}" for kind in ("align_first", "respond_first", "evaluate_first") for seed in (0, 1)
    }
    shared = ("labels@", "sft@", "reward_all@", "sample_first@", "sample_golden_first@")
    first = ("adversarial_reward_first@adversarial-", "evaluate_reward_first@adversarial-", "score_first@adversarial-")
    assert found - own == {"prepare", "base_model", *(f"{kind}{seed}" for kind in (*shared, *first) for seed in (0, 1))}
    base = stages_of_arm("rjs-base", stages, parents, params)
    assert {"reward@base-0", "evaluate_reward_fixed@base-1"} <= base and not any("adversarial" in name or "golden" in name for name in base)


def test_an_arm_that_is_not_there_is_told_with_the_near_ones(arms):
    with pytest.raises(ConfigError, match=r"^arm: found 'dpo-adversrial'; did you mean dpo-adversarial"):
        stages_of_arm("dpo-adversrial", *arms)


def test_a_profile_gets_the_stages_of_the_root_when_it_is_first_read(finished, tmp_path, monkeypatch):
    root = shutil.copytree(finished, tmp_path / "copy")
    profile = root / "profiles/mine"
    profile.mkdir(parents=True)
    shutil.copy(root / "params.yaml", profile)
    monkeypatch.chdir(profile)
    assert len(stage_index("../..").stages) == 4
    assert Path("dvc.yaml").is_symlink() and Path("dvc.yaml").samefile(root / "dvc.yaml")
    Path("dvc.yaml").unlink()
    Path("dvc.yaml").write_text("stages: {e: {cmd: 'true'}}")
    assert [stage.addressing for stage in stage_index("../..").stages] == ["e"], "one of its own stays"


def test_profiles_that_have_not_run_are_nothing_to_dvc(root):
    """Else `dvc pull` asks for what they would have made and fails, and each command reads thousands of stages."""
    tracked = subprocess.run(["git", "ls-files", "profiles"], cwd=root, capture_output=True, text=True, check=True).stdout.split()
    if not tracked:
        pytest.skip("not a checkout of git")
    locked = {Path(file).parent for file in tracked if file.endswith("dvc.lock")}
    assert {Path(file).parent for file in tracked if file.endswith("dvc.yaml")} <= locked


def test_models_of_ones_own_have_stages_only_if_there_are_any(arms, root, tmp_path, monkeypatch):
    """By their names, which DVC takes from the keys of a mapping; the default has none of them."""
    stages, *_ = arms
    assert not any("own" in name for name in stages)
    shutil.copy(root / "dvc.yaml", tmp_path)
    params = with_own_models(yaml.safe_load((root / "params.yaml").read_text()))
    params["run"]["seeds"] = [0, 1]
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params))
    forked.run(tmp_path, "dvc", "init", "--no-scm", "--quiet").check_returncode()
    monkeypatch.chdir(tmp_path)
    index = stage_index()
    _, parents = stage_graph(index)
    own = {name for name in parents if "own" in name.split("@")[0] or name.startswith("score_responses")}
    later = {f"score_own@{method}-judge-{seed}-round{number}" for method in ("rjs", "rrhf", "dpo") for seed in (0, 1) for number in (0, 1)}
    scored = ("score_own_first@judge", "score_responses@judge")
    assert own - later == {
        *("own_policy@mine", "own_reward@judge", "evaluate_reward_own@judge"),
        *(f"{kind}-{seed}" for kind in ("respond_own@mine", "evaluate_own@mine", *scored) for seed in (0, 1)),
    }
    assert "own_policy@mine" in parents["respond_own@mine-0"] and "respond_own@mine-0" in parents["score_responses@judge-0"]
    assert {"own_reward@judge", "respond@dpo-judge-1-round1"} <= parents["score_responses@judge-1"]


def test_params_are_parsed_once_for_all_stages_and_anew_when_they_change(finished, tmp_path, monkeypatch):
    from dvc.utils import serialize

    shutil.copytree(finished, tmp_path / "run")
    monkeypatch.chdir(tmp_path / "run")
    monkeypatch.setitem(serialize.LOADERS, ".yaml", serialize.load_yaml)
    parsed = []
    load_yaml = serialize.load_yaml
    monkeypatch.setattr(serialize, "load_yaml", lambda path, **settings: parsed.append(path) or load_yaml(path, **settings))
    index = stage_index()
    parse_params_once()
    params = {stage.name: stage.params[0] for stage in index.stages if stage.params}
    for _ in range(2):
        assert [params[name].read_params() for name in "ab"] == [{"one": 1}, {"two.three": 3}]
        assert not params["a"].status() and not params["b"].status()
    assert len(parsed) == 1
    Path("params.yaml").write_text("one: 10\ntwo: {three: 3}\n")
    assert params["a"].read_params() == {"one": 10} and params["a"].status() and not params["b"].status()
    assert len(parsed) == 2


def is_full(*_, **__):
    """In the place of what copies a file."""
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_file_that_cannot_be_cached_is_no_line_of_dvcs_but_an_error(finished, tmp_path, monkeypatch):
    """DVC would tell of it, go on, and enter in dvc.lock what its cache lacks."""
    monkeypatch.chdir(shutil.copytree(finished, tmp_path / "copy"))
    shutil.rmtree(".dvc/cache")
    for way in ("put_file", "link", "hardlink", "reflink", "symlink"):
        monkeypatch.setattr(LocalFileSystem, way, is_full)
    for logger in map(logging.getLogger, TRANSFERS):
        monkeypatch.setattr(logger, "filters", [])
    raise_failed_transfers()
    [stage] = [stage for stage in stage_index().stages if stage.addressing == "b"]
    with lock_repo(stage.repo), pytest.raises(OSError, match="No space left"):
        stage.reproduce(force=True)
