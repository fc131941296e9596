"""The conformance kit of reward models: what must hold of what any of them trains on and of its losses, on made-up records and rewards.

`apo-bench check-reward-model` runs it on a section of params.yaml.

Shape suffixes: M members, N sequences.
"""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import cast

import torch
from pydantic import ValidationError

import apo_bench
from apo_bench.conformance import Finding, fault_of
from apo_bench.conformance.offered import NUM_GAME_PAIRS, NUM_HUMAN, World, lessons_of
from apo_bench.conformance.reward_losses import (
    FAR,
    PAIRS,
    check_accumulation,
    check_extremes,
    check_gradient,
    check_order,
    check_padding,
    check_ties,
)
from apo_bench.conformance.samples import close
from apo_bench.reward_models.player import LOG_RATIOS, RewardModelPlayer

PAGES = Path(apo_bench.__file__).parents[1] / "docs" / "reward_models"
PARTS = {
    "the formula, `L = ...`": r"`[^`]*\bL = [^`]+`",
    "what it trains on, **Trains on**": r"\*\*Trains on\*\*: \w",
    "the source, **Source**": r"\*\*Source\*\*: \w",
    "the departures from it, **Departures**": r"\*\*Departures\*\*: \w",
    "its settings, **Settings**": r"\*\*Settings\*\*: \S",
}


def check_sources(player: RewardModelPlayer) -> str | None:
    """It trains on all that it says and on nothing else: no text of the policy where it claims none, no prompt that was not offered."""
    world, lessons = lessons_of(player)
    if unused := [source for source in player.trains_on if source not in world.asked]:
        return f"trains_on names {', '.join(unused)}, which lessons does not ask for"
    offered = World().material().only(player.trains_on)
    known = {text for read in offered.rows.values() for row in read() for text in _texts(row)}
    used = {text for row in (*lessons.pairs, *lessons.groups) for text in _texts(row)}
    if strange := sorted(used - known):
        return f"trains on {strange[0]!r}, which is in nothing that it trains on by its trains_on ({', '.join(player.trains_on)})"
    return None if used else "lessons are empty: nothing is trained on"


def check_labels(player: RewardModelPlayer) -> str | None:
    """What it has labelled is as much as it says, and is trained on as the annotator ordered it, once."""
    world, lessons = lessons_of(player)
    if len(world.labelled) != player.num_labels:
        return f"{len(world.labelled)} pairs are labelled, num_labels says {player.num_labels}: labels are what is counted as its price"
    trained = [(row["dialogue"], row["chosen"], row["rejected"]) for row in lessons.pairs]
    for row in world.labelled:
        times = trained.count((row["dialogue"], row["chosen"], row["rejected"]))
        if times != 1:
            return f"a pair that was labelled is trained on {times} times as the annotator ordered it, expected once"
    return None


def check_compute(player: RewardModelPlayer) -> str | None:
    """If it claims to train as long as APO's it has as many sequences in a step's worth of pairs, and all human pairs among them."""
    if not player.trains_as_long:
        return None
    lessons = lessons_of(player)[1]
    found = 2 * len(lessons.pairs) + sum(len(row["responses"]) for row in lessons.groups)
    expected = 2 * (NUM_HUMAN + NUM_GAME_PAIRS)
    if found != expected:
        return f"trains_as_long, and an epoch has {found} sequences where APO's has {expected}: fill up with `repeated`, or do not claim it"
    return None


def check_weights(player: RewardModelPlayer) -> str | None:
    """Weights of pairs are one a pair, not negative, 1 in the mean, and higher where the policy finds the pair likelier."""
    world, lessons = lessons_of(player)
    if not lessons.weights:
        return "log_ratios are asked for, and no weights follow" if LOG_RATIOS in world.asked else None
    if len(lessons.weights) != len(lessons.pairs):
        return f"{len(lessons.weights)} weights for {len(lessons.pairs)} pairs"
    mean = sum(lessons.weights) / len(lessons.weights)
    if min(lessons.weights) < 0 or abs(mean - 1) > 1e-6:
        return f"weights are {min(lessons.weights):.4g} and more, {mean:.4g} in the mean; expected none below 0, and 1 (`mean_one`)"
    first = lessons.weights[:NUM_HUMAN]  # the made-up ratios rise from pair to pair
    if LOG_RATIOS in world.asked and not first[-1] > first[0]:
        return "pairs that the policy finds likelier weigh less: are the weights upside down?"
    return None


def check_ensemble(player: RewardModelPlayer) -> str | None:
    """An ensemble has several members, heeds each of them, in whatever order, and rewards nothing above their mean."""
    ensemble = player.ensemble
    if ensemble is None:
        return None
    num_members = ensemble.num_members
    if num_members < 2:
        return f"an ensemble of {num_members}: without a second member there is nothing that could differ"
    rewards_MN = torch.randn(num_members, PAIRS, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    value_N = ensemble.combined(rewards_MN)
    if value_N.shape != (PAIRS,) or not close(ensemble.combined(rewards_MN.flip(0)), value_N):
        return "the order of the members changes the ensemble's rewards"
    for member in range(num_members):
        lower_MN = rewards_MN.clone()
        lower_MN[member] -= FAR
        if (ensemble.combined(lower_MN) >= value_N).any():
            return f"a response that member {member} finds {FAR:g} worse is rewarded as before: is it an ensemble of fewer?"
    if (value_N > rewards_MN.mean(0) + 1e-9).any():
        return "where members differ the reward is above their mean: is the variance added?"
    same_MN = rewards_MN[:1].expand(num_members, -1)
    return None if close(ensemble.combined(same_MN), rewards_MN[0]) else "members that agree are not taken at their word"


def check_settings(player: RewardModelPlayer) -> str | None:
    """Unknown keys, text, infinity and numbers out of any range are refused; what was accepted cannot be changed."""
    kind, values = type(player.settings), player.settings.model_dump()

    def accepts(name: str, value: object) -> bool:
        try:
            kind(**{**values, name: value})
        except ValidationError:
            return False
        return True

    if accepts("no_such_key", 1):
        return f"{kind.__name__} accepts an unknown key: derive it from apo_bench.config.sections.RewardTraining"
    for name, value in values.items():
        if isinstance(value, bool | str) or not isinstance(value, int | float):
            continue
        if accepts(name, "1") or accepts(name, float("nan")):
            return f"{name} accepts text or nan: derive {kind.__name__} from apo_bench.config.sections.RewardTraining"
        if all(accepts(name, type(value)(extreme)) for extreme in (-1e9, 1e9)):
            return f"{name} accepts any number: give it a range, Annotated[float, Field(gt=0)]"
    return None


def check_page(player: RewardModelPlayer) -> str | None:
    """Its page has formula, what it trains on, source, departures and every setting of its own."""
    page = PAGES / f"{type(player).__module__.rpartition('.')[2]}.md"
    if not page.is_file():
        return f"{page.name}: no such page; expected in docs/reward_models"
    text = page.read_text(encoding="utf-8")
    missing = [what for what, pattern in PARTS.items() if not re.search(pattern, text)]
    own = set(type(player.settings).model_fields) - set(RewardModelPlayer.Settings.model_fields)
    missing += [f"the setting `{name}`" for name in sorted(own) if f"`{name}`" not in text]
    return f"{page.name} lacks {'; '.join(missing)}" if missing else None


CHECKS: dict[str, Callable[[RewardModelPlayer], str | None]] = {
    "sources": check_sources,
    "labels": check_labels,
    "compute": check_compute,
    "weights": check_weights,
    "ensemble": check_ensemble,
    "gradient": check_gradient,
    "order": check_order,
    "ties": check_ties,
    "padding": check_padding,
    "accumulation": check_accumulation,
    "extremes": check_extremes,
    "settings": check_settings,
    "page": check_page,
}
"""In the order in which they are shown."""


def examine(player: RewardModelPlayer) -> list[Finding]:
    """Runs all checks on a reward model."""
    return [Finding(name, fault_of(check, player)) for name, check in CHECKS.items()]


def _texts(row: Mapping[str, object]) -> list[str]:
    """All texts of a record, of whatever kind."""
    single = [row[key] for key in ("dialogue", "chosen", "rejected", "response") if key in row]
    return [*map(str, single), *map(str, cast(list[str], row.get("responses", [])))]
