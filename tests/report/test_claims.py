"""The verdicts as text: a line a contrast, units, what was not tested and why, what was decided by which outcome."""

from io import StringIO

import pytest
from claimed import claimed
from rich.console import Console

from apo_bench.report.claims import claim_rows, claims_section, verdicts_table
from apo_bench.report.section import as_markdown
from apo_bench.report.table import terminal

NAMES = [*(f"C{number}" for number in range(1, 13)), "APO", "AB", "GOLDEN"]
ABOUT_POLICIES = ["C1", "C2", "C3", "C10", "C11", "C12", "APO", "AB"]
"""Those that the default's arms can test."""


@pytest.fixture
def verdicts(params):
    return claimed(params)


def texts(row):
    """What stands in a row's cells: claim, verdict, p, contrast, estimate, d, detectable."""
    return [cell.text for cell in row.cells]


def test_rows_by_hand(verdicts):
    first, second, third, fourth, fifth, *_ = claim_rows(verdicts.primary)
    assert texts(first) == ["C1", "reproduced", "<0.001", "RJS with APO over with base, r3", "+0.50", "0.10", "0.38"]
    claim, verdict, _, contrast, estimate, *_ = first.cells
    assert (verdict.note, verdict.standing) == ("as claimed", "better")
    assert (claim.note, contrast.note) == ("APO beats the fixed reward model with RJS", "gold")
    assert estimate.bounds == ("+0.25", "+0.75")
    assert texts(second)[:2] == ["C2", "not reproduced"] and second.cells[4].text == "−0.50"
    assert second.cells[1].note == "the opposite: RRHF with APO over with base, r3" and second.cells[1].standing == "worse"
    assert (third.cells[1].text, third.cells[1].standing, third.cells[1].note) == ("no difference beyond d", "undecided", "within ± d")
    assert texts(fourth)[:2] == ["C4", "undecided"] and fourth.cells[1].note == "about 40 seeds would tell if it is what it seems"
    assert texts(fifth)[:3] == ["", "", ""] and fifth.group == fourth.group != third.group
    assert (fifth.cells[3].note, fifth.cells[4].bounds, texts(fifth)[5:]) == ("accuracy", ("−25.0", "+25.0"), ["10.0", "37.5"])


def test_what_was_not_tested_says_what_the_run_lacks(verdicts):
    rows = {row.cells[0].text: row for row in claim_rows(verdicts.primary)}
    assert texts(rows["C6"]) == ["C6", "not tested", "", "", "", "", ""] and rows["C6"].cells[1].note == "the run has no reward model gail"


def test_markdown_holds_every_claim_once_an_outcome(verdicts):
    text = as_markdown([claims_section(verdicts)])
    primary, by_rm, at_length = text.split("Policies by ")[1:]
    assert primary.startswith("gold, the true reward (primary)") and by_rm.startswith("RM_all, as in the paper")
    assert at_length.startswith("RM_all at equal length")
    for part, names in ((primary, NAMES), (by_rm, ABOUT_POLICIES), (at_length, ABOUT_POLICIES)):
        table = [line for line in part.splitlines() if line.startswith("| ")]
        assert [line.split("**")[1] for line in table if line.startswith("| **")] == names
        assert {line.count("|") for line in table} == {8}


def test_terminal_has_a_line_a_claim_with_each_outcome(verdicts):
    console = Console(width=400, file=StringIO())
    console.print(terminal(verdicts_table(verdicts)))
    lines = {line.split()[0]: line for line in console.file.getvalue().splitlines() if line.split()[:1] in [[name] for name in NAMES]}
    assert list(lines) == NAMES and "not tested" in lines["C6"]
    assert lines["C1"].count("reproduced") == 3 and lines["C4"].count("undecided") == 1


def test_the_note_says_over_what_verdicts_generalise(params):
    assert claimed(params).note.startswith("8 seeds, each with labels, SFT, reward models and samples of its own; base model, prompts and ")
    assert "adjusted by Holm over 11 claims, and compared with 0.025, of no difference with 0.05" in as_markdown(
        [claims_section(claimed(params))]
    )


@pytest.mark.parametrize("num_seeds", [1, 4])
def test_too_few_seeds_speak_no_verdict(params, num_seeds):
    verdicts = claimed(params, num_seeds)
    assert f"{num_seeds} seed" in verdicts.note and "nothing is decided with fewer than 5" in verdicts.note
    rows = [row for family in verdicts.families for row in claim_rows(family)]
    assert {row.cells[1].text for row in rows} == {"undecided", "not tested", ""} and not any(row.cells[6].text for row in rows)
    assert all(bool(row.cells[4].bounds) == (num_seeds > 1 and bool(row.cells[3].text)) for row in rows)
