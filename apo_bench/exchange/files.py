"""The authors' files, JSON lists or JSONL: their items, each with its place, and what a command says at its end."""

import json
from codecs import BOM_UTF8
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from apo_bench.core.errors import DataError, MissingInputError
from apo_bench.core.files import write_jsonl, write_text
from apo_bench.core.strict_json import parse, parse_list
from apo_bench.data.records import read_records

THEIR_SUFFIXES = (".json", ".jsonl")
"""Their code reads a file as a JSON list if its name ends in .json, and line by line otherwise."""
WHITE_SPACE = b" \t\r\n"
"""JSON's own; Python counts more characters as white space."""


class Item(NamedTuple):
    """One of their items, or one of our records."""

    where: str
    """FILE:LINE, or FILE and the item's number in a JSON list, from 1."""
    value: dict[str, Any]


@dataclass
class Tally:
    """What was left out of an output, and what else the reader of it should know: reasons with counts."""

    dropped: Counter[str] = field(default_factory=Counter)
    notes: Counter[str] = field(default_factory=Counter)

    def line(self, title: str, read: str, written: str) -> str:
        """The last line of a command."""
        dropped = ", ".join(_counts(self.dropped)) or "nothing"
        return "; ".join([f"{title}: read {read}", f"wrote {written}", f"dropped {dropped}", *_counts(self.notes)])


def read_items(path: Path) -> list[Item]:
    """The items of a JSON list or of a JSONL file, told apart by what the file begins with.

    Raises:
        MissingInputError: there is no such file, or it cannot be read.
        DataError: not UTF-8, not JSON, no items, an item that is not an object, or what `parse` refuses; file and line or item number are
            named.
    """
    try:
        raw = Path(path).read_bytes().removeprefix(BOM_UTF8).rstrip(WHITE_SPACE)
    except OSError as error:
        raise MissingInputError(f"{path}: cannot be read ({error.strerror}); expected a file in the authors' format") from error
    if not raw:
        raise DataError(f"{path}: no items; expected a JSON list, or one JSON object a line")
    if raw.lstrip(WHITE_SPACE).startswith(b"["):
        values = parse_list(raw, path, lambda number: f"{path}: item {number}")
        items = [_item(f"{path}: item {number}", value) for number, value in enumerate(values, start=1)]
    else:
        items = [_item(f"{path}:{number}", parse(line, path, number)) for number, line in enumerate(raw.split(b"\n"), start=1)]
    if not items:
        raise DataError(f"{path}: no items; the list is empty")
    return items


def read_our_records(path: Path, kind: str) -> list[Item]:
    """The records of a file, each with its place; errors as those of `read_records`."""
    return [Item(f"{path}:{number}", row) for number, row in enumerate(read_records(path, kind), start=1)]


def _item(where: str, value: Any) -> Item:
    if not isinstance(value, dict):
        raise DataError(f"{where}: found a JSON {type(value).__name__}, expected an object")
    return Item(where, value)


def write_items(path: Path, items: Sequence[dict[str, Any]]) -> None:
    """Writes their items as the suffix of `path` says, whole or not at all."""
    if path.suffix == ".json":
        write_text(path, json.dumps(items, ensure_ascii=False, allow_nan=False, indent=2) + "\n")
    else:
        write_jsonl(path, items)


def check_suffix(path: Path, suffixes: Sequence[str]) -> None:
    """Checks an output's name before any work is done.

    Raises:
        DataError: it ends in none of `suffixes`.
    """
    if path.suffix not in suffixes:
        raise DataError(f"{path}: an output that ends in {path.suffix or 'no suffix'!r}, expected {' or '.join(suffixes)}; rename it")


def _counts(reasons: Counter[str]) -> list[str]:
    return [f"{reason}: {count}" for reason, count in reasons.items() if count]
