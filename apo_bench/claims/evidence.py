"""What the run measured, as the contrasts of the claims need it: values by seed and prompt, and the same from resampled prompts.

Shape suffixes: S seeds, P prompts or pairs, D bootstrap draws.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from apo_bench.claims.calibration import calibration_contrast, resampled_calibration_contrast
from apo_bench.claims.inference import Inferred, infer
from apo_bench.claims.paper import Contrast, PolicyCell, RewardCell
from apo_bench.core.config import Params
from apo_bench.core.errors import DataError
from apo_bench.core.files import read_jsonl
from apo_bench.core.layout import Arm, reference_name, reward
from apo_bench.core.sections import BASE
from apo_bench.evaluation.statistics import PromptBootstrap


class Evidence:
    """The scores of policies and the margins of reward models of a run."""

    def __init__(
        self, results: Path, params: Params, columns: Mapping[tuple[str, str], Mapping[str, np.ndarray]], bootstrap: PromptBootstrap
    ) -> None:
        """Reads nothing yet.

        Args:
            results: the folder of all results.
            params: all of params.yaml.
            columns: (policy, round) -> metric -> its values, one a test prompt.
            bootstrap: resamples of these prompts.
        """
        self._results, self._params, self._columns, self._bootstrap = results, params, columns, bootstrap
        self._margins: dict[Path, np.ndarray] = {}
        self._pairs: list[tuple[str, str]] = []
        """Id and subset of each."""
        self._of_pairs: PromptBootstrap | None = None

    def infer(self, contrast: Contrast) -> Inferred:
        """A contrast with its interval.

        Raises:
            MissingInputError: margins are not there.
            DataError: they are not of the same pairs.
        """
        if contrast.measure == "squared calibration error":
            terms = [(weight, *self._on_pairs_SP(cell)) for weight, cell in contrast.terms if isinstance(cell, RewardCell)]
            draws_DP = self._pair_counts()
            values_S, draws_DS = calibration_contrast(terms), resampled_calibration_contrast(terms, draws_DP)
        else:
            terms_SP = [weight * self._values_SP(cell) for weight, cell in contrast.terms]
            num_common = min(values_SP.shape[1] for values_SP in terms_SP)  # earlier rounds answer the first prompts alone
            values_SP = np.sum([values_SP[:, :num_common] for values_SP in terms_SP], axis=0)
            if contrast.measure == "wins by RM_all":
                values_SP = 0.5 * np.sign(values_SP)
            draws_DP = self._pair_counts() if contrast.measure == "accuracy" else self._bootstrap.counts_DP[:, :num_common]
            values_S, draws_DS = values_SP.mean(axis=1), draws_DP @ values_SP.T / values_SP.shape[1]
        return infer(values_S, draws_DS, draws_DP.shape[1], self._params.compare.confidence)

    def _values_SP(self, cell: PolicyCell | RewardCell) -> np.ndarray:
        if isinstance(cell, RewardCell):
            return self._on_pairs_SP(cell)[1]
        names = [
            Arm(cell.method, cell.reward_model, seed).name if cell.reward_model else reference_name(cell.method, seed)
            for seed in self._params.run.seeds
        ]
        return np.stack([self._columns[name, cell.round]["reward_all"] for name in names])

    def _on_pairs_SP(self, cell: RewardCell) -> tuple[np.ndarray, np.ndarray]:
        """Margins of a reward model, and how probable it is that an annotator orders a pair as they do."""
        run = self._params.run
        folders = [
            Arm(cell.method, cell.reward_model, seed).reward(self._results, cell.round, run.fixed_reward_models)
            if cell.method
            else reward(self._results, cell.reward_model, seed)
            for seed in run.seeds
        ]
        margins_SP, correct_SP = np.stack([self._read(folder) for folder in folders], axis=1)
        return margins_SP, correct_SP

    def _read(self, folder: Path) -> np.ndarray:
        """Margins and correctness of each pair: [2, P]."""
        if folder not in self._margins:
            file = folder / "margins.jsonl"
            rows = read_jsonl(file, ("id", "subset", "margin", "correct"))
            pairs = [(row["id"], row["subset"]) for row in rows]
            self._pairs = self._pairs or pairs
            if pairs != self._pairs:
                raise DataError(
                    f"{file}: {len(rows)} pairs that are not those of the other reward models; evaluate the same ones (dvc repro)"
                )
            self._margins[folder] = np.array([[row[key] for row in rows] for key in ("margin", "correct")], dtype=np.float64)
        return self._margins[folder]

    def _pair_counts(self) -> np.ndarray:
        """How often each pair counts in each resample: [D, P]."""
        if self._of_pairs is None:
            settings = self._params.compare
            if not self._pairs:
                self._read(reward(self._results, BASE, self._params.run.seeds[0]))
            subsets = [subset for _, subset in self._pairs]
            self._of_pairs = PromptBootstrap(subsets, settings.num_bootstrap_draws, settings.confidence, settings.seed)
        return self._of_pairs.counts_DP
