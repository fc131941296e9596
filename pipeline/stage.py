"""What every stage does around its work: parse the command line, say and record what was done, turn an error into one line."""

import ast
import importlib
import inspect
import os
import sys
from collections.abc import Callable, Mapping
from functools import partial, partialmethod
from io import TextIOWrapper
from pathlib import Path
from types import ModuleType
from typing import Any

from apo_bench.config.params import PARAMS, load_params
from apo_bench.config.validation import near
from apo_bench.core.errors import ApoBenchError, is_out_of_memory
from apo_bench.core.stage import Files
from apo_bench.engines.memory import memory_error
from apo_bench.engines.record import leave_record
from apo_bench.provenance.times import Stopwatch
from pipeline.arguments import Parser
from pipeline.ranks import is_rank, launched, run_rank

BAR_LINE_VARIABLE = "APO_BENCH_BAR_LINE"
FOLDER = Path(__file__).parent / "stages"


def run_stage(name: str, arguments: list[str]) -> int:
    """Runs `main` of the module `pipeline.stages.NAME`, which returns what it did and where; returns the exit status."""
    if not name.isidentifier() or _purpose(FOLDER / f"{name}.py") is None:
        known = list(_purposes())
        print(f"no stage {name!r};{near(name, known) or ' there are ' + ', '.join(known)}", file=sys.stderr)
        return 2
    never_fail_printing()
    stopwatch = Stopwatch()
    _place_progress_bars()
    module = importlib.import_module(f"pipeline.stages.{name}")
    coordinates = _parse(name, module, arguments)
    try:
        files, work = bound(module, coordinates)
        if is_rank():
            return run_rank(name, work)
        if not launched(name, arguments, module.STAGE, files):
            did, where = work()
            print(f"{name}: {did}, {stopwatch.seconds(0)['wall_seconds']:.1f} s -> {where}", flush=True)
        if module.STAGE.is_recorded:
            leave_record(module.STAGE, files, load_params(PARAMS), stopwatch)
    except ApoBenchError as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 1
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        print(f"{name}: {memory_error(load_params(PARAMS))}", file=sys.stderr)
        return 1
    return 0


def bound(module: ModuleType, coordinates: Mapping[str, Any]) -> tuple[Files, Callable[[], tuple[str, Path]]]:
    """The files of a stage, and its work on them.

    Args:
        module: of the stage. Its `files` says by the coordinates (method, seed, round, ...) what is read and written; its `main` takes any
            of these files and coordinates by their names.
        coordinates: by the parameters of `files`, and those of `main` that are no paths.

    Raises:
        ConfigError: there is nothing at these coordinates.
    """
    wanted = inspect.signature(module.files).parameters
    files = module.files(**{name: value for name, value in coordinates.items() if name in wanted})
    known = {**coordinates, **files.reads, **files.writes}
    return files, partial(module.main, **{name: known[name] for name in inspect.signature(module.main).parameters})


def _purposes() -> dict[str, str]:
    """What each stage does, by name."""
    found = {file.stem: _purpose(file) for file in sorted(FOLDER.glob("*.py"))}
    return {name: purpose for name, purpose in found.items() if purpose is not None}


def _purpose(file: Path) -> str | None:
    """What the stage in a file does, in a line, without importing it; None without a `main` that returns what it did and where."""
    if not file.is_file():
        return None
    tree = ast.parse(file.read_text(encoding="utf-8"))
    mains = (node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "main")
    is_stage = any(main.returns is not None and ast.unparse(main.returns) == "tuple[str, Path]" for main in mains)
    return (ast.get_docstring(tree) or "").partition("\n")[0] if is_stage else None


def explain(arguments: list[str]) -> int:
    """Says which stages there are, or that the command line names none; returns the exit status."""
    purposes = _purposes()
    width = max(map(len, purposes))
    listed = "\n".join(f"  {name:{width}}  {purpose}" for name, purpose in purposes.items())
    does = "Runs a stage as dvc.yaml has it; with --help after its name, says what it takes."
    parser = Parser("python -m pipeline", does, usage="python -m pipeline STAGE [options]", epilog=listed)
    parser.parse_args(arguments)
    parser.error("no stage is named")


class _Shown(TextIOWrapper):
    """A stream whose reader may go away, or whose disk may be full: the rest goes nowhere."""

    def write(self, text: str) -> int:
        try:
            return super().write(text)
        except OSError:
            self._give_up()
            return len(text)

    def flush(self) -> None:
        try:
            super().flush()
        except OSError:
            self._give_up()

    def _give_up(self) -> None:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self.fileno())
        os.close(nowhere)


def never_fail_printing() -> None:
    """What is shown must not end what is done: signs that the terminal's encoding lacks become question marks, and what nobody can read
    any more is not written."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if not isinstance(stream, TextIOWrapper):
            continue
        try:
            stream.flush()
            raw = open(stream.fileno(), "wb", closefd=False)  # noqa: SIM115
        except OSError:  # no file behind it
            stream.reconfigure(errors="replace")
        else:
            setattr(sys, name, _Shown(raw, encoding=stream.encoding, errors="replace", line_buffering=True))


def _place_progress_bars() -> None:
    """Gives this stage's bars the line its worker has on the terminal; in a log a bar is written twice a minute."""
    from tqdm import tqdm

    line = int(os.environ.get(BAR_LINE_VARIABLE, "0"))
    interval = 0.2 if sys.stderr.isatty() else 30.0
    tqdm.__init__ = partialmethod(tqdm.__init__, position=line, mininterval=interval, leave=False)  # type: ignore[assignment, method-assign]


def _parse(name: str, module: ModuleType, arguments: list[str]) -> dict[str, Any]:
    """The coordinates of a stage from options of the same names, required if they have no default; a `bool` is a flag."""
    parser = Parser(f"python -m pipeline {name}", module.main.__doc__)
    own = {key: one for key, one in inspect.signature(module.main).parameters.items() if one.annotation is not Path}
    for key, parameter in {**own, **inspect.signature(module.files).parameters}.items():
        option, default = "--" + key.replace("_", "-"), parameter.default
        if parameter.annotation is bool:
            parser.add_argument(option, action="store_true")
        elif default is inspect.Parameter.empty:
            parser.add_argument(option, type=parameter.annotation, required=True)
        else:
            parser.add_argument(option, type=parameter.annotation, default=default)
    return vars(parser.parse_args(arguments))
