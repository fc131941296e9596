"""What report/summary.json holds of what others read: a type for each part, and whether a file is so. It may hold more."""

from pathlib import Path
from typing import Any, Literal, NotRequired, cast

from pydantic import TypeAdapter, ValidationError
from typing_extensions import TypedDict  # pydantic wants this one before Python 3.12

from apo_bench.core.errors import DataError
from apo_bench.core.files import read_json
from apo_bench.core.layout import SFT, START_ROUND, Reference

Numbers = dict[str, Any]
"""Numbers by their names, and others that are no numbers or could not be measured."""


class Estimated(TypedDict):
    """A number with its interval."""

    value: float
    low: float
    high: float


Rounds = dict[str, dict[str, Estimated]]
"""Round -> metric -> its estimate."""


class PolicySummary(TypedDict):
    """A policy or, of an arm, the mean over its replicates."""

    kind: Literal["arm", "reference"]
    method: NotRequired[str]
    reward_model: NotRequired[str]
    seed: NotRequired[int]
    rounds: Rounds


class RunSummary(TypedDict):
    """Which reward models are of which kind."""

    fixed_reward_models: list[str]
    retrained_reward_models: list[str]
    gold_reward_models: list[str]
    own_reward_models: list[str]


class DifferenceSummary(TypedDict):
    """An arm minus that with the fixed reward model."""

    rounds: Rounds


class ClaimSummary(TypedDict):
    """A claim, and the contrasts that it is tested by; none: it is not tested."""

    claim: str
    verdict: str
    p: float | None
    why: str
    contrasts: list[Numbers]


Families = dict[str, dict[str, ClaimSummary]]
"""What is measured -> claim -> what became of it."""


class ClaimsSummary(TypedDict):
    """All claims."""

    primary: str
    families: Families
    own: NotRequired[Families]


class Judgement(TypedDict):
    """What a judge says of a policy, or of human pairs."""

    estimates: dict[str, Estimated]
    counts: Numbers
    findings: list[str]


class JudgeSummary(TypedDict):
    """All judgements: opponent -> arm -> round, and by file of human pairs."""

    judge: str
    arms: dict[str, dict[str, dict[str, Judgement]]]
    human: dict[str, Judgement]


class Dynamics(TypedDict):
    """Who beats whom."""

    verdict: str
    measures: dict[str, Estimated]


class OverOptimisation(TypedDict):
    """What becomes of the score that is optimised, and of gold."""

    verdict: str
    stops_after: str | None
    proxy_gain: dict[str, Estimated]
    to_last: dict[str, dict[str, Estimated]]


class Shift(TypedDict):
    """What a reward model is worth where the policy has moved: by round, and from first to last."""

    rounds: dict[str, Numbers]
    change: dict[str, Estimated]


class GameOfArm(TypedDict):
    """The game of an arm."""

    matrix: dict[str, dict[str, dict[str, Estimated]]]
    """Reward model's round -> policy's round -> what is measured."""
    dynamics: Dynamics | None
    over_optimisation: OverOptimisation
    shift: Shift | None


class Standing(TypedDict):
    """Whether a policy stands on the frontier, and in which share of draws."""

    is_pareto: bool
    share: float


class GameSummary(TypedDict):
    """The games of all arms, and where each policy and round stands on the frontier."""

    arms: dict[str, GameOfArm]
    frontier: dict[str, dict[str, Standing]]


class BudgetSummary(TypedDict):
    """What a policy took up to a round, and the part of it that others share."""

    shared: Numbers


class Summary(TypedDict):
    """The whole file."""

    profile: str
    run: RunSummary
    policies: dict[str, PolicySummary]
    replicates: dict[str, PolicySummary]
    reward_models: dict[str, Numbers]
    """Reward model -> its numbers, or arm -> round -> those of the reward model that trained it."""
    differences: dict[str, DifferenceSummary]
    claims: ClaimsSummary
    judge: NotRequired[JudgeSummary]
    game: NotRequired[GameSummary]
    budget: NotRequired[dict[str, dict[str, BudgetSummary]]]


ADAPTER = TypeAdapter(Summary)


def read_summary(path: Path) -> Summary:
    """The summary that the stage compare wrote.

    Raises:
        MissingInputError: there is none.
        DataError: it is not as that stage writes it; the key is named.
    """
    summary = read_json(path)
    try:
        ADAPTER.validate_python(summary)
    except ValidationError as error:
        fault = error.errors()[0]
        key, said = ".".join(map(str, fault["loc"])) or "the file", fault["msg"]
        raise _broken(path, f"{key}: {said[0].lower()}{said[1:]}") from error
    found = cast(Summary, summary)
    if lacking := _fault_of(found):
        raise _broken(path, lacking)
    return found


def _fault_of(summary: Summary) -> str:
    """What one part lacks that another names, "" if nothing."""
    replicates, policies, reward_models = summary["replicates"], summary["policies"], summary["reward_models"]
    arms = {name: policy for name, policy in replicates.items() if policy["kind"] == "arm"}
    if not arms:
        return "replicates: no arms"
    for name, policy in arms.items():
        if missing := [key for key in ("method", "reward_model", "seed") if key not in policy]:
            return f"replicates.{name}.{missing[0]}: missing key"
    rounds = list(next(iter(arms.values()))["rounds"])
    groups = {name: policy for name, policy in policies.items() if policy["kind"] == "arm"}
    starts = {Reference(SFT, policy["seed"]).name for policy in arms.values()}
    needed: list[tuple[str, Any, list[str]]] = [
        ("policies", policies, [SFT]),
        ("replicates", replicates, sorted(starts)),
        ("reward_models", reward_models, [*arms, *groups]),
        *((f"replicates.{name}.rounds", policy["rounds"], rounds) for name, policy in arms.items()),
        *((f"policies.{name}.rounds", policy["rounds"], rounds) for name, policy in groups.items()),
        *((f"policies.{name}.rounds", policies[name]["rounds"], [START_ROUND]) for name in (SFT,) if name in policies),
        *((f"replicates.{name}.rounds", replicates[name]["rounds"], [START_ROUND]) for name in starts if name in replicates),
        *((f"reward_models.{name}", reward_models[name], rounds) for name in (*arms, *groups) if name in reward_models),
    ]
    return next((f"{key}.{name}: missing key" for key, part, names in needed for name in names if name not in part), "")


def _broken(path: Path, fault: str) -> DataError:
    return DataError(f"{path}: {fault}; not as the stage compare writes it, run it (dvc repro) again")
