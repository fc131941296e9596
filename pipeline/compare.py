"""Compares all policies: the table, the numbers for DVC, the plots and the page."""

from pathlib import Path

from rich.console import Console

from apo_bench.comparison.whole import read_whole
from apo_bench.core.config import PARAMS, load_params
from apo_bench.core.files import complete_directory, write_json, write_text
from apo_bench.report.claims import verdicts_table
from apo_bench.report.contents import contents, render_report
from apo_bench.report.headline import headline
from apo_bench.report.policies import findings_table, short_table
from apo_bench.report.section import as_markdown, figures
from apo_bench.report.table import terminal

TERMINAL_WIDTH = 140


def main(results: Path, report: Path) -> tuple[str, Path]:
    """Reads RESULTS; writes summary.json, metrics.json, table.md, plots/ and index.html to REPORT and prints the table."""
    params = load_params(PARAMS)
    comparison = read_whole(results, params)
    sections = contents(comparison, params.compare)
    with complete_directory(report / "plots") as folder:  # for `dvc plots show`, as images: DVC's own charts need a network
        for chart in figures(sections):
            for panel in chart.panels:
                (folder / f"{panel.name}.svg").write_bytes(panel.svg)
    write_json(report / "summary.json", comparison.summary())
    write_json(report / "metrics.json", headline(comparison))
    write_text(report / "table.md", as_markdown(sections))
    write_text(report / "index.html", render_report(comparison, sections))
    console = Console(width=TERMINAL_WIDTH, highlight=False)
    for table in (short_table(comparison), findings_table(comparison), verdicts_table(comparison.verdicts)):
        if table.rows:
            console.print(terminal(table))
    return f"{len(comparison.policies)} policies on {comparison.num_test_prompts} prompts", report / "index.html"
