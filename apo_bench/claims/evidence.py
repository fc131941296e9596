"""What the run measured, as the claims need it: for a contrast one number a seed.

Shape suffixes: S seeds, P prompts or pairs.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from apo_bench.claims.calibration import Pairs, calibration_contrast
from apo_bench.claims.paper import Contrast, Measure, PolicyCell, RewardCell
from apo_bench.config.params import Params
from apo_bench.core.errors import DataError
from apo_bench.core.files import read_jsonl
from apo_bench.core.layout import SFT, START_ROUND, Arm, Reference, reward_evaluations
from apo_bench.core.results import MARGIN, VERDICT
from apo_bench.evaluation.statistics import mean_spread

METRIC = {"gold": "gold", "RM_all": "reward_all", "RM_all at equal length": "reward_all_equal_length"}
"""Of an outcome."""


class Margins:
    """What reward models say of the test pairs; each file is read once."""

    def __init__(self) -> None:
        self._found: dict[Path, Pairs] = {}
        self._pairs: list[tuple[str, str]] = []
        """Id and subset of each."""

    def of(self, folder: Path) -> Pairs:
        """Those of the reward model whose evaluation lies there: of all test pairs or, between the first round and the last, of the first.

        Raises:
            MissingInputError: they are not there.
            DataError: they are not of the pairs of the other reward models.
        """
        if folder not in self._found:
            file = folder / "margins.jsonl"
            rows = read_jsonl(file, MARGIN)
            pairs = [(row["id"], row["subset"]) for row in rows]
            shorter, longer = sorted((pairs, self._pairs or pairs), key=len)
            if longer[: len(shorter)] != shorter:
                raise DataError(
                    f"{file}: {len(rows)} pairs that are not those of the other reward models; evaluate the same ones (dvc repro)"
                )
            self._pairs = longer
            self._found[folder] = Pairs(*(np.array([row[key] for row in rows], dtype=np.float64) for key in ("margin", "correct")))
        return self._found[folder]


class Evidence:
    """The scores of policies and the margins of reward models of a run."""

    def __init__(
        self, results: Path, params: Params, columns: Mapping[tuple[str, str], Mapping[str, np.ndarray]], margins: Margins
    ) -> None:
        """Reads nothing yet.

        Args:
            results: the folder of all results.
            params: all of params.yaml.
            columns: (replicate of a policy, round) -> metric -> its values, one a test prompt.
            margins: of the reward models of the run.
        """
        self._results, self._params, self._columns, self._margins = results, params, columns, margins

    def values_S(self, contrast: Contrast) -> np.ndarray:
        """A contrast in each seed, all cells of which are that seed's: [S].

        Raises:
            MissingInputError: margins are not there.
            DataError: they are not of the same pairs.
        """
        return np.array([self._value(contrast, seed) for seed in self._params.run.seeds])

    def smallest(self, measure: Measure) -> float:
        """The smallest contrast that would matter, in units of the measure."""
        claims = self._params.claims
        if measure in ("accuracy", "judge"):
            return claims.smallest_accuracy_effect
        if measure == "squared calibration error":
            return claims.smallest_accuracy_effect**2
        starts = (self._columns[Reference(SFT, seed).name, START_ROUND][METRIC[measure]] for seed in self._params.run.seeds)
        return claims.smallest_effect * mean_spread(starts)

    def _value(self, contrast: Contrast, seed: int) -> float:
        if contrast.measure == "squared calibration error":
            return calibration_contrast(
                [(weight, self._read(cell, seed)) for weight, cell in contrast.terms if isinstance(cell, RewardCell)]
            )
        terms = [weight * self._values_P(cell, contrast.measure, seed) for weight, cell in contrast.terms]
        num_common = min(map(len, terms))  # earlier rounds answer the first prompts alone
        return float(np.sum([values_P[:num_common] for values_P in terms], axis=0).mean())

    def _values_P(self, cell: PolicyCell | RewardCell, measure: Measure, seed: int) -> np.ndarray:
        if isinstance(cell, RewardCell):
            return self._read(cell, seed).correct_P
        if measure == "judge":
            return self._judged_P(Arm(cell.method, cell.reward_model, seed), cell.round)
        name = Arm(cell.method, cell.reward_model, seed).name if cell.reward_model else Reference(cell.method, seed).name
        return self._columns[name, cell.round][METRIC[measure]]

    def _judged_P(self, arm: Arm, round_id: str) -> np.ndarray:
        """Wins over SFT, a tie or what the judge said nothing of as half."""
        rows = read_jsonl(arm.judgement(self._results, round_id, SFT) / "verdicts.jsonl", VERDICT)
        return np.array([0.5 if row["outcome"] is None else row["outcome"] for row in rows], dtype=np.float64)

    def _read(self, cell: RewardCell, seed: int) -> Pairs:
        arm, own = Arm(cell.method, cell.reward_model, seed), self._params.run.own_reward_models
        return self._margins.of(arm.reward(reward_evaluations(self._results), cell.round, own))
