"""Compares all policies: the table, the numbers for DVC, the plots and the page."""

from dataclasses import replace
from itertools import chain
from pathlib import Path

from rich.console import Console

from apo_bench.budget import policy_models, read_budgets
from apo_bench.comparability import check_comparable, read_inputs, unlike_arms
from apo_bench.comparison.reading import read_comparison
from apo_bench.comparison.results import reference_names
from apo_bench.core.config import PARAMS, load_params
from apo_bench.core.files import complete_directory, write_json, write_text
from apo_bench.core.layout import arms
from apo_bench.report.budget import budget_markdown
from apo_bench.report.charts import charts
from apo_bench.report.claims import claims_markdown, claims_table
from apo_bench.report.game import game_markdown
from apo_bench.report.game_charts import game_charts
from apo_bench.report.headline import headline
from apo_bench.report.judge import judge_markdown
from apo_bench.report.page import render_page
from apo_bench.report.pareto import pareto_chart
from apo_bench.report.svg import standalone
from apo_bench.report.tables import claims, markdown, terminal_table
from apo_bench.tracking.lock import LOCK, Lock

TERMINAL_WIDTH = 140


def main(results: Path, report: Path) -> tuple[str, Path]:
    """Reads RESULTS; writes summary.json, metrics.json, table.md, plots/ and index.html to REPORT and prints the table."""
    params = load_params(PARAMS)
    comparison = read_comparison(results, params)
    lock, models = Lock(LOCK), results.with_name("models")
    unlike = unlike_arms(read_inputs(lock, params, arms(params.run), models, results))
    check_comparable(unlike, params.compare.may_differ)
    comparison = replace(
        comparison,
        budgets=read_budgets(lock, policy_models(models, params.run, reference_names(params))),
        unlike={pair: [str(fault) for fault in faults] for pair, faults in unlike.items()},
    )
    figures = [*charts(comparison), pareto_chart(comparison)]
    games = game_charts(comparison)
    page = render_page(comparison, params.compare, figures, games)
    with complete_directory(report / "plots") as folder:  # for `dvc plots show`, as images: DVC's own charts need a network
        for number, figure in enumerate([*figures, *chain(*games.values())], start=1):
            for panel_number, panel in enumerate(figure.panels, start=1):
                write_text(folder / f"{number}-{panel_number}.svg", standalone(panel))
    write_json(report / "summary.json", comparison.summary())
    write_json(report / "metrics.json", headline(comparison))
    parts = claims_markdown(comparison.verdicts), judge_markdown(comparison), game_markdown(comparison), budget_markdown(comparison)
    write_text(report / "table.md", markdown(comparison) + "".join(parts))
    write_text(report / "index.html", page)
    console = Console(width=TERMINAL_WIDTH, highlight=False)
    console.print(terminal_table(comparison))
    for name, text in claims(comparison).items():
        console.print(f"[bold]{name}[/bold]  {text}", soft_wrap=True)
    console.print(claims_table(comparison.verdicts))
    return f"{len(comparison.policies)} policies on {comparison.num_test_prompts} prompts", report / "index.html"
