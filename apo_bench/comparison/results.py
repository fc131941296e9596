"""What a run measured, as the report shows it: policies with estimates, paired differences, verdicts. Counts, reads no file."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from apo_bench.claims.results import Verdicts
from apo_bench.comparison.label_equivalent import LabelEquivalent
from apo_bench.comparison.numbers import decimal
from apo_bench.comparison.predictors import PlayedRound, Predictor, predictors
from apo_bench.config.data_sections import Data
from apo_bench.config.sections import Run
from apo_bench.core.layout import BASE
from apo_bench.core.records import Record
from apo_bench.evaluation.metrics import Metric
from apo_bench.evaluation.statistics import Estimate
from apo_bench.game.results import Game
from apo_bench.judge.results import Judged
from apo_bench.provenance.budgets import Budgets

FIXED = BASE


OWN_ACCURACY, SHARE_OF_GAIN, FALL = 0.70, 0.40, 0.08
"""What a world is wanted to have (docs/world.md)."""


@dataclass(frozen=True)
class Policy:
    """A policy of the table, a reference or an arm, after each of its rounds: in one replicate, or the mean over all of them."""

    name: str
    rows: dict[str, list[Record]]
    """Round -> a row a test prompt, with its response; of the first replicate."""
    rounds: dict[str, dict[str, Estimate]]
    """Round -> metric -> estimate over all prompts that were answered. Intervals of a mean over replicates are over replicates, those of a
    single one over prompts."""
    path: dict[str, dict[str, Estimate]]
    """The same over the prompts that every round answered, from the start on."""
    members: tuple[str, ...]
    """The replicates that it is the mean over, by name; itself if it is one."""
    method: str | None = None
    reward_model: str | None = None
    seed: int | None = None
    """None for a mean over replicates, and for references."""
    is_own: bool = False
    """Whether it is a reference of one's own, which was trained elsewhere and is the same in every replicate."""

    @property
    def is_arm(self) -> bool:
        """Whether the game made it."""
        return self.method is not None

    @property
    def last_round(self) -> str:
        """The round whose policy stands in the table."""
        return list(self.rounds)[-1]


@dataclass(frozen=True)
class Compared(Estimate):
    """A difference; its interval is over seeds or, of one seed, over prompts."""

    verdict: str | None = None
    """`NAME better`, no difference beyond d or undecided; None where nothing is better, and for rounds before the last."""

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return super().as_dict() | ({"verdict": self.verdict} if self.verdict else {})


@dataclass(frozen=True)
class Difference:
    """An arm minus the one with the fixed reward model: same method, replicate, round and prompts; the mean over replicates."""

    name: str
    method: str
    reward_model: str
    rounds: dict[str, dict[str, Compared]]
    """By round and metric (comparison/differences.py)."""


@dataclass(frozen=True)
class Comparison:
    """All that the report shows."""

    profile: str
    confidence: float
    run: Run
    metrics: list[Metric]
    """Those of METRICS that can be had: one over a subset without a prompt is left out, and what needs gold if gold is unknown."""
    num_prompts: dict[str, int]
    """Test prompts by subset."""
    num_path_prompts: int
    """Those that every round answered."""
    data: Data
    """Where the records come from."""
    sizes: dict[str, int]
    """Records of each split."""
    policies: dict[str, Policy]
    """Means over replicates: references, then arms."""
    replicates: dict[str, Policy]
    """The same in each replicate, by its own name."""
    fixed_reward_models: dict[str, dict[str, float]]
    """`base`, `all` and others that are trained once a replicate -> metric -> mean over replicates."""
    reward_models: dict[str, dict[str, dict[str, float]]]
    """Arm, of the mean and of each replicate -> round -> metric of the reward model that trained its policy in that round -> value."""
    differences: dict[str, Difference]
    verdicts: Verdicts
    """On the paper's claims."""
    judged: Judged | None = None
    game: Game | None = None
    budgets: Budgets | None = None
    label_equivalents: dict[str, LabelEquivalent] = field(default_factory=dict)
    """Method -> what APO is worth in fresh labels; empty where the run does not try enough of them."""
    played: list[PlayedRound] = field(default_factory=list)
    """Every round of every arm with what its reward model was worth; empty where gold is unknown."""
    doses: dict[str, float] = field(default_factory=dict)
    """Reward model -> its weight of the game (alpha), of those that differ in nothing else."""
    unlike: dict[tuple[str, str], list[str]] = field(default_factory=dict)
    """Two arms -> what they differ in beside method and reward model, if they are ranked all the same."""

    @property
    def rounds(self) -> list[str]:
        """The names of all rounds, in order."""
        return self.run.rounds

    @property
    def seeds(self) -> list[int]:
        """Of the replicates."""
        return self.run.seeds

    @property
    def num_test_prompts(self) -> int:
        """Test prompts of all subsets."""
        return sum(self.num_prompts.values())

    @property
    def has_gold(self) -> bool:
        """Whether the true reward is known."""
        return self.metric("gold") is not None

    @property
    def arms(self) -> list[Policy]:
        """The policies that the game made, in the order of params.run."""
        return [policy for policy in self.policies.values() if policy.is_arm]

    @property
    def game_arms(self) -> list[Policy]:
        """The arms with a game ledger, in each replicate that has one."""
        return [self.replicates[name] for name in self.game.arms] if self.game else []

    @property
    def references(self) -> list[Policy]:
        """The others, SFT first."""
        return [policy for policy in self.policies.values() if not policy.is_arm]

    @property
    def predictors(self) -> list[Predictor]:
        """How what is measured on reward models goes with the gold of policies."""
        return predictors(self.played, self.confidence)

    def metric(self, name: str) -> Metric | None:
        """The metric called `name`, if it can be had."""
        return next((metric for metric in self.metrics if metric.name == name), None)

    def summary(self) -> dict[str, Any]:
        """The numbers as report/summary.json holds them."""
        return {
            "profile": self.profile,
            "num_test_prompts": self.num_test_prompts,
            "confidence": self.confidence,
            "run": self.run.model_dump(),
            "policies": {name: _policy_summary(policy) for name, policy in self.policies.items()},
            "replicates": {name: _policy_summary(policy) for name, policy in self.replicates.items()},
            "reward_models": {**self.fixed_reward_models, **self.reward_models},
            "differences": {name: {"rounds": _round_summary(found.rounds)} for name, found in self.differences.items()},
            "claims": self.verdicts.summary(),
            **({"judge": self.judged.summary()} if self.judged else {}),
            **({"mechanism": [asdict(one) for one in mechanism(self)]} if self.has_gold else {}),
            **({"game": self.game.summary()} if self.game else {}),
            **({"labels": {name: asdict(found) for name, found in self.label_equivalents.items()}} if self.label_equivalents else {}),
            **({"predictors": [asdict(one) for one in self.predictors]} if self.predictors else {}),
            **({"budget": self.budgets.summary()} if self.budgets else {}),
            **({"unlike_arms": {" | ".join(pair): faults for pair, faults in self.unlike.items()}} if self.unlike else {}),
        }


@dataclass(frozen=True)
class Condition:
    """Something that has to be so for the question of the run to have a subject."""

    words: str
    wanted: str
    found: str
    holds: bool


def mechanism(comparison: Comparison) -> list[Condition]:
    """Whether RM_base is worth something on SFT's samples, and loses it as the policies of its arms move away: means over replicates.

    What the default's world was chosen for (docs/world.md), before any arm with another reward model was looked at.
    """
    arms = [arm for arm in comparison.arms if arm.reward_model == FIXED]
    first, last = comparison.rounds[0], comparison.rounds[-1]
    at_first = comparison.reward_models[arms[0].name][first]
    gain = at_first["best_of_n_gain"] / at_first["perfect_best_of_n_gain"] if at_first["perfect_best_of_n_gain"] else 0.0
    accuracies = {
        arm.name: [comparison.reward_models[arm.name][name].get("sample_accuracy", 0.5) for name in (first, last)] for arm in arms
    }
    falls = {str(arm.method).upper(): accuracies[arm.name][0] - accuracies[arm.name][1] for arm in arms}
    over = [str(arm.method).upper() for arm in arms if _is_over_optimised(arm)]
    accuracy = accuracies[arms[0].name][0]
    ordered, gained = decimal(100 * accuracy, 1), decimal(100 * gain, 0)
    return [
        Condition("RM_base orders SFT's samples as gold does", "at least 70 %", f"{ordered} %", accuracy >= OWN_ACCURACY),
        Condition("its best of n gains of what gold's own choice would", "at least 40 %", f"{gained} %", gain >= SHARE_OF_GAIN),
        Condition(
            f"its accuracy on what policies say falls by {last}, with some method",
            "at least 8 points",
            ", ".join(f"{name} {decimal(100 * fall, 1)}" for name, fall in falls.items()),
            max(falls.values()) >= FALL,
        ),
        Condition("some method over-optimises it: RM_all up, gold down", "one or more", ", ".join(over) or "none", bool(over)),
    ]


def _is_over_optimised(arm: Policy) -> bool:
    """Whether RM_all has risen and gold fallen from some earlier round to the last."""
    *earlier, last = arm.path.values()
    return any(last["reward_all"].value > then["reward_all"].value and last["gold"].value < then["gold"].value for then in earlier)


def _policy_summary(policy: Policy) -> dict[str, Any]:
    arm: dict[str, Any] = {"method": policy.method, "reward_model": policy.reward_model} if policy.is_arm else {}
    arm |= {"seed": policy.seed} if policy.seed is not None else {}
    own = {"is_own": True} if policy.is_own else {}
    return {"kind": "arm" if policy.is_arm else "reference", **arm, **own, "rounds": _round_summary(policy.rounds)}


def _round_summary(rounds: Mapping[str, Mapping[str, Estimate]]) -> dict[str, Any]:
    return {round_id: {name: value.as_dict() for name, value in values.items()} for round_id, values in rounds.items()}
