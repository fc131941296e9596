"""The small files that stages leave for the comparison and for MLflow: training curves, metrics and what they ran with."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from apo_bench.core.errors import MissingInputError
from apo_bench.core.files import complete_directory, read_json, write_json, write_jsonl
from apo_bench.core.records import MarginRow, OwnScoreRow, PolicyAnswerRow, VerdictRow
from apo_bench.core.schemas import Schema

ENVIRONMENT = "environment.json"
"""What stages that run models leave beside their results: what they ran them with."""
NUM_LAST_STEPS = 20
"""Steps over which the final loss is averaged: one step's loss is mostly noise."""
MARGINS = "margins.jsonl"
"""What a reward model makes of each human test pair, beside its metrics."""
OWN_SCORES = "scores.jsonl"
"""What a reward model of one's own makes of the test responses of a replicate: a row a policy and round."""
MARGIN, RESPONSE, OWN_SCORE, VERDICT = Schema(MarginRow), Schema(PolicyAnswerRow), Schema(OwnScoreRow), Schema(VerdictRow)
"""What these files are checked against, test responses and judgements too."""


def write_training(path: Path, history: list[dict[str, Any]], metrics: dict[str, Any]) -> str:
    """Writes curves.csv (a row a step; only its header if nothing was trained) and metrics.json to a folder; returns a summary."""
    final = final_numbers(history)
    columns = list(dict.fromkeys(name for row in history for name in row)) or ["step"]
    with complete_directory(path) as folder:
        with (folder / "curves.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, columns, restval="")
            writer.writeheader()
            writer.writerows(history)
        counts = {"num_steps": len(history), "num_tokens_trained": sum(row["num_tokens"] for row in history)}
        write_json(folder / "metrics.json", {**metrics, **counts, **final})
    return f"{len(history)} steps, loss {final['final_loss']:z.3f}" if final else "taken as it is"


def write_reward_evaluation(path: Path, metrics: Mapping[str, Any], margins: Sequence[MarginRow]) -> str:
    """Writes what a reward model is worth on the human test pairs, and its margins, to a folder; returns a summary."""
    with complete_directory(path) as folder:
        write_jsonl(folder / MARGINS, margins)
        write_json(folder / "metrics.json", metrics)
    return ", ".join(f"{name} {metrics[name]:.3f}" for name in ("human_accuracy", "gold_accuracy") if name in metrics)


def final_numbers(history: list[dict[str, Any]]) -> dict[str, float]:
    """The mean loss of the last steps; nothing if nothing was trained."""
    last = history[-NUM_LAST_STEPS:]
    return {"final_loss": sum(row["loss"] for row in last) / len(last)} if last else {}


def write_metrics(path: Path, metrics: dict[str, Any]) -> None:
    """Writes metrics.json to a folder of its own."""
    with complete_directory(path) as folder:
        write_json(folder / "metrics.json", metrics)


def read_curves(path: Path) -> list[dict[str, float]]:
    """The rows of a folder's curves.csv.

    Raises:
        MissingInputError: there is none.
    """
    file = Path(path) / "curves.csv"
    if not file.is_file():
        raise MissingInputError(f"{file}: no such file; run the stage that writes it (dvc repro) first")
    with file.open(newline="", encoding="utf-8") as lines:
        return [{name: float(value) for name, value in row.items() if value != ""} for row in csv.DictReader(lines)]


def read_metrics(path: Path) -> dict[str, Any]:
    """The values of a folder's metrics.json."""
    return read_json(Path(path) / "metrics.json")
