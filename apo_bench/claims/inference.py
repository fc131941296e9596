"""Intervals, tests and detectable effects of contrasts over seeds and prompts; verdicts on a family of claims.

Prompts are resampled, paired: all arms and seeds answer the same ones. Three seeds cannot be resampled (10 distinct draws, intervals far
too narrow), so what seeds add is taken from the spread of their own estimates, and its own uncertainty is integrated over.

Shape suffixes: S seeds, D bootstrap draws, C claims, N contrasts, Q nodes of a quadrature.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
from scipy import optimize, special, stats
from scipy.optimize import elementwise

POWER = 0.8
MIN_SEEDS = 3
"""With fewer, the spread of seeds is not estimated, and a verdict says so."""
LOG_NODES = np.arange(-20.0, 5.75, 0.25)
"""Of chi-squared with 2 to 50 degrees: next to nothing of it lies beyond, and means over it are exact to 1e-8."""


@dataclass(frozen=True)
class Spread:
    """What the variance of a mean over seeds and prompts is made of; numbers, or arrays [N] for N contrasts at once."""

    over_prompts: Any
    over_seeds: Any
    """0 for fewer than `MIN_SEEDS`."""
    prompt_degrees: int
    """Of freedom, of `over_prompts`."""
    seed_degrees: int

    @property
    def standard_error(self) -> Any:
        """Of the mean."""
        return np.sqrt(self.over_prompts + self.over_seeds)


@dataclass(frozen=True)
class Inferred:
    """A contrast: positive if things are as claimed."""

    value: float
    low: float
    high: float
    standard_error: float
    spread: Spread
    p_above: float
    """One-sided: how often a contrast of 0 would come out as far above 0."""
    p_below: float


def infer(values_S: np.ndarray, draws_DS: np.ndarray, num_prompts: int, confidence: float) -> Inferred:
    """The mean over seeds with its interval.

    Args:
        values_S: [S] each seed's estimate, over the same prompts.
        draws_DS: [D, S] the same from resampled prompts; a draw is the same prompts in every seed.
        num_prompts: how many prompts there are.
        confidence: of the interval.
    """
    return infer_all(values_S[None], draws_DS[:, None], num_prompts, confidence)[0]


def infer_all(values_NS: np.ndarray, draws_DNS: np.ndarray, num_prompts: int, confidence: float) -> list[Inferred]:
    """The same for N contrasts at once.

    The spread of the seeds' values over S is a variance with S - 1 degrees of freedom, of what seeds differ in and of the noise of single
    prompts in single seeds. The bootstrap draws of the mean hold the variance over prompts and that noise, which is taken off once.

    Source: variance components of a two-way layout with both factors random (Searle, Casella & McCulloch 1992, ch. 4).
    """
    num_contrasts, num_seeds = values_NS.shape
    over_prompts_N, over_seeds_N = draws_DNS.mean(axis=2).var(axis=0, ddof=1).astype(np.float64), np.zeros(num_contrasts)
    if num_seeds >= MIN_SEEDS:
        noise_N = (draws_DNS.var(axis=0, ddof=1).mean(axis=1) - over_prompts_N) / (num_seeds - 1)
        over_prompts_N, over_seeds_N = np.maximum(0.0, over_prompts_N - noise_N), values_NS.var(axis=1, ddof=1) / num_seeds
    degrees = num_prompts - 1, max(1, num_seeds - 1)
    values_N, spread = values_NS.mean(axis=1), Spread(over_prompts_N, over_seeds_N, *degrees)
    halves_N = _critical_values((1 - confidence) / 2, spread)
    tails_N = _tails(np.abs(values_N), spread)
    above_N = np.where(values_N >= 0, tails_N, 1 - tails_N)
    columns = values_N, values_N - halves_N, values_N + halves_N, spread.standard_error, over_prompts_N, over_seeds_N, above_N
    numbers = np.stack(columns, axis=1).tolist()
    return [
        Inferred(value, low, high, error, Spread(over_prompts, over_seeds, *degrees), above, 1 - above)
        for value, low, high, error, over_prompts, over_seeds, above in numbers
    ]


def minimum_detectable_effect(inferred: Inferred, level: float) -> float:
    """The true contrast that a test of size `level`, one-sided, finds in 80 % of runs whose variances are those estimated here.

    In such runs the spread of the seeds comes out smaller or larger, and with it what is found.
    """
    spread, error = inferred.spread, inferred.standard_error
    if error == 0:
        return 0.0
    chi_squared_Q, weights_Q = _chi_squared(spread.seed_degrees)
    critical_Q = _critical_values(level, replace(spread, over_seeds=spread.over_seeds * chi_squared_Q / spread.seed_degrees))

    def missing_power(effect: float) -> float:
        return float(special.ndtr((effect - critical_Q) / error) @ weights_Q) - POWER

    return float(optimize.brentq(missing_power, 0.0, float(critical_Q.max()) + 4 * error))


def holm(p_values_C: Sequence[float]) -> list[float]:
    """Adjusted p-values that keep the chance of any false rejection in the family below the level they are compared with.

    Source: Holm 1979.
    """
    order = np.argsort(p_values_C, kind="stable")
    steps = np.arange(len(order), 0, -1) * np.asarray(p_values_C, dtype=np.float64)[order]
    adjusted_C = np.empty(len(order))
    adjusted_C[order] = np.minimum(1.0, np.maximum.accumulate(steps))
    return adjusted_C.tolist()


def verdicts(claims: Sequence[Sequence[Inferred]], confidence: float) -> list[tuple[str, float]]:
    """A verdict on each claim with its adjusted p.

    A claim of several contrasts is *reproduced* if all of them lie above 0 (intersection-union test: its p is the largest of theirs), and
    *not reproduced* if one of them lies below 0 (its p is the smallest times their number). Either way p is adjusted over all claims by
    Holm and compared with (1 - confidence) / 2, as one end of the interval is. Else it is *undecided*.

    Source: Berger 1982 for the intersection-union test.
    """
    level = (1 - confidence) / 2
    as_claimed = holm([max(contrast.p_above for contrast in claim) for claim in claims])
    opposite = holm([min(1.0, len(claim) * min(contrast.p_below for contrast in claim)) for claim in claims])
    found = []
    for above, below in zip(as_claimed, opposite, strict=True):
        if below <= level:
            found.append(("not reproduced", below))
        else:
            found.append(("reproduced" if above <= level else "undecided", above))
    return found


def _tails(distances_N: np.ndarray, spread: Spread) -> np.ndarray:
    """How likely means lie more than this above the truth, given the spread that they have been found to have.

    One variance is known well and one has few degrees of freedom: the problem of Behrens and Fisher. Satterthwaite's t, the usual answer,
    covers 92 % of 95 with three seeds and errs six times too often at the levels of a family; Fisher's covers 97.6 % and finds little.
    The one here lies between Fisher's, s = 1 below, and that of the prior that matches the level to second order, s the share of the seeds
    in the variance. With the root of that share, three seeds are covered in 94.5 to 96.2 %, and the strictest level of a family of twelve
    is exceeded by 1.75 times at most, so that a family at 2.5 % keeps below 5; more seeds are nearer (tests/claims/test_inference.py).

    Source: Fisher 1935, The fiducial argument in statistical inference; Ghosh & Kim 2001, The Behrens-Fisher problem revisited.
    Departures: the root.
    """
    over_prompts_N, over_seeds_N = np.broadcast_arrays(spread.over_prompts, spread.over_seeds)
    with np.errstate(invalid="ignore", divide="ignore"):
        share_N = np.sqrt(np.nan_to_num(over_seeds_N / (over_seeds_N + over_prompts_N)))
        tails = []
        for degrees in (spread.seed_degrees, spread.seed_degrees + 2):
            chi_squared_Q, weights_Q = _chi_squared(degrees)
            variances_NQ = over_prompts_N[:, None] + over_seeds_N[:, None] * spread.seed_degrees / chi_squared_Q
            tails.append(special.stdtr(spread.prompt_degrees, np.nan_to_num(-distances_N[:, None] / np.sqrt(variances_NQ))) @ weights_Q)
    return share_N * tails[0] + (1 - share_N) * tails[1]


def _critical_values(level: float, spread: Spread) -> np.ndarray:
    """The distances whose tails are `level`."""
    over_prompts_N, over_seeds_N = np.broadcast_arrays(spread.over_prompts, spread.over_seeds)
    widest = 4 * float(stats.t.isf(level, 1))  # no tail falls as slowly as that of Student's t with one degree of freedom

    def excess(distances_N: np.ndarray, over_prompts_N: np.ndarray, over_seeds_N: np.ndarray) -> np.ndarray:
        return _tails(distances_N, replace(spread, over_prompts=over_prompts_N, over_seeds=over_seeds_N)) - level

    ends = np.zeros_like(over_seeds_N), widest * spread.standard_error
    found = elementwise.find_root(excess, ends, args=(over_prompts_N, over_seeds_N), tolerances={"xrtol": 1e-9})
    return np.where(ends[1] > 0, found.x, 0.0)


@cache
def _chi_squared(degrees: int) -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights of means over chi-squared, by the trapezoidal rule in its logarithm, where it falls off fast at both ends."""
    nodes_Q = np.exp(LOG_NODES)
    weights_Q = stats.chi2.pdf(nodes_Q, degrees) * nodes_Q
    return nodes_Q, weights_Q / weights_Q.sum()
