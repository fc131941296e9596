"""Intervals, tests and verdicts of contrasts over seeds, each seed a whole replicate of the study: the prompts are shared and fixed.

Shape suffixes: K contrasts, S seeds; functions on arrays take any dimensions before them.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import optimize, special, stats

from apo_bench.claims.looks import Design

POWER = 0.8
REPRODUCED, CONTRADICTED, EQUIVALENT, UNDECIDED = "reproduced", "not reproduced", "no difference beyond d", "undecided"
MOST_SEEDS = 10_000
"""More are as good as none."""
TOWARDS = 0.6
"""The quantile of a kind's variances that each is drawn towards. Towards their mean, large ones would come out so small that a family whose
standard deviations differ fourfold errs in 8 % of cases where it says 5; with this it errs in 5, and intervals still cover 94 to 97 %."""
MIN_CONTRASTS = 3
"""Of a kind; fewer do not tell how much its variances agree."""
MIN_PRIOR = 1.0
"""Degrees of freedom; a kind that adds fewer says nothing, and each variance stands for itself."""
LEAST_SHARE = 1e-5
"""Of the median variance of its kind, below which none is taken to lie, as `limma` does: there is no logarithm of 0."""


@dataclass(frozen=True)
class Inferred:
    """A contrast: positive if things are as claimed. Of one seed, nothing is known but the value."""

    value: float
    low: float
    """Of the interval over all seeds, which knows nothing of looks or of other contrasts."""
    high: float
    standard_error: float
    degrees: float
    """Of freedom: those of the seeds and what contrasts of its kind add."""
    smallest: float
    """The smallest effect that would matter."""
    num_seeds: int
    p_above: float
    """One-sided, adjusted for the looks taken: the level at which the contrast would have been called positive by now."""
    p_below: float
    p_equal: float
    """The same for a contrast within ± `smallest`: the larger p of two one-sided tests."""


@dataclass(frozen=True)
class Verdict:
    """What became of a claim, with its p adjusted over the family."""

    word: str
    p_value: float


def infer(
    values_KS: np.ndarray, kinds: Sequence[str], weights_K: np.ndarray, smallest_K: np.ndarray, design: Design, confidence: float
) -> list[Inferred]:
    """Contrasts with intervals and tests.

    Args:
        values_KS: [K, S] one value a seed, in the order in which the seeds were drawn.
        kinds: K names; variances of contrasts of a kind are moderated together.
        weights_K: [K] sums of the squared weights of the cells in each contrast; variances are alike in units of these.
        smallest_K: [K] the smallest effects that would matter.
        design: at which numbers of seeds one looks.
        confidence: of the intervals.
    """
    num_contrasts, num_seeds = values_KS.shape
    unknown_K = np.full(num_contrasts, math.nan)
    value_K, error_K, degrees_K = values_KS.mean(axis=1), unknown_K, unknown_K
    if num_seeds > 1:
        value_K, error_K, degrees_K = moderated_means(values_KS, kinds, weights_K)
    half_K = stats.t.isf((1 - confidence) / 2, degrees_K) * error_K
    p_values_KT = np.stack(adjusted_p_values(values_KS, kinds, weights_K, smallest_K, design), axis=1).tolist()
    numbers = np.stack([value_K, value_K - half_K, value_K + half_K, error_K, degrees_K, smallest_K], axis=1).astype(np.float64).tolist()
    return [
        Inferred(value, low, high, error, degrees, smallest, num_seeds, *p_values)
        for (value, low, high, error, degrees, smallest), p_values in zip(numbers, p_values_KT, strict=True)
    ]


def adjusted_p_values(
    values_KS: np.ndarray, kinds: Sequence[str], weights_K: np.ndarray, smallest_K: np.ndarray, design: Design
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """One-sided p of being above 0, below 0 and within ± smallest, each the least over the looks taken: [K] each; 1 before the first.

    At a look only the seeds up to it count, so more seeds do not change what has been decided.
    """
    taken = design.taken(values_KS.shape[-1])
    if not taken:
        return (np.ones(values_KS.shape[:-1]),) * 3
    found = []
    for num_seeds in taken:
        value_K, error_K, degrees_K = moderated_means(values_KS[..., :num_seeds], kinds, weights_K)
        distances = value_K, -value_K, smallest_K - np.abs(value_K)
        found.append([design.adjust(_tail(distance_K, error_K, degrees_K), num_seeds) for distance_K in distances])
    above_K, below_K, equal_K = np.min(np.array(found), axis=0)
    return above_K, below_K, equal_K


def _tail(distance_K: np.ndarray, error_K: np.ndarray, degrees_K: np.ndarray) -> np.ndarray:
    """How often a mean would come out as far above the truth; seeds that are all the same leave no doubt."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return stats.t.sf(np.nan_to_num(distance_K / error_K, nan=0.0), degrees_K)


def moderated_means(values_KS: np.ndarray, kinds: Sequence[str], weights_K: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Means over seeds, their standard errors and the degrees of freedom of these: [K] each.

    A handful of seeds tells little of a variance, but contrasts of a kind vary alike. So each variance is drawn towards the kind's, as
    much as those of the kind are found to agree.

    Source: Smyth 2004, Linear models and empirical Bayes methods (limma), section 4 and its `squeezeVar`.
    Departures: the degrees that a kind adds are bounded by what its contrasts hold together, of which correlated ones hold less; and
    variances are drawn towards an upper quantile of their kind's (`TOWARDS`).
    """
    num_seeds = values_KS.shape[-1]
    variances_K, degrees_K = np.empty(values_KS.shape[:-1]), np.empty(values_KS.shape[:-1])
    for kind in dict.fromkeys(kinds):
        members = np.flatnonzero([other == kind for other in kinds])
        scaled_KS = values_KS[..., members, :] / np.sqrt(weights_K[members])[:, None]
        of_kind_K, degrees = _moderated_variances(scaled_KS)
        variances_K[..., members] = of_kind_K * weights_K[members]
        degrees_K[..., members] = degrees[..., None]
    return values_KS.mean(axis=-1), np.sqrt(variances_K / num_seeds), degrees_K


def _moderated_variances(values_KS: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """[K] variances of the seeds' values, and the degrees of freedom that all of them have."""
    num_contrasts, num_seeds = values_KS.shape[-2:]
    degrees = num_seeds - 1
    variances_K = values_KS.var(axis=-1, ddof=1)
    if num_contrasts < MIN_CONTRASTS:
        return variances_K, np.full(variances_K.shape[:-1], float(degrees))
    floored_K = np.maximum(variances_K, LEAST_SHARE * np.median(variances_K, axis=-1, keepdims=True))
    scale, prior_degrees = prior_of(floored_K, degrees)
    prior_degrees = np.minimum(prior_degrees, degrees * (num_independent(values_KS) - 1))
    towards = scale * prior_degrees / (2 * special.gammaincinv(np.maximum(prior_degrees, MIN_PRIOR) / 2, 1 - TOWARDS))
    prior_degrees = np.where(prior_degrees < MIN_PRIOR, 0.0, prior_degrees)
    total = degrees + prior_degrees
    return ((prior_degrees * towards)[..., None] + degrees * variances_K) / total[..., None], total


def prior_of(variances_K: np.ndarray, degrees: int) -> tuple[np.ndarray, np.ndarray]:
    """The scale and the degrees of freedom (infinite where variances agree) of the scaled inverse chi-squared that variances are drawn
    from, by the moments of their logarithms.

    Source: Smyth 2004, section 6.2; for infinite degrees the mean of the variances, as limma's `fitFDist`.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        logs_K = np.log(variances_K) - special.digamma(degrees / 2) + np.log(degrees / 2)
        spread = logs_K.var(axis=-1, ddof=1) - special.polygamma(1, degrees / 2)
        half = inverse_trigamma(np.where(spread > 0, spread, 1.0))
        scale = np.exp(logs_K.mean(axis=-1) + special.digamma(half) - np.log(half))
    is_finite = np.isfinite(scale) & (spread > 0)
    return np.where(is_finite, scale, variances_K.mean(axis=-1)), np.where(is_finite, 2 * half, np.inf)


def inverse_trigamma(values: np.ndarray) -> np.ndarray:
    """Where the trigamma function has these values, by Newton's method on its reciprocal, which is nearly a line.

    Source: Smyth 2004, appendix.
    """
    found = 0.5 + 1 / values
    for _ in range(12):
        trigamma = special.polygamma(1, found)
        found = found + trigamma * (1 - trigamma / values) / special.polygamma(2, found)
    return found


def num_independent(values_KS: np.ndarray) -> np.ndarray:
    """How many independent contrasts would tell as much of their common variance: K^2 over the sum of squared correlations.

    Those found over the seeds are larger than the true ones, so fewer are counted than there are.
    """
    centred_KS = values_KS - values_KS.mean(axis=-1, keepdims=True)
    lengths_K = np.sqrt((centred_KS**2).sum(axis=-1))
    unit_KS = centred_KS / np.where(lengths_K > 0, lengths_K, 1.0)[..., None]
    squares = ((unit_KS @ np.swapaxes(unit_KS, -1, -2)) ** 2).sum(axis=(-2, -1))
    return np.maximum(1.0, values_KS.shape[-2] ** 2 / np.maximum(squares, 1.0))


def holm(p_values_C: Sequence[float]) -> list[float]:
    """Adjusted p-values that keep the chance of any false rejection in the family below the level they are compared with.

    Source: Holm 1979.
    """
    order = np.argsort(p_values_C, kind="stable")
    steps = np.arange(len(order), 0, -1) * np.asarray(p_values_C, dtype=np.float64)[order]
    adjusted_C = np.empty(len(order))
    adjusted_C[order] = np.minimum(1.0, np.maximum.accumulate(steps))
    return adjusted_C.tolist()


def verdicts(claims: Sequence[Sequence[Inferred]], confidence: float) -> list[Verdict]:
    """A verdict on each claim of a family.

    A claim of several contrasts is *reproduced* if all of them lie above 0 (intersection-union test: its p is the largest of theirs), *not
    reproduced* if one of them lies below 0 (its p is the smallest times their number), and there is *no difference* if all lie within
    ± their smallest effects. Each p is adjusted over all claims by Holm; the first two are compared with (1 - confidence) / 2, as one end
    of an interval is, the third with 1 - confidence. Else the claim is *undecided*; so it is if looks contradict each other.

    Source: Berger 1982 for the intersection-union test; Schuirmann 1987 for two one-sided tests; Liu & Anderson 2008 and Maurer & Bretz
    2013 for families of p-values adjusted for looks.
    """
    level = (1 - confidence) / 2
    above = holm([max(one.p_above for one in claim) for claim in claims])
    below = holm([min(1.0, len(claim) * min(one.p_below for one in claim)) for claim in claims])
    equal = holm([max(one.p_equal for one in claim) for claim in claims])
    return [_verdict(*p_values, level) for p_values in zip(above, below, equal, strict=True)]


def _verdict(above: float, below: float, equal: float, level: float) -> Verdict:
    if above <= level and below <= level:
        return Verdict(UNDECIDED, max(above, below))
    if above <= level:
        return Verdict(REPRODUCED, above)
    if below <= level:
        return Verdict(CONTRADICTED, below)
    if equal <= 2 * level:
        return Verdict(EQUIVALENT, equal)
    return Verdict(UNDECIDED, min(above, below, equal))


def detectable_effect(inferred: Inferred, level: float) -> float:
    """The true contrast that a single test of size `level`, one-sided, finds in 80 % of runs that vary as this one; infinite at level 0."""
    if inferred.standard_error == 0:
        return 0.0
    if level == 0:
        return float("inf")
    critical = stats.t.isf(level, inferred.degrees)
    shift = optimize.brentq(lambda shift: stats.nct.sf(critical, inferred.degrees, shift) - POWER, 0.0, 4 * critical + 4)
    return float(shift * inferred.standard_error)


def seeds_needed(claim: Sequence[Inferred], level: float, equal_level: float) -> int | None:
    """About how many seeds a verdict on a claim takes, with a power of 80 %, if its contrasts are what they seem; None: none would do.

    Args:
        claim: its contrasts.
        level: one-sided, of a single test of being above or below 0.
        equal_level: the same of being within ± the smallest effect.
    """
    all_above = max(_seeds(one.value, one, level) for one in claim)
    one_below = min(_seeds(-one.value, one, level / len(claim)) for one in claim)
    all_equal = max(_seeds(one.smallest - abs(one.value), one, equal_level) for one in claim)
    found = min(all_above, one_below, all_equal)
    return None if found > MOST_SEEDS else math.ceil(found)


def _seeds(distance: float, one: Inferred, level: float) -> float:
    """For a distance from what is to be refuted: the normal formula, and half a squared quantile more for a variance that is estimated.

    Source: Guenther 1981, Sample size formulas for normal theory t tests.
    """
    deviation = one.standard_error * one.num_seeds**0.5
    if distance <= 0 or level <= 0:
        return math.inf
    quantile = stats.norm.isf(level)
    return float(((quantile + stats.norm.ppf(POWER)) * deviation / distance) ** 2 + quantile**2 / 2)
