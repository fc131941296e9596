"""Makes the MLflow store say what the outputs say: runs, curves, models, the best arm. Does nothing if it says so already."""

from pathlib import Path

from apo_bench.tracking.description import describe
from apo_bench.tracking.lock import LOCK, Lock


def main(data: Path, models: Path, results: Path, report: Path, store: Path) -> tuple[str, Path]:
    """Writes what DATA, MODELS, RESULTS and REPORT hold, and dvc.lock says of them, to the MLflow store in the folder STORE."""
    tracked = describe(Lock(LOCK), data, models, results, report)
    from apo_bench.tracking.store import write  # imports mlflow, 1 s

    return f"{write(tracked, store)}; best {tracked.best[0]}", store
