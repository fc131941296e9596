"""Where stages leave what they make, as dvc.yaml has it: everything of a seed, which is a whole replicate, lies in that seed's folder.

Functions take the folder of all models, of all results or of all samples (out/models, ...), in which the tree is the same.
"""

from collections.abc import Container, Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from apo_bench.core.sections import BASE, BASE_AFTER_GOLDEN, FIRST_ROUND, References, Run

SFT, BEST_OF_N = "sft", "best_of_n"
TEST_REWARD_MODEL = "all"
"""RM_all."""


@dataclass(frozen=True)
class Arm:
    """A method with a reward model in one replicate."""

    method: str
    reward_model: str
    seed: int

    @property
    def group(self) -> str:
        """What its replicates share: method and reward model."""
        return f"{self.method}-{self.reward_model}"

    @property
    def name(self) -> str:
        """The name in tables and runs."""
        return f"{self.group}-s{self.seed}"

    def against(self, reward_model: str) -> "Arm":
        """The arm that differs in the reward model alone."""
        return Arm(self.method, reward_model, self.seed)

    def folder(self, root: Path, round_id: str) -> Path:
        """Of a round of the arm."""
        return replicate(root, self.seed) / "arms" / self.group / round_id

    def policy(self, models: Path, round_id: str) -> Path:
        """The policy after a round."""
        return self.folder(models, round_id) / "policy"

    def reward(self, root: Path, round_id: str, fixed: Container[str], own: Container[str] = ()) -> Path:
        """The reward model, or its results, that trains the policy in a round, if that is not gold.

        Those named in `fixed` are trained once a replicate, those in `own` were trained elsewhere; the others' of round 1 are shared by the
        methods.
        """
        name = BASE if self.reward_model == BASE_AFTER_GOLDEN else self.reward_model
        if name in own:
            return own_reward(root, name)
        if name in fixed:
            return reward(root, name, self.seed)
        return first(root, self.seed) / "reward" / self.reward_model if round_id == FIRST_ROUND else self.folder(root, round_id) / "reward"

    def score(self, results: Path, round_id: str) -> Path:
        """The scored samples that the policy of a round learns from."""
        return (
            first(results, self.seed) / "score" / self.reward_model if round_id == FIRST_ROUND else self.folder(results, round_id) / "score"
        )

    def evaluation(self, results: Path, round_id: str) -> Path:
        """The test responses after a round."""
        return self.folder(results, round_id) / "evaluation"

    def judgement(self, results: Path, round_id: str, opponent: str) -> Path:
        """The judge's verdicts on them."""
        return self.folder(results, round_id) / "judge" / opponent

    def game(self, results: Path) -> Path:
        """The game ledger."""
        return replicate(results, self.seed) / "game" / self.group


def arms(run: Run) -> Iterator[Arm]:
    """All arms of a run, in the order of its lists."""
    return (Arm(*parts) for parts in product(run.methods, run.reward_models, run.seeds))


def replicate(root: Path, seed: int) -> Path:
    """All of a seed."""
    return root / f"s{seed}"


def first(root: Path, seed: int) -> Path:
    """What arms share in round 1."""
    return replicate(root, seed) / "first"


def reward(root: Path, name: str, seed: int) -> Path:
    """A reward model that is trained once, outside the rounds: `base`, `all`, `no_adversarial`."""
    return replicate(root, seed) / "reward" / name


def own_reward(root: Path, name: str) -> Path:
    """A reward model of one's own, or its results on the test pairs: the same in all replicates."""
    return root / "own" / "reward" / name


def own_policy(models: Path, name: str) -> Path:
    """A policy of one's own, the same in all replicates."""
    return models / "own" / "references" / name


def own_scores(results: Path, name: str, seed: int) -> Path:
    """What a reward model of one's own makes of the test responses of all policies of a replicate."""
    return replicate(results, seed) / "own" / name


def reference_names(references: References) -> list[str]:
    """The policies of the table that are no arms, SFT first, those of one's own last."""
    return [SFT, *references.made, BEST_OF_N, *references.own]


def reference_policy(models: Path, name: str, seed: int) -> Path | None:
    """The policy of a reference; None for the best of n, which is SFT's choice among its own samples."""
    if name == BEST_OF_N:
        return None
    return replicate(models, seed) / (SFT if name == SFT else f"references/{name}")


def reference_evaluation(results: Path, name: str, seed: int) -> Path:
    """The test responses of a reference."""
    return replicate(results, seed) / "references" / name / "evaluation"


def reference_name(name: str, seed: int) -> str:
    """The name of a reference of one replicate in tables and runs."""
    return f"{name}-s{seed}"
