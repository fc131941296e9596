"""The verdicts on the paper's claims as a table: on the page, in the terminal and in Markdown."""

from dataclasses import dataclass

from rich.table import Table

from apo_bench.claims.results import NOT_TESTED, TestedContrast, Verdicts

MINUS = "−"
PLACES = {"RM_all": 2, "wins by RM_all": 1, "accuracy": 1, "squared calibration error": 4}
"""Decimal places; wins and accuracy are shown in percent points."""
STANDINGS = {"reproduced": "better", "not reproduced": "worse"}
"""Colours of the page, those of its other verdicts."""


@dataclass(frozen=True)
class Row:
    """A contrast, or a claim that was not tested; a claim's name, words, p and verdict stand in its first row."""

    name: str
    words: str
    contrast: str
    measure: str
    estimate: str
    interval: str
    detectable: str
    p_value: str
    verdict: str
    reason: str

    @property
    def standing(self) -> str:
        """As the page's other verdicts are coloured."""
        return STANDINGS.get(self.verdict, "undecided")


def claim_rows(verdicts: Verdicts) -> list[Row]:
    """The rows of the table, in the order of the claims."""
    rows = []
    for tested in verdicts.claims:
        p_value = "" if tested.p_value is None else f"{tested.p_value:.3f}" if tested.p_value >= 0.001 else "< 0.001"
        head = (p_value, tested.verdict, tested.reason)
        if tested.verdict == NOT_TESTED:
            rows.append(Row(tested.claim.name, tested.claim.words, "", "", "", "", "", *head))
        for number, one in enumerate(tested.contrasts):
            shown = (one.contrast.words, one.contrast.measure, *_estimate(one), _number(one, one.detectable))
            name, words, *rest = (tested.claim.name, tested.claim.words, *head) if number == 0 else ("",) * 5
            rows.append(Row(name, words, *shown, *rest))
    return rows


def claims_markdown(verdicts: Verdicts) -> str:
    """The table for a README or an issue."""
    lines = [
        "",
        "## Claims of Cheng et al. 2024",
        "",
        f"{verdicts.note} A contrast is positive if things are as claimed; in brackets its {verdicts.confidence:.0%} interval. "
        "Detectable: the effect that a run like this finds in 80 % of cases.",
        "",
        "| claim | contrast | estimate | detectable | p | verdict |",
        "|---|---|---:|---:|---:|---|",
    ]
    for row in claim_rows(verdicts):
        claim = f"**{row.name}** {row.words}" if row.name else ""
        contrast = f"{row.contrast}, {row.measure}" if row.contrast else ""
        verdict = f"**{row.verdict}**: {row.reason}" if row.verdict else ""
        lines.append(f"| {claim} | {contrast} | {row.estimate} {row.interval} | {row.detectable} | {row.p_value} | {verdict} |")
    return "\n".join(lines) + "\n"


def claims_table(verdicts: Verdicts) -> Table:
    """A line a claim, for the terminal."""
    table = Table(title=f"Claims of Cheng et al. 2024. {verdicts.note}", title_justify="left", box=None, padding=(0, 1, 0, 0))
    for head in ("", "", "verdict", "p", ""):
        table.add_column(head)
    for tested in verdicts.claims:
        p_value = "" if tested.p_value is None else f"{tested.p_value:.3f}"
        table.add_row(tested.claim.name, tested.claim.words, tested.verdict, p_value, tested.reason)
    return table


def _estimate(one: TestedContrast) -> tuple[str, str]:
    inferred = one.inferred
    low, high = (_number(one, bound, signed=True) for bound in (inferred.low, inferred.high))
    return _number(one, inferred.value, signed=True), f"[{low}, {high}]"


def _number(one: TestedContrast, value: float, signed: bool = False) -> str:
    measure = one.contrast.measure
    scaled = 100 * value if measure in ("wins by RM_all", "accuracy") else value
    places = PLACES[measure]
    return (f"{scaled:+.{places}f}" if signed else f"{scaled:.{places}f}").replace("-", MINUS)
