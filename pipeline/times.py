"""The page of seconds, which differ from run to run and so stand apart from the page of results: what each policy and each stage took."""

from pathlib import Path

from apo_bench.budget import policy_models, read_budgets
from apo_bench.core.config import PARAMS, load_params
from apo_bench.core.files import write_json, write_text
from apo_bench.core.layout import SFT
from apo_bench.report.times import render_times, times_summary
from apo_bench.tracking.lock import LOCK, Lock


def main(results: Path, report: Path) -> tuple[str, Path]:
    """Reads the seconds beside RESULTS; writes times.json and times.html to REPORT."""
    params = load_params(PARAMS)
    models = policy_models(results.with_name("models"), params.run, (SFT, *params.references.made))
    budgets = read_budgets(Lock(LOCK), models, with_seconds=True)
    write_json(report / "times.json", times_summary(budgets))
    write_text(report / "times.html", render_times(budgets, params))
    total = sum(numbers["cpu_seconds"] for numbers in budgets.stages.values())
    return f"{len(budgets.stages)} stages took {total:.0f} processor seconds", report / "times.html"
