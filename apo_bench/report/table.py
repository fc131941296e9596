"""The one table of the report, and its writers: Markdown, CSV and the terminal here, the page in page.html.j2, LaTeX in `latex`."""

import csv
import io
import math
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import rich.table

from apo_bench.comparison.numbers import MINUS, NONE, UNITS, bounds, number
from apo_bench.evaluation.metrics import Metric
from apo_bench.evaluation.statistics import Estimate

MARKS = {"better": "▲", "worse": "▼", "equal": "=", "undecided": "○"}
"""By how a number stands: a shape beside each colour, for readers and printers without."""
ARROWS = {"higher": "↑", "lower": "↓"}


@dataclass(frozen=True)
class Cell:
    """What stands in a cell."""

    text: str = ""
    bounds: tuple[str, ...] = ()
    """Low and high end of the number's interval, if it has one."""
    note: str = ""
    """What goes with the text, smaller."""
    standing: str = ""
    """A key of MARKS, for the colour; empty without a verdict."""
    verdict: str = ""
    """What a number is said to be, as `adversarial better`; empty where the text is the verdict."""

    @property
    def below(self) -> str:
        """What stands beneath the text."""
        return self.note or (f"[{', '.join(self.bounds)}]" if self.bounds else "")

    @property
    def mark(self) -> str:
        """The sign of the verdict."""
        return MARKS[self.standing] if self.verdict else ""

    def said(self, in_words: bool) -> str:
        """The text after the verdict, in words or as its sign."""
        return f"{self.verdict if in_words else self.mark} {self.text}".strip()


@dataclass(frozen=True)
class Column:
    """A column's head, and how its numbers are written."""

    title: str
    meaning: str = ""
    """A sentence for the glossary; empty where the title says it."""
    unit: str = ""
    """A key of `comparison.numbers.UNITS`."""
    better: str | None = None
    """`higher`, `lower`, or None where neither is."""
    kind: Literal["number", "name", "words"] = "number"
    """Names and words start at the left; words may break into lines."""

    @classmethod
    def of(cls, metric: Metric) -> "Column":
        """The column of a metric of policies."""
        return cls(metric.title, metric.meaning, metric.unit, metric.better)

    @property
    def sign(self) -> str:
        """Of the unit."""
        return UNITS[self.unit].sign

    @property
    def arrow(self) -> str:
        """Which way is better."""
        return ARROWS[self.better] if self.better else ""

    @property
    def head(self) -> str:
        """Title, unit and arrow in a line."""
        return f"{f'{self.title}, {self.sign}'.removesuffix(', ')} {self.arrow}".rstrip()

    def cell(self, found: Estimate | Mapping[str, float] | None, signed: bool = False, standing: str = "", verdict: str = "") -> Cell:
        """A number with its interval, if it has one; a dash for what cannot be estimated."""
        if found is None:
            return Cell(NONE)
        value, low, high = (found[key] if isinstance(found, Mapping) else getattr(found, key) for key in ("value", "low", "high"))
        ends = () if math.isnan(low) else bounds(low, high, self.unit, signed)
        return Cell(number(value, self.unit, signed), ends, standing=standing, verdict=verdict)


@dataclass(frozen=True)
class Row:
    """A line of a table; its first cell heads it."""

    cells: list[Cell]
    group: str = ""
    """A line divides rows of different groups."""
    is_aside: bool = False
    """Whether it only goes with the row above."""


@dataclass(frozen=True)
class Table:
    """A table of the report."""

    kind: ClassVar = "table"
    name: str
    """Its id on the page, and its files' name."""
    caption: str
    columns: list[Column]
    rows: list[Row]
    are_cards: bool = False
    """Whether the page shows a card a row, with the verdicts in words."""

    @property
    def address(self) -> str:
        """Its CSV as a `data:` address, for a page that needs no other file."""
        return f"data:text/csv;charset=utf-8;base64,{b64encode(as_csv(self).encode()).decode()}"


def names(*texts: str) -> list[Cell]:
    """Cells without numbers."""
    return [Cell(text) for text in texts]


def markdown(table: Table) -> str:
    """The table under its caption, as it stands on the page."""
    heads = [column.head for column in table.columns]
    rules = ["---:" if column.kind == "number" else "---" for column in table.columns]
    rows = [[_markdown_cell(table, *pair) for pair in zip(table.columns, row.cells, strict=True)] for row in table.rows]
    return "\n".join([table.caption, "", *(f"| {' | '.join(cells)} |" for cells in (heads, rules, *rows))])


def _markdown_cell(table: Table, column: Column, cell: Cell) -> str:
    has_words = column.kind == "words" and cell.note
    said = f"**{cell.text}**:" if has_words else cell.said(table.are_cards)
    return f"{said} {cell.below}".strip().replace("|", "\\|")


def as_csv(table: Table) -> str:
    """The table for a machine: ends of intervals, notes and verdicts in columns of their own, numbers with a plain minus, no commas."""
    parts: list[tuple[str, list[str]]] = []
    for at, column in enumerate(table.columns):
        cells, head = [row.cells[at] for row in table.rows], f"{column.title}, {column.sign}".removesuffix(", ")
        parts.append((head, [_plain(cell.text) if column.kind == "number" else cell.text for cell in cells]))
        if any(cell.bounds for cell in cells):
            parts += [
                (f"{head}: {end}", [_plain("".join(cell.bounds[n : n + 1])) for cell in cells]) for n, end in enumerate(("low", "high"))
            ]
        for name, texts in (("note", [cell.note for cell in cells]), ("verdict", [cell.verdict for cell in cells])):
            parts += [(f"{head}: {name}", texts)] if any(texts) else []
    file = io.StringIO()
    csv.writer(file, lineterminator="\n").writerows([[head for head, _ in parts], *zip(*(texts for _, texts in parts), strict=True)])
    return file.getvalue()


def _plain(text: str) -> str:
    return text.replace(MINUS, "-").replace(",", "").replace(NONE, "")


def terminal(table: Table) -> rich.table.Table:
    """The table for a console, its caption above it."""
    shown = rich.table.Table(title=table.caption, title_justify="left", box=None, padding=(0, 1, 0, 0))
    for column in table.columns:
        is_number = column.kind == "number"
        shown.add_column(column.head, justify="right" if is_number else "left", vertical="bottom" if is_number else "top")
    for row, following in zip(table.rows, [*table.rows[1:], None], strict=True):
        cells = [f"{cell.said(table.are_cards)} {cell.below}".strip() for cell in row.cells]
        shown.add_row(*cells, end_section=following is not None and following.group != row.group)
    return shown
