"""Validates a section with pydantic; a fault becomes one line that names the key, what was found and what was expected."""

import difflib
from collections.abc import Iterable, Sequence
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin

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
    path, siblings = _walk(model, fault["loc"])
    key = ".".join([*([where] if where else []), *path])
    if fault["type"] in _UNKNOWN_KEY:
        return f"{key}: unknown key;{near(path[-1], siblings)} known: {', '.join(siblings)}"
    if fault["type"] in ("union_tag_invalid", "union_tag_not_found"):
        name, context = fault["ctx"]["discriminator"].strip("'"), fault["ctx"]
        found = f"found {context['tag']!r}, expected one of {context['expected_tags']}" if "tag" in context else "missing key"
        return f"{key}.{name}: {found}"
    if fault["type"] in ("missing", "missing_argument"):
        return f"{key}: missing key"
    message = fault["msg"].removeprefix("Value error, ")
    if fault["type"] == "value_error":
        return f"{key}: {message}" if key else message
    return f"{key}: found {fault['input']!r}; {message[0].lower()}{message[1:]}"


def _walk(model: Any, location: Sequence[str | int]) -> tuple[list[str], list[str]]:
    """The keys and list indices that lead to a fault, and the keys known beside the last of them.

    pydantic also puts into its location which kind of a section it took one for (its `source`, say); no such key stands in the file.
    """
    path: list[str] = []
    annotation, siblings, discriminator = model, list(getattr(model, "__pydantic_fields__", ())), None
    for part in location:
        if discriminator is not None:
            annotation, discriminator = _tagged(annotation, discriminator, part), None
            continue
        path.append(str(part))
        if isinstance(part, int):
            annotation = get_args(annotation)[0]
            continue
        if get_origin(annotation) is dict and hasattr(get_args(annotation)[1], "__pydantic_fields__"):  # sections by names of one's own
            annotation = get_args(annotation)[1]
            continue
        fields = getattr(annotation, "__pydantic_fields__", {})
        siblings = list(fields)
        if part not in fields:
            break
        discriminator, annotation = fields[part].discriminator, fields[part].annotation
        if get_origin(annotation) in (Union, UnionType) and discriminator is None:  # a section or null
            annotation = next(choice for choice in get_args(annotation) if choice is not NoneType)
    return path, siblings


def _tagged(union: Any, discriminator: Any, tag: Any) -> Any:
    """The member of a tagged union that `tag` stands for."""
    return next(choice for choice in get_args(union) if tag in get_args(choice.__pydantic_fields__[discriminator].annotation))
