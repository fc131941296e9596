"""What stages took, which differs from run to run: a file of seconds a stage (`apo_bench.core.layout.times_file`)."""

import resource
import time
from pathlib import Path

from apo_bench.core.errors import DataError
from apo_bench.core.files import read_json
from apo_bench.core.layout import TIMES, replicate

SECONDS = WALL, CPU, GPU = ("wall_seconds", "cpu_seconds", "gpu_seconds")


class Stopwatch:
    """Seconds from its making on: by the wall, and of processors, those of ended child processes on this host included."""

    def __init__(self) -> None:
        self._wall, self._cpu = time.perf_counter(), _cpu_seconds()

    def seconds(self, num_gpus: float) -> dict[str, float]:
        """As the file of a stage holds them; GPU seconds are those for which a GPU was taken, busy or not."""
        wall, cpu = time.perf_counter() - self._wall, _cpu_seconds() - self._cpu
        return {WALL: round(wall, 3), CPU: round(cpu, 3), GPU: round(num_gpus * wall, 3)}


def read_seconds(file: Path) -> dict[str, float]:
    """What a stage took.

    Raises:
        MissingInputError: it has left no such file.
        DataError: the file is broken.
    """
    seconds = read_json(file)
    if not (isinstance(seconds, dict) and all(isinstance(seconds.get(key), float) for key in SECONDS)):
        raise DataError(f"{file}: expected the numbers {', '.join(SECONDS)}; run the stage that leaves them (dvc repro) again")
    return {key: seconds[key] for key in SECONDS}


def files_of_seconds(seed: int) -> list[Path]:
    """Those of the stages of a replicate that have run."""
    return sorted(replicate(TIMES, seed).rglob("*.json"))


def _cpu_seconds() -> float:
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)
