"""The verdicts on the paper's claims as tables: on the page, in the terminal and in Markdown."""

import math
from dataclasses import dataclass

from rich.table import Table

from apo_bench.claims.inference import CONTRADICTED, REPRODUCED
from apo_bench.claims.results import NOT_TESTED, Family, TestedContrast, Verdicts

MINUS = "−"
PLACES = {"accuracy": 1, "judge": 1, "squared calibration error": 4}
"""Decimal places, of scores 2."""
SHARES = ("accuracy", "judge")
"""Shown in percent points."""
STANDINGS = {REPRODUCED: "better", CONTRADICTED: "worse"}
"""Colours of the page, those of its other verdicts."""
EXPLAINED = (
    "A contrast is positive if things are as claimed. Reproduced: all contrasts of a claim are; not reproduced: one is negative; no "
    "difference beyond d: all lie within ± d; else undecided, which says nothing. Detectable: what a run like this finds in 80 % of cases."
)


@dataclass(frozen=True)
class Row:
    """A contrast, or a claim that was not tested; a claim's name, words, p and verdict stand in its first row."""

    name: str
    words: str
    contrast: str
    measure: str
    estimate: str
    interval: str
    smallest: str
    """d"""
    detectable: str
    p_value: str
    verdict: str
    reason: str

    @property
    def standing(self) -> str:
        """As the page's other verdicts are coloured."""
        return STANDINGS.get(self.verdict, "undecided")


def family_title(verdicts: Verdicts, family: Family) -> str:
    """By what policies are judged, and whether that comes first."""
    by = {"gold": "gold, the true reward", "judge": "the judge, as wins over SFT"}.get(family.outcome, family.outcome)
    if family is verdicts.primary:
        return f"Policies by {by} (primary)"
    return f"Policies by {by}{', as in the paper' if family.outcome == 'RM_all' else ''}"


def claim_rows(family: Family) -> list[Row]:
    """The rows of a table, in the order of the claims."""
    rows = []
    for tested in family.claims:
        head = (_p_value(tested.p_value), tested.verdict, tested.reason)
        if tested.verdict == NOT_TESTED:
            rows.append(Row(tested.claim.name, tested.claim.words, "", "", "", "", "", "", *head))
        for number, one in enumerate(tested.contrasts):
            detectable = "" if one.detectable is None else _number(one, one.detectable)
            shown = (one.contrast.words, one.contrast.measure, *_estimate(one), _number(one, one.inferred.smallest), detectable)
            name, words, *rest = (tested.claim.name, tested.claim.words, *head) if number == 0 else ("",) * 5
            rows.append(Row(name, words, *shown, *rest))
    return rows


def claims_markdown(verdicts: Verdicts) -> str:
    """The tables for a README or an issue."""
    lines = ["", "## Claims of Cheng et al. 2024", "", f"{verdicts.note} {EXPLAINED} In brackets {verdicts.confidence:.0%} intervals."]
    for family in verdicts.families:
        lines += [
            "",
            f"### {family_title(verdicts, family)}",
            "",
            "| claim | contrast | estimate | d | detectable | p | verdict |",
            "|---|---|---:|---:|---:|---:|---|",
        ]
        for row in claim_rows(family):
            claim = f"**{row.name}** {row.words}" if row.name else ""
            contrast = f"{row.contrast}, {row.measure}" if row.contrast else ""
            verdict = f"**{row.verdict}**: {row.reason}" if row.verdict else ""
            numbers = f"{row.estimate} {row.interval} | {row.smallest} | {row.detectable} | {row.p_value}"
            lines.append(f"| {claim} | {contrast} | {numbers} | {verdict} |")
    return "\n".join(lines) + "\n"


def claims_table(verdicts: Verdicts) -> Table:
    """A line a claim with its verdict by each outcome, for the terminal."""
    table = Table(title=f"Claims of Cheng et al. 2024. {verdicts.note}", title_justify="left", box=None, padding=(0, 1, 0, 0))
    table.add_column("")
    table.add_column("")
    for family in verdicts.families:
        table.add_column(f"by {family.outcome}" + (", p" if family is verdicts.primary else ""), overflow="fold")
    table.add_column("")
    others = [{tested.claim.name: tested for tested in family.claims} for family in verdicts.families[1:]]
    for tested in verdicts.primary.claims:
        p_value = f" {_p_value(tested.p_value)}" if tested.p_value is not None else ""
        beside = [found[tested.claim.name].verdict if tested.claim.name in found else "" for found in others]
        table.add_row(tested.claim.name, tested.claim.words, f"{tested.verdict}{p_value}", *beside, tested.reason)
    return table


def _p_value(p_value: float | None) -> str:
    return "" if p_value is None else f"{p_value:.3f}" if p_value >= 0.001 else "< 0.001"


def _estimate(one: TestedContrast) -> tuple[str, str]:
    inferred = one.inferred
    value = _number(one, inferred.value, signed=True)
    if math.isnan(inferred.low):  # of one seed
        return value, ""
    return value, f"[{_number(one, inferred.low, signed=True)}, {_number(one, inferred.high, signed=True)}]"


def _number(one: TestedContrast, value: float, signed: bool = False) -> str:
    measure = one.contrast.measure
    scaled = 100 * value if measure in SHARES else value
    places = PLACES.get(measure, 2)
    return (f"{scaled:+.{places}f}" if signed else f"{scaled:.{places}f}").replace("-", MINUS)
