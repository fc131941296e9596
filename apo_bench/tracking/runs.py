"""What MLflow is to show: runs, their metrics, models and data. Knows nothing of MLflow, nor of where the numbers come from."""

from dataclasses import dataclass, field
from typing import Any, Literal

from apo_bench.evaluation.metrics import METRICS
from apo_bench.provenance.lock import sha256

FIRST = ("gold", "reward_all", "reward_all_equal_length", "win_rate_gold", "win_rate_reward_all", "kl_to_sft", "length")
"""Metrics of policies that matter most."""
SHOWN = (
    *(f"evaluation/{name}" for name in FIRST),
    *(f"evaluation/{metric.name}" for metric in METRICS if metric.name not in FIRST),
    "reward_model/human_accuracy",
    "reward_model/gold_accuracy",
    "reward_model/ece",
    "samples/mean_gold",
    "samples/mean_reward",
    "game/proxy_gain",
    "game/target_change_to_last",
    "game/frontier_share",
    "judge/win_rate",
    "judge/length_controlled_win_rate",
    "judge/flip_fraction",
    "judge/human_kappa",
    "judge_versus_base/win_rate",
    "training/final_loss",
    "budget/flop",
    "budget/cpu_seconds",
    "budget/wall_seconds",
    "budget/num_reward_calls",
)
"""Keys of the numbers that are metrics, those that matter most first; with the curves of a training they are fewer than 40 a run. MLflow
makes a chart and a column of each."""

OWN_SCORE = "evaluation/own_reward_"
"""How the keys of scores by reward models of one's own begin; they are metrics as well."""


@dataclass(frozen=True)
class Measure:
    """One value of a metric."""

    key: str
    value: float
    step: int
    """A round (0: the SFT start), or a training step where the key names a curve."""
    model: str | None = None
    """The model of the run that it was measured on, by name."""
    is_test: bool = False
    """Measured on the test prompts."""
    low: float | None = None
    high: float | None = None
    """The ends of its interval, where one is known."""


@dataclass(frozen=True)
class Model:
    """A trained model where DVC has it."""

    name: str
    kind: str
    path: str
    md5: str
    round: int
    description: str


@dataclass(frozen=True)
class DataFile:
    """A file of records that a run read."""

    name: str
    path: str
    kind: str
    md5: str
    """As DVC counts it: of the file's bytes."""
    context: str
    """`training` or `evaluation`."""


@dataclass(frozen=True)
class Run:
    """A run of MLflow."""

    name: str
    tags: dict[str, str]
    params: dict[str, str]
    """Those that tell it from other runs of its kind."""
    all_params: dict[str, str]
    """Those of all stages that made it."""
    seconds: float
    """That these stages took."""
    measures: list[Measure] = field(default_factory=list)
    """All its numbers by round: a table of the run. Those that runs are compared by are metrics as well."""
    curves: list[Measure] = field(default_factory=list)
    """Metrics by training step."""
    models: list[Model] = field(default_factory=list)
    data: list[DataFile] = field(default_factory=list)
    artifacts: dict[str, str] = field(default_factory=dict)
    """Path of a file -> its md5."""
    tables: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    """Name -> rows that MLflow shows as a table."""
    verdicts: dict[str, dict[str, str]] = field(default_factory=dict)
    """Tables of a judge's verdicts: name -> path of a file of rows -> its md5."""

    @property
    def metrics(self) -> list[Measure]:
        """What MLflow keeps as metrics: few, under keys that all runs share, whatever their rounds and opponents are called."""
        return [*(measure for measure in self.measures if measure.key in SHOWN or measure.key.startswith(OWN_SCORE)), *self.curves]

    @property
    def numbers(self) -> list[dict[str, Any]]:
        """All numbers as rows of a table."""
        return [
            {"metric": measure.key, "round": measure.step, "value": measure.value, "low": measure.low, "high": measure.high}
            for measure in self.measures
        ]

    @property
    def fingerprint(self) -> str:
        """Changes with anything that MLflow shows of the run."""
        return sha256(self)


@dataclass(frozen=True)
class Tracked:
    """All runs of a profile, and which model is the best."""

    profile: str
    runs: list[Run]
    """In the order in which they are made: MLflow lists the last one first."""
    best: tuple[str, str]
    """Run and model of the arm with the highest value of `best_by` after the last round."""
    best_reward: tuple[str, str]
    """Run and model of the reward model that orders human test pairs best, of those that train policies."""
    best_by: Literal["gold", "reward_all"]
    """The true reward, where it is known: an over-optimised arm may have the highest RM_all. Else RM_all."""
