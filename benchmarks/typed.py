"""Types what users of DVC type in a finished run and in a fresh clone of it: python -m benchmarks.typed FOLDER [--experiment]

FOLDER is a clone of this repository in whose root `make repro` has run; it is copied, not changed. The table says what each command took,
on the clock and of the processors (which others' work on the machine does not add to), how many columns the table has that it prints, and
its exit status. --experiment runs the experiment as well, which takes minutes.
"""

import argparse
import os
import resource
import shlex
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

EXPERIMENT = "dvc exp run -S ../params.yaml:methods.dpo.beta=0.3"
MAKE = "make -o .venv/.repro"
"""With the environment at hand."""


@dataclass(frozen=True)
class Typed:
    """A command, and what came of it."""

    command: str
    seconds: float
    processor_seconds: float
    num_columns: int | None
    status: int
    output: str

    def row(self) -> str:
        """Of the table."""
        columns = "" if self.num_columns is None else str(self.num_columns)
        shown = self.command.replace(MAKE, "make").replace("|", "\\|")
        return f"| `{shown}` | {self.seconds:.1f} | {self.processor_seconds:.1f} | {columns} | {self.status} |"


def main() -> None:
    """Prints a row a command, as they end."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--experiment", action="store_true")
    options = parser.parse_args()
    print("| typed | seconds | of processors | columns | status |\n|---|---:|---:|---:|---:|")
    with TemporaryDirectory() as scratch:
        first, elsewhere = Path(scratch, "first"), Path(scratch, "elsewhere")
        subprocess.run(["cp", "-a", options.folder, first], check=True)
        shutil.rmtree(first / "mlflow", ignore_errors=True)
        in_first = [
            f"{MAKE} repro",  # a copy has other inodes: DVC hashes all once more
            f"{MAKE} repro",
            f"dvc remote add --default store {scratch}/store",
            "git add .dvc/config dvc.lock",
            "git -c user.name=A -c user.email=a@b.c commit --quiet --message 'Result of the default'",
            "dvc push",
        ]
        in_clone = [
            "dvc pull",
            f"{MAKE} track",
            f"{MAKE} repro",
            f"{MAKE} repro",
            f"{MAKE} repro ARM=dpo-adversarial",
            "python -m pipeline --help",
            "python -m pipeline.repro --help",
            "python -m pipeline.repro --frob",
            "dvc metrics show --md",
        ]
        in_experiment = [
            "dvc repro",
            "git add .",
            "git -c user.name=A -c user.email=a@b.c commit --quiet --message 'What experiments are compared with'",
            f"{EXPERIMENT} --dry",
            *([EXPERIMENT] if options.experiment else []),
            "git diff --stat ../params.yaml",
            "dvc exp show --md --only-changed",
            "dvc metrics diff --md",
        ]
        for command in in_first:
            tell(typed(command, first))
        tell(typed(f"git clone --quiet {first} {elsewhere}", Path(scratch)))
        for command in in_clone:
            tell(typed(command, elsewhere))
        for command in in_experiment:
            tell(typed(command, elsewhere / "experiment"))
        (elsewhere / "out/data/prompts_test.jsonl").unlink()
        tell(interrupted(elsewhere))


def tell(done: Typed) -> None:
    """Prints the row; the last lines of what failed go to the error output."""
    print(done.row(), flush=True)
    if done.status not in (0, 2, 130):
        print(f"{done.command}:\n{done.output[-2000:]}", file=sys.stderr, flush=True)


def typed(command: str, folder: Path) -> Typed:
    """Runs a command in a folder, on that folder's code."""
    started, before = time.perf_counter(), _processor_seconds()
    environment = os.environ | {"PYTHONPATH": str(folder.parent if folder.name == "experiment" else folder)}
    done = subprocess.run(shlex.split(command), cwd=folder, env=environment, capture_output=True, text=True, check=False)
    seconds, processors = time.perf_counter() - started, _processor_seconds() - before
    return Typed(command, seconds, processors, _num_columns(command, done.stdout), done.returncode, done.stdout + done.stderr)


def interrupted(folder: Path) -> Typed:
    """Ctrl-C, ten seconds after `make repro` with something to do; columns are the lines that it then says."""
    environment, before = os.environ | {"PYTHONPATH": str(folder)}, _processor_seconds()
    command = [sys.executable, "-m", "pipeline.repro"]
    with subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as run:
        time.sleep(10)
        started = time.perf_counter()
        os.killpg(run.pid, signal.SIGINT)
        said = run.communicate()[1]
    seconds = time.perf_counter() - started
    name = f"make repro, then Ctrl-C: {said.strip().splitlines()[-1]}" if said.strip() else "make repro, then Ctrl-C"
    return Typed(name, seconds, _processor_seconds() - before, None, run.returncode, said)


def _processor_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _num_columns(command: str, output: str) -> int | None:
    header = next((line for line in output.splitlines() if line.startswith("|")), "")
    return header.count("|") - 1 if "--md" in command and header else None


if __name__ == "__main__":
    main()
