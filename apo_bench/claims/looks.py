"""Looks at a growing number of seeds, and how much of an error each may spend so that all together keep the level.

Shape suffixes: L looks, N nodes of a quadrature.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy import optimize, special

LEVELS = np.geomspace(1e-9, 0.5, 60)
"""For which boundaries are known; between them they are interpolated."""
NUM_NODES = 96
Spending = Callable[[float, float], float]
"""Of a level, the part that may be spent by a fraction of the seeds."""


def pocock(level: float, fraction: float) -> float:
    """Much of the level at early looks: of the functions tried, the one with the fewest seeds to a verdict (benchmarks/verdicts.py).

    Source: Lan & DeMets 1983, the function that gives nearly Pocock's constant boundaries.
    """
    return level * math.log(1 + (math.e - 1) * fraction)


@dataclass(frozen=True)
class Design:
    """At which numbers of seeds one looks; none: once, at all there are."""

    looks: tuple[int, ...]
    min_seeds: int
    spending: Spending = pocock

    def taken(self, num_seeds: int) -> list[int]:
        """The looks that so many seeds allow."""
        return [look for look in self.looks or (num_seeds,) if self.min_seeds <= look <= num_seeds]

    def adjust(self, p_values: np.ndarray, num_seeds: int) -> np.ndarray:
        """The levels at which the boundary of the look at `num_seeds` is just reached, from one-sided p-values of a single test."""
        if not self.looks:
            return p_values
        nominal_L = _nominal_table(self.looks, self.spending)[:, self.looks.index(num_seeds)]
        with np.errstate(divide="ignore"):
            return np.exp(np.interp(np.log(p_values), np.log(nominal_L), np.log(LEVELS), right=0.0))

    def nominal_level(self, level: float, num_seeds: int) -> float:
        """What the p of a single test is compared with at this look."""
        if not self.looks:
            return level
        nominal_L = _nominal_table(self.looks, self.spending)[:, self.looks.index(num_seeds)]
        return float(np.exp(np.interp(np.log(level), np.log(LEVELS), np.log(nominal_L))))

    def next_look(self, num_seeds: int) -> int | None:
        """The first look with more seeds; None after the last."""
        return next((look for look in self.looks if look > num_seeds), None)


@cache
def _nominal_table(looks: tuple[int, ...], spending: Spending) -> np.ndarray:
    return np.array([nominal_levels(level, [look / looks[-1] for look in looks], spending) for level in LEVELS])


def nominal_levels(level: float, fractions: Sequence[float], spending: Spending = pocock) -> list[float]:
    """One-sided levels of single tests, one a look, that are exceeded at any look with probability `level` if there is nothing.

    Looks share their earlier seeds, so the sums behind the tests are a Brownian motion, whose density below the boundaries is integrated
    from look to look. Of a t statistic its p counts in place of the normal one's.

    Args:
        level: one-sided, of all looks together.
        fractions: of the seeds at the last look that each look has, ascending, the last 1.
        spending: how much of the level may be spent by a fraction.

    Source: Armitage, McPherson & Rowe 1969; Lan & DeMets 1983; Jennison & Turnbull 2000, ch. 3 (p-values) and ch. 19 (quadrature).
    """
    nodes_N, weights_N = np.polynomial.legendre.leggauss(NUM_NODES)
    starts_N, masses_N, before, spent = np.zeros(1), np.ones(1), 0.0, 0.0
    found = []
    for fraction in fractions:
        step, to_spend = (fraction - before) ** 0.5, spending(level, fraction) - spent

        def excess(end: float, step: float = step, to_spend: float = to_spend, starts_N=starts_N, masses_N=masses_N) -> float:
            crossed = float(masses_N @ special.ndtr((starts_N - end) / step))
            return float(np.log(max(crossed, np.finfo(float).tiny) / to_spend))

        end = optimize.brentq(excess, -40 * fraction**0.5, 40 * fraction**0.5)
        found.append(float(special.ndtr(-end / fraction**0.5)))
        low = -8 * fraction**0.5
        at_N, widths_N = low + (end - low) * (nodes_N + 1) / 2, weights_N * (end - low) / 2
        density_NN = np.exp(-(((at_N[:, None] - starts_N) / step) ** 2) / 2) / (step * np.sqrt(2 * np.pi))
        starts_N, masses_N = at_N, widths_N * (density_NN @ masses_N)
        before, spent = fraction, spent + to_spend
    return found
