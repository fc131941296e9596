"""What a stage says of itself, in its module, to those that run, schedule, record and count stages."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

Runs = Literal["nothing", "models", "sampling", "training", "judge"]
"""What a stage runs: no model; models in its own process; the sampling engine; the training engine, also to score; a judge."""


@dataclass(frozen=True)
class Files:
    """What a stage reads of what other stages made, and what it writes, by the names that its `main` has for them."""

    reads: dict[str, Path]
    writes: dict[str, Path]


@dataclass(frozen=True)
class Stage:
    """`STAGE` of a stage's module, in which stand too `files`, what it reads and writes at its coordinates, and `main`, its work."""

    runs: Runs = "nothing"
    """As its `params` in dvc.yaml say too. One that runs models leaves beside its results what it ran them with."""
    counts: tuple[str, ...] = ()
    """What policies cost, in its metrics.json: keys of `apo_bench.provenance.budgets.COUNTS`. One that counts leaves its seconds too."""
    uses_ranks: Callable[[Any], bool] = lambda params: True
    """Whether there is anything to spread over ranks with these params, where the training engine has some."""

    @property
    def is_recorded(self) -> bool:
        """Whether it leaves a record of what it ran models with."""
        return self.runs in ("models", "sampling", "training")
