"""What the judge says, and what it is worth."""

from typing import Any

from apo_bench.comparison.numbers import count, decimal, number
from apo_bench.comparison.results import Comparison
from apo_bench.judge.results import AGAINST_BASE, AGAINST_SFT, Judged
from apo_bench.report.glossary import policy_title
from apo_bench.report.section import Lines, Part, Section
from apo_bench.report.table import Cell, Column, Row, Table, names

OPPONENTS = {AGAINST_SFT: "Against SFT", AGAINST_BASE: "Retrained against fixed reward model"}
AUDIT = {
    "flip_fraction": Column("Flips", "Share of prompts whose verdict changes when the answers change places; it counts as a tie.", "share"),
    "first_position_fraction": Column("First wins", "Share of verdicts, ties aside, for the answer shown first: 50 % is fair.", "share"),
    "length_correlation": Column(
        "Length",
        "Rank correlation of the outcome with how much longer the answer is. Taste or bias: compare the win rate at equal length.",
    ),
    "human_accuracy": Column(
        "Agrees with people", "Share of human pairs on which it prefers what people did; a tie is half right.", "share"
    ),
    "human_kappa": Column("κ people", "Cohen’s kappa of its verdicts with the human labels, both orders: 0 is chance, 1 is always."),
    "gold_accuracy": Column(
        "Agrees with gold", "Share of prompts, gold ties aside, on which it prefers what gold does; a tie is half right.", "share"
    ),
    "gold_kappa": Column("κ gold", "The same kappa with gold’s order, ties included."),
}
"""Columns of the audit's estimates."""
WIN_RATES = {
    "win_rate": Column(
        "Win rate", "Share of prompts won, a tie as half. Won is what wins in both orders; orders that disagree are a tie.", "share"
    ),
    "length_controlled_win_rate": Column(
        "At equal length",
        "What the judge would say if both answers were equally long: logit P = θ + φ tanh(Δ length / sd), at Δ length 0, fitted anew in "
        "each bootstrap draw. Source: Dubois et al. 2024, without the term for a prompt’s difficulty.",
        "share",
    ),
}
LONGER = "if the longer answer won"
COUNTS = [
    Column("Unreadable", "Verdicts that could not be read, asked again or not. Their prompts are left out, never guessed.", "share"),
    Column("Price, USD", "What the answers cost."),
]


def judge_section(comparison: Comparison) -> Section | None:
    """The section on the judge; None without one."""
    judged = comparison.judged
    if judged is None:
        return None
    every = _all(judged)
    served = sorted({model for numbers in every for model in numbers["served_models"]})
    changed = f", served as {', '.join(served)}: it changed under way" if len(served) > 1 else ""
    usd = decimal(sum(numbers["counts"]["usd"] for numbers in every), 2)
    note = (
        f"Judge: {judged.judge}. It read both answers to each test prompt in both orders, reasoned, and said A, B or tie: "
        f"{sum(numbers['counts']['num_requests'] for numbers in every)} answers, {usd} USD{changed}."
    )
    findings = _findings(comparison, judged)
    return Section(
        "judge",
        "What a judge says",
        [
            note,
            Lines(findings) if findings else "The audit below found nothing against it.",
            *(_win_table(comparison, opponent, rounds) for opponent, rounds in judged.arms.items() if rounds),
            Part("What its word is worth", [_audit_table(comparison, judged)]),
        ],
        of="Judge",
    )


def _all(judged: Judged) -> list[dict[str, Any]]:
    return [*judged.human.values(), *(numbers for arms in judged.arms.values() for rounds in arms.values() for numbers in rounds.values())]


def _findings(comparison: Comparison, judged: Judged) -> list[str]:
    """What the audit found on the human pairs or, without these, on the arms against SFT."""
    if judged.human:
        return [f"On human pairs: {text}" for numbers in judged.human.values() for text in numbers["findings"]]
    last = [(comparison.replicates[name], rounds) for name, rounds in judged.arms[AGAINST_SFT].items()]
    return [f"{policy_title(policy)}: {text}" for policy, rounds in last for text in rounds[list(rounds)[-1]]["findings"]]


def _win_table(comparison: Comparison, opponent: str, arms: dict[str, dict[str, Any]]) -> Table:
    """Two rows an arm after its last judged round: by the judge, and if the longer answer won."""
    subsets = list(comparison.num_prompts) if len(comparison.num_prompts) > 1 else []
    rates = WIN_RATES | {f"win_rate_{subset}": Column(subset.capitalize(), unit="share") for subset in subsets}
    rows = []
    for name, rounds in arms.items():
        title = policy_title(comparison.replicates[name])
        round_id, numbers = list(rounds.items())[-1]
        estimates, counts = numbers["estimates"], numbers["counts"]
        left_out = counts["num_prompts"] - counts["num_judged"]
        figures = names(*(count(number) for number in (counts["num_wins"], counts["num_ties"], counts["num_losses"], left_out)))
        rows.append(Row([*names(title, round_id), *(rates[key].cell(estimates.get(key)) for key in rates), *figures], title))
        longer = [Cell() if "length" in key else rates[key].cell(estimates.get(f"longer_{key}")) for key in rates]
        rows.append(Row([*names(LONGER, ""), *longer, *[Cell()] * len(figures)], title, is_aside=True))
    caption = (
        f"{OPPONENTS[opponent]}: share of prompts won, a tie as half, with {comparison.confidence:.0%} intervals over prompts; and how "
        "many were won, tied and lost."
    )
    figures_columns = [Column(title) for title in ("Wins", "Ties", "Losses", "Left out")]
    columns = [Column("Policy", kind="name"), Column("Round", kind="name"), *rates.values(), *figures_columns]
    return Table(f"judge-{'against-sft' if opponent == AGAINST_SFT else 'against-base'}", caption, columns, rows)


def _audit_table(comparison: Comparison, judged: Judged) -> Table:
    titled = [(f"Human pairs ({name})", numbers) for name, numbers in judged.human.items()]
    for opponent, arms in judged.arms.items():
        for name, rounds in arms.items():
            round_id, numbers = list(rounds.items())[-1]
            against = "SFT" if opponent == AGAINST_SFT else opponent
            titled.append((f"{policy_title(comparison.replicates[name])} {round_id} against {against}", numbers))
    known = {name for numbers in _all(judged) for name in numbers["estimates"]}
    columns = {name: column for name, column in AUDIT.items() if name in known}
    rows = []
    for title, numbers in titled:
        cells = [column.cell(numbers["estimates"].get(name)) for name, column in columns.items()]
        counts = numbers["counts"]
        rows.append(Row([Cell(title), *cells, *names(number(counts["unreadable_fraction"], "share"), decimal(counts["usd"], 2))]))
    caption = f"The judge’s own audit, with {comparison.confidence:.0%} intervals."
    return Table("judge-audit", caption, [Column("Judged on", kind="name"), *columns.values(), *COUNTS], rows)
