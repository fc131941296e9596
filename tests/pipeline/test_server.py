"""The stage server runs stages as the caller would, and nothing survives a killed caller."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from apo_bench.core.processes import PARENT_VARIABLE
from pipeline.forwarding import SOCKET_VARIABLE, short
from pipeline.server import stage_server

ROOT = Path(__file__).parents[2]
SLOW_STAGE = '''
import os, time
from pathlib import Path
from apo_bench.core.stage import Files, Stage
STAGE = Stage()
def files(where: str) -> Files:
    return Files({}, {"output": Path(where)})
def main(output: Path) -> tuple[str, Path]:
    """Writes a line a tenth of a second."""
    Path(output).with_suffix(".pid").write_text(str(os.getpid()))
    for number in range(600):
        with open(output, "a") as file:
            file.write(f"{number}\\n")
        time.sleep(0.1)
    return "wrote", output
'''
ODD_STAGE = '''
import os
import shutil
from pathlib import Path
from apo_bench.core.errors import DataError
from apo_bench.core.stage import Files, Stage
STAGE = Stage()
def files() -> Files:
    return Files({}, {})
def main(what: str) -> tuple[str, Path]:
    """Says where it is, or fails."""
    if what == "error":
        raise DataError("records.jsonl:3: broken")
    if what == "crash":
        raise RuntimeError("boom")
    print(os.getcwd(), os.environ["MARK"])
    return "looked", Path("here")
'''


@pytest.fixture(scope="module")
def code(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the pipeline package with two more stages."""
    folder = tmp_path_factory.mktemp("code")
    shutil.copytree(ROOT / "pipeline", folder / "pipeline", ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "pipeline/stages/slow.py").write_text(SLOW_STAGE)
    (folder / "pipeline/stages/odd.py").write_text(ODD_STAGE)
    (folder / "dvc.yaml").write_text("stages:\n  slow:\n    cmd: exec python -m pipeline slow --where out.txt\n    outs: [out.txt]\n")
    return folder


@pytest.fixture(scope="module")
def server(code: Path):
    """A running server on that code."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", f"{code}:{ROOT}")
        patch.chdir(code)  # `python -m` finds modules in its folder first
        with stage_server():
            yield os.environ[SOCKET_VARIABLE]


def environment(code: Path, **more: str) -> dict[str, str]:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    inherited = {name: value for name, value in os.environ.items() if name != SOCKET_VARIABLE}
    shell = "/bin/sh"  # DVC's choice where SHELL is not set, as in a service; it does not replace itself by its last command
    return {**inherited, "SHELL": shell, "PATH": path, "PYTHONPATH": f"{code}:{ROOT}", **more}


@pytest.mark.parametrize("through_server", [False, True])
def test_folder_environment_output_and_status_are_the_callers(code: Path, server: str, through_server: bool) -> None:
    settings = environment(code, MARK="yes", **({SOCKET_VARIABLE: server} if through_server else {}))

    def odd(what: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "pipeline", "odd", "--what", what]
        return subprocess.run(command, cwd=code, env=settings, capture_output=True, text=True, check=False)

    looked = odd("place")
    assert looked.returncode == 0 and looked.stdout.splitlines()[0] == f"{code} yes"
    assert looked.stdout.splitlines()[1].startswith("odd: looked, ")
    error = odd("error")
    assert error.returncode == 1 and error.stderr.strip() == "odd: records.jsonl:3: broken"
    crash = odd("crash")
    assert crash.returncode == 1 and "RuntimeError: boom" in crash.stderr


def test_ctrl_c_is_not_for_the_server(code: Path, server: str) -> None:
    """A terminal sends it to all; the server is ended by the one that started it, and says nothing."""
    [process] = [child for child in psutil.Process().children() if server in child.cmdline()]
    process.send_signal(signal.SIGINT)
    settings = environment(code, MARK="yes", **{SOCKET_VARIABLE: server})
    done = subprocess.run(
        [sys.executable, "-m", "pipeline", "odd", "--what", "place"], cwd=code, env=settings, capture_output=True, check=False
    )
    assert done.returncode == 0 and process.is_running()


@pytest.mark.parametrize("through_server", [False, True])
def test_killed_dvc_leaves_no_stage_that_writes_on(code: Path, server: str, through_server: bool, tmp_path: Path) -> None:
    (tmp_path / "dvc.yaml").write_text((code / "dvc.yaml").read_text())
    settings = environment(code, **({SOCKET_VARIABLE: server} if through_server else {}))
    subprocess.run(["dvc", "init", "--no-scm", "--quiet"], cwd=tmp_path, env=settings, check=True)
    dvc = subprocess.Popen(["dvc", "repro", "--quiet"], cwd=tmp_path, env=settings)
    output = tmp_path / "out.txt"
    deadline = time.monotonic() + 60
    while not output.exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    stage = psutil.Process(int(output.with_suffix(".pid").read_text()))
    dvc.send_signal(signal.SIGKILL)
    dvc.wait()
    deadline = time.monotonic() + 10
    while stage.is_running() and stage.status() != psutil.STATUS_ZOMBIE and time.monotonic() < deadline:
        time.sleep(0.1)
    written = output.read_bytes()
    time.sleep(0.5)
    assert output.read_bytes() == written


def stage(code: Path, name: str, *options: str, **variables: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "pipeline", name, *options]
    settings = environment(code, **variables)
    return subprocess.Popen(command, cwd=code, env=settings, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize("there", [True, False], ids=["nobody listens", "no such socket"])
def test_a_stage_without_its_server_imports_for_itself(code: Path, tmp_path: Path, there: bool) -> None:
    if there:
        with socket.socket(socket.AF_UNIX) as listener, short(str(tmp_path / "socket")) as address:
            listener.bind(address)
    said, errors = stage(code, "odd", "--what", "place", MARK="yes", **{SOCKET_VARIABLE: str(tmp_path / "socket")}).communicate()
    assert said.splitlines()[0] == f"{code} yes" and errors == ""


def test_a_stage_that_is_killed_is_named(code: Path, server: str, tmp_path: Path) -> None:
    """As when memory runs out."""
    running = stage(code, "slow", "--where", str(tmp_path / "out.txt"), **{SOCKET_VARIABLE: server})
    psutil.Process(_pid_of(tmp_path / "out.txt")).kill()
    _, errors = running.communicate(timeout=20)
    assert errors == "slow: ended by SIGKILL; if memory ran out, run fewer stages at a time\n"
    assert running.returncode == 128 + signal.SIGKILL


def test_a_stage_whose_parent_died_before_it_began_does_not_begin(code: Path, tmp_path: Path) -> None:
    process = stage(code, "slow", "--where", str(tmp_path / "out.txt"), **{PARENT_VARIABLE: "1"})
    assert process.wait(20) == 1 and not (tmp_path / "out.txt").exists()


def test_a_server_that_does_not_start_is_told_in_a_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with stage_server():
        assert SOCKET_VARIABLE in os.environ
    assert capsys.readouterr().err == "the stage server did not start: each stage imports for itself, which takes longer\n"


def _pid_of(output: Path) -> int:
    """The process that runs the slow stage."""
    deadline = time.monotonic() + 60
    while not output.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    return int(output.with_suffix(".pid").read_text() or 0)


def test_a_stage_whose_server_dies_is_run_again_and_alone(code: Path, server: str, tmp_path: Path) -> None:
    """The last test: there is no server behind it."""
    output = tmp_path / "out.txt"
    first = stage(code, "slow", "--where", str(output), **{SOCKET_VARIABLE: server})
    served = psutil.Process(_pid_of(output))
    served.parent().parent().kill()
    deadline = time.monotonic() + 60
    while _pid_of(output) == served.pid and time.monotonic() < deadline:
        time.sleep(0.05)
    assert _pid_of(output) == first.pid and (not served.is_running() or served.status() == psutil.STATUS_ZOMBIE)
    first.kill()
    first.communicate()
