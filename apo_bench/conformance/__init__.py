"""The conformance kit: what must hold of any method's loss, tried on made-up log-probabilities without a model.

A wrong loss trains as happily as a right one; each check is for a mistake that was made, here or elsewhere. `apo-bench check-method` runs
them on a method of params.yaml, `apo_bench.conformance.testing` as tests of another package.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from apo_bench.conformance.declarations import check_hyperparameters, check_page
from apo_bench.conformance.invariances import check_accumulation, check_extremes, check_order, check_padding, check_ties
from apo_bench.conformance.optimum import check_optimum
from apo_bench.conformance.origins import check_origins
from apo_bench.conformance.signs import check_gradient, check_reference, check_selection
from apo_bench.conformance.tokens import check_tokens
from apo_bench.methods.base import Method

Subject = TypeVar("Subject")
Check = Callable[[Method], str | None]
"""Says what is wrong with a method in one line, or None."""

CHECKS: dict[str, Check] = {
    "selection": check_selection,
    "origins": check_origins,
    "gradient": check_gradient,
    "reference": check_reference,
    "order": check_order,
    "ties": check_ties,
    "padding": check_padding,
    "accumulation": check_accumulation,
    "extremes": check_extremes,
    "tokens": check_tokens,
    "optimum": check_optimum,
    "hyperparameters": check_hyperparameters,
    "page": check_page,
}
"""In the order in which they are shown."""


@dataclass(frozen=True)
class Finding:
    """What a check found: `fault` is None if all is well."""

    check: str
    fault: str | None


def examine(method: Method) -> list[Finding]:
    """Runs all checks on a method."""
    return [Finding(name, fault_of(check, method)) for name, check in CHECKS.items()]


def fault_of(check: Callable[[Subject], str | None], subject: Subject) -> str | None:
    """What a check finds wrong with a method, or a reward model, an exception of its own included."""
    try:
        return check(subject)
    except Exception as error:  # its code may raise whatever it likes
        return f"raised {type(error).__name__}: {' '.join(str(error).split())}"
