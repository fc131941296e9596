"""One table, however it is written."""

from io import StringIO

from rich.console import Console

from apo_bench.evaluation.statistics import Estimate
from apo_bench.report.table import Cell, Column, Row, Table, as_csv, markdown, names, terminal

GOLD = Column("Gold", "The true reward.", "score", "higher")
WINS = Column("Wins", unit="share")
CLAIM = Column("Claim", kind="words")


def table(are_cards=False):
    """A reference, and an arm that is better by gold."""
    rows = [
        Row([Cell("SFT"), GOLD.cell(Estimate(-0.001, -0.2, 0.1, 0.1)), WINS.cell(None)]),
        Row([Cell("a | b"), GOLD.cell({"value": 0.5, "low": 0.004, "high": 1}, True, "better", "a better"), *names("7")], "arms"),
    ]
    return Table("t", "Two policies.", [Column("Policy", kind="name"), GOLD, WINS], rows, are_cards)


def test_a_column_writes_its_numbers():
    cell = GOLD.cell(Estimate(1.0, -0.2, 2.0, 0.1), signed=True, standing="worse", verdict="base better")
    assert (cell.text, cell.below, cell.mark, cell.said(in_words=True)) == ("+1.00", "[−0.20, +2.00]", "▼", "base better +1.00")
    assert WINS.cell(None) == Cell("–") and WINS.cell(Estimate(0.5, *[float("nan")] * 3)) == Cell("50.0")
    assert (GOLD.head, WINS.head, CLAIM.head) == ("Gold ↑", "Wins, %", "Claim")


def test_markdown_by_hand():
    assert markdown(table()).splitlines() == [
        "Two policies.",
        "",
        "| Policy | Gold ↑ | Wins, % |",
        "| --- | ---: | ---: |",
        "| SFT | 0.00 [−0.20, 0.10] | – |",
        "| a \\| b | ▲ +0.50 [+0.004, +1.000] | 7 |",
    ]
    assert "| a better +0.50 [" in markdown(table(are_cards=True))


def test_words_go_before_what_explains_them():
    shown = Table("t", "", [CLAIM], [Row([Cell("C1", note="It is better.")]), Row([Cell()])])
    assert markdown(shown).splitlines()[-2:] == ["| **C1**: It is better. |", "|  |"]


def test_csv_has_plain_numbers_in_columns_of_their_own():
    shown = Table("t", "", [CLAIM, Column("Read")], [Row([Cell("C1", note="Better, it is."), *names("1,210")]), Row(names("C2", "–"))])
    assert as_csv(shown) == 'Claim,Claim: note,Read\nC1,"Better, it is.",1210\nC2,,\n'


def test_terminal_has_the_same_cells():
    console = Console(width=200, file=StringIO())
    console.print(terminal(table()))
    lines = [line.split() for line in console.file.getvalue().splitlines()]
    assert lines[0] == ["Two", "policies."] and lines[1] == ["Policy", "Gold", "↑", "Wins,", "%"]
    assert lines[2] == ["SFT", "0.00", "[−0.20,", "0.10]", "–"]
    assert ["a", "|", "b", "▲", "+0.50", "[+0.004,", "+1.000]", "7"] in lines
