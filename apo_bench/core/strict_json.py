"""JSON of which nothing is lost and nothing is guessed: what is taken can be written again, and stands there once."""

import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydantic_core import from_json

from apo_bench.core.errors import DataError

MAX_DEPTH = 64
"""Objects and lists inside one another. Python's own limit depends on who calls, so that what one stage reads another could not write."""
SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
"""The escape of half of a surrogate pair; two of them are a character."""
KEY_END = re.compile(rb'"[ \t\r\n]*:')
"""What stands behind each key of a text, and seldom elsewhere."""


def parse(raw: bytes, path: Path | str, line: int | None = None, cure: str = "make the file again") -> Any:
    """The value of a JSON text.

    Args:
        raw: the whole of a file, or one of its lines.
        path: the file, for messages.
        line: which line of it, if not the whole.
        cure: what to do about a text that is not JSON.

    Raises:
        DataError: it is not UTF-8 or not JSON, has a key twice in an object, NaN, a number that is none for a float or has thousands of
            digits, half of a surrogate pair, or is nested too deeply; file and line are named.
    """
    try:
        value = DECODER.decode(raw.decode("utf-8"))
        _check_depth(value, raw)
        if rb"\u" in raw and SURROGATE.search(raw):
            json.dumps(value, ensure_ascii=False).encode()
        return value
    except json.JSONDecodeError as error:
        raise DataError(f"{path}:{line or error.lineno}: not JSON ({error.msg} at column {error.colno}); {cure}") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}{f':{line}' if line else ''}: {_fault(error, cure)}") from error


def parse_list(raw: bytes, path: Path | str, where: Callable[[int], str]) -> list[Any]:
    """As `parse`, of a JSON list, for messages that say where in it something stands: `where` names its items, counted from 1."""
    try:
        values = [*UNCHECKED.decode(raw.decode("utf-8"))]
    except (ValueError, RecursionError):
        return [*parse(raw, path)]
    for number, value in enumerate(values, start=1):
        try:
            parse(json.dumps(value).encode(), where(number))
        except RecursionError as error:
            raise DataError(f"{where(number)}: {_fault(error, 'make the file again')}") from error
    return values


def parse_row(raw: bytes, path: Path | str, line: int, cure: str) -> Any:
    """As `parse`, of a line that is most likely a flat object: by pydantic's reader, which is several times as fast, and as strict but for
    keys that stand twice and depth, for which such a line is read again. Numbers that no float can hold are left to a `Schema`."""
    try:
        value = from_json(raw, allow_inf_nan=False, cache_strings="keys")
    except ValueError:
        return parse(raw, path, line, cure)
    is_plain = type(value) is dict and len(KEY_END.findall(raw)) == len(value) and raw.count(b"[") <= MAX_DEPTH
    return value if is_plain else parse(raw, path, line, cure)


def _fault(error: Exception, cure: str) -> str:
    if isinstance(error, UnicodeDecodeError):
        return f"not UTF-8 ({error.reason} at byte {error.start}); save the file as UTF-8"
    if isinstance(error, UnicodeEncodeError):
        return "a text has half of a surrogate pair, which UTF-8 cannot hold; replace it"
    if isinstance(error, RecursionError):
        return f"objects or lists nested more than {MAX_DEPTH} deep, expected a few; {cure}"
    if isinstance(error, _RefusedError):
        return str(error)
    return f"a whole number of thousands of digits, expected one that a float can hold; {cure}"  # Python's own limit


class _RefusedError(ValueError):
    """What Python's reader would take without a word."""


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """`dict(pairs)`, which would keep the last of two values."""
    value = dict(pairs)
    if len(value) < len(pairs):
        keys = [key for key, _ in pairs]
        repeated = next(key for key in value if keys.count(key) > 1)
        raise _RefusedError(f"the key {repeated!r} stands twice in an object; keep one")
    return value


def _constant(name: str) -> None:
    raise _RefusedError(f"found {name}; JSON has finite numbers only: make the file again, or drop the row")


def _finite(digits: str) -> float:
    value = float(digits)
    if math.isinf(value):
        raise _RefusedError(f"found the number {digits[:20]}, which no float can hold; make the file again, or drop the row")
    return value


UNCHECKED = json.JSONDecoder(object_pairs_hook=_unique_keys)
DECODER = json.JSONDecoder(object_pairs_hook=_unique_keys, parse_constant=_constant, parse_float=_finite)


def _check_depth(value: Any, raw: bytes) -> None:
    """Raises RecursionError where objects and lists are nested too deeply; texts with few brackets cannot be."""
    if raw.count(b"[") + raw.count(b"{") > MAX_DEPTH:
        level = [value]
        for _ in range(MAX_DEPTH):
            level = [
                inner for each in level if isinstance(each, (dict, list)) for inner in (each.values() if isinstance(each, dict) else each)
            ]
            if not level:
                return
        raise RecursionError
