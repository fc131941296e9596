"""The verdicts on the paper's claims, and on policies of one's own, as tables."""

from collections.abc import Mapping
from types import MappingProxyType

from apo_bench.claims.inference import CONTRADICTED, REPRODUCED
from apo_bench.claims.own import WORDS
from apo_bench.claims.results import NOT_TESTED, Family, TestedClaim, TestedContrast, Verdicts
from apo_bench.comparison.numbers import number, p_value
from apo_bench.report.section import Section
from apo_bench.report.table import Cell, Column, Row, Table, names

UNITS = {"accuracy": "share", "judge": "share", "squared calibration error": "squared error"}
"""Of measures; others are scores."""
STANDINGS = {REPRODUCED: "better", CONTRADICTED: "worse"}
"""Colours of the page, those of its other verdicts."""
UNCHANGED: Mapping[str, str] = MappingProxyType({})
"""Verdicts are called what they are called."""
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
    tables = _tables(verdicts, verdicts.families, "claims")
    return Section("claims", "The claims of the paper", [f"Cheng et al. 2024. {verdicts.note} {EXPLAINED}", *tables])


def own_section(verdicts: Verdicts) -> Section | None:
    """The same of policies of one's own; None without any."""
    if not verdicts.own:
        return None
    num_seeds, settings = verdicts.num_seeds, verdicts.settings
    few = "" if num_seeds >= settings.min_seeds else f" All is undecided: it takes {settings.min_seeds} seeds, there are {num_seeds}."
    note = (
        "Each against SFT and against every arm after the last round. A policy of one’s own is the same in all replicates: intervals and "
        "verdicts say what other SFT policies, reward models and draws of its responses would give, and nothing of another training of it. "
        f"Errors are kept over the rows of a table.{few}"
    )
    return Section("own", "Policies of one’s own", [note, *_tables(verdicts, verdicts.own, "own", WORDS)])


def _tables(verdicts: Verdicts, families: list[Family], name: str, words: Mapping[str, str] = UNCHANGED) -> list[Table]:
    return [
        Table(
            f"{name}-by-{family.outcome}".replace("_", "-").replace(" ", "-").lower(),
            f"{_title(families, family)}; with {verdicts.confidence:.0%} intervals.",
            COLUMNS,
            claim_rows(family, words),
        )
        for family in families
    ]


def _title(families: list[Family], family: Family) -> str:
    """By what policies are judged, and whether that comes first."""
    by = {"gold": "gold, the true reward", "judge": "the judge, as wins over SFT"}.get(family.outcome, family.outcome)
    if family is families[0]:
        return f"Policies by {by} (primary)"
    return f"Policies by {by}{', as in the paper' if family.outcome == 'RM_all' else ''}"


def claim_rows(family: Family, words: Mapping[str, str] = UNCHANGED) -> list[Row]:
    """A row a contrast, in the order of the claims; a claim's words, verdict (called as `words` has it) and p stand in its first."""
    rows = []
    for tested in family.claims:
        head = _head(tested, words.get(tested.verdict, tested.verdict))
        for contrast in [None] if tested.verdict == NOT_TESTED else tested.contrasts:
            rows.append(Row([*head, *_contrast(contrast)], tested.claim.name))
            head = [Cell()] * len(head)
    return rows


def _head(tested: TestedClaim, word: str) -> list[Cell]:
    verdict = Cell(word, note=tested.reason, standing=STANDINGS.get(tested.verdict, "undecided"))
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
