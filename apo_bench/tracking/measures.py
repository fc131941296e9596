"""The numbers that stages left as metrics of MLflow, under keys by which runs of a kind can be compared."""

from pathlib import Path
from typing import Any

from apo_bench.comparison.summary import ClaimSummary, DifferenceSummary, Estimated, Judgement
from apo_bench.core.results import read_curves, read_metrics
from apo_bench.tracking.runs import Measure

NO_CURVES = ("step", "epoch", "num_tokens")
"""Columns of curves.csv that are no measure of a training."""


def claim_rows(claims: dict[str, ClaimSummary]) -> list[dict[str, Any]]:
    """A row a contrast, or a claim that was not tested, with what became of the claim."""
    shown = ("contrast", "measure", "value", "low", "high", "smallest", "detectable")
    return [
        {
            **{"name": name, "claim": claim["claim"], "verdict": claim["verdict"], "p": claim["p"], "why": claim["why"]},
            **{key: contrast[key] for key in shown if contrast},
        }
        for name, claim in claims.items()
        for contrast in claim["contrasts"] or [{}]
    ]


def difference_rows(differences: dict[str, DifferenceSummary]) -> list[dict[str, Any]]:
    """A row a difference of an arm to the one with the fixed reward model, by round and metric."""
    return [
        {"arm": name, "round": round_id, "metric": metric, "value": estimate["value"], "low": estimate["low"], **estimate}
        for name, difference in differences.items()
        for round_id, metrics in difference["rounds"].items()
        for metric, estimate in metrics.items()
    ]


def estimate_measure(group: str, name: str, estimate: Estimated, step: int, model: str | None = None) -> Measure:
    """A number that was measured on the test prompts, with its interval."""
    return Measure(f"{group}/{name}", estimate["value"], step, model, True, estimate["low"], estimate["high"])


def evaluation_measures(estimates: dict[str, Estimated], step: int, model: str | None = None) -> list[Measure]:
    """A policy's metrics."""
    return [estimate_measure("evaluation", name, estimate, step, model) for name, estimate in estimates.items()]


def is_trained(results: Path) -> bool:
    """Whether a model was trained here, and not taken as it is: only then was there something to read."""
    return read_metrics(results).get("num_steps") != 0


def training_measures(results: Path, step: int = 0) -> list[Measure]:
    """The metrics.json of a training, at `step`."""
    return measures_of("training", read_metrics(results), step)


def curves(*trainings: Path) -> list[Measure]:
    """The curves of trainings one after the other, as one of all their steps."""
    rows = [row for results in trainings for row in read_curves(results)]
    return [
        measure
        for number, row in enumerate(rows, start=1)
        for measure in measures_of("training", {key: value for key, value in row.items() if key not in NO_CURVES}, number)
    ]


def measures_of(group: str, values: dict[str, Any], step: int, model: str | None = None, is_test: bool = False) -> list[Measure]:
    """The numbers among `values`; what could not be measured (None) is left out."""
    return [
        Measure(f"{group}/{key}", float(value), step, model, is_test)
        for key, value in values.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    ]


def judge_measures(group: str, numbers: Judgement, step: int, model: str | None) -> list[Measure]:
    """The numbers of a judgement."""
    estimates = [estimate_measure(group, key, estimate, step, model) for key, estimate in numbers["estimates"].items()]
    return measures_of(group, numbers["counts"], step, model, is_test=True) + estimates
