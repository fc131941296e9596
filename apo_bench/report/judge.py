"""What the judge says, and what it is worth, for the page and for Markdown."""

from dataclasses import dataclass
from typing import Any

from apo_bench.comparison.results import Comparison
from apo_bench.judge.results import AGAINST_BASE, AGAINST_SFT, Judged
from apo_bench.report.tables import decimal, policy_title

OPPONENTS = {AGAINST_SFT: "Against SFT", AGAINST_BASE: "Retrained against fixed reward model"}
AUDIT = {
    "flip_fraction": ("Flips", "share", "Share of prompts whose verdict changes when the answers change places; it counts as a tie."),
    "first_position_fraction": ("First wins", "share", "Share of verdicts, ties aside, for the answer shown first: 50 % is fair."),
    "length_correlation": (
        "Length",
        "number",
        "Rank correlation of the outcome with how much longer the answer is. Taste or bias: compare the win rate at equal length.",
    ),
    "human_accuracy": ("Agrees with people", "share", "Share of human pairs on which it prefers what people did; a tie is half right."),
    "human_kappa": ("κ people", "number", "Cohen’s kappa of its verdicts with the human labels, both orders: 0 is chance, 1 is always."),
    "gold_accuracy": (
        "Agrees with gold",
        "share",
        "Share of prompts, gold ties aside, on which it prefers what gold does; a tie is half right.",
    ),
    "gold_kappa": ("κ gold", "number", "The same kappa with gold’s order, ties included."),
}
"""Title, unit and meaning of the audit's estimates."""
WIN_RATES = {
    "win_rate": ("Win rate", "Share of prompts won, a tie as half. Won is what wins in both orders; orders that disagree are a tie."),
    "length_controlled_win_rate": (
        "At equal length",
        "What the judge would say if both answers were equally long: logit P = θ + φ tanh(Δ length / sd), at Δ length 0, fitted anew in "
        "each bootstrap draw. Source: Dubois et al. 2024, without the term for a prompt’s difficulty.",
    ),
}
LONGER = "if the longer answer won"
COUNTS = {
    "Unreadable": "Verdicts that could not be read, asked again or not, in percent. Their prompts are left out, never guessed.",
    "Price": "What the answers cost, in USD.",
}
MARKDOWN_HEADS = ("arm", "round", "win rate against SFT", "at equal length", "wins", "ties", "losses", "left out")


@dataclass(frozen=True)
class JudgeCell:
    """A number of a table with its interval."""

    value: str
    interval: str = ""


@dataclass(frozen=True)
class WinRow:
    """A row of a table of win rates."""

    title: str
    round: str
    cells: list[JudgeCell]
    is_longer: bool
    """Whether it is about a judge who takes the longer answer, for comparison."""


def judge_view(comparison: Comparison) -> dict[str, Any] | None:
    """What the page's section on the judge needs; None without one."""
    judged = comparison.judged
    if judged is None:
        return None
    columns = _subset_columns(comparison)
    return {
        "judge": judged.judge,
        "served": sorted({model for numbers in _all(judged) for model in numbers["served_models"]}),
        "usd": f"{sum(numbers['counts']['usd'] for numbers in _all(judged)):.2f}",
        "num_requests": sum(numbers["counts"]["num_requests"] for numbers in _all(judged)),
        "findings": _findings(comparison, judged),
        "win_heads": [*(title for title, _ in WIN_RATES.values()), *(title for title, _ in columns), "Wins", "Ties", "Losses", "Left out"],
        "win_tables": [(OPPONENTS[opponent], _win_rows(comparison, rounds, columns)) for opponent, rounds in judged.arms.items() if rounds],
        "audit_heads": [title for title, _, _ in _audit_columns(judged)] + list(COUNTS),
        "audit": _audit_rows(comparison, judged),
        "words": dict(WIN_RATES.values()) | {title: text for title, _, text in _audit_columns(judged)} | COUNTS,
    }


def judge_markdown(comparison: Comparison) -> str:
    """Win rates against SFT after the last judged round, and what the audit found; empty without a judge."""
    judged = comparison.judged
    if judged is None:
        return ""
    lines = ["", f"Judge: {judged.judge}. {' '.join(f'{where}: {text}' for where, text in _findings(comparison, judged))}".strip()]
    rows = [row for row in _win_rows(comparison, judged.arms[AGAINST_SFT], []) if not row.is_longer]
    if rows:
        lines += ["", f"| {' | '.join(MARKDOWN_HEADS)} |", "|---|---|" + "---:|" * 6]
        lines += [f"| {row.title} | {row.round} | {' | '.join(f'{c.value} {c.interval}'.strip() for c in row.cells)} |" for row in rows]
    return "\n".join(lines) + "\n"


def _all(judged: Judged) -> list[dict[str, Any]]:
    return [*judged.human.values(), *(numbers for arms in judged.arms.values() for rounds in arms.values() for numbers in rounds.values())]


def _findings(comparison: Comparison, judged: Judged) -> list[tuple[str, str]]:
    """What the audit found on the human pairs or, without these, on the arms against SFT: where, and what."""
    if judged.human:
        return [("On human pairs", text) for numbers in judged.human.values() for text in numbers["findings"]]
    last = [(comparison.replicates[name], rounds) for name, rounds in judged.arms[AGAINST_SFT].items()]
    return [(policy_title(policy), text) for policy, rounds in last for text in rounds[list(rounds)[-1]]["findings"]]


def _subset_columns(comparison: Comparison) -> list[tuple[str, str]]:
    """Title and suffix of a win rate over each subset."""
    return [(subset.capitalize(), f"_{subset}") for subset in comparison.num_prompts] if len(comparison.num_prompts) > 1 else []


def _win_rows(comparison: Comparison, arms: dict[str, dict[str, Any]], columns: list[tuple[str, str]]) -> list[WinRow]:
    """Two rows an arm after its last judged round: by the judge, and if the longer answer won."""
    rows = []
    for name, rounds in arms.items():
        policy = comparison.replicates[name]
        round_id, numbers = list(rounds.items())[-1]
        estimates, counts = numbers["estimates"], numbers["counts"]
        left_out = counts["num_prompts"] - counts["num_judged"]
        figures = [*(counts[f"num_{name}"] for name in ("wins", "ties", "losses")), left_out]
        keys = [*WIN_RATES, *(f"win_rate{suffix}" for _, suffix in columns)]
        cells = [_cell(estimates.get(key), "share") for key in keys] + [JudgeCell(str(number)) for number in figures]
        rows.append(WinRow(policy_title(policy), round_id, cells, False))
        longer = [_cell(estimates.get(f"longer_win_rate{suffix}"), "share") for suffix in ("", *(suffix for _, suffix in columns))]
        rows.append(WinRow(LONGER, "", [longer[0], JudgeCell(""), *longer[1:], *[JudgeCell("")] * len(figures)], True))
    return rows


def _audit_columns(judged: Judged) -> list[tuple[str, str, str]]:
    """Those that some judgement has."""
    known = {name for numbers in _all(judged) for name in numbers["estimates"]}
    return [column for name, column in AUDIT.items() if name in known]


def _audit_rows(comparison: Comparison, judged: Judged) -> list[tuple[str, list[JudgeCell]]]:
    titled = [(f"Human pairs ({name})", numbers) for name, numbers in judged.human.items()]
    titles = {name: policy_title(policy) for name, policy in comparison.replicates.items()}
    for opponent, arms in judged.arms.items():
        for name, rounds in arms.items():
            round_id, numbers = list(rounds.items())[-1]
            titled.append((f"{titles[name]} {round_id} against {'SFT' if opponent == AGAINST_SFT else opponent}", numbers))
    names = [name for name in AUDIT if AUDIT[name] in _audit_columns(judged)]
    return [
        (title, [_cell(numbers["estimates"].get(name), AUDIT[name][1]) for name in names] + _count_cells(numbers["counts"]))
        for title, numbers in titled
    ]


def _count_cells(counts: dict[str, Any]) -> list[JudgeCell]:
    return [JudgeCell(f"{100 * counts['unreadable_fraction']:.1f}"), JudgeCell(f"{counts['usd']:.2f}")]


def _cell(estimate: dict[str, float] | None, unit: str) -> JudgeCell:
    """Shares in percent; empty if it could not be estimated."""
    if estimate is None:
        return JudgeCell("–")
    value, low, high = (_text(estimate[key], unit) for key in ("value", "low", "high"))
    return JudgeCell(value, f"[{low}, {high}]")


def _text(value: float, unit: str) -> str:
    return decimal(100 * value, 1) if unit == "share" else decimal(value, 2)
