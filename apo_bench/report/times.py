"""The page of seconds: what each policy took, with the counts beside, and what each stage took."""

from pathlib import Path
from typing import Any

import jinja2

from apo_bench.budget import SECONDS, Budgets
from apo_bench.core.config import Params
from apo_bench.report.budget import COLUMNS, FLOP, flop_unit

FOLDER = Path(__file__).parent
TITLES = {"wall_seconds": "Wall, s", "cpu_seconds": "Processor, s", "gpu_seconds": "GPU, s"}


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

    def row(numbers: dict[str, float]) -> list[str]:
        seconds = [f"{numbers[key]:,.1f}" for key in SECONDS]
        return [*seconds, f"{budgets.flop(numbers) / size:.3g}", *(f"{numbers[name]:,.0f}" for name in COLUMNS)]

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(FOLDER), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.get_template("times.html.j2").render(
        profile=params.profile,
        last_round=params.run.rounds[-1],
        css=(FOLDER / "page.css").read_text(encoding="utf-8"),
        heads=[*TITLES.values(), f"{FLOP[0]}, {unit}", *(title for title, _ in COLUMNS.values())],
        policies=[(policy, row(numbers)) for policy, numbers in totals.items()],
        stages=[(name, len(budgets.users[name]), row(numbers)) for name, numbers in budgets.stages.items()],
    )
