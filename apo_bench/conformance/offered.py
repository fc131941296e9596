"""What the kit offers a reward model to train on: made-up records of a round, and what was asked of them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from apo_bench.core.records import PairRow, PromptRow, SamplesRow
from apo_bench.reward_models.player import (
    FURTHER,
    GOLDEN,
    HUMAN,
    LABELS,
    LOG_RATIOS,
    SAMPLES,
    SFT_SAMPLES,
    Lessons,
    Material,
    RewardModelPlayer,
    Source,
)

NUM_HUMAN, NUM_PROMPTS, NUM_SAMPLES = 400, 160, 4
"""As many as leave room for the labels of any section: the game has as many sequences as 400 pairs."""
NUM_GAME_PAIRS = NUM_PROMPTS * (NUM_SAMPLES + 1) // 2


@dataclass
class World:
    """What a round would offer, each text once, and what was asked of it."""

    asked: list[Source] = field(default_factory=list)
    labelled: list[PairRow] = field(default_factory=list)

    def material(self) -> Material:
        rows: dict[Source, list[Any]] = {
            HUMAN: _pairs("human", NUM_HUMAN),
            FURTHER: _pairs("further", NUM_GAME_PAIRS),
            GOLDEN: [{**_prompt("game", n), "response": f"golden {n}"} for n in range(NUM_PROMPTS)],
            SAMPLES: _samples("sample"),
            SFT_SAMPLES: _samples("first"),
        }

        def reader(source: Source) -> Callable[[], list[Any]]:
            def read() -> list[Any]:
                self.asked.append(source)
                return rows[source]

            return read

        def annotate(pairs: Sequence[PairRow]) -> list[PairRow]:
            self.asked.append(LABELS)
            turned: list[PairRow] = [
                {**row, "chosen": row["rejected"], "rejected": row["chosen"], "finished": row.get("finished", [True] * 2)[::-1]}
                for row in pairs
            ]
            self.labelled = [other if number % 2 else row for number, (row, other) in enumerate(zip(pairs, turned, strict=True))]
            return self.labelled

        def log_ratios(pairs: Sequence[PairRow]) -> list[float]:
            self.asked.append(LOG_RATIOS)
            return [float(number) for number in range(len(pairs))]

        return Material({source: reader(source) for source in rows}, NUM_HUMAN, NUM_GAME_PAIRS, 0, annotate, log_ratios)


def lessons_of(player: RewardModelPlayer) -> tuple[World, Lessons]:
    world = World()
    return world, player.lessons(world.material().only(player.trains_on))


def _prompt(name: str, number: int) -> PromptRow:
    return {"id": f"{name} {number}", "subset": "any", "dialogue": f"\n\nHuman: {name} {number}?\n\nAssistant:"}


def _pairs(name: str, number: int) -> list[PairRow]:
    return [{**_prompt(name, n), "chosen": f"{name} {n} good", "rejected": f"{name} {n} bad", "probability": 0.75} for n in range(number)]


def _samples(name: str) -> list[SamplesRow]:
    answers = [[f"{name} {n} {k}" for k in range(NUM_SAMPLES)] for n in range(NUM_PROMPTS)]
    return [{**_prompt("game", n), "responses": texts, "finished": [True] * NUM_SAMPLES} for n, texts in enumerate(answers)]
