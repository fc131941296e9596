"""The page of seconds, which differ from run to run and so stand apart from the page of results: what each policy and each stage took."""

from pathlib import Path

from apo_bench.config.params import PARAMS, load_params
from apo_bench.core.files import write_json, write_text
from apo_bench.core.layout import MODELS, REPORT, RESULTS, SECONDS, SECONDS_PAGE, SFT, TIMES
from apo_bench.core.stage import Files, Stage
from apo_bench.provenance.budgets import policy_models, read_budgets
from apo_bench.provenance.lock import LOCK, Lock
from apo_bench.report.times import render_times, times_summary

STAGE = Stage()


def files() -> Files:
    """The page of seconds and its numbers, from the seconds of all stages and what each counted."""
    return Files({"results": RESULTS, "times": TIMES}, {"page": REPORT / SECONDS_PAGE, "summary": REPORT / SECONDS})


def main(page: Path, summary: Path) -> tuple[str, Path]:
    """Reads what the stages took; writes it as numbers and as a page."""
    params = load_params(PARAMS)
    models = policy_models(MODELS, params.run, (SFT, *params.references.made))
    budgets = read_budgets(Lock(LOCK), models, with_seconds=True)
    write_json(summary, times_summary(budgets))
    write_text(page, render_times(budgets, params))
    total = sum(numbers["cpu_seconds"] for numbers in budgets.stages.values())
    return f"{len(budgets.stages)} stages took {total:.0f} processor seconds", page
