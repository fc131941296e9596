"""DVC's graph on places: commands see the devices that they were given, and dvc.lock is what `dvc repro` would have written."""

import json
import logging
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from unittest.mock import patch

import forked
import psutil
import pytest
import yaml
from fsspec.implementations.memory import MemoryFileSystem
from stages_file import written_stages

from apo_bench.config.params import PARAMS, load_params
from apo_bench.engines.devices import Need
from apo_bench.scheduling import Host
from apo_bench.stages import stage_graph, stage_index
from pipeline import repro, workers
from pipeline.lock_file import LockFile
from pipeline.profile import Profile
from pipeline.repro import reproduce
from pipeline.workers import StageError

PROGRAM = """
import glob, json, os, sys, time
started = time.monotonic()
open(sys.argv[1] + ".begun", "w").close()
if "arm" in sys.argv[1]:  # until as many run as there is room for, or it is clear that they do not
    while len(glob.glob("arm*.begun")) < 4 and time.monotonic() < started + 60:
        time.sleep(0.05)
if len(sys.argv) > 2:
    raise SystemExit(3)
record = {"devices": os.environ.get("CUDA_VISIBLE_DEVICES", ""), "started": started, "ended": time.monotonic()}
print(json.dumps(record), file=open(sys.argv[1] + ".seen", "w"))
print(sys.argv[1], file=open(sys.argv[1], "w"))
"""


def write_stages(folder: Path, parents: dict[str, list[str]], failing: str = "") -> None:
    """A dvc.yaml of stages that note where and when they ran beside what DVC knows of."""
    (folder / "note.py").write_text(PROGRAM)
    stages = {
        name: {
            "cmd": f"exec {sys.executable} note.py {name}.txt {'fail' if name == failing else ''}".strip(),
            "deps": [f"{parent}.txt" for parent in before],
            "outs": [f"{name}.txt"],
        }
        for name, before in parents.items()
    }
    (folder / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages}))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty project, entered."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SHELL", "/bin/sh")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    forked.run(tmp_path, "dvc", "init", "--no-scm", "--quiet").check_returncode()
    return tmp_path


def read(needs: dict[str, Need]) -> Profile:
    index = stage_index()
    order, parents = stage_graph(index)
    return Profile(index.repo, {stage.addressing: stage for stage in index.stages}, order, parents, needs)


def seen(name: str) -> dict:
    return json.loads(Path(f"{name}.txt.seen").read_text())


def test_commands_see_their_devices_and_share_them_as_they_may(folder):
    """Eight stages on two fake devices, two on each; one has a device for itself, one has none, and one comes last and has both."""
    arms = [f"arm{number}" for number in range(8)]
    write_stages(folder, {name: [] for name in [*arms, "whole", "judge"]} | {"last": arms})
    needs = dict.fromkeys(arms, Need(1)) | {"whole": Need(1, is_whole=True), "judge": Need(), "last": Need(2, is_whole=True)}
    assert reproduce(read(needs), Host("", 1, ("4", "GPU-x"), 2)) == 11
    found = {name: seen(name) for name in needs}
    assert {found[name]["devices"] for name in arms} == {"4", "GPU-x"}
    assert found["judge"]["devices"] == "" and found["last"]["devices"] == "4,GPU-x"
    for device in ("4", "GPU-x"):
        on_it = [record for record in found.values() if device in record["devices"].split(",")]
        moments = [record["started"] for record in on_it]
        together = [sum(record["started"] <= moment < record["ended"] for record in on_it) for moment in moments]
        assert max(together) == 2, "both halves were used at the same time, and no third stage was there"
    alone = found["whole"]
    others = [record for name, record in found.items() if name != "whole" and record["devices"] == alone["devices"]]
    assert others and all(record["ended"] <= alone["started"] or alone["ended"] <= record["started"] for record in others)
    assert "CUDA_VISIBLE_DEVICES" not in os.environ


def test_the_books_are_those_of_dvc(folder):
    write_stages(folder, {"a": [], "b": ["a"], "c": ["a"]})
    needs = dict.fromkeys("abc", Need())
    assert reproduce(read(needs), Host("", 2)) == 3
    ours = Path("dvc.lock").read_bytes()
    assert forked.run(folder, "dvc", "status", "--json").stdout.strip() == "{}"
    Path("dvc.lock").unlink()
    forked.run(folder, "dvc", "repro", "--quiet").check_returncode()
    assert yaml.safe_load(Path("dvc.lock").read_text()) == yaml.safe_load(ours)
    assert reproduce(read(needs), Host("", 2)) == 0


def test_a_worker_keeps_nothing_of_the_folders_that_dvc_hashed(folder, monkeypatch):
    """DVC leaves each listing in fsspec's memory and goes through all of them at the next."""
    stage = {"cmd": "mkdir -p b && cp code/a.txt b/", "deps": ["code"], "outs": ["b"]}
    Path("code").mkdir()
    Path("code/a.txt").write_text("a")
    Path("dvc.yaml").write_text(yaml.safe_dump({"stages": {"b": stage}}))
    monkeypatch.setattr(workers, "_profile", read({"b": Need()}), raising=False)
    monkeypatch.setattr(workers, "_board", workers.Board(1, multiprocessing.get_context("fork")), raising=False)
    monkeypatch.setattr(workers, "_number", 0, raising=False)
    assert list(workers.reproduce_stage("b", {})) == ["b"]
    assert Path("b/a.txt").read_text() == "a" and not MemoryFileSystem.store


def test_of_an_empty_output_nothing_is_said(folder, root, caplog):
    """A ledger is empty where nothing had to be asked. What else DVC says of outputs is heard."""
    Path("dvc.yaml").write_text(yaml.safe_dump({"stages": {"a": {"cmd": "touch a.txt", "outs": ["a.txt"]}}}))
    shutil.copy(root / "params.yaml", folder)
    with patch("pipeline.profile.stage_needs", return_value={"a": Need()}):
        profile = Profile.read(load_params(PARAMS))
    with profile.repo.lock:
        assert profile.stages["a"].reproduce()
    assert not caplog.messages
    logging.getLogger("dvc.output").warning("%r missing", "b.txt")
    assert caplog.messages == ["'b.txt' missing"]


def test_a_failed_stage_ends_the_run_and_what_ended_is_kept(folder):
    write_stages(folder, {"a": [], "b": ["a"], "c": ["b"]}, failing="b")
    with pytest.raises(StageError, match=r"^b failed: failed to run: exec .* b.txt fail, exited with 3$"):
        reproduce(read(dict.fromkeys("abc", Need())), Host("", 2))
    assert set(yaml.safe_load(Path("dvc.lock").read_text())["stages"]) == {"a"}
    write_stages(folder, {"a": [], "b": ["a"], "c": ["b"]})
    assert reproduce(read(dict.fromkeys("abc", Need())), Host("", 2)) == 2


def test_a_worker_that_is_killed_names_its_stage(folder):
    """And its stage, which would write on, is killed with it."""
    write_stages(folder, {"a": [], "b": []})
    stages = yaml.safe_load(Path("dvc.yaml").read_text())
    kill = "import os, signal, time; os.kill(os.getppid(), signal.SIGKILL); time.sleep(60)"
    stages["stages"]["b"]["cmd"] = f"exec {sys.executable} -c '{kill}'"
    Path("dvc.yaml").write_text(yaml.safe_dump(stages))
    with pytest.raises(StageError, match=r"^b: the process that ran it was ended by signal 9; if memory ran out"):
        reproduce(read(dict.fromkeys("ab", Need())), Host("", 2))


def test_the_lock_file_is_written_before_whoever_reads_it(folder, monkeypatch):
    """Its code stands in the deps of a stage that does; else a run on one place would write the file after every stage."""
    code = folder / "apo_bench/provenance"
    code.mkdir(parents=True)
    (code / "lock.py").write_text("")
    write_stages(folder, {"a": [], "b": ["a"], "c": ["b"], "d": ["c"]})
    stages = yaml.safe_load(Path("dvc.yaml").read_text())
    stages["stages"]["c"] |= {"deps": ["b.txt", "apo_bench/provenance/lock.py"], "cmd": "cp dvc.lock c.txt"}
    Path("dvc.yaml").write_text(yaml.safe_dump(stages))
    monkeypatch.setattr(LockFile, "write_in_time", lambda self: None)
    num_writes, write = [], LockFile.write

    def counted(self):
        num_writes.append(self._is_behind)
        write(self)

    monkeypatch.setattr(LockFile, "write", counted)
    assert reproduce(read(dict.fromkeys("abcd", Need())), Host("", 1)) == 4
    assert set(yaml.safe_load(Path("c.txt").read_text())["stages"]) == {"a", "b"}
    assert num_writes == [True, True], "before c, and at the end"


def test_stages_that_read_the_lock_file_are_known(root):
    """By their deps, which cover what they import (test_dependencies)."""
    stages = written_stages(root)
    assert {name for name, stage in stages.items() if any(repro.READERS in dep for dep in stage["deps"])} == {"compare", "times", "track"}


def test_a_folder_without_stages_is_one_line(folder, root, capsys):
    Path("params.yaml").write_text((root / "params.yaml").read_text())
    assert repro.main([]) == 1
    assert capsys.readouterr().err.startswith("repro: dvc.yaml: ")


RUN = """
import sys
from contextlib import nullcontext
from pipeline import repro
repro.stage_server = nullcontext  # test_server sees to that one
sys.exit(repro.main())
"""
ENDLESS = """
import os, sys, time
from apo_bench.core.processes import die_with_parent
die_with_parent()  # as every stage begins
open(sys.argv[1] + ".begun", "w").write(str(os.getpid()))
time.sleep(60)
"""


@pytest.fixture
def project(folder, root):
    """Three stages, and the params of the default profile."""
    Path("params.yaml").write_text((root / "params.yaml").read_text())
    write_stages(folder, {"a": [], "b": ["a"], "c": ["b"]})
    return folder


def test_what_is_up_to_date_needs_neither_server_nor_workers(project, monkeypatch, capsys):
    """The first run finds nothing to do and says so to the second, which does not even ask DVC."""
    forked.run(project, "dvc", "repro", "--quiet").check_returncode()

    def forbidden(*_):
        raise AssertionError("started")

    for name in ("stage_server", "ProcessPoolExecutor"):
        monkeypatch.setattr(repro, name, forbidden)
    assert repro.main([]) == 0 and capsys.readouterr().out.startswith("repro: 0 of 3 stages run, the others up to date, ")
    monkeypatch.setattr(Profile, "read", forbidden)
    assert repro.main([]) == 0 and capsys.readouterr().out.startswith("repro: 0 of 3 stages run, the others up to date, ")
    Path("b.txt").write_text("else")
    with pytest.raises(AssertionError, match="started"):
        repro.main([])


def test_only_what_has_changed_and_what_follows_is_run(project, monkeypatch):
    assert reproduce(read(dict.fromkeys("abc", Need())), Host("", 2)) == 3
    Path("b.txt").unlink()
    changed = read(dict.fromkeys("abc", Need())).changed()
    assert changed.order == ["b", "c"] and changed.parents == {"b": set(), "c": {"b"}}
    assert reproduce(changed, Host("", 2)) == 1, "b is restored, c then is as it was"


def test_ctrl_c_ends_in_one_line_and_leaves_nothing_behind(project):
    Path("note.py").write_text(ENDLESS)
    with subprocess.Popen([sys.executable, "-c", RUN], stderr=subprocess.PIPE, text=True, start_new_session=True) as run:
        started = time.monotonic()
        while not (Path("a.txt.begun").exists() and Path("a.txt.begun").read_text()) and time.monotonic() < started + 120:
            time.sleep(0.05)
        stage = int(Path("a.txt.begun").read_text())
        os.killpg(run.pid, signal.SIGINT)  # as a terminal does
        said = run.stderr.read()
        assert run.wait(timeout=60) == 130
    assert said == "repro: interrupted; what has ended is kept, and the next run goes on from there\n"
    while psutil.pid_exists(stage) and psutil.Process(stage).status() != psutil.STATUS_ZOMBIE and time.monotonic() < started + 180:
        time.sleep(0.05)
    assert not psutil.pid_exists(stage) or psutil.Process(stage).status() == psutil.STATUS_ZOMBIE


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--frob"], "python -m pipeline.repro: unrecognized arguments: --frob; --help says what there is\n"),
        (["--arm"], "expected one argument"),
    ],
)
def test_a_wrong_command_line_is_one_line(arguments, said, capsys):
    with pytest.raises(SystemExit) as left:
        repro.main(arguments)
    error = capsys.readouterr().err
    assert left.value.code == 2 and said in error and error.count("\n") == 1


def test_help_starts_nothing(capsys):
    with pytest.raises(SystemExit) as left:
        repro.main(["--help"])
    assert left.value.code == 0 and "--arm METHOD-REWARD_MODEL" in capsys.readouterr().out


def test_an_experiment_runs_what_its_change_asks_for_and_leaves_the_rest_of_params(folder, root, monkeypatch):
    """By DVC's own command, on stages of which one reads the value."""

    def typed(*command: str, folder: str = "experiment") -> str:
        if command[0] == "dvc":
            done = forked.run(Path(folder), *command)
        else:
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    for who in ("AUTHOR", "COMMITTER"):
        for what in ("NAME", "EMAIL"):
            monkeypatch.setenv(f"GIT_{who}_{what}", "a@b.c")
    shutil.rmtree(".dvc")
    typed("git", "init", "--quiet", folder=".")
    typed("dvc", "init", "--quiet", folder=".")
    shutil.copytree(root / "experiment", "experiment", ignore=shutil.ignore_patterns("tmp", "cache", "dvc.lock"))
    shutil.copy(root / "params.yaml", ".")
    stage = "{cmd: exec python score.py NAME, deps: [score.py], params: [methods.NAME], outs: [NAME.txt]}"
    metrics = "{cmd: 'python join.py', deps: [dpo.txt, rjs.txt, join.py], metrics: [report/metrics.json]}"
    names = "\n".join(f"  {name}: {stage.replace('NAME', name)}" for name in ("dpo", "rjs"))
    Path("dvc.yaml").write_text(f"stages:\n{names}\n  join: {metrics}\n")
    Path("score.py").write_text("import sys; open(sys.argv[1] + '.txt', 'w').write(open('params.yaml').read().partition('beta: ')[2][:3])")
    Path("join.py").write_text("open('report/metrics.json', 'w').write('{\"beta\": ' + open('dpo.txt').read() + '}')")
    Path("report").mkdir()
    typed("dvc", "repro", "--quiet")
    typed("git", "add", ".", folder=".")
    typed("git", "commit", "--quiet", "-m", "finished")
    before = Path("params.yaml").read_text()
    change = ("-S", "../params.yaml:methods.dpo.beta=0.3")
    assert "Running stage 'all'" in typed("dvc", "exp", "run", "--dry", *change)
    assert Path("params.yaml").read_text() == before
    ran = typed("dvc", "exp", "run", *change)
    assert "repro: 2 of 3 stages run, the others up to date, " in ran, "dpo and join"
    assert Path("params.yaml").read_text() == before.replace("beta: 0.1", "beta: 0.3", 1)
    assert "methods.dpo.beta" in typed("dvc", "exp", "show", "--md", "--only-changed").splitlines()[0]
    shown = json.loads(typed("dvc", "exp", "show", "--json"))
    found = {row["name"] or row["rev"]: row for row in [*shown, *(exp["revs"][0] for exp in shown[1]["experiments"])]}
    values = {name: row["data"]["metrics"]["metrics.json"]["data"] for name, row in found.items()}
    assert sorted(value["beta"] for value in values.values()) == [0.1, 0.3, 0.3], "HEAD, the workspace and the experiment"
    assert "beta" in typed("dvc", "metrics", "diff")
    name = typed("dvc", "exp", "list", "--name-only").split()[-1]
    typed("git", "checkout", "--quiet", "--force", "HEAD", folder=".")
    typed("dvc", "checkout", "--quiet", folder=".")
    assert Path("dpo.txt").read_text() == "0.1"
    typed("dvc", "exp", "apply", "--quiet", name)
    typed("dvc", "checkout", "--quiet", folder=".")
    assert Path("dpo.txt").read_text() == "0.3" and Path("params.yaml").read_text() != before
