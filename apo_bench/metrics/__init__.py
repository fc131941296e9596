"""Loads the project's `evaluate` modules from their folders, without network."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import evaluate
import numpy as np

from apo_bench.core.errors import DataError

FOLDER = Path(__file__).parent


def compute_metric(
    name: str, predictions: Sequence[float] | np.ndarray, references: Sequence[float] | np.ndarray, **settings: Any
) -> dict[str, Any]:
    """The value of the `evaluate` module `name` (`preference_accuracy`, `calibration_error`, `win_rate`).

    Raises:
        DataError: there is nothing to compute on.
    """
    if len(predictions) == 0:
        raise DataError(f"{name}: no values to compute on; the split is empty")
    module = evaluate.load(str(FOLDER / name))
    return module.compute(predictions=list(predictions), references=list(references), **settings)
