"""What the page and its Markdown are made of: sections, and in them paragraphs, lists, tables, charts, words, responses."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import ClassVar

from apo_bench.report.pictures import Chart
from apo_bench.report.table import Table, markdown


@dataclass(frozen=True)
class Lines:
    """A list of sentences."""

    kind: ClassVar = "lines"
    lines: list[str]


@dataclass(frozen=True)
class Words:
    """A glossary: word -> meaning."""

    kind: ClassVar = "words"
    words: dict[str, str]


@dataclass(frozen=True)
class Answer:
    """A response to a shown prompt."""

    policy: str
    response: str
    scores: list[tuple[str, str]]
    """Title and value of each known score."""


@dataclass(frozen=True)
class Shown:
    """A prompt, and what policies answered: on the page alone."""

    kind: ClassVar = "shown"
    subset: str
    kind_number: int
    """Its place among the subsets, by which the page colours it."""
    prompt: str
    answers: list[Answer]
    is_open: bool


@dataclass(frozen=True)
class Part:
    """Blocks under a title of their own."""

    kind: ClassVar = "part"
    title: str
    blocks: list["Block"]
    is_folded: bool = False
    """Whether the page shows the blocks only when the title is clicked."""


Block = str | Lines | Words | Shown | Part | Table | Chart
"""A string is a paragraph."""


@dataclass(frozen=True)
class Section:
    """A section of the page."""

    name: str
    """Its id on the page."""
    title: str
    blocks: list[Block]
    of: str = ""
    """What stands before the words of its columns in the glossary."""
    words: dict[str, str] = field(default_factory=dict)
    """Further ones."""


def walk(blocks: list[Block]) -> Iterator[Block]:
    """All blocks, those of parts after the part."""
    for block in blocks:
        yield block
        if isinstance(block, Part):
            yield from walk(block.blocks)


def tables(sections: list[Section]) -> list[Table]:
    """All tables, in the order of the page."""
    return [block for section in sections for block in walk(section.blocks) if isinstance(block, Table)]


def figures(sections: list[Section]) -> list[Chart]:
    """All charts, in the order of the page."""
    return [block for section in sections for block in walk(section.blocks) if isinstance(block, Chart)]


def glossary(sections: list[Section]) -> dict[str, str]:
    """What the columns of all tables mean, in their own sentences."""
    found: dict[str, str] = {}
    for section in sections:
        columns = [(column.title, column.meaning) for table in tables([section]) for column in table.columns if column.meaning]
        found |= {f"{section.of}: {title}".removeprefix(": "): meaning for title, meaning in [*columns, *section.words.items()]}
    return found


def as_markdown(sections: list[Section]) -> str:
    """The sections without charts and responses."""
    parts = []
    for section in sections:
        written = [text for block in walk(section.blocks) if (text := _written(block))]
        is_shown = not any(isinstance(block, Shown) for block in section.blocks)
        parts += [f"## {section.title}", *written] if written and is_shown else []
    return "\n\n".join(parts) + "\n"


def _written(block: Block) -> str:
    match block:
        case str():
            return block
        case Table():
            return markdown(block)
        case Part():
            return f"### {block.title}" if any(map(_written, block.blocks)) else ""
        case Lines():
            return "\n".join(f"- {line}" for line in block.lines)
        case Words():
            return "\n".join(f"- **{word}**: {meaning}" for word, meaning in block.words.items())
        case _:
            return ""
