"""What the stage `game` left, read for the comparison, and the frontier of all policies."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from apo_bench.config.params import Params
from apo_bench.core.errors import DataError
from apo_bench.core.layout import Arm
from apo_bench.core.records import Record
from apo_bench.core.results import read_metrics
from apo_bench.evaluation.statistics import PromptBootstrap
from apo_bench.game.frontier import frontier
from apo_bench.game.replicates import standing_over_replicates, with_words_of_replicates

KEYS = ("matrix", "dynamics", "over_optimisation", "shift")


@dataclass(frozen=True)
class Game:
    """The games of all arms."""

    arms: dict[str, dict[str, Any]]
    """Arm -> what `game_numbers` returns, with the words of all its replicates."""
    frontier: dict[str, dict[str, dict[str, Any]]]
    """Policy -> round -> where it stands; empty where the rates are unknown."""
    shift_against: str
    """What says which response is better: `gold`, `judge` or, if nothing does, empty."""

    def summary(self) -> dict[str, Any]:
        """As report/summary.json holds it."""
        return asdict(self)


def read_game(
    results: Path,
    params: Params,
    arms: Iterable[Arm],
    policies: dict[tuple[str, str], list[Record]],
    rates: Mapping[str, str | None],
    bootstrap: PromptBootstrap,
) -> Game | None:
    """The numbers of each arm's game, and the frontier; None if no ledger is kept.

    Args:
        results: the folder of all results.
        params: all of params.yaml.
        arms: those with a ledger.
        policies: (policy, round) -> a row a test prompt, all on the same prompts.
        rates: the faults of the frontier, as it takes them.
        bootstrap: over these prompts.

    Raises:
        MissingInputError: the game of an arm is not there.
        DataError: it is not as the stage writes it.
    """
    found = {arm: _read(arm.game(results)) for arm in arms}
    if not found:
        return None
    confidence, min_seeds = params.compare.confidence, params.claims.min_seeds
    standing = frontier(policies, rates, bootstrap, confidence) if params.has_gold else {}
    said = with_words_of_replicates(found, confidence, min_seeds)
    return Game(
        {arm.name: numbers for arm, numbers in said.items()},
        standing_over_replicates(standing, params.game.seeds, min_seeds),
        shift_reference(params),
    )


def shift_reference(params: Params) -> str:
    """What says which of two responses is better: `gold`, `judge` or, if nothing does, empty."""
    return "gold" if params.has_gold else "judge" if params.judge.rounds and set(params.game.seeds) <= set(params.judge.seeds) else ""


def _read(folder: Path) -> dict[str, Any]:
    numbers = read_metrics(folder)
    missing = [key for key in KEYS if key not in numbers]
    if missing:
        raise DataError(f"{folder / 'metrics.json'}: no {', '.join(missing)}; run the stage game (dvc repro) again")
    return {key: numbers[key] for key in KEYS}
