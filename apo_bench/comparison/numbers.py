"""Numbers as readers see them, in one way everywhere: a true minus, no sign on what rounds to zero, the places that their unit asks for."""

from typing import NamedTuple

import numpy as np

MINUS, NONE = "−", "–"
"""A sign, and what stands for a number that cannot be had."""


class Unit(NamedTuple):
    """How numbers of a kind are written."""

    sign: str
    """Beside the title of a column."""
    places: int
    scale: float = 1


UNITS = {
    "": Unit("", 2),
    "score": Unit("", 2),
    "share": Unit("%", 1, 100),
    "points": Unit("points", 1, 100),
    "nats": Unit("nats", 1),
    "tokens": Unit("tokens", 1),
    "error": Unit("", 3),
    "squared error": Unit("", 4),
}


def decimal(value: float, places: int, signed: bool = False) -> str:
    """A number with a true minus sign and, if signed, a plus sign; what rounds to zero has no sign."""
    text = f"{value:{'+' if signed else ''}.{places}f}"
    return (f"{0:.{places}f}" if float(text) == 0 else text).replace("-", MINUS)


def number(value: float, unit: str, signed: bool = False, more_places: int = 0) -> str:
    """A value in a unit of `UNITS`, without its sign."""
    _, places, scale = UNITS[unit]
    return decimal(scale * value, places + more_places, signed)


def bounds(low: float, high: float, unit: str, signed: bool = False) -> tuple[str, str]:
    """The ends of an interval; with more places where a signed one takes them to be seen to lie on one side of zero."""
    for more_places in range(4):
        ends = number(low, unit, signed, more_places), number(high, unit, signed, more_places)
        if not signed or low <= 0 <= high or not any(float(end.replace(MINUS, "-")) == 0 for end in ends):
            break
    return ends


def count(value: float) -> str:
    """A whole number, or the mean of some, with commas."""
    return f"{value:,.0f}"


def significant(value: float) -> str:
    """Three digits of a positive number, never as a power of ten."""
    return np.format_float_positional(value, precision=3, unique=False, fractional=False, trim="-")


def p_value(value: float | None) -> str:
    """Three places; nothing for none."""
    return "" if value is None else f"{value:.3f}" if value >= 0.001 else "<0.001"
