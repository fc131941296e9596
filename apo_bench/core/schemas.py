"""What the rows of a JSONL file must have: columns with types, checked by pydantic; a fault is one line with file, line and key."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Generic, TypeVar, cast

from pydantic import ConfigDict, FailFast, Field, StringConstraints, TypeAdapter, ValidationError, with_config
from typing_extensions import TypedDict, get_type_hints

from apo_bench.core.errors import DataError

SUBSET = r"^[a-z][a-z0-9_]*$"
Subset = Annotated[str, StringConstraints(pattern=SUBSET)]
"""What a subset of the data may be called; which there are its source says (`Data.kinds`)."""
Name = Annotated[str, StringConstraints(min_length=1)]
"""Text that something is told by."""
Text = Annotated[str, StringConstraints(pattern=r"\S")]
"""Text that is not blank."""
Number = Annotated[float, Field(allow_inf_nan=False)]
"""A finite number, whole or not, that a float can hold."""
Share = Annotated[float, Field(ge=0, le=1)]
"""A number from 0 to 1."""
Count = Annotated[int, Field(ge=0, le=2**63 - 1)]
"""A whole number from 0 on that 64 bits hold."""

EXPECTED = {
    "string_type": "str", "list_type": "list", "bool_type": "bool", "float_type": "a number", "int_type": "a whole number",
    "finite_number": "a finite number", "string_too_short": "text", "too_short": "at least one value", "string_pattern_mismatch": "text",
}  # fmt: skip
"""In our words, by what pydantic calls a fault."""
SHOWN = 40
"""Characters of a value that a message shows."""

R = TypeVar("R", bound=Mapping[str, Any])


def row_with(base: type[Mapping[str, Any]], columns: Mapping[str, Any]) -> type[dict[str, Any]]:
    """A kind of row, a TypedDict, with further columns, name -> type as an annotation, which only the params tell."""
    return cast(type[dict[str, Any]], TypedDict("row", {**get_type_hints(base, include_extras=True), **columns}))  # type: ignore[operator]


def _nothing(row: Any) -> str:
    return ""


class Schema(Generic[R]):
    """What the rows of a file must have: the keys of a TypedDict. They may have further ones, which are carried along as they are."""

    def __init__(self, row: type[R], fault_of: Callable[[R], str] = _nothing, unique: str | None = None) -> None:
        """Makes a schema.

        Args:
            row: a TypedDict, of `typing_extensions`: pydantic wants it before Python 3.12.
            fault_of: what is wrong with a row whose columns are right, "" if nothing is.
            unique: the column whose values stand once in a file.
        """
        kind: Any = with_config(ConfigDict(strict=True, extra="allow"))(row)
        self._known = get_type_hints(kind).keys()
        self.columns = tuple(name for name in self._known if name in kind.__required_keys__)
        self._rows: TypeAdapter[Any] = TypeAdapter(Annotated[list[kind], FailFast()])
        self._fault_of, self._unique = fault_of, unique

    def check(self, rows: Sequence[R], where: Callable[[int], str]) -> None:
        """Checks the rows of a file, of which `where` says where the one of a number stands, counted from 1.

        Raises:
            DataError: one lacks a column, or has it with a wrong type or value; its place and key are named.
        """
        try:
            self._rows.validate_python(rows)
        except ValidationError as error:
            [number, *keys], fault = error.errors()[0]["loc"], error.errors()[0]
            raise DataError(f"{where(int(number) + 1)}: {self._explain(rows[int(number)], keys, fault)}") from error
        self._check_further(rows, where)
        if self._fault_of is not _nothing:
            for number, row in enumerate(rows, start=1):
                if fault_found := self._fault_of(row):
                    raise DataError(f"{where(number)}: {fault_found}")
        if self._unique:
            self._check_unique(rows, self._unique, where)

    def _check_further(self, rows: Sequence[R], where: Callable[[int], str]) -> None:
        """The keys that are no columns are carried along, so they must be such as can be written again."""
        num_columns = len(self.columns)
        for number, row in enumerate(rows, start=1):
            if len(row) == num_columns:
                continue
            for key in row.keys() - self._known:
                try:
                    if isinstance(row[key], float | list | dict):
                        json.dumps(row[key], allow_nan=False)
                except ValueError as error:
                    raise DataError(f"{where(number)}: {key} has a number that no float can hold; make the file again") from error

    def _explain(self, row: R, keys: list[Any], fault: Any) -> str:
        if fault["type"] == "missing":
            missing = [name for name in self.columns if name not in row]
            return f"no key {', '.join(missing)}; found {', '.join(row) or 'no keys'}"
        place = str(keys[0]) + "".join(f"[{key}]" for key in keys[1:] if isinstance(key, int))
        value, message = fault["input"], fault["msg"]
        if fault.get("ctx", {}).get("pattern") == SUBSET:
            return f"{place} is {_shown(value)}, expected a name of small letters, digits and _"
        expected = EXPECTED.get(fault["type"]) or message.removeprefix("Input should be ").replace("'", "")
        if not expected.startswith(("a ", "one ", "None")) and fault["type"] not in EXPECTED:
            expected = expected[0].lower() + expected[1:]
        found = type(value).__name__ if fault["type"].endswith("_type") else _shown(value)
        return f"{place} is {found}, expected {expected}"

    def _check_unique(self, rows: Sequence[R], key: str, where: Callable[[int], str]) -> None:
        numbers: dict[Any, int] = {}
        for number, row in enumerate(rows, start=1):
            first = numbers.setdefault(row[key], number)
            if first != number:
                raise DataError(f"{where(number)}: {key} {_shown(row[key])} stands at {where(first)} too, expected once; keep one of them")


def _shown(value: Any) -> str:
    try:
        shown = repr(value)
    except ValueError:  # Python's limit for whole numbers
        shown = "a number of thousands of digits"
    return shown if len(shown) <= SHOWN else f"{shown[:SHOWN]}..."
