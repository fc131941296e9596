"""Intervals, tests and detectable effects of contrasts over seeds and prompts; verdicts on a family of claims.

Prompts are resampled, paired: all arms and seeds answer the same ones. Three seeds cannot be resampled (10 distinct draws, intervals far
too narrow), so what seeds add is taken from the spread of their own estimates, and Student's t with Satterthwaite's degrees of freedom
makes up for their small number.

Shape suffixes: S seeds, D bootstrap draws, C claims.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import optimize, stats

POWER = 0.8
MIN_SEEDS = 3
"""With fewer, the spread of seeds is not estimated, and a verdict says so."""


@dataclass(frozen=True)
class Inferred:
    """A contrast: positive if things are as claimed."""

    value: float
    low: float
    high: float
    standard_error: float
    degrees: float
    """Of freedom, of its t."""
    p_above: float
    """One-sided: how often a contrast of 0 would come out as far above 0."""
    p_below: float


def infer(values_S: np.ndarray, draws_DS: np.ndarray, num_prompts: int, confidence: float) -> Inferred:
    """The mean over seeds with its interval.

    The variance over prompts is that of the bootstrap draws of the mean. The variance of the seeds' values over S adds what seeds differ in
    on average over prompts; it also holds the noise of single prompts in single seeds, which the draws hold already and is taken off once.

    Args:
        values_S: [S] each seed's estimate, over the same prompts.
        draws_DS: [D, S] the same from resampled prompts; a draw is the same prompts in every seed.
        num_prompts: how many prompts there are.
        confidence: of the interval.

    Source: Satterthwaite 1946 for the degrees of freedom; variance components of a two-way layout with both factors random
    (Searle, Casella & McCulloch 1992, ch. 4).
    """
    num_seeds = len(values_S)
    value, over_prompts = float(values_S.mean()), float(draws_DS.mean(axis=1).var(ddof=1))
    variance, degrees = over_prompts, float(num_prompts - 1)
    if num_seeds >= MIN_SEEDS:
        within = (float(draws_DS.var(axis=0, ddof=1).mean()) - over_prompts) / (num_seeds - 1)
        over_seeds = float(values_S.var(ddof=1)) / num_seeds
        if over_seeds > within:
            variance = over_prompts + over_seeds - within
            # Satterthwaite has the square of all of over_seeds here, which covers 97 % where little of it is more than single prompts'
            # noise; the square of what is more covers too little where it is much. The product covers 94 to 97 % in all simulated games.
            degrees = variance**2 / (over_prompts**2 / (num_prompts - 1) + over_seeds * (over_seeds - within) / (num_seeds - 1))
    error = variance**0.5
    half = float(stats.t.ppf((1 + confidence) / 2, degrees)) * error
    t = value / error if error > 0 else np.inf * np.sign(value) if value else 0.0
    return Inferred(value, value - half, value + half, error, degrees, float(stats.t.sf(t, degrees)), float(stats.t.cdf(t, degrees)))


def minimum_detectable_effect(inferred: Inferred, level: float) -> float:
    """The true contrast that a test of size `level`, one-sided, finds in 80 % of runs with this one's standard error.

    Source: the power of Student's test, by the noncentral t (Cohen 1988, ch. 2).
    """
    critical = stats.t.ppf(1 - level, inferred.degrees)

    def missing_power(shift: float) -> float:
        return float(stats.nct.sf(critical, inferred.degrees, shift)) - POWER

    return inferred.standard_error * float(optimize.brentq(missing_power, 0.0, 4 * critical + 4))


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
