"""Files for a paper: LaTeX by hand, every table and figure in every format, and a run that is not there."""

import csv
import re

import pytest
from click.testing import CliRunner

from apo_bench import cli
from apo_bench.evaluation.statistics import Estimate
from apo_bench.report.export import MOST_ROWS, escaped, latex, write_sections
from apo_bench.report.pictures import Chart, Panel
from apo_bench.report.section import Part, Section
from apo_bench.report.table import Cell, Column, Row, Table, names

GOLD = Column("Gold", unit="score", better="higher")
WINS = Column("Wins", unit="share")
MAGIC = {"svg": b"<?xml", "pdf": b"%PDF", "png": b"\x89PNG"}


def table(num_arms=1):
    """A reference, and arms that are better by gold."""
    sft = Row([Cell("SFT"), GOLD.cell(Estimate(-0.001, -0.2, 0.1, 0.1)), WINS.cell(None)])
    arm = Row([Cell("DPO a_b"), GOLD.cell({"value": 0.5, "low": 0.25, "high": 1}, True, "better", "a better"), *names("7")], "arms")
    return Table("policies", "Two & more, 95%.", [Column("Policy", kind="name"), GOLD, WINS], [sft, *[arm] * num_arms])


def test_latex_by_hand():
    lines = latex(table()).splitlines()
    assert lines[:4] == [r"\begin{table}[tp]", r"\centering", r"\caption{Two \& more, 95\%.}", r"\label{tab:policies}"]
    assert lines[5:-1] == [
        r"\begin{tabular}{lrr}",
        r"\toprule",
        r"\textbf{Policy} & \textbf{Gold $\uparrow$} & \textbf{Wins, \%} \\",
        r"\midrule",
        r"SFT & 0.00 & -- \\",
        r" & {\footnotesize [$-$0.20, 0.10]} &  \\",
        r"\midrule",
        r"DPO a\_b & \textbf{$\blacktriangle$ +0.50} & 7 \\",
        r" & {\footnotesize [+0.25, +1.00]} &  \\",
        r"\bottomrule",
        r"\end{tabular}}",
    ]


def test_a_sentence_stands_in_its_cell():
    shown = Table("claims", "", [Column("Claim", kind="words")], [Row([Cell("C1", note="It is better.")])])
    assert r"C1 {\footnotesize It is better.} \\" in latex(shown) and r"{>{\raggedright\arraybackslash}p{4.2cm}}" in latex(shown)


def test_a_long_head_takes_lines_and_beside_sentences_an_interval_stands_in_the_line():
    cells = [Cell("C1"), GOLD.cell(Estimate(0.5, 0.25, 1, 0.1))]
    text = latex(Table("t", "", [Column("What has to be so", kind="words"), GOLD], [Row(cells)]))
    assert r"\begin{tabular}[b]{@{}l@{}}\textbf{What has to} \\ \textbf{be so}\end{tabular} & \textbf{Gold $\uparrow$} \\" in text
    assert r"C1 & 0.50 {\footnotesize [0.25, 1.00]} \\" in text


def test_a_long_table_goes_on_in_another():
    text = latex(table(num_arms=MOST_ROWS + 1))
    assert re.findall(r"label\{(.*?)\}", text) == ["tab:policies-1", "tab:policies-2"] and "(Part 2 of 2.)" in text
    assert text.count("SFT") == 1 and text.count(r"DPO a\_b") == MOST_ROWS + 1


def test_what_latex_reads_as_its_own_is_escaped():
    assert escaped("50 % of a_b & {c} #1 ~ ^ \\ < “x”") == (
        r"50 \% of a\_b \& \{c\} \#1 \textasciitilde{} \textasciicircum{} \textbackslash{} \textless{} ``x''"
    )


def test_every_table_and_figure_is_written_in_every_format(tmp_path):
    chart = Chart("gold-by-round", "Gold", "By round.", [Panel("p", "DPO", ("round", "gold"), lambda axes: axes.plot([0, 1]), "It rises.")])
    write_sections([Section("s", "S", ["Text.", Part("Folded", [table()], is_folded=True), chart])], tmp_path / "new")
    files = {path.relative_to(tmp_path / "new").as_posix() for path in (tmp_path / "new").rglob("*") if path.is_file()}
    assert files == {
        "all.tex",
        *(f"tables/policies.{kind}" for kind in ("tex", "csv", "md")),
        *(f"figures/gold-by-round.{kind}" for kind in MAGIC),
    }
    assert all((tmp_path / f"new/figures/gold-by-round.{kind}").read_bytes().startswith(magic) for kind, magic in MAGIC.items())
    document = (tmp_path / "new/all.tex").read_text()
    assert r"\input{tables/policies}" in document and "{figures/gold-by-round.pdf}" in document
    with (tmp_path / "new/tables/policies.csv").open() as file:
        assert list(csv.reader(file)) == [
            ["Policy", "Gold", "Gold: low", "Gold: high", "Gold: verdict", "Wins, %"],
            ["SFT", "0.00", "-0.20", "0.10", "", ""],
            ["DPO a_b", "+0.50", "+0.25", "+1.00", "a better", "7"],
        ]


def test_where_no_run_is_it_says_what_was_expected(tmp_path):
    result = CliRunner().invoke(cli.main, ["export-paper", "--report", str(tmp_path / "report"), "--output", str(tmp_path / "paper")])
    assert result.exit_code == 1 and not (tmp_path / "paper").exists()
    assert f"{tmp_path / 'params.yaml'}: no such file; --report is the folder report of a finished run" in result.stderr


@pytest.mark.parametrize("character", "−–↑↓▲▼○◆★✚✖±√Δθφκ…’“”")
def test_signs_of_the_report_are_ascii_in_latex(character):
    assert escaped(character).isascii()
