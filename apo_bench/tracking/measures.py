"""The numbers that stages left as metrics of MLflow, under keys by which runs of a kind can be compared."""

from pathlib import Path
from typing import Any

from apo_bench.core.results import read_curves, read_metrics
from apo_bench.tracking.runs import Measure


def claim_rows(claims: dict[str, Any]) -> list[dict[str, Any]]:
    """A row a contrast, or a claim that was not tested, with what became of the claim."""
    shown = ("contrast", "measure", "value", "low", "high", "smallest", "detectable")
    return [
        {"name": name, **{key: claim[key] for key in ("claim", "verdict", "p", "why")}, **{key: contrast[key] for key in shown if contrast}}
        for name, claim in claims.items()
        for contrast in claim["contrasts"] or [{}]
    ]


def round_number(round_id: str) -> int:
    return int(round_id.removeprefix("r"))


def evaluation_measures(estimates: dict[str, Any], step: int, model: str | None = None) -> list[Measure]:
    """A policy's metrics; the ends of their intervals stand in a group of their own, so that MLflow's first charts are few."""
    measures = []
    for key, estimate in estimates.items():
        measures += measures_of("evaluation", {key: estimate["value"]}, step, model, is_test=True)
        measures += measures_of("uncertainty", {f"{key}_low": estimate["low"], f"{key}_high": estimate["high"]}, step, model, is_test=True)
    return measures


def is_trained(results: Path) -> bool:
    """Whether a model was trained here, and not taken as it is: only then was there something to read."""
    return read_metrics(results).get("num_steps") != 0


def training_measures(results: Path, step: int = 0, reward_model: str | None = None) -> list[Measure]:
    """The metrics.json of a training, at `step`, and its curves; those of a reward model under the keys that arms have too."""
    metrics = read_metrics(results)
    training = {key: value for key, value in metrics.items() if key == "final_loss" or key.startswith("num_")}
    rest = {key: value for key, value in metrics.items() if key not in training}
    evaluated = measures_of("reward_model", rest, step, reward_model, is_test=True)
    return measures_of("training", training, step) + evaluated + curve_measures("training", results)


def curve_measures(group: str, results: Path) -> list[Measure]:
    rows = read_curves(results)
    return [
        measure
        for row in rows
        for measure in measures_of(group, {key: value for key, value in row.items() if key not in ("step", "epoch")}, int(row["step"]))
    ]


def measures_of(group: str, values: dict[str, Any], step: int, model: str | None = None, is_test: bool = False) -> list[Measure]:
    """The numbers among `values`; what could not be measured (None) is left out."""
    return [
        Measure(f"{group}/{key}", float(value), step, model, is_test)
        for key, value in values.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    ]


def judge_measures(group: str, numbers: dict[str, Any], step: int, model: str | None) -> list[Measure]:
    """The numbers of a judgement, with the ends of their intervals in the group that those of other metrics are in."""
    measures = measures_of(group, numbers["counts"], step, model, is_test=True)
    for key, estimate in numbers["estimates"].items():
        measures += measures_of(group, {key: estimate["value"]}, step, model, is_test=True)
        ends = {f"{group}_{key}_{end}": estimate[end] for end in ("low", "high")}
        measures += measures_of("uncertainty", ends, step, model, is_test=True)
    return measures
