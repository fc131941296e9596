"""What the judge's stages left, read for the comparison."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from apo_bench.config.judge_sections import GoldJudge
from apo_bench.config.params import Params
from apo_bench.core.errors import DataError
from apo_bench.core.layout import BASE, SFT, judge_test
from apo_bench.core.results import read_metrics

Numbers = dict[str, Any]
"""Of a judgement: estimates, counts, served_models, findings."""
AGAINST_SFT, AGAINST_BASE = SFT, BASE
"""Opponents: the start of every arm, and the arm with the fixed reward model."""
KEYS = ("estimates", "counts", "served_models", "findings")


@dataclass(frozen=True)
class Judged:
    """All judgements of a run."""

    judge: str
    """Who judged."""
    arms: dict[str, dict[str, dict[str, Numbers]]]
    """Opponent -> arm -> round -> numbers."""
    human: dict[str, Numbers]
    """File of human pairs -> numbers."""

    def summary(self) -> dict[str, Any]:
        """As report/summary.json holds it."""
        return asdict(self)


def read_judged(results: Path, params: Params) -> Judged | None:
    """The judgements that params.judge asks for, None if there are none.

    Args:
        results: the folder of all results.
        params: all of params.yaml.

    Raises:
        MissingInputError: a judgement is not there.
        DataError: it is not as the stage writes it.
    """
    judge = params.judge
    if not judge.is_used:
        return None
    found: dict[str, dict[str, dict[str, Numbers]]] = {AGAINST_SFT: {}, AGAINST_BASE: {}}
    for arm in (arm for arm in params.run.arms if arm.seed in judge.seeds and judge.rounds):
        for opponent in (AGAINST_SFT, AGAINST_BASE) if arm.reward_model in params.run.retrained_reward_models else (AGAINST_SFT,):
            found[opponent][arm.name] = {round_id: _read(arm.judgement(results, round_id, opponent)) for round_id in judge.rounds}
    provider = judge.provider
    title = (
        f"gold with noise {provider.noise:g} and {provider.position_bias:g} points for the first position"
        if isinstance(provider, GoldJudge)
        else f"{provider.model} {provider.revision}".strip()
    )
    return Judged(title, found, {name: _read(judge_test(results, name)) for name in judge.human_pairs})


def _read(folder: Path) -> Numbers:
    numbers = read_metrics(folder)
    missing = [key for key in KEYS if key not in numbers]
    if missing:
        raise DataError(f"{folder / 'metrics.json'}: no {', '.join(missing)}; run the stage judge (dvc repro) again")
    return {key: numbers[key] for key in KEYS}
