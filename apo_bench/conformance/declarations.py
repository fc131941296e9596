"""What a method says of itself: its hyperparameters are validated, and its page has what a reader needs."""

import dataclasses
import inspect
import re
from pathlib import Path
from typing import Any

from pydantic import ValidationError

import apo_bench
from apo_bench.conformance.samples import outcome, random_samples
from apo_bench.methods.base import Hyperparameters, Method

PAGES = Path(apo_bench.__file__).parents[1] / "docs" / "methods"
PARTS = {
    "the formula, `L = ...`": r"`[^`]*\bL = [^`]+`",
    "the source, **Source**": r"\*\*Source\*\*: .*\d",
    "the departures from it, **Departures**": r"\*\*Departures\*\*: \w",
    "the paper's settings, **The paper's settings**": r"\*\*The paper's settings\*\*: \w",
}


def check_hyperparameters(method: Method) -> str | None:
    """Unknown keys, text, infinity and numbers out of any range are refused; what was accepted cannot be changed."""
    given, kind = method.hyperparameters, type(method.hyperparameters)
    if not isinstance(given, Hyperparameters):
        return f"the hyperparameters are a {kind.__name__}, expected a dataclass derived from apo_bench.methods.base.Hyperparameters"
    values = {field.name: getattr(given, field.name) for field in dataclasses.fields(given)}
    if _accepts(kind, values, "no_such_key", 1):
        return f"{kind.__name__} accepts an unknown key: decorate it with @validated_dataclass(frozen=True, kw_only=True, config=STRICT)"
    for name, value in values.items():
        if isinstance(value, bool | str) or not isinstance(value, int | float):
            continue
        for wrong in ("1", float("inf"), float("nan")):
            if _accepts(kind, values, name, wrong):
                return f"{name} accepts {wrong!r}: decorate {kind.__name__} with @validated_dataclass(..., config=STRICT)"
        if all(_accepts(kind, values, name, type(value)(extreme)) for extreme in (-1e9, 1e9)):
            return f"{name} accepts any number: give it a range, Annotated[float, Field(gt=0)]"
    try:
        given.epochs = 1  # type: ignore[misc]
    except (dataclasses.FrozenInstanceError, ValidationError):
        return None
    return f"{kind.__name__} can be changed after its validation: frozen=True"


def check_page(method: Method) -> str | None:
    """The page of the method has formula, source, departures and settings, and explains every metric that the loss logs."""
    page = page_of(method)
    if not page.is_file():
        return f"{page.name}: no such page; expected in docs/methods, or beside the module in a package of your own"
    text = page.read_text(encoding="utf-8")
    missing = [what for what, pattern in PARTS.items() if not re.search(pattern, text)]
    metrics = outcome(method, random_samples(method, 1)).metrics
    missing += [f"the metric `{name}`" for name in metrics if f"`{name}`" not in text]
    return f"{page.name} lacks {'; '.join(missing)}" if missing else None


def page_of(method: Method) -> Path:
    """The page of a method: beside its module, or of this repository's methods in docs/methods."""
    beside = Path(inspect.getfile(type(method))).with_suffix(".md")
    return beside if beside.is_file() else PAGES / beside.name


def _accepts(kind: Any, values: dict[str, Any], name: str, value: Any) -> bool:
    try:
        kind(**{**values, name: value})
    except (ValidationError, TypeError):
        return False
    return True
