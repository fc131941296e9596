"""The note that nothing has to run holds until something has changed that DVC would see."""

import os
import shutil
from pathlib import Path

import forked
import pytest
import yaml

from pipeline import seal
from pipeline.seal import Seal, look_at_controls, sealed

STAGES = {
    "a": {"cmd": "mkdir -p out && cp code/one.py out/a.txt", "deps": ["code"], "params": ["one"], "outs": ["out/a.txt"]},
    "b": {"cmd": "mkdir -p out/b && cp out/a.txt out/b", "deps": ["out/a.txt"], "outs": ["out/b"]},
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A project whose stages have run, and been found up to date."""
    folder = tmp_path_factory.mktemp("finished")
    (folder / "code/__pycache__").mkdir(parents=True)
    (folder / "code/one.py").write_text("1")
    (folder / ".dvcignore").write_text("__pycache__\n*.pyc\n")
    (folder / "params.yaml").write_text("one: 1\n")
    (folder / "dvc.yaml").write_text(yaml.safe_dump({"stages": STAGES}, sort_keys=False))
    for command in (["init", "--no-scm", "--quiet"], ["repro", "--quiet"]):
        forked.run(folder, "dvc", *command).check_returncode()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert sealed() is None
        look_and_seal()
        assert sealed() == 2
    return folder


def look_and_seal() -> None:
    from apo_bench.stages import stage_index

    controls = look_at_controls()
    index = stage_index()
    Seal(index.repo, index.stages, controls).write()


def rewrite(path: str) -> None:
    """The same content in another file of the name, as an editor saves it."""
    content = Path(path).read_bytes()
    Path("scratch").write_bytes(content)
    os.replace("scratch", path)


CHANGES = {
    "code": lambda: Path("code/one.py").write_text("2"),
    "code of the same size": lambda: (Path("code/one.py").write_text("2"), os.utime("code/one.py", ns=(7, 7))),
    "more code": lambda: Path("code/two.py").write_text("2"),
    "less code": lambda: Path("code/one.py").unlink(),
    "an output": lambda: Path("out/b/a.txt").write_text("2"),
    "an output that is not there": lambda: Path("out/a.txt").unlink(),
    "a folder that is not there": lambda: shutil.rmtree("out/b"),
    "params": lambda: rewrite("params.yaml"),
    "dvc.yaml": lambda: rewrite("dvc.yaml"),
    "dvc.lock": lambda: Path("dvc.lock").unlink(),
    "the cache": lambda: next(file for file in Path(".dvc/cache/files/md5").rglob("*") if file.is_file()).unlink(),
    "the whole cache": lambda: shutil.rmtree(".dvc/cache"),
    "settings": lambda: Path(".dvc/config.local").write_text("[cache]\n    dir = elsewhere\n"),
    "what is ignored": lambda: Path(".dvcignore").write_text(""),
    "the seal": lambda: Path(seal.SEAL).write_text("{}"),
}


@pytest.mark.parametrize("what", CHANGES)
def test_any_change_breaks_it(finished, monkeypatch, tmp_path, what):
    monkeypatch.chdir(shutil.copytree(finished, tmp_path / "copy"))
    look_and_seal()  # a copy has other inodes
    assert sealed() == 2
    CHANGES[what]()
    assert sealed() is None


def test_what_dvc_ignores_does_not_break_it(finished, monkeypatch, root):
    monkeypatch.chdir(finished)
    Path("code/__pycache__/one.cpython.pyc").write_text("compiled")
    Path("code/two.pyc").write_text("compiled")
    Path("out/log.txt").write_text("no stage's")
    assert sealed() == 2
    assert {seal.IGNORED_FOLDER, f"*{seal.IGNORED_SUFFIX}"} == set((root / ".dvcignore").read_text().split())


def test_a_change_while_dvc_looks_breaks_it(finished, monkeypatch, tmp_path):
    from apo_bench.stages import stage_index

    monkeypatch.chdir(shutil.copytree(finished, tmp_path / "copy"))
    controls = look_at_controls()
    index = stage_index()
    rewrite("params.yaml")
    found = Seal(index.repo, index.stages, controls)
    found.write()
    assert sealed() is None
    Seal(index.repo, index.stages, look_at_controls()).write()
    assert sealed() == 2
