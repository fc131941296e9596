"""What is said of a game in words: over replicates, as one of them is a draw that the next may turn. Shape suffix: S replicates."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from apo_bench.core.layout import Arm
from apo_bench.evaluation.statistics import Estimate, over_replicates
from apo_bench.game.dynamics import MEASURES, UNDECIDED, name_game
from apo_bench.game.over_optimisation import name_changes

Numbers = dict[str, Any]


def with_words_of_replicates(found: dict[Arm, Numbers], confidence: float, min_seeds: int) -> dict[Arm, Numbers]:
    """The numbers of each arm's game, its words in them replaced by those that its replicates decide together.

    Args:
        found: arm -> what `game_numbers` returns.
        confidence: that nothing wrong is said of any arm's dynamics, or of any arm's over-optimisation (Bonferroni).
        min_seeds: with fewer replicates everything is undecided.
    """
    groups = list(dict.fromkeys(arm.group for arm in found))
    words = {}
    for group in groups:
        members = [numbers for arm, numbers in found.items() if arm.group == group]
        words[group] = _words(members, 1 - (1 - confidence) / len(groups)) if len(members) >= min_seeds else (UNDECIDED, UNDECIDED, None)
    return {arm: _with_words(numbers, *words[arm.group]) for arm, numbers in found.items()}


def _words(members: list[Numbers], confidence: float) -> tuple[str, str, str | None]:
    """Of the dynamics and of over-optimisation, and the round after which the target stops rising."""
    dynamics = [numbers["dynamics"]["measures"] for numbers in members if numbers["dynamics"]]
    changes = [numbers["over_optimisation"]["to_last"] for numbers in members]
    measures = {
        name: _mean((values[name] for values in dynamics), 1 - (1 - confidence) / len(MEASURES))
        for name in MEASURES
        if dynamics and all(name in values for values in dynamics)
    }
    each = 1 - (1 - confidence) / len(changes[0])
    to_last = {
        round_id: {what: _mean((values[round_id][what] for values in changes), each) for what in ("target", "proxy")}
        for round_id in changes[0]
    }
    return name_game(measures), *name_changes(to_last)


def _with_words(numbers: Numbers, game: str, over: str, stops_after: str | None) -> Numbers:
    dynamics = numbers["dynamics"] and numbers["dynamics"] | {"verdict": game}
    return numbers | {
        "dynamics": dynamics,
        "over_optimisation": numbers["over_optimisation"] | {"verdict": over, "stops_after": stops_after},
    }


def standing_over_replicates(
    frontier: dict[str, dict[str, Numbers]], seeds: Iterable[int], min_seeds: int
) -> dict[str, dict[str, Numbers]]:
    """On the frontier, or off it, only what is so in every replicate; undecided with too few."""
    suffixes = [f"-s{seed}" for seed in seeds]
    found: dict[str, dict[str, Numbers]] = {}
    for name, rounds in frontier.items():
        group = next((name.removesuffix(suffix) for suffix in suffixes if name.endswith(suffix)), name)
        members = [frontier[group + suffix] for suffix in suffixes if group + suffix in frontier]
        found[name] = {}
        for round_id, numbers in rounds.items():
            standings = {member[round_id]["standing"] for member in members}
            agreed = standings.pop() if len(standings) == 1 and len(members) >= min_seeds else UNDECIDED
            found[name][round_id] = numbers | {"standing": agreed}
    return found


def _mean(estimates: Iterable[dict[str, float]], confidence: float) -> Estimate:
    return over_replicates(np.array([estimate["value"] for estimate in estimates]), confidence)
