"""In which inputs two arms differ, and whether they may be ranked: only if it is in nothing but the method and the reward model.

An arm's inputs are what the stages that made and evaluated it had, as they recorded it: dvc.lock has the checksum of each file and folder
and the value of each param that a stage ran with, environment.json its libraries, device and tokenizer.

The rule. Between arms of different methods may differ the method's code and its section of params.yaml, but for epochs, batch size and
longest sequence: how much is learnt from is no part of a method. Its rate is, as losses have scales of their own. Between arms with
different reward models the same holds for the reward model's section, its script and what only one of the kinds reads (golden responses'
samples, say), or scores with, as one of one's own has its own tokenizer; one of them, `base_after_golden`, is RM_base with another start of
the policy. Replicates of an arm may differ in the seed and in what was made of it: labels, SFT, RM_base, RM_all. Within one method, or one
kind of reward model, nothing of it may. All else never may.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

from rich.table import Table

from apo_bench.config.params import Params
from apo_bench.config.validation import near
from apo_bench.core import layout
from apo_bench.core.errors import ComparabilityError
from apo_bench.core.files import read_json
from apo_bench.core.layout import BASE_AFTER_GOLDEN, MODELS, RESULTS, SFT, Arm
from apo_bench.core.results import ENVIRONMENT
from apo_bench.core.stage import Command, Step
from apo_bench.provenance.lock import LOCK, Lock, flat_params

METHOD_CODE, SCRIPT, SEED, TOKENIZER = "code of the method", "code of the stage", "seed", "tokenizer"
START, REFERENCE = "SFT policy, the reference", "policy of the round before, the reference"
AMOUNTS = ("epochs", "batch_size", "max_length")
"""Keys that methods, and kinds of reward models, share: how much is learnt from."""
AS_MADE = "as made"
"""The value of a step of the arm itself where a later step has read what the earlier one left."""
NUM_NAMED = 3
"""Differences that an error names."""
MD5, MD5_SHOWN = re.compile(r"\b[0-9a-f]{32}\b"), 8

Recorded = dict[tuple[str, str], dict[str, str]]
"""Step and input -> round ("" where a step has none) -> value."""


@dataclass(frozen=True)
class InputDifference:
    """An input in which two arms differ."""

    step: str
    name: str
    rounds: tuple[str, ...]
    first: str | None
    """The value in the first arm; None if it has no such input."""
    second: str | None
    belongs_to: str | None
    """`method`, `reward model` or `seed`, if the arms may differ in it for that; None if they must not."""

    def __str__(self) -> str:
        where = " ".join([self.step, ", ".join(self.rounds)]).strip()
        return f"{where}: {self.name}: {' | '.join(self.shown)}"

    @property
    def shown(self) -> tuple[str, str]:
        """Both values as they are told, checksums cut short."""
        first, second = (MD5.sub(lambda match: match[0][:MD5_SHOWN], value or "none") for value in (self.first, self.second))
        return first, second


def find_arm(name: str, arms: Iterable[Arm]) -> Arm:
    """The arm called `name`.

    Raises:
        ComparabilityError: there is none; the near names are given.
    """
    known = {arm.name: arm for arm in arms}
    if name not in known:
        raise ComparabilityError(f"no arm {name!r} in the run;{near(name, known)} known: {', '.join(known)}")
    return known[name]


def read_inputs(lock: Lock, params: Params, arms: Iterable[Arm], models: Path, results: Path) -> dict[Arm, Recorded]:
    """The inputs of arms; see `recorded_inputs`."""
    judged = dict.fromkeys(params.judge.seeds, params.judge.rounds)
    return {arm: recorded_inputs(lock, arm, params.run.rounds, judged.get(arm.seed, []), models, results) for arm in arms}


def recorded_inputs(lock: Lock, arm: Arm, rounds: list[str], judged: list[str], models: Path, results: Path) -> Recorded:
    """All inputs of an arm.

    Args:
        lock: the profile's dvc.lock.
        arm: the arm.
        rounds: its rounds.
        judged: those whose policies were judged.
        models: the folder of all models, as dvc.lock has it.
        results: that of all results.

    Raises:
        MissingInputError: a stage has not run, or has left no environment.
    """
    policies = [arm.policy(models, round_id) for round_id in rounds]
    evaluations = [arm.evaluation(results, round_id) for round_id in rounds]
    judgements = [arm.judgement(results, round_id, SFT) for round_id in judged]
    entries = lock.chain([*policies, *evaluations, *judgements])
    recorded: Recorded = {}
    for name, entry in entries.items():
        step, coordinates = _step(entry), Command.of(entry["cmd"]).coordinates
        if step is None:
            continue
        values = flat_params({name: entry}) | _files(lock, entry, step, arm) | _environment(lock, entry)
        if seed := coordinates.get("seed"):
            values[SEED] = seed
        for key, value in values.items():
            recorded.setdefault((step, key), {})[coordinates.get("round", "")] = value
    return recorded


def compare_inputs(arms: tuple[Arm, Arm], inputs: tuple[Recorded, Recorded]) -> list[InputDifference]:
    """All differences between the inputs of two arms, those that forbid to rank them first."""
    found = []
    for step, name in dict.fromkeys([*inputs[0], *inputs[1]]):
        first, second = (_values(recorded, step, name) for recorded in inputs)
        if first != second:
            belongs_to = _belongs_to(step, name, arms, is_in_both=bool(first and second))
            found += [InputDifference(step, name, *values, belongs_to) for values in _unequal(first, second)]
    return sorted(found, key=lambda difference: difference.belongs_to is not None)


def unlike_arms(inputs: dict[Arm, Recorded]) -> dict[tuple[str, str], list[InputDifference]]:
    """Each two arms of a replicate, or replicates of an arm, that differ in more than they may, and in what more."""
    found = {}
    for one, other in (pair for pair in combinations(inputs, 2) if pair[0].seed == pair[1].seed or pair[0].group == pair[1].group):
        faults = [fault for fault in compare_inputs((one, other), (inputs[one], inputs[other])) if fault.belongs_to is None]
        if faults:
            found[one.name, other.name] = faults
    return found


def check_comparable(unlike: dict[tuple[str, str], list[InputDifference]], may_differ: Iterable[str]) -> None:
    """Refuses to rank arms that differ in more than method and reward model and the inputs that they may differ in.

    Raises:
        ComparabilityError: naming the first two and in what they differ.
    """
    allowed = set(may_differ)
    refused = {pair: [fault for fault in faults if fault.name not in allowed] for pair, faults in unlike.items()}
    refused = {pair: faults for pair, faults in refused.items() if faults}
    if not refused:
        return
    (first, second), faults = next(iter(refused.items()))
    named = "; ".join(map(str, faults[:NUM_NAMED])) + (f"; {len(faults) - NUM_NAMED} more" if len(faults) > NUM_NAMED else "")
    raise ComparabilityError(
        f"{first} and {second} differ in more than method and reward model ({named}), as do {len(refused)} pairs of arms in all; "
        f"run the stages again (dvc repro), see `apo-bench diff {first} {second}`, or name the inputs in compare.may_differ"
    )


def _values(recorded: Recorded, step: str, name: str) -> dict[str, str]:
    """An input of an arm by round. Its other samples stand in for those against golden responses, if it has none: all are drawn alike."""
    if step == Step.GOLDEN_SAMPLES and not any(known == step for known, _ in recorded):
        step = Step.SAMPLES
    return recorded.get((step, name), {})


def _unequal(first: dict[str, str], second: dict[str, str]) -> list[tuple[tuple[str, ...], str | None, str | None]]:
    """Rounds and values that differ, equal ones of several rounds together; as a whole where one step has rounds and the other has none."""
    if set(first) != set(second):
        one, other = (", ".join(sorted(set(recorded.values()))) or None for recorded in (first, second))
        return [((), one, other)] if one != other else []
    grouped: dict[tuple[str, str], list[str]] = {}
    for round_id in first:
        if first[round_id] != second[round_id]:
            grouped.setdefault((first[round_id], second[round_id]), []).append(round_id)
    return [(tuple(rounds), *values) for values, rounds in grouped.items()]


def _belongs_to(step: str, name: str, arms: tuple[Arm, Arm], is_in_both: bool) -> str | None:
    """What two arms may differ in this input for; None if they must not. The rule stands at the top of this file."""
    one, other = arms
    section, _, key = name.partition(".")
    if one.seed != other.seed and (
        name in (SEED, START, REFERENCE) or layout.ANY_REPLICATE in name or not is_in_both
    ):  # not all seeds are judged
        return "seed"
    if step == Step.POLICY and one.method != other.method and (name == METHOD_CODE or (section == "method" and key not in AMOUNTS)):
        return "method"
    is_kinds_own = name == SCRIPT or not is_in_both or (section == "reward" and key not in AMOUNTS)
    is_kinds_own |= step == Step.SCORES and name == TOKENIZER  # one of one's own reads the samples as text
    if step in (Step.REWARD_MODEL, Step.GOLDEN_SAMPLES, Step.SCORES) and one.reward_model != other.reward_model and is_kinds_own:
        return "reward model"
    starts_elsewhere = one.reward_model != other.reward_model and BASE_AFTER_GOLDEN in (one.reward_model, other.reward_model)
    if step in (Step.SAMPLES, Step.POLICY) and starts_elsewhere and not is_in_both:
        return "reward model"
    return None


def _step(entry: dict[str, Any]) -> Step | None:
    """What a stage makes for an arm; None if it is none of its steps."""
    command = Command.of(entry["cmd"])
    return command.stage.step_at(command.coordinates)


def _files(lock: Lock, entry: dict[str, Any], step: str, arm: Arm) -> dict[str, str]:
    """What a stage read, under names that all arms share: checksums or, for what the arm itself made, whether it is what it made."""

    def is_of_arms(path: str) -> bool:
        return layout.is_of_an_arm(path) or layout.is_shared_in_the_first_round(path)

    found = {}
    for dep in entry.get("deps", []):
        path, md5 = dep["path"], dep["md5"]
        producer = lock.producer(path)
        if producer is None:
            if not layout.is_of_an_arm(path):  # that is the folder of the last round: what is in it has stages of its own
                found[_code(path, arm)] = md5
            continue
        name, made = producer
        source = _step(lock.stages[name])
        if step == Step.POLICY and source in (Step.POLICY, Step.SFT):
            found[REFERENCE if source == Step.POLICY else START] = md5 if source != Step.POLICY else AS_MADE if md5 == made else md5
        elif is_of_arms(path) or (step == Step.SCORES and source == Step.REWARD_MODEL):
            found[source or path] = AS_MADE if md5 == made else md5
        else:
            found[layout.of_any_replicate(path)] = md5
    return found


def _code(path: str, arm: Arm) -> str:
    """What a file that no stage makes is called; profiles see the code from folders of their own."""
    inside = re.sub(r"^.*/(?=(?:apo_bench|pipeline)/)", "", path)
    if inside == f"apo_bench/methods/{arm.method}.py":
        return METHOD_CODE
    return SCRIPT if inside.startswith("pipeline/") else inside


def _environment(lock: Lock, entry: dict[str, Any]) -> dict[str, str]:
    folder, runs_models = lock.folder(entry, RESULTS), any("compute" in params for params in entry.get("params", {}).values())
    return read_json(folder / ENVIRONMENT) if folder and runs_models else {}


def diff_arms(params: Params, first: str, second: str) -> list[InputDifference]:
    """All differences between the inputs of two arms of the run in the current folder.

    Raises:
        ComparabilityError: there is no such arm.
        MissingInputError: the arm has not run.
    """
    known = list(params.run.arms)
    arms = find_arm(first, known), find_arm(second, known)
    lock = Lock(LOCK)
    inputs = read_inputs(lock, params, arms, MODELS, RESULTS)
    return compare_inputs(arms, (inputs[arms[0]], inputs[arms[1]]))


def diff_table(first: str, second: str, differences: list[InputDifference]) -> Table:
    """The differences with both values, checksums cut short, and what each belongs to."""
    table = Table(box=None, padding=(0, 1, 0, 0))
    for head in ("step", "rounds", "input", first, second, "belongs to"):
        table.add_column(head, overflow="fold")
    for found in differences:
        table.add_row(found.step, ", ".join(found.rounds), found.name, *found.shown, found.belongs_to or "neither")
    return table
