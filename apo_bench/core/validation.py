"""Validates a section with pydantic; a fault becomes one line that names the key, what was found and what was expected."""

import difflib
import re
from collections.abc import Iterable
from typing import Any, get_args

from pydantic import ValidationError

from apo_bench.core.errors import ConfigError

_UNKNOWN_KEY = ("extra_forbidden", "unexpected_keyword_argument")  # what pydantic calls it in a model, and in a dataclass


def validated(model: Any, value: Any, where: str) -> Any:
    """`value` as an instance of `model`, a pydantic model or dataclass. `where` is its key in the file, "" for the whole of it.

    Raises:
        ConfigError: naming the first fault.
    """
    if not isinstance(value, dict):
        raise ConfigError(f"{where or 'the file'}: found {value!r}, expected a mapping of {', '.join(model.__pydantic_fields__)}")
    for key in value:
        if not isinstance(key, str):
            raise ConfigError(f"{where}{'.' if where else ''}{key}: found a key of type {type(key).__name__}, expected a name")
    try:
        return model(**value)
    except ValidationError as error:
        raise ConfigError(_explain(error, where, model)) from error


def near(name: str, known: Iterable[str]) -> str:
    """A question that offers the names most like `name`, to go into a message; empty when none is like it."""
    names = difflib.get_close_matches(name, list(known), n=3, cutoff=0.5)
    return f" did you mean {' or '.join(names)}?" if names else ""


def _explain(error: ValidationError, where: str, model: Any) -> str:
    """One line for the first fault that pydantic found in a `model`; an unknown key goes first, as it may be a missing one misspelt."""
    faults = error.errors()
    fault = next((fault for fault in faults if fault["type"] in _UNKNOWN_KEY), faults[0])
    *parents, last = fault["loc"] or ("",)
    key = ".".join([*([where] if where else []), *map(str, fault["loc"])])
    if fault["type"] in _UNKNOWN_KEY:
        siblings = _keys_below(model, parents)
        return f"{key}: unknown key;{near(str(last), siblings)} known: {', '.join(siblings)}"
    if fault["type"] in ("missing", "missing_argument"):
        return f"{key}: missing key"
    message = fault["msg"].removeprefix("Value error, ")
    if fault["type"] == "value_error":
        return f"{key}: {message}" if key else message
    looks_like_1e5 = isinstance(fault["input"], str) and re.fullmatch(r"[-+]?[\d.]+[eE][-+]?\d+", fault["input"])
    hint = " (YAML reads 1e-5 as text: write 1.0e-5)" if looks_like_1e5 and "number" in message else ""
    return f"{key}: found {fault['input']!r}; {message[0].lower()}{message[1:]}{hint}"


def _keys_below(model: Any, parents: list[Any]) -> list[str]:
    """The keys that are known where `parents` lead, by name or, in a list, by number."""
    for part in parents:
        model = get_args(model)[0] if isinstance(part, int) else model.__pydantic_fields__[part].annotation
    return list(model.__pydantic_fields__)
