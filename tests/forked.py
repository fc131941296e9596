"""Python programs as forks of a process that has imported the libraries, which takes longer than what most tests ask of a program.

A fork has an environment, a folder and outputs of its own, and imports the code of this project anew, from where it is told to; so do the
Python programs that it starts. It cannot test how a process starts: that `--help` is fast, or that a library is missing.
"""

import importlib
import multiprocessing
import os
import runpy
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
LIBRARIES = (
    "accelerate.utils.other",
    "click",
    "datasketch",
    "dvc.cli",
    "dvc.commands.status",
    "dvc.repo.reproduce",
    "evaluate",
    "jinja2",
    "mlflow",
    "pydantic",
    "rich.console",
    "ruamel.yaml",
    "scipy.stats",
    "torch",
    "transformers.models.auto.modeling_auto",
    "transformers.models.llama.modeling_llama",
)
OURS = ("apo_bench", "pipeline")
PROGRAMS = {"apo-bench": "apo_bench.cli", "dvc": "dvc"}
"""By the name in the folder of executables, the module that `python -m` takes."""

_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(list(LIBRARIES))


def run(folder: Path, *command: str, code: Path = ROOT, timeout: float = 500, **variables: str) -> subprocess.CompletedProcess[str]:
    """Runs a program as `subprocess.run` with `capture_output` and `text` does.

    Args:
        folder: where it runs.
        command: `sys.executable` with -c or -m and what follows, or a name of `PROGRAMS` and its arguments.
        code: the folder with the packages of this project that it uses.
        timeout: seconds until it is killed, which fails the test.
        variables: of the environment, in addition to those of this process.
    """
    arguments = list(command[1:]) if command[0] == sys.executable else ["-m", PROGRAMS[command[0]], *command[1:]]
    path = os.pathsep.join(filter(None, [str(code), variables.pop("PYTHONPATH", "")]))
    executables = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": executables, "PYTHONPATH": path, **variables}
    with tempfile.TemporaryDirectory() as scratch:
        outputs = [str(Path(scratch, name)) for name in ("stdout", "stderr")]
        process = _FORKS.Process(target=_become, args=(arguments, str(folder.absolute()), environment, outputs))
        process.start()
        process.join(timeout)
        said = [Path(output).read_text(encoding="utf-8", errors="backslashreplace") for output in outputs]
        if process.exitcode is None:
            process.kill()
            raise subprocess.TimeoutExpired(command, timeout, *said)
    return subprocess.CompletedProcess(command, process.exitcode, *said)


def _become(arguments: list[str], folder: str, environment: dict[str, str], outputs: list[str]) -> None:
    """Makes this process, a new fork, what `python ARGUMENTS` would be, writing to files; never returns."""
    for number, output in enumerate(outputs, 1):
        os.dup2(os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND), number)
    sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", encoding="utf-8", errors="backslashreplace", buffering=1, closefd=False)  # noqa: SIM115
    os.chdir(folder)
    subprocess.Popen = _Forking  # type: ignore[misc]
    _run(arguments, environment)


class _Forking(subprocess.Popen):
    """Starts Python itself as a further fork, if in the same folder and with the same outputs."""

    def _execute_child(self, args: Any, *settings: Any) -> None:
        folder, environment, streams = settings[4], settings[5], settings[9:15]
        if list(args[:2]) != [sys.executable, "-m"] or folder or {*streams} != {-1}:
            super()._execute_child(args, *settings)  # type: ignore[misc]
            return
        for stream in (sys.stdout, sys.stderr):
            stream.flush()  # or the fork says it once more
        self.pid = os.fork()
        if self.pid == 0:
            _run(list(args[1:]), dict(os.environ if environment is None else environment))
        self._child_created = True


def _run(arguments: list[str], environment: dict[str, str]) -> None:
    """Runs a program in this process and ends it."""
    os.environ.clear()
    os.environ.update(environment)
    for name in [name for name in sys.modules if name.partition(".")[0] in OURS]:
        del sys.modules[name]
    is_safe = arguments[0] == "-P"
    kind, what, *options = arguments[is_safe:]
    without = {str(ROOT), str(ROOT / "tests"), ""}
    own = [*([] if is_safe else [str(Path.cwd())]), *environment["PYTHONPATH"].split(os.pathsep)]
    sys.path[:] = [*own, *(place for place in sys.path if place not in without)]
    importlib.invalidate_caches()
    sys.argv, tempfile.tempdir = [kind, *options], None
    status: Any = 0
    try:
        if kind == "-c":
            exec(compile(what, "<string>", "exec"), {"__name__": "__main__"})
        else:
            runpy.run_module(what, run_name="__main__", alter_sys=True)
    except SystemExit as end:
        status = end.code
        if isinstance(status, str):
            print(status, file=sys.stderr)
            status = 1
    except BaseException:
        traceback.print_exc()
        status = 1
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(status or 0)
