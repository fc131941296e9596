"""The page of seconds: what each policy took, with the counts beside, and what each stage took."""

from typing import Any

from apo_bench.comparison.numbers import count, decimal
from apo_bench.config.params import Params
from apo_bench.provenance.budgets import Budgets
from apo_bench.provenance.times import SECONDS
from apo_bench.report.budget import COLUMNS, compute_column, count_cells, flop_unit
from apo_bench.report.page import page
from apo_bench.report.section import Section
from apo_bench.report.table import Cell, Column, Row, Table, names

TITLES = {"wall_seconds": "Wall, s", "cpu_seconds": "Processor, s", "gpu_seconds": "GPU, s"}
LEAD = (
    "Seconds differ from run to run, and results do not: so they stand here and not in index.html. A stage that was restored and not run "
    "shows the seconds of the run that made it. Stages run side by side, so that seconds by the wall add up to more than the wait, and "
    "other work on the machine lengthens them; those of processors are steadier. GPU seconds are those for which a GPU was taken. "
    "Processors of other hosts are not counted, nor what an attempt took that was cut off."
)


def times_summary(budgets: Budgets) -> dict[str, Any]:
    """Policy -> round -> seconds, those of shared stages apart, as report/times.json has them."""
    return {
        policy: {round_id: {**_seconds(numbers), "shared": _seconds(numbers["shared"])} for round_id, numbers in rounds.items()}
        for policy, rounds in budgets.summary().items()
    }


def _seconds(numbers: dict[str, float]) -> dict[str, float]:
    return {key: round(numbers[key], 3) for key in SECONDS}


def render_times(budgets: Budgets, params: Params) -> str:
    """The page as HTML."""
    last = dict(budgets.made_by.keys())  # of a policy's rounds the last
    totals = {policy: budgets.total(policy, round_id) for policy, round_id in last.items()}
    size, unit = flop_unit(max(map(budgets.flop, totals.values())))

    def cells(numbers: dict[str, float]) -> list[Cell]:
        return [*names(*(decimal(numbers[key], 1) for key in SECONDS)), *count_cells(budgets, numbers, size)]

    columns = [*(Column(title) for title in TITLES.values()), *COLUMNS.values(), compute_column(unit)]
    policies = Table(
        "policy-seconds",
        f"From the base model on, arms after {params.run.rounds[-1]}. A stage that several policies come from counts whole for each.",
        [Column("Policy", kind="name"), *columns],
        [Row([Cell(policy), *cells(numbers)]) for policy, numbers in totals.items()],
    )
    stages = Table(
        "stage-seconds",
        "Each stage of dvc.yaml that makes policies, and how many policies come from it.",
        [Column("Stage", kind="name"), Column("Policies"), *columns],
        [Row([*names(name, count(len(budgets.users[name]))), *cells(numbers)]) for name, numbers in budgets.stages.items()],
    )
    sections = [Section("policies", "Policies", [policies]), Section("stages", "Stages", [stages])]
    return page(params.profile, "What each policy took, in seconds", LEAD, {}, sections)
