"""What a stage says of itself, in its module, to those that run, schedule, record, count, compare and plan stages."""

import importlib
import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from enum import StrEnum
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

Runs = Literal["nothing", "models", "sampling", "training", "judge"]
"""What a stage runs: no model; models in its own process; the sampling engine; the training engine, also to score; a judge."""


class Step(StrEnum):
    """What a stage makes for an arm, as comparisons of arms tell it."""

    BASE_MODEL = "base model"
    SFT = "SFT"
    REWARD_MODEL = "reward model"
    TEST_REWARD_MODEL = "RM_all"
    SAMPLES = "samples"
    GOLDEN_SAMPLES = "samples against golden"
    SCORES = "scores"
    POLICY = "policy"
    RESPONSES = "responses"
    RESPONSES_OF_SFT = "responses of SFT"
    EVALUATION = "evaluation"
    JUDGEMENT = "judge"


@dataclass(frozen=True)
class Files:
    """What a stage reads of what other stages made, and what it writes, by the names that its `main` has for them."""

    reads: dict[str, Path]
    writes: dict[str, Path]


@dataclass(frozen=True)
class Stage:
    """`STAGE` of a stage's module.

    Beside it stand `files`, what the stage reads and writes at its coordinates; `main`, what it does; and, where it runs a model on tokens,
    `work`, on how many.
    """

    runs: Runs = "nothing"
    """As its `params` in dvc.yaml say too. One that runs models leaves beside its results what it ran them with."""
    counts: tuple[str, ...] = ()
    """What policies cost, in its metrics.json: keys of `apo_bench.provenance.budgets.COUNTS`. One that counts leaves its seconds too."""
    uses_ranks: Callable[[Any], bool] = lambda params: True
    """Whether there is anything to spread over ranks with these params, where the training engine has some."""
    step: Step | Callable[[Mapping[str, Any]], Step] | None = None
    """What it makes for an arm, or what at its coordinates; None: what is the same for all arms, or measures none."""

    @property
    def is_recorded(self) -> bool:
        """Whether it leaves a record of what it ran models with."""
        return self.runs in ("models", "sampling", "training")

    def step_at(self, coordinates: Mapping[str, Any]) -> Step | None:
        """What it makes for an arm at its coordinates."""
        return self.step(coordinates) if callable(self.step) else self.step


@dataclass(frozen=True)
class Command:
    """A stage at its coordinates, as dvc.yaml and dvc.lock have it: `python -m pipeline align --method dpo --seed 0 ...`."""

    script: str
    """The stage's file in pipeline/stages/; empty if it is none of this project's."""
    coordinates: dict[str, Any]
    """Those of its options, by the names of the parameters of `files`; a flag that is there is true."""

    @classmethod
    def of(cls, command: str) -> "Command":
        """Parses the command of a stage."""
        words = command.split()
        if "pipeline" not in words[:-1]:
            return cls("", {})
        script, *options = words[words.index("pipeline") + 1 :]
        values = [*options, "--"][1:]
        found = {
            option.removeprefix("--").replace("-", "_"): value.startswith("--") or value
            for option, value in zip(options, values, strict=True)
            if option.startswith("--")
        }
        return cls(script, found)

    @property
    def module(self) -> ModuleType | None:
        """The stage's module, None if it is none of this project's."""
        return _module(self.script) if self.script else None

    @property
    def stage(self) -> Stage:
        """What the stage says of itself; of one that is none of this project's nothing is known."""
        return self.module.STAGE if self.module else Stage()


@cache
def _module(script: str) -> ModuleType | None:
    name = f"pipeline.stages.{script}"
    return importlib.import_module(name) if importlib.util.find_spec(name) else None


@dataclass(frozen=True)
class Work:
    """What a stage does, in tokens.

    A prompt counts once for the responses that share its row, as it costs; `Sizes.has_prompts_each` counts as stages record it.
    """

    train_policy: float = 0
    """Prompt and response tokens that a language model is trained on."""
    train_reward: float = 0
    read_policy: float = 0
    """Tokens that a language model gives log-probabilities for."""
    read_reward: float = 0
    sample: float = 0
    """Response tokens that are sampled."""
    is_model: bool = True
    """Whether the stage loads a model at all."""

    @property
    def tokens(self) -> float:
        """All of them."""
        return sum(getattr(self, field.name) for field in fields(self) if field.name != "is_model")


@dataclass(frozen=True)
class Sizes:
    """Sequences by file: how many, and their mean tokens; a pair is two."""

    count: dict[str, int]
    prompt: dict[str, float]
    sequence: dict[str, float]
    """Prompt and response, cut to the longest allowed."""
    sampled: float
    """Tokens of a sampled response."""
    has_prompts_each: bool = False
    """Whether a prompt counts with each of its responses, as in what stages record (`apo_bench.provenance.budgets.COUNTS`)."""

    def rows(self, name: str, own: int = 0, sampled: int = 0, limit: int = 0) -> float:
        """Tokens of all rows of a file, each of a prompt, so many responses of the file, and so many that are sampled up to `limit`."""
        num_prompts = own + sampled if self.has_prompts_each else 1
        responses = own * (self.sequence[name] - self.prompt[name]) + sampled * min(self.sampled, limit)
        return self.count[name] * (num_prompts * self.prompt[name] + responses)
