"""Estimates of what was measured on prompts: over the prompts of a replicate, over replicates where there are several."""

import numpy as np

from apo_bench.config.params import Params
from apo_bench.core.layout import SFT, START_ROUND, Arm, Reference
from apo_bench.evaluation.metrics import Metric
from apo_bench.evaluation.statistics import Estimate, PromptBootstrap, mean_spread, over_replicates

Columns = dict[str, np.ndarray]
"""Metric -> its value on each prompt."""
RoundKey = tuple[str, str]
"""A replicate of a policy, and a round."""


class Estimator:
    """Estimates of columns: over prompts in a replicate, over replicates where there are several."""

    def __init__(self, params: Params, metrics: list[Metric], subsets: list[str], columns: dict[RoundKey, Columns]) -> None:
        self.params, self.metrics, self.columns = params, metrics, columns
        self._subsets = np.array(subsets)
        self._bootstraps: dict[int, PromptBootstrap] = {}
        self.num_common = min(len(values) for found in columns.values() for values in found.values())
        """Prompts that every round answered."""

    def bootstrap(self, num_prompts: int) -> PromptBootstrap:
        """Of the first prompts."""
        if num_prompts not in self._bootstraps:
            compare = self.params.compare
            subsets = self._subsets[:num_prompts].tolist()
            self._bootstraps[num_prompts] = PromptBootstrap(subsets, compare.num_bootstrap_draws, compare.confidence, compare.seed)
        return self._bootstraps[num_prompts]

    def over_prompts(self, columns: dict[RoundKey, Columns]) -> dict[RoundKey, dict[str, Estimate]]:
        """Of replicates, those over the same prompts in one pass."""
        estimates = {}
        for num_prompts in sorted({len(next(iter(found.values()))) for found in columns.values()}):
            mine = {key: found for key, found in columns.items() if len(next(iter(found.values()))) == num_prompts}
            means: dict[str, Estimate] = {}
            for subset in dict.fromkeys(metric.subset for metric in self.metrics):
                names = [metric.name for metric in self.metrics if metric.subset == subset]
                values = {
                    f"{number} {name}": found[name].tolist()
                    for number, found in enumerate(mine.values())
                    for name in names
                    if name in found
                }
                means |= self.bootstrap(num_prompts).means(values, subset)
            for number, key in enumerate(mine):
                estimates[key] = {metric.name: means[f"{number} {metric.name}"] for metric in self.metrics if metric.name in mine[key]}
        return estimates

    def over_replicates(self, found: list[Columns]) -> dict[str, Estimate]:
        """The mean of all; of a single one what is known over prompts."""
        if len(found) == 1:
            return self.over_prompts({("", ""): found[0]})["", ""]
        confidence = self.params.compare.confidence
        return {
            metric.name: over_replicates(np.array([self._of_subset(metric, columns[metric.name]).mean() for columns in found]), confidence)
            for metric in self.metrics
            if metric.name in found[0]
        }

    def cut(self, found: Columns) -> Columns:
        """The values on the prompts that every round answered."""
        return {name: values[: self.num_common] for name, values in found.items()}

    def mean(self, arm: Arm, round_id: str, metric: Metric) -> float:
        """Of an arm's prompts."""
        return float(self._of_subset(metric, self.columns[arm.name, round_id][metric.name]).mean())

    def smallest(self, metric: Metric) -> float:
        """The smallest difference that would matter: of a score in standard deviations of SFT's over the prompts, of a share itself."""
        claims, seeds = self.params.claims, self.params.run.seeds
        if metric.unit == "share":
            return claims.smallest_accuracy_effect
        starts = (self.columns[Reference(SFT, seed).name, START_ROUND][metric.name] for seed in seeds)
        return claims.smallest_effect * mean_spread(self._of_subset(metric, values_P) for values_P in starts)

    def _of_subset(self, metric: Metric, values_P: np.ndarray) -> np.ndarray:
        subsets = self._subsets[: len(values_P)]
        return values_P[subsets == metric.subset] if metric.subset else values_P
