"""Python programs as forks of a process that has imported the libraries, which takes longer than what most tests ask of a program.

A fork has an environment, a folder and outputs of its own, and imports the code of this project anew, from where it is told to. What is
said of the start of a process (`--help` is fast, a library is missing or warns) is no matter for it.
"""

import importlib
import multiprocessing
import os
import runpy
import subprocess
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
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
PROGRAMS = {"apo-bench": "apo_bench.cli", "dvc": "dvc"}
"""By the name in the folder of executables, the module that `python -m` takes."""
STARTING = ("pipeline.decide", "pipeline.server")
"""Modules of the project that start Python anew."""

_SERVER, _FORK = multiprocessing.get_context("forkserver"), multiprocessing.get_context("fork")
_SERVER.set_forkserver_preload(list(LIBRARIES))


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
    with TemporaryDirectory() as scratch:
        files = [Path(scratch, name) for name in ("stdout", "stderr")]
        for file in files:
            file.touch()
        process = _SERVER.Process(target=_become, args=(arguments, str(folder), environment, [str(file) for file in files]))
        process.start()
        process.join(timeout)
        said = [file.read_text(errors="backslashreplace") for file in files]
        if process.exitcode is None:
            process.kill()
            raise subprocess.TimeoutExpired(command, timeout, *said)
    return subprocess.CompletedProcess(command, process.exitcode, *said)


def _become(arguments: list[str], folder: str, environment: dict[str, str], outputs: list[str]) -> None:
    """Makes this process, a new fork, what `python ARGUMENTS` would be; never returns."""
    for number, file in enumerate(outputs, 1):
        os.dup2(os.open(file, os.O_WRONLY | os.O_APPEND), number)
    sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", encoding="utf-8", errors="backslashreplace", buffering=1, closefd=False)  # noqa: SIM115
    os.chdir(folder)
    _run(arguments, environment)


def _run(arguments: list[str], environment: dict[str, str]) -> None:
    os.environ.clear()
    os.environ.update(environment)
    is_safe = arguments[0] == "-P"
    kind, what, *options = arguments[is_safe:]
    ours = {str(ROOT), str(ROOT / "tests"), ""}
    own = [*([] if is_safe else [str(Path.cwd())]), *environment["PYTHONPATH"].split(os.pathsep)]
    sys.path[:] = [*own, *(place for place in sys.path if place not in ours)]
    importlib.invalidate_caches()
    sys.argv = [kind, *options]
    status: Any = 0
    try:
        if kind == "-c":
            exec(compile(what, "<string>", "exec"), {"__name__": "__main__"})
        else:
            if what.startswith("pipeline."):
                for name in STARTING:
                    importlib.import_module(name).subprocess = SimpleNamespace(Popen=_start, run=_run_to_its_end)  # type: ignore[attr-defined]
                sys.modules.pop(what, None)
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


def _start(command: Sequence[str], env: dict[str, str] | None = None) -> Any:
    """As `subprocess.Popen` of a Python program, by a fork of this process."""
    process: Any = _FORK.Process(target=_run, args=(list(command[1:]), dict(os.environ if env is None else env)))
    process.start()
    process.poll, process.wait = lambda: process.exitcode, process.join
    return process


def _run_to_its_end(command: Sequence[str], check: bool) -> SimpleNamespace:
    process = _start(command)
    process.join()
    return SimpleNamespace(returncode=process.exitcode)
