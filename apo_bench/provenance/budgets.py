"""What policies cost: counts and seconds of all stages that made a policy, as the stages left them, from the base model on.

Which stages these are is read off dvc.lock: those that made the policy, those that made what they read, and so on. A stage that several
policies come from (SFT, RM_base, the samples of the first round) counts for each of them, whole. Preparing the records and evaluating
policies is not counted: that is the same for all.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any

from apo_bench.config.sections import Run
from apo_bench.core.errors import DataError
from apo_bench.core.layout import RESULTS, START_ROUND, TIMES, Reference
from apo_bench.core.results import read_metrics
from apo_bench.core.stage import Command
from apo_bench.provenance.lock import Lock
from apo_bench.provenance.times import read_seconds

COUNTS = ("num_samples", "num_reward_calls", "num_tokens_generated", "num_tokens_read", "num_tokens_trained")
"""Samples drawn; samples that a reward model scored; tokens sampled; tokens that went through a model forward only (prompts when sampling,
samples when scored, responses under a reference); tokens trained on, in each epoch, of policies and of reward models. A prompt counts with
each response that is scored or trained on, and once for the samples drawn from it. Padding never counts. A stage that leaves its seconds
has counted what it says in its module (`apo_bench.core.stage.Stage.counts`)."""
FORWARD_FLOP, TRAINING_FLOP = 2, 6
"""A token and parameter. Source: Kaplan et al. 2020 (arXiv 2001.08361), Table 1 and section 2.1; attention over the context is left out,
and what adapters and frozen layers spare."""

Numbers = dict[str, float]
RoundKey = tuple[str, str]
"""A policy and a round."""


@dataclass(frozen=True)
class Budgets:
    """What the policies of a run cost; numbers are those of COUNTS and, where they were asked for, seconds."""

    stages: dict[str, Numbers]
    made_by: dict[RoundKey, tuple[str, ...]]
    """The stages that a policy of a round comes from."""
    num_parameters: int

    @cached_property
    def users(self) -> dict[str, list[str]]:
        """Stage -> the policies that come from it."""
        return {name: list(dict.fromkeys(policy for (policy, _), made in self.made_by.items() if name in made)) for name in self.stages}

    @property
    def shared(self) -> list[str]:
        """The stages that several policies come from."""
        return [name for name, users in self.users.items() if len(users) > 1]

    def total(self, policy: str, round_id: str, only: Iterable[str] | None = None) -> Numbers:
        """What a policy cost up to a round, or the part of it that the stages `only` cost."""
        kept = None if only is None else set(only)
        names = [name for name in self.made_by[policy, round_id] if kept is None or name in kept]
        keys = next(iter(self.stages.values())).keys()
        return {key: sum(self.stages[name][key] for name in names) for key in keys}

    def mean(self, replicates: Iterable[str], round_id: str, only: Iterable[str] | None = None) -> Numbers:
        """The mean of `total` over replicates of a policy."""
        totals = [self.total(name, round_id, only) for name in replicates]
        return {key: sum(numbers[key] for numbers in totals) / len(totals) for key in totals[0]}

    def flop(self, numbers: Numbers) -> float:
        """Floating-point operations of these counts; all models of a run are of one size."""
        forward = numbers["num_tokens_generated"] + numbers["num_tokens_read"]
        return self.num_parameters * (FORWARD_FLOP * forward + TRAINING_FLOP * numbers["num_tokens_trained"])

    def summary(self) -> dict[str, Any]:
        """Policy -> round -> its numbers, those of shared stages apart, as JSON has them."""
        found: dict[str, Any] = {}
        for policy, round_id in self.made_by:
            whole, shared = self.total(policy, round_id), self.total(policy, round_id, self.shared)
            numbers = {**whole, "flop": self.flop(whole), "shared": {**shared, "flop": self.flop(shared)}}
            found.setdefault(policy, {})[round_id] = numbers
        return found


def read_budgets(lock: Lock, models: dict[RoundKey, Path], with_seconds: bool = False) -> Budgets:
    """Reads what the stages left that made `models`.

    Args:
        lock: the profile's dvc.lock.
        models: policy and round -> the folder of its model, as dvc.lock has it.
        with_seconds: whether seconds are read beside the counts.

    Raises:
        MissingInputError: a model or the record of a stage is not there.
        DataError: a stage has left no counts.
    """
    made_by = {}
    stages: dict[str, Numbers] = {}
    num_parameters = 0
    for key, model in models.items():
        chain = lock.chain([model])
        made_by[key] = tuple(name for name, entry in chain.items() if lock.folder(entry, TIMES))
        for name in made_by[key]:
            if name not in stages:
                stages[name] = _counts(lock, name) | (read_seconds(_folder(lock, name, TIMES)) if with_seconds else {})
            if Command.of(chain[name]["cmd"]).script == "base_model":
                num_parameters = read_metrics(_folder(lock, name, RESULTS))["num_parameters"]
    return Budgets(stages, made_by, num_parameters)


def policy_models(models: Path, run: Run, references: Iterable[str]) -> dict[RoundKey, Path]:
    """Where the policies of all replicates lie, by name; references have one round, and the best of n, which is no model, is not there."""
    found = {}
    for name, seed in product(references, run.seeds):
        if folder := Reference(name, seed).policy(models):
            found[Reference(name, seed).name, START_ROUND] = folder
    return found | {(arm.name, round_id): arm.policy(models, round_id) for arm in run.arms for round_id in run.rounds}


def _counts(lock: Lock, name: str) -> Numbers:
    folder = _folder(lock, name, RESULTS)
    metrics = read_metrics(folder)
    found = {key: metrics[key] for key in COUNTS if isinstance(metrics.get(key), int)}
    if not found:
        raise DataError(f"{folder}/metrics.json: none of {', '.join(COUNTS)}; run the stage {name} (dvc repro) again")
    return dict.fromkeys(COUNTS, 0) | found


def _folder(lock: Lock, name: str, kind: Path) -> Path:
    folder = lock.folder(lock.stages[name], kind)
    if folder is None:
        raise DataError(f"{lock.path}: stage {name} has left no {kind.name}; run it (dvc repro) again")
    return folder
