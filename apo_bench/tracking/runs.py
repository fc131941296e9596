"""What MLflow is to show: runs, their metrics, models and data. Knows nothing of MLflow, nor of where the numbers come from."""

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from apo_bench.tracking.lock import sha256


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


@dataclass(frozen=True)
class Model:
    """A trained model where DVC has it."""

    name: str
    kind: str
    path: str
    md5: str
    round: int


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
    measures: list[Measure] = field(default_factory=list)
    models: list[Model] = field(default_factory=list)
    data: list[DataFile] = field(default_factory=list)
    artifacts: dict[str, str] = field(default_factory=dict)
    """Path of a file -> its md5."""
    tables: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    """Name -> rows that MLflow shows as a table."""
    verdicts: dict[str, dict[str, str]] = field(default_factory=dict)
    """Tables of a judge's verdicts: name -> path of a file of rows -> its md5."""

    @property
    def fingerprint(self) -> str:
        """Changes with anything that MLflow shows of the run."""
        return sha256(asdict(self))


@dataclass(frozen=True)
class Tracked:
    """All runs of a profile, and which model is the best."""

    profile: str
    runs: list[Run]
    """In the order in which they are made: MLflow lists the last one first."""
    best: tuple[str, str]
    """Run and model of the arm with the highest value of `best_by` after the last round."""
    best_by: Literal["gold", "reward_all"]
    """The true reward, where it is known: an over-optimised arm may have the highest RM_all. Else RM_all."""
