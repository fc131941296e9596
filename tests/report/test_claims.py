"""The verdicts as text: a line a contrast, units, what was not tested and why, what was decided by which outcome."""

from io import StringIO

import pytest
from claimed import claimed
from rich.console import Console

from apo_bench.report.claims import claim_rows, claims_markdown, claims_table

NAMES = [*(f"C{number}" for number in range(1, 13)), "APO", "AB", "GOLDEN"]
ABOUT_POLICIES = ["C1", "C2", "C3", "C10", "C11", "C12", "APO", "AB"]
"""Those that the default's arms can test."""


@pytest.fixture
def verdicts(params):
    return claimed(params)


def test_rows_by_hand(verdicts):
    first, second, third, fourth, fifth, *_ = claim_rows(verdicts.primary)
    assert (first.name, first.verdict, first.standing, first.p_value, first.reason) == (
        "C1", "reproduced", "better", "< 0.001", "as claimed",
    )  # fmt: skip
    shown = (first.measure, first.estimate, first.interval, first.smallest, first.detectable)
    assert shown == ("gold", "+0.50", "[+0.25, +0.75]", "0.10", "0.38")
    assert (second.name, second.verdict, second.standing, second.estimate) == ("C2", "not reproduced", "worse", "−0.50")
    assert second.reason == "the opposite: RRHF with APO over with base, r3"
    assert (third.verdict, third.standing, third.reason) == ("no difference beyond d", "undecided", "within ± d")
    assert (fourth.name, fourth.verdict, fourth.reason) == ("C4", "undecided", "about 40 seeds would tell if it is what it seems")
    assert (fifth.name, fifth.verdict) == ("", "")
    assert (fifth.measure, fifth.interval, fifth.smallest, fifth.detectable) == ("accuracy", "[−25.0, +25.0]", "10.0", "37.5")


def test_what_was_not_tested_says_what_the_run_lacks(verdicts):
    rows = {row.name: row for row in claim_rows(verdicts.primary)}
    assert (rows["C6"].verdict, rows["C6"].reason, rows["C6"].p_value) == ("not tested", "the run has no reward model gail", "")


def test_markdown_holds_every_claim_once_an_outcome(verdicts):
    text = claims_markdown(verdicts)
    primary, by_rm, at_length = text.split("### ")[1:]
    assert primary.startswith("Policies by gold, the true reward (primary)") and by_rm.startswith("Policies by RM_all, as in the paper")
    assert at_length.startswith("Policies by RM_all at equal length")
    for part, names in ((primary, NAMES), (by_rm, ABOUT_POLICIES), (at_length, ABOUT_POLICIES)):
        table = [line for line in part.splitlines() if line.startswith("| ")]
        assert [line.split("**")[1] for line in table if line.startswith("| **")] == names
        assert {line.count("|") for line in table} == {8}


def test_terminal_has_a_line_a_claim_with_each_outcome(verdicts):
    terminal = Console(width=400, file=StringIO())
    terminal.print(claims_table(verdicts))
    lines = {line.split()[0]: line for line in terminal.file.getvalue().splitlines() if line.split()[:1] in [[name] for name in NAMES]}
    assert list(lines) == NAMES and "not tested" in lines["C6"]
    assert lines["C1"].count("reproduced") == 3 and lines["C4"].count("undecided") == 1


def test_the_note_says_over_what_verdicts_generalise(params):
    assert claimed(params).note.startswith("8 seeds, each with labels, SFT, reward models and samples of its own; base model, prompts and ")
    assert "adjusted by Holm over 11 claims, and compared with 0.025, of no difference with 0.05" in claims_markdown(claimed(params))


@pytest.mark.parametrize("num_seeds", [1, 4])
def test_too_few_seeds_speak_no_verdict(params, num_seeds):
    verdicts = claimed(params, num_seeds)
    assert f"{num_seeds} seed" in verdicts.note and "nothing is decided with fewer than 5" in verdicts.note
    rows = [row for family in verdicts.families for row in claim_rows(family)]
    assert {row.verdict for row in rows} == {"undecided", "not tested", ""} and not any(row.detectable for row in rows)
    assert all(bool(row.interval) == (num_seeds > 1 and bool(row.contrast)) for row in rows)
