"""What killed runs leave goes at the next start, and nothing that anyone still works on; one run at a time in a folder."""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import forked
import pytest

from apo_bench.core.processes import scratch_prefix
from pipeline.leftovers import OtherRunError, one_run, take_away

HOLD = """
import sys, time
from pathlib import Path
from pipeline.leftovers import one_run
with one_run(Path(".dvc/tmp")):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def repo(tmp_path, monkeypatch):
    """An empty project, entered, with a folder of temporary files of its own."""
    from dvc.repo import Repo

    monkeypatch.chdir(tmp_path)
    forked.run(tmp_path, "dvc", "init", "--no-scm", "--quiet").check_returncode()
    (tmp_path / "scratch").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "scratch"))
    return Repo()


@pytest.fixture(scope="module")
def ended():
    """The number of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def touched(path: str) -> Path:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text("half")
    return Path(path)


@pytest.mark.parametrize("content", ["", '{"write": {', "[]", '{"write": {"/x": 3}}'])
def test_a_file_of_locks_that_was_cut_short_is_made_anew(repo, content):
    touched(".dvc/tmp/rwlock").write_text(content)
    said = take_away(repo)
    assert "rwlock was cut short when a run was killed, and is made anew" in said and "\n" not in said
    assert take_away(repo) == ""


def test_locks_of_ended_processes_are_released_and_those_of_living_ones_stay(repo, ended):
    living, dead = ({"pid": pid, "cmd": "dvc repro"} for pid in (os.getpid(), ended))
    locks = {"write": {"/a": living, "/b": dead}, "read": {"/c": [living, dead], "/d": [dead]}}
    touched(".dvc/tmp/rwlock").write_text(json.dumps(locks))
    assert "locks of a killed run released" in take_away(repo)
    assert json.loads(Path(".dvc/tmp/rwlock").read_text()) == {"write": {"/a": living}, "read": {"/c": [living]}}
    assert take_away(repo) == ""


def test_a_lock_older_than_the_process_of_its_number_is_nobodys(repo):
    """After a restart of the machine another process has the number."""
    touched(".dvc/tmp/rwlock").write_text(json.dumps({"write": {"/a": {"pid": os.getpid(), "cmd": "dvc repro"}}, "read": {}}))
    os.utime(".dvc/tmp/rwlock", (0, 0))
    take_away(repo)
    assert json.loads(Path(".dvc/tmp/rwlock").read_text()) == {"write": {}, "read": {}}


def test_unfinished_outputs_go_and_finished_ones_stay(repo):
    transfer, cached = f"x.{'a' * 22}.tmp", f".dvc/cache/files/md5/ab/.{'b' * 22}.tmp"
    left = [
        "out/a/.b.partial/weights",
        "out/.c.json.partial",
        "dvc.lock.partial",
        f"out/a/{transfer}",
        cached,
    ]
    kept = ["out/a/b/weights", "out/c.partial.json", "dvc.lock", ".dvc/cache/files/md5/ab/cd", "out/a/x.tmp", "other/.d.partial"]
    for path in (*left, *kept):
        touched(path)
    assert take_away(repo).startswith("removed 5 unfinished files and folders of a killed run, ")
    assert not any(Path(path).exists() for path in left) and all(Path(path).exists() for path in kept)
    assert not Path("out/a/.b.partial").exists()


def test_entries_of_the_run_cache_that_were_only_begun_go(repo):
    """DVC's own run ends in a TypeError where a folder of its run cache has no entry, and in all later ones."""
    code, stages = Path("code"), Path("dvc.yaml")
    code.write_text("1")
    stages.write_text(
        "stages: {a: {cmd: cp code a.txt, deps: [code], outs: [a.txt]}, b: {cmd: cp code b.txt, deps: [code], outs: [b.txt]}}"
    )
    forked.run(Path(), "dvc", "repro", "--quiet").check_returncode()
    first, second = sorted(Path(".dvc/cache/runs").glob("*/*/"))
    [entry] = first.iterdir()
    entry.rename(entry.with_name(f".{'a' * 22}.tmp"))
    empty = second.parent / "no_entry"
    empty.mkdir()
    code.write_text("2")
    forked.run(Path(), "dvc", "repro", "--quiet").check_returncode()
    code.write_text("1")
    assert take_away(repo).startswith("removed 3 unfinished files and folders")
    assert not first.exists() and not empty.exists() and second.exists()
    forked.run(Path(), "dvc", "repro", "--quiet").check_returncode()


def test_what_a_living_process_writes_stays(repo):
    file = touched("out/a/.b.partial")
    living = {"pid": os.getpid(), "cmd": "dvc repro"}
    touched(".dvc/tmp/rwlock").write_text(json.dumps({"write": {str(Path("out/a/b").absolute()): living}, "read": {}}))
    assert take_away(repo) == "" and file.exists()


def test_temporary_folders_of_ended_processes_go(repo, ended):
    folders = {
        name: touched(f"scratch/{name}/socket").parent
        for name in (f"apo-bench-{ended}-x", f"{scratch_prefix()}x", "apo-bench-cache-0", "other")
    }
    assert "removed 1 unfinished files" in take_away(repo)
    assert [name for name, folder in folders.items() if not folder.exists()] == [f"apo-bench-{ended}-x"]


def test_a_second_run_in_a_folder_is_told_who_is_there(repo, root):
    tmp_dir = Path(repo.tmp_dir)
    with subprocess.Popen([sys.executable, "-c", HOLD], stdout=subprocess.PIPE, env=os.environ | {"PYTHONPATH": str(root)}) as first:
        try:
            assert first.stdout.readline() == b"held\n"
            with (
                pytest.raises(OtherRunError, match=rf"another run is at work in this folder, process {first.pid}; wait for its end"),
                one_run(tmp_dir),
            ):
                pass
            Path("elsewhere").mkdir()
            os.chdir("elsewhere")
            with one_run(tmp_dir):
                os.chdir("..")
        finally:
            first.kill()
    deadline = time.monotonic() + 5
    while True:
        try:
            with one_run(tmp_dir):  # a killed run holds nothing
                return
        except OtherRunError:
            assert time.monotonic() < deadline
            time.sleep(0.05)
