"""Folders with odd names, without git, without a home, and terminals that are not UTF-8: it works, or a line says what to do."""

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import forked
import pytest

ROOT = Path(__file__).parents[2]
ODD = "My Drive %40 ?a#b ü's"


def run(*arguments, cwd=ROOT, **variables):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **variables}
    for name in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS"):  # a make of ours is no part of the one that runs the tests
        environment.pop(name, None)
    return subprocess.run(arguments, cwd=cwd, env=environment, capture_output=True, text=True, timeout=200)


SERVED = """
import os
from pipeline.forwarding import SOCKET_VARIABLE, forward
from pipeline.server import stage_server
with stage_server():
    path = os.environ[SOCKET_VARIABLE]
    print(len(path), forward(path, ["no_such_stage"]), path)
"""


def test_a_long_and_odd_folder_for_temporary_files(tmp_path):
    folder = tmp_path / ODD / "/".join(["a_folder_of_a_scheduler"] * 5)
    folder.mkdir(parents=True)
    done = forked.run(ROOT, sys.executable, "-c", SERVED, TMPDIR=str(folder))
    length, status, path = done.stdout.strip().split(" ", 2)
    assert int(length) > 108 and status == "2" and path.startswith(str(folder))


@pytest.fixture
def checkout(tmp_path):
    """What an archive of the sources holds that DVC looks at."""
    shutil.copytree(ROOT / ".dvc", tmp_path / ".dvc", ignore=shutil.ignore_patterns("tmp", "cache", "config.local"))
    for name in ("dvc.yaml", "params.yaml", ".dvcignore"):
        shutil.copy(ROOT / name, tmp_path)
    return tmp_path


def test_a_folder_without_git_is_one_line(checkout):
    done = forked.run(checkout, sys.executable, "-m", "pipeline.repro")
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1
    assert "is not a git repository" in done.stderr and "dvc config core.no_scm true" in done.stderr


def test_a_lock_in_conflict_is_dvcs_own_line(checkout):
    subprocess.run(["git", "init", "--quiet"], cwd=checkout, check=True)
    (checkout / "dvc.lock").write_text('schema: "2.0"\n<<<<<<< HEAD\nstages:\n=======\nstages:\n>>>>>>> other\n')
    done = forked.run(checkout, sys.executable, "-m", "pipeline.repro")
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1
    assert "'dvc.lock'" in done.stderr and "git checkout --ours dvc.lock" in done.stderr


METRIC = """
import apo_bench
from apo_bench.metrics import compute_metric
print(compute_metric("preference_accuracy", [1.0, 2.0], [0.0, 3.0]))
"""


def without_a_home(tmp_path, home, code):
    environment = {"HOME": home, "TMPDIR": str(tmp_path)}
    done = run("env", "-u", "HF_HOME", "-u", "XDG_CACHE_HOME", sys.executable, "-c", code, **environment)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_metrics_need_no_home(tmp_path):
    assert "0.5" in without_a_home(tmp_path, "/proc/nohome", METRIC)


@pytest.mark.parametrize("home", ["/proc/nohome", "/dev/null"])
def test_without_a_home_caches_lie_among_temporary_files(tmp_path, home):
    cache = without_a_home(tmp_path, home, "import os, apo_bench; print(os.environ['HF_METRICS_CACHE'])")
    assert Path(cache).is_relative_to(tmp_path)


def test_printing_never_fails_a_stage(tmp_path):
    code = "from pipeline.stage import never_fail_printing as f; f(); print('win rate \\u22122 \\U0001fad6')"
    done = run(sys.executable, "-c", code, PYTHONIOENCODING="latin-1")
    assert done.returncode == 0 and done.stdout == "win rate ?2 ?\n"


@pytest.mark.parametrize("to", ["/dev/full", "a reader that went away"])
def test_what_nobody_can_read_fails_no_stage(tmp_path, to):
    code = (
        "import sys, time; from pipeline.stage import never_fail_printing as f; f()\n"
        "for number in range(9): print('shown', number, flush=True); print('told', file=sys.stderr); time.sleep(0.05)\n"
        "open(sys.argv[1], 'w').write('done')"
    )
    command = f"{shlex.join([sys.executable, '-c', code])} made 2>&1"
    command = f"{command} > /dev/full" if to == "/dev/full" else f"{{ {command}; echo $? > status; }} | head -n 1"
    done = run("sh", "-c", command, cwd=tmp_path)
    assert (tmp_path / "made").read_text() == "done" and not done.stderr
    assert done.returncode == 0 and (to == "/dev/full" or (tmp_path / "status").read_text() == "0\n")


@pytest.fixture
def installed(tmp_path):
    """A folder with an odd name in which `make` believes that all is installed."""
    folder = tmp_path / ODD
    (folder / ".venv").mkdir(parents=True)
    for name in ("Makefile", "pyproject.toml", "requirements.lock"):
        shutil.copy(ROOT / name, folder)
    (folder / ".venv/.repro").touch()
    os.utime(folder / ".venv/.repro", (4e9, 4e9))
    return folder


@pytest.mark.parametrize("target", ["repro", "plan"])
def test_paths_are_one_word_to_make(installed, tmp_path, target):
    """The recipe's own last line, by a shell in which the programs say what they were given."""
    data = tmp_path / ("data of " + ODD)
    data.mkdir()
    done = run("make", "--no-print-directory", "--dry-run", target, "PROFILE=small", f"DATA={data}", cwd=installed)
    assert "apo-bench" in done.stdout, done.stderr
    programs = "apo-bench() { printf '%s|' \"$@\"; }; python() { :; }; cd() { :; };"
    told = run("bash", "-c", f"{programs} {done.stdout.splitlines()[-1]}", cwd=installed)
    assert told.stdout.startswith(f"fetch|--data|{data}|")


def test_recipes_call_the_environments_programs_as_one_word(installed):
    (installed / ".venv/.repro").unlink()
    done = run("make", "--dry-run", "repro", cwd=installed)
    programs = [line for line in done.stdout.splitlines() if "/bin/pip" in line or "/bin/uv" in line]
    assert programs, done.stderr
    for line in programs:
        words = shlex.split(line)
        assert any(word.startswith(f"{installed}/.venv/bin/") for word in words), line


STORE = """
from pathlib import Path
from mlflow import MlflowClient
from apo_bench.tracking.database import make_database
client = MlflowClient(make_database(Path("mlflow").absolute()))
client.create_experiment("x", (Path("mlflow").absolute() / "artifacts").as_uri())
"""


def test_the_mlflow_store_in_a_folder_with_signs_of_urls(tmp_path):
    """In a process of its own, as MLflow keeps what it has opened by a name that is the same in each such folder."""
    folder = tmp_path / ODD
    (folder / "mlflow").mkdir(parents=True)
    done = forked.run(folder, sys.executable, "-c", STORE)
    assert done.returncode == 0, done.stderr
    assert sorted(file.name for file in (folder / "mlflow").iterdir() if file.is_file()) == ["mlflow.db"]
    assert [path.name for path in tmp_path.iterdir()] == [ODD]
