"""Compares all policies: the table, the numbers for DVC, the plots and the page."""

from pathlib import Path

from rich.console import Console

from apo_bench.comparison.whole import read_whole
from apo_bench.config.params import PARAMS, load_params
from apo_bench.core import layout
from apo_bench.core.files import complete_directory, write_json, write_text
from apo_bench.core.stage import Files, Stage
from apo_bench.report.claims import verdicts_table
from apo_bench.report.contents import contents, render_report
from apo_bench.report.headline import headline
from apo_bench.report.policies import findings_table, short_table
from apo_bench.report.section import as_markdown, figures
from apo_bench.report.table import terminal

TERMINAL_WIDTH = 140

STAGE = Stage()


def files() -> Files:
    """The page, its table, its numbers and its plots, from all results."""
    made = {"page": layout.PAGE, "table": layout.TABLE, "summary": layout.SUMMARY, "numbers": layout.NUMBERS, "plots": layout.PLOTS}
    return Files({"results": layout.RESULTS}, {name: layout.REPORT / file for name, file in made.items()})


def main(results: Path, page: Path, table: Path, summary: Path, numbers: Path, plots: Path) -> tuple[str, Path]:
    """Reads all results, writes page, table and plots, all numbers and the few that DVC shows, and prints the table."""
    params = load_params(PARAMS)
    comparison = read_whole(results, params)
    sections = contents(comparison, params.compare)
    with complete_directory(plots) as folder:  # for `dvc plots show`, as images: DVC's own charts need a network
        for chart in figures(sections):
            for panel in chart.panels:
                (folder / f"{panel.name}.svg").write_bytes(panel.svg)
    write_json(summary, comparison.summary())
    write_json(numbers, headline(comparison))
    write_text(table, as_markdown(sections))
    write_text(page, render_report(comparison, sections))
    console = Console(width=TERMINAL_WIDTH, highlight=False)
    for shown in (short_table(comparison), findings_table(comparison), verdicts_table(comparison.verdicts)):
        if shown.rows:
            console.print(terminal(shown))
    return f"{len(comparison.policies)} policies on {comparison.num_test_prompts} prompts", page
