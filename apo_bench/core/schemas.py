"""What the rows of a JSONL file must have: columns with types, checked by pydantic; a fault is one line with file, line and key."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, NotRequired

from pydantic import ConfigDict, FailFast, Field, StringConstraints, TypeAdapter, ValidationError, with_config
from typing_extensions import TypedDict  # pydantic wants this one before Python 3.12

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

Row = dict[str, Any]


def _nothing(row: Row) -> str:
    return ""


class Schema:
    """The columns of a file. Rows may have further keys, which are carried along as they are."""

    def __init__(
        self,
        columns: Mapping[str, Any],
        optional: Mapping[str, Any] | None = None,
        fault_of: Callable[[Row], str] = _nothing,
        unique: str | None = None,
    ) -> None:
        """Makes a schema.

        Args:
            columns: name -> type, as an annotation.
            optional: columns that need not be there.
            fault_of: what is wrong with a row whose columns are right, "" if nothing is.
            unique: the column whose values stand once in a file.
        """
        self.columns = tuple(columns)
        self._known = {*columns, *(optional or {})}
        fields = {**columns, **{name: NotRequired[kind] for name, kind in (optional or {}).items()}}
        row = with_config(ConfigDict(strict=True, extra="allow"))(TypedDict("row", fields))  # type: ignore[operator]
        self._rows: TypeAdapter[Any] = TypeAdapter(Annotated[list[row], FailFast()])  # type: ignore[arg-type, valid-type]  # made here, of columns
        self._fault_of, self._unique = fault_of, unique

    def check(self, rows: Sequence[Row], where: Callable[[int], str]) -> None:
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

    def _check_further(self, rows: Sequence[Row], where: Callable[[int], str]) -> None:
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

    def _explain(self, row: Row, keys: list[Any], fault: Any) -> str:
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

    def _check_unique(self, rows: Sequence[Row], key: str, where: Callable[[int], str]) -> None:
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
