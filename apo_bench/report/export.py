"""The report's tables and figures as files for a paper: LaTeX, CSV and Markdown; PDF, SVG and PNG."""

import contextlib
import textwrap
from pathlib import Path

from apo_bench.comparison.numbers import MINUS, NONE
from apo_bench.comparison.predictors import games_csv
from apo_bench.comparison.whole import read_whole
from apo_bench.config.params import PARAMS, load_params
from apo_bench.core.errors import MissingInputError
from apo_bench.core.files import complete_directory, write_text
from apo_bench.core.layout import RESULTS
from apo_bench.report.contents import contents
from apo_bench.report.section import Section, figures, tables
from apo_bench.report.table import Cell, Column, Row, Table, as_csv, markdown

PICTURES = ("pdf", "svg", "png")
MOST_ROWS, MOST_SENTENCES = 27, 12
"""Rows of a LaTeX table, and of one with sentences: longer ones go on in another, which then fits a page."""
HEAD_WIDTH = 12
"""Letters in a line of a column's head."""
PREAMBLE = r"""\documentclass{article}
\usepackage[T1]{fontenc}
\usepackage[utf8]{inputenc}
\usepackage{amssymb,array,booktabs,graphicx}
\usepackage[margin=2cm]{geometry}
\begin{document}
"""
"""Of `all.tex`, which shows everything; a paper needs the same packages, geometry apart."""
CHARACTERS = {
    **{character: f"\\{character}" for character in "&%$#_{}"},
    **{"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}"},
    **{MINUS: "$-$", NONE: "--", "—": "---", "’": "'", "“": "``", "”": "''", "…": r"\dots{}", "\N{NO-BREAK SPACE}": "~"},
    **{"±": r"$\pm$", "√": r"$\surd$", "≥": r"$\geq$", "Δ": r"$\Delta$", "θ": r"$\theta$", "φ": r"$\varphi$", "κ": r"$\kappa$"},
    **{"↑": r"$\uparrow$", "↓": r"$\downarrow$", "▲": r"$\blacktriangle$", "▼": r"$\blacktriangledown$", "○": r"$\circ$"},
    **{"◆": r"$\blacklozenge$", "★": r"$\bigstar$", "✚": r"$+$", "✖": r"$\times$"},
    **{"►": r"$\blacktriangleright$", "◄": r"$\blacktriangleleft$", "■": r"$\blacksquare$"},
}
"""What LaTeX does not take as it is; other letters it knows by its encodings."""


def export_paper(report: Path, output: Path) -> str:
    """Writes every table and figure of a finished run to a folder; returns what was done.

    Args:
        report: the run's report; its params.yaml, dvc.lock and out/ lie beside it.
        output: the folder to be written, with `tables/`, `figures/`, `all.tex` and, where gold is known, `games.csv`, a row for
            each round of each arm: what its reward model was worth, and what became of the policy.

    Raises:
        MissingInputError: no run lies there, or a file of it is missing.
        DataError: a file is broken.
    """
    run, output = report.resolve().parent, output.resolve()
    if not (run / PARAMS).is_file():
        raise MissingInputError(f"{run / PARAMS}: no such file; --report is the folder report of a finished run")
    with contextlib.chdir(run):
        params = load_params(PARAMS)
        comparison = read_whole(RESULTS, params)
    sections = contents(comparison, params.compare)
    write_sections(sections, output)
    if comparison.played:
        write_text(output / "games.csv", games_csv(comparison.played))
    return f"export-paper: {len(tables(sections))} tables and {len(figures(sections))} figures -> {output}"


def write_sections(sections: list[Section], output: Path) -> None:
    """Writes tables and figures, each under its name in every format, and a document that shows them all."""
    inputs = []
    with complete_directory(output / "tables") as folder:
        for table in tables(sections):
            for ending, text in (("tex", latex(table)), ("csv", as_csv(table)), ("md", markdown(table) + "\n")):
                write_text(folder / f"{table.name}.{ending}", text)
            inputs.append(f"\\input{{tables/{table.name}}}")
    with complete_directory(output / "figures") as folder:
        for chart in figures(sections):
            for kind in PICTURES:
                (folder / f"{chart.name}.{kind}").write_bytes(chart.picture(kind))
            caption = escaped(f"{chart.title}. {chart.text}")
            picture = f"\\includegraphics{{figures/{chart.name}.pdf}}"
            inputs.append(_float("figure", picture, caption, f"fig:{chart.name}"))
    write_text(output / "all.tex", PREAMBLE + "\n\\clearpage\n".join(inputs) + "\n\\end{document}\n")


def latex(table: Table) -> str:
    """The table with rules of booktabs, no wider than the text; its packages are those of `PREAMBLE`."""
    most = MOST_SENTENCES if _has_sentences(table) else MOST_ROWS
    parts = [table.rows[start : start + most] for start in range(0, len(table.rows), most)] or [[]]
    written = []
    for number, rows in enumerate(parts, start=1):
        more = f" (Part {number} of {len(parts)}.)" if len(parts) > 1 else ""
        label = f"tab:{table.name}{f'-{number}' if len(parts) > 1 else ''}"
        written.append(_float("table", _tabular(table, rows), escaped(table.caption + more), label))
    return "\n".join(written)


def escaped(text: str) -> str:
    """Text as LaTeX takes it."""
    return "".join(CHARACTERS.get(character, character) for character in text)


def _float(kind: str, content: str, caption: str, label: str) -> str:
    fitted = f"\\resizebox{{\\ifdim\\width>\\textwidth\\textwidth\\else\\width\\fi}}{{!}}{{%\n{content}}}"
    return f"\\begin{{{kind}}}[tp]\n\\centering\n\\caption{{{caption}}}\n\\label{{{label}}}\n{fitted}\n\\end{{{kind}}}\n"


def _has_sentences(table: Table) -> bool:
    return any(column.kind == "words" for column in table.columns)


def _tabular(table: Table, rows: list[Row]) -> str:
    kinds = {"number": "r", "name": "l", "words": r">{\raggedright\arraybackslash}p{4.2cm}"}
    lines = [
        f"\\begin{{tabular}}{{{''.join(kinds[column.kind] for column in table.columns)}}}",
        "\\toprule",
        f"{' & '.join(map(_head, table.columns))} \\\\",
    ]
    above = None
    for row in rows:
        lines.append("\\midrule" if above is None or above.group != row.group else "\\addlinespace")
        cells = [_cell(table, column, cell) for column, cell in zip(table.columns, row.cells, strict=True)]
        lines += [f"{' & '.join(line)} \\\\" for line in zip(*cells, strict=True) if any(line)]
        above = row
    return "\n".join([*lines, "\\bottomrule", "\\end{tabular}"])


def _head(column: Column) -> str:
    """The column's title, in as many lines as keep it narrow."""
    lines = [f"\\textbf{{{escaped(line)}}}" for line in textwrap.wrap(column.head, HEAD_WIDTH)]
    side, stacked = "r" if column.kind == "number" else "l", r" \\ ".join(lines)
    return stacked if len(lines) < 2 else f"\\begin{{tabular}}[b]{{@{{}}{side}@{{}}}}{stacked}\\end{{tabular}}"


def _cell(table: Table, column: Column, cell: Cell) -> tuple[str, str]:
    """What stands in the cell's line and, smaller, in the line beneath; beside sentences, which take several, all in one."""
    text, below = escaped(cell.said(table.are_cards)), f"{{\\footnotesize {escaped(cell.below)}}}" if cell.below else ""
    if column.kind != "words" and cell.standing in ("better", "worse"):
        text = f"\\textbf{{{text}}}"
    return (f"{text} {below}".strip(), "") if _has_sentences(table) else (text, below)
