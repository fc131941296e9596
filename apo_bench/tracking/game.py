"""The game of an arm as numbers of its run, each with its interval and the round it is about."""

from collections.abc import Iterator
from dataclasses import replace
from typing import cast

from apo_bench.comparison.summary import Estimated, GameOfArm, Shift, Standing
from apo_bench.core.layout import BASE, GOLDEN, START_ROUND, round_number
from apo_bench.tracking.measures import estimate_measure, measures_of
from apo_bench.tracking.runs import Measure


def game_measures(numbers: GameOfArm, standing: dict[str, Standing], last: str) -> Iterator[Measure]:
    """The numbers of an arm's game that are measured on the test prompts.

    Args:
        numbers: the arm's part of `game.arms` in summary.json.
        standing: its part of `game.frontier`; empty where the rates are unknown.
        last: the last round, of what is said of the whole game.
    """
    for model, found in numbers["matrix"].items():
        for policy, cell in found.items():
            for what, estimate in cell.items():
                # By the policy's round; the golden responses belong to the round of the reward model, RM_base's to the start.
                at = policy if policy != GOLDEN else model if model != BASE else START_ROUND
                yield _estimate(f"{what}_of_golden_by_{model}" if policy == "golden" else f"{what}_by_{model}", estimate, at)
    for name, estimate in (numbers["dynamics"]["measures"] if numbers["dynamics"] else {}).items():
        yield _estimate(name, estimate, last)
    over = numbers["over_optimisation"]
    for round_id, estimate in over["proxy_gain"].items():
        yield _estimate("proxy_gain", estimate, round_id)
    for round_id, changes in over["to_last"].items():
        for what, estimate in changes.items():
            yield _estimate(f"{what}_change_to_last", estimate, round_id)
    for round_id, stands in standing.items():
        values = {"frontier_share": stands["share"], "is_pareto": float(stands["is_pareto"])}
        yield from measures_of("game", values, round_number(round_id), is_test=True)


def shift_measures(numbers: GameOfArm, last: str) -> Iterator[Measure]:
    """Those of the distribution shift, which where gold is known is measured on the samples that policies learn from."""
    shift: Shift = numbers["shift"] or {"rounds": {}, "change": {}}
    for round_id, found in shift["rounds"].items():
        for name, value in found.items():
            if isinstance(value, dict):
                yield replace(_estimate(f"shift_{name}", cast(Estimated, value), round_id), is_test=False)
            else:
                yield from measures_of("game", {f"shift_{name}": value}, round_number(round_id))
    for name, estimate in shift["change"].items():
        yield replace(_estimate(f"shift_change_{name}", estimate, last), is_test=False)


def game_tags(numbers: GameOfArm) -> dict[str, str]:
    """What is said of an arm's game in words."""
    game, over = numbers["dynamics"], numbers["over_optimisation"]
    stops = {"game.stops_after": over["stops_after"]} if over["stops_after"] else {}
    return ({"game.dynamics": game["verdict"]} if game else {}) | {"game.over_optimisation": over["verdict"]} | stops


def _estimate(name: str, estimate: Estimated, round_id: str) -> Measure:
    return estimate_measure("game", name, estimate, round_number(round_id))
