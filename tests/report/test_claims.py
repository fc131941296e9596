"""The verdicts as text: a line a contrast, units, what was not tested and why, and what the intervals cover."""

from io import StringIO

from claimed import claimed
from rich.console import Console

from apo_bench.report.claims import claim_rows, claims_markdown, claims_table


def test_rows_by_hand(params):
    """C1 has two contrasts, in points and in percent points."""
    first, second, third, *_ = claim_rows(claimed(params))
    assert (first.name, first.verdict, first.standing, first.p_value, first.reason) == (
        "C1", "reproduced", "better", "< 0.001", "all as claimed",
    )  # fmt: skip
    assert (first.measure, first.estimate, first.interval, first.detectable) == ("RM_all", "+0.50", "[+0.25, +0.75]", "0.38")
    assert (second.name, second.verdict, second.standing) == ("", "", "undecided")
    assert (second.measure, second.estimate, second.interval, second.detectable) == ("wins by RM_all", "+50.0", "[+25.0, +75.0]", "37.5")
    assert (third.name, third.verdict, third.standing, third.estimate) == ("C2", "not reproduced", "worse", "−0.50")
    assert third.reason == "the opposite: RRHF with APO over with base, r3"


def test_what_was_not_tested_says_what_the_run_lacks(params):
    rows = {row.name: row for row in claim_rows(claimed(params))}
    assert (rows["C6"].verdict, rows["C6"].reason, rows["C6"].p_value) == ("not tested", "the run has no reward model gail", "")


def test_markdown_and_terminal_hold_every_claim_once(params):
    verdicts = claimed(params)
    table = [line for line in claims_markdown(verdicts).splitlines() if line.startswith("| ")]
    assert [line.split("**")[1] for line in table if line.startswith("| **")] == [f"C{number}" for number in range(1, 13)]
    assert {line.count("|") - line.count("\\|") for line in table} == {7}
    terminal = Console(width=400, file=StringIO())
    terminal.print(claims_table(verdicts))
    printed = terminal.file.getvalue()
    assert "C12" in printed and "not tested" in printed


def test_the_note_says_whether_seeds_are_covered(params):
    assert "1 seed: the seed variance is not covered, which takes 3 or more." in claims_markdown(claimed(params))
    covered = claims_markdown(claimed(params, num_seeds=3))
    assert "3 seeds of the game; data, base model, SFT and RM_base have one, whose variance is not covered." in covered
    assert "adjusted by Holm over 8 claims, and compared with 0.025" in covered
