"""The verdicts on the paper's claims as tables."""

from apo_bench.claims.inference import CONTRADICTED, REPRODUCED
from apo_bench.claims.results import NOT_TESTED, Family, TestedClaim, TestedContrast, Verdicts
from apo_bench.comparison.numbers import number, p_value
from apo_bench.report.section import Section
from apo_bench.report.table import Cell, Column, Row, Table, names

UNITS = {"accuracy": "share", "judge": "share", "squared calibration error": "squared error"}
"""Of measures; others are scores."""
STANDINGS = {REPRODUCED: "better", CONTRADICTED: "worse"}
"""Colours of the page, those of its other verdicts."""
EXPLAINED = (
    "A contrast is positive if things are as claimed. Reproduced: all contrasts of a claim are; not reproduced: one is negative; no "
    "difference beyond d: all lie within ± d; else undecided, which says nothing. Detectable: what a run like this finds in 80 % of cases."
)
COLUMNS = [
    *(Column(title, kind="words") for title in ("Claim", "Verdict")),
    Column("p"),
    Column("Contrast", kind="words"),
    *map(Column, ("Estimate", "d", "Detectable")),
]


def claims_section(verdicts: Verdicts) -> Section:
    """A table an outcome, the primary one first."""
    tables = [
        Table(
            f"claims-by-{family.outcome}".replace("_", "-").replace(" ", "-").lower(),
            f"{_title(verdicts, family)}; with {verdicts.confidence:.0%} intervals.",
            COLUMNS,
            claim_rows(family),
        )
        for family in verdicts.families
    ]
    return Section("claims", "The claims of the paper", [f"Cheng et al. 2024. {verdicts.note} {EXPLAINED}", *tables])


def _title(verdicts: Verdicts, family: Family) -> str:
    """By what policies are judged, and whether that comes first."""
    by = {"gold": "gold, the true reward", "judge": "the judge, as wins over SFT"}.get(family.outcome, family.outcome)
    if family is verdicts.primary:
        return f"Policies by {by} (primary)"
    return f"Policies by {by}{', as in the paper' if family.outcome == 'RM_all' else ''}"


def claim_rows(family: Family) -> list[Row]:
    """A row a contrast, in the order of the claims; a claim's words, verdict and p stand in its first."""
    rows = []
    for tested in family.claims:
        head = _head(tested)
        for contrast in [None] if tested.verdict == NOT_TESTED else tested.contrasts:
            rows.append(Row([*head, *_contrast(contrast)], tested.claim.name))
            head = [Cell()] * len(head)
    return rows


def _head(tested: TestedClaim) -> list[Cell]:
    verdict = Cell(tested.verdict, note=tested.reason, standing=STANDINGS.get(tested.verdict, "undecided"))
    return [Cell(tested.claim.name, note=tested.claim.words), verdict, Cell(p_value(tested.p_value))]


def _contrast(one: TestedContrast | None) -> list[Cell]:
    if one is None:
        return [Cell()] * 4
    column = Column("", unit=UNITS.get(one.contrast.measure, "score"))
    detectable = "" if one.detectable is None else number(one.detectable, column.unit)
    words = Cell(one.contrast.words, note=one.contrast.measure)
    return [words, column.cell(vars(one.inferred), signed=True), *names(number(one.inferred.smallest, column.unit), detectable)]


def verdicts_table(verdicts: Verdicts) -> Table:
    """A line a claim with its verdict by each outcome, for the terminal."""
    beside = [{tested.claim.name: tested.verdict for tested in family.claims} for family in verdicts.families[1:]]
    rows = [
        Row(
            names(
                tested.claim.name,
                tested.claim.words,
                f"{tested.verdict} {p_value(tested.p_value)}".rstrip(),
                *(found.get(tested.claim.name, "") for found in beside),
                tested.reason,
            )
        )
        for tested in verdicts.primary.claims
    ]
    outcomes = [f"by {family.outcome}{', p' if family is verdicts.primary else ''}" for family in verdicts.families]
    columns = [Column(title, kind="words") for title in ("", "", *outcomes, "")]
    return Table("claims", f"Claims of Cheng et al. 2024. {verdicts.note}", columns, rows)
