"""The stage server runs stages as the caller would, and nothing survives a killed caller."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from pipeline.server import SOCKET_VARIABLE, stage_server

ROOT = Path(__file__).parents[2]
SLOW_STAGE = '''
import os, time
from pathlib import Path
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
from pathlib import Path
from apo_bench.core.errors import DataError
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
    (folder / "pipeline").mkdir()
    for file in (ROOT / "pipeline").glob("*.py"):
        (folder / "pipeline" / file.name).write_text(file.read_text())
    (folder / "pipeline/slow.py").write_text(SLOW_STAGE)
    (folder / "pipeline/odd.py").write_text(ODD_STAGE)
    (folder / "dvc.yaml").write_text("stages:\n  slow:\n    cmd: exec python -m pipeline slow --output out.txt\n    outs: [out.txt]\n")
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
