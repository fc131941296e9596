"""The authors' files, JSON lists or JSONL: their items, each with its place, and what a command says at its end."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from apo_bench.core.errors import DataError, MissingInputError
from apo_bench.core.files import write_jsonl, write_text
from apo_bench.data.records import read_records

THEIR_SUFFIXES = (".json", ".jsonl")
"""Their code reads a file as a JSON list if its name ends in .json, and line by line otherwise."""
WHITE_SPACE = " \t\r\n"
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
        DataError: not UTF-8, not JSON, no items, an item that is not an object, a key twice in an object, NaN, or text that UTF-8 cannot
            hold; file and line or item number are named.
    """
    try:
        text = Path(path).read_bytes().decode("utf-8-sig").rstrip(WHITE_SPACE)
    except OSError as error:
        raise MissingInputError(f"{path}: cannot be read ({error.strerror}); expected a file in the authors' format") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 ({error.reason} at byte {error.start}); save the file as UTF-8") from error
    if not text:
        raise DataError(f"{path}: no items; expected a JSON list, or one JSON object a line")
    if text.lstrip(WHITE_SPACE).startswith("["):
        values = _parsed(path, text)
        items = [checked_item(f"{path}: item {number}", value) for number, value in enumerate(values, start=1)]
    else:
        lines = enumerate(text.split("\n"), start=1)  # not splitlines, which splits at more than JSON lets stand for a line's end
        items = [checked_item(f"{path}:{number}", _parsed(path, line, number)) for number, line in lines]
    if not items:
        raise DataError(f"{path}: no items; the list is empty")
    return items


def read_our_records(path: Path, kind: str) -> list[Item]:
    """The records of a file, checked as `read_records` does, and for what JSON or UTF-8 could not hold when they are written again."""
    return [checked_item(f"{path}:{number}", row) for number, row in enumerate(read_records(path, kind), start=1)]


def checked_item(where: str, value: Any) -> Item:
    """`value` with its place.

    Raises:
        DataError: it is not an object, or could not be written again.
    """
    if not isinstance(value, dict):
        raise DataError(f"{where}: found a JSON {type(value).__name__}, expected an object")
    try:
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except UnicodeEncodeError as error:
        raise DataError(f"{where}: a text has half of a surrogate pair, which UTF-8 cannot hold; replace it") from error
    except ValueError as error:
        raise DataError(f"{where}: found NaN or Infinity, expected finite numbers; score again or drop the item") from error
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


def _parsed(path: Path, text: str, line: int | None = None) -> Any:
    """The value of a JSON text, which is the whole of a file or its line `line`."""
    try:
        return json.loads(text, object_pairs_hook=_unique_keys)
    except json.JSONDecodeError as error:
        raise DataError(f"{path}:{line or error.lineno}: not JSON ({error.msg} at column {error.colno}); make the file again") from error
    except ValueError as error:
        raise DataError(f"{path}{f':{line}' if line else ''}: {error}") from error


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """`dict(pairs)`, which would keep the last of two values without a word."""
    repeated = [key for key, count in Counter(key for key, _ in pairs).items() if count > 1]
    if repeated:
        raise ValueError(f"the key {repeated[0]!r} stands twice in an object; keep one")
    return dict(pairs)


def _counts(reasons: Counter[str]) -> list[str]:
    return [f"{reason}: {count}" for reason, count in reasons.items() if count]
