"""Makes the MLflow store say what the outputs say: runs, curves, models, the best arm. Does nothing if it says so already."""

from pathlib import Path

from apo_bench.core.layout import DATA, LABELS, MODELS, PAGE, REPORT, RESULTS, SECONDS, STORE, SUMMARY, TABLE, TIMES
from apo_bench.core.stage import Files, Stage
from apo_bench.provenance.lock import LOCK, Lock
from apo_bench.tracking.description import describe

STAGE = Stage()


def files() -> Files:
    """Everything; the store is no output, and so is never restored from DVC's cache."""
    folders = {"data": DATA, "labels": LABELS, "models": MODELS, "results": RESULTS, "times": TIMES}
    return Files(folders | {name: REPORT / name for name in (SUMMARY, PAGE, TABLE, SECONDS)}, {})


def main() -> tuple[str, Path]:
    """Writes what the outputs hold, and dvc.lock says of them, to the MLflow store."""
    tracked = describe(Lock(LOCK), DATA, LABELS, MODELS, RESULTS, REPORT)
    from apo_bench.tracking.store import write  # imports mlflow, 1 s

    return f"{write(tracked, STORE)}; best {tracked.best[0]}", STORE
