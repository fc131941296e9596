"""Intervals by a seeded bootstrap over prompts. Shape suffixes: D draws, P prompts, C columns (metrics)."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

from apo_bench.core.errors import DataError
from apo_bench.core.seeds import derive_seed


@dataclass(frozen=True)
class Estimate:
    """A mean over prompts with its interval and standard error."""

    value: float
    low: float
    high: float
    standard_error: float

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"value": self.value, "low": self.low, "high": self.high, "standard_error": self.standard_error}


def over_replicates(values_S: np.ndarray, confidence: float) -> Estimate:
    """The mean over S >= 2 replicates with Student's interval: what other labels, models and samples would give on these prompts."""
    error = float(values_S.std(ddof=1) / np.sqrt(len(values_S)))
    half = float(stats.t.isf((1 - confidence) / 2, len(values_S) - 1)) * error
    value = float(values_S.mean())
    return Estimate(value, value - half, value + half, error)


def mean_spread(values_SP: Iterable[np.ndarray]) -> float:
    """The standard deviation over prompts, the mean over replicates."""
    return float(np.mean([values_P.std(ddof=1) for values_P in values_SP]))


class PromptBootstrap:
    """Percentile bootstrap that resamples prompts within their subset, with the same draws for every column.

    As all columns share the draws, the interval of a paired difference is that of the difference column.

    Source: Efron & Tibshirani 1993, ch. 13 (percentile interval).
    """

    def __init__(self, subsets: Sequence[str], num_draws: int, confidence: float, seed: int) -> None:
        """Draws once how often each prompt counts in each of `num_draws` resamples of the prompts.

        Raises:
            DataError: there are no prompts.
        """
        if not subsets:
            raise DataError("no prompts to estimate from; the test split is empty")
        self._subsets = np.asarray(subsets)
        self._tail = (1 - confidence) / 2
        self.counts_DP = np.zeros((num_draws, len(subsets)), dtype=np.float32)
        for subset in sorted(set(subsets)):
            members = np.flatnonzero(self._subsets == subset)
            rng = np.random.default_rng(derive_seed(seed, "bootstrap", subset))
            self.counts_DP[:, members] = rng.multinomial(len(members), np.full(len(members), 1 / len(members)), size=num_draws)

    def means(self, columns: dict[str, Sequence[float]], subset: str | None = None) -> dict[str, Estimate]:
        """The mean of each column over the prompts, or over those of one subset.

        Args:
            columns: name -> P values, one a prompt, in the order of the prompts given at first.
            subset: that of the prompts to use; None for all.

        Raises:
            DataError: no prompt is in the subset, or a value is not finite.
        """
        members = np.arange(len(self._subsets)) if subset is None else np.flatnonzero(self._subsets == subset)
        if len(members) == 0:
            raise DataError(f"no {subset} prompts to estimate from")
        values_PC = np.stack([np.asarray(column, dtype=np.float64)[members] for column in columns.values()], axis=1)
        if not np.isfinite(values_PC).all():
            bad = [name for name, column in columns.items() if not np.isfinite(np.asarray(column, dtype=np.float64)[members]).all()]
            raise DataError(f"values that are not finite in {', '.join(bad)}; look at the evaluation they come from")
        draws_DC = self.counts_DP[:, members].astype(np.float64) @ values_PC / len(members)
        low_C, high_C = np.quantile(draws_DC, [self._tail, 1 - self._tail], axis=0)
        means_C, errors_C = values_PC.mean(axis=0), draws_DC.std(axis=0, ddof=1)
        estimates = np.stack([means_C, low_C, high_C, errors_C], axis=1).tolist()
        return {name: Estimate(*row) for name, row in zip(columns, estimates, strict=True)}
