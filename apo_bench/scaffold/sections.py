"""Adds a section to params.yaml and leaves every other byte of it as it is."""

from collections.abc import Iterator
from decimal import Decimal
from io import StringIO
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap

from apo_bench.core.errors import ConfigError


def with_section(path: Path, top: str, name: str, values: dict[str, Any]) -> str:
    """The text of `path` with the section NAME at the end of its section `top`, in the form that DVC leaves as it is.

    Raises:
        ConfigError: the section is there already, or `top` is not written as a block.
    """
    text = path.read_text(encoding="utf-8")
    document = YAML().load(text)
    sections = document[top]
    if name in sections:
        raise ConfigError(f"{path}: {top}.{name} exists; choose another name, or delete the section")
    if sections.fa.flow_style():
        raise ConfigError(f"{path}: {top} is written in braces; give each section of it a line of its own")
    lines = text.splitlines(keepends=True)
    line = _end_of(document, top, lines)
    if not lines[line - 1].endswith("\n"):
        lines[line - 1] += "\n"
    return "".join([*lines[:line], *_block(name, values, sections.lc.col), *lines[line:]])


def _end_of(document: CommentedMap, section: str, lines: list[str]) -> int:
    """The number of the line after the last of a top-level section, comments and blank lines before the next one not counted."""
    start = document.lc.key(section)[0]
    line = min((document.lc.key(key)[0] for key in document if document.lc.key(key)[0] > start), default=len(lines))
    while not lines[line - 1].strip() or lines[line - 1].startswith("#"):
        line -= 1
    return line


def _block(name: str, values: dict[str, Any], indent: int) -> Iterator[str]:
    """A line a key and a line an item of a list: DVC breaks long braces and all brackets when it changes a value (dvc exp run -S)."""
    yield f"{' ' * indent}{name}:\n"
    for key, value in values.items():
        items = value if isinstance(value, list) and value else None
        yield f"{' ' * (indent + 2)}{key}:{'' if items or value is None else ' ' + _yaml(value)}\n"
        yield from (f"{' ' * (indent + 2)}- {_yaml(item)}\n" for item in items or [])


def _yaml(value: Any) -> str:
    """A value on one line, small floats as the other sections have them: 1.0e-5."""
    if isinstance(value, float) and 0 < abs(value) < 1e-2:
        mantissa, exponent = f"{Decimal(repr(value)).normalize():E}".split("E")
        return f"{float(mantissa)}e{exponent}"
    stream = StringIO()
    YAML().dump(value, stream)
    return stream.getvalue().removesuffix("...\n").strip()
