"""The names and places of all that a run makes. Nobody else spells them, and tests/pipeline/test_layout.py holds dvc.yaml to them.

A seed is a whole replicate, and everything of it lies in that seed's folder. Functions take the folder of all models, of all results, of
all samples or of all responses (`MODELS`, ...), in which the tree is the same.

What is made by whom:

- of the profile: records (`DATA`), the base model, `own` for policies and reward models from elsewhere;
- of a replicate, `s0`: labels, `sft`, `references/NAME`, `reward/NAME` for the reward models that are trained once;
- of a replicate in round 1, when all policies are still their start, `s0/first`: samples, the retrained reward models, scores;
- of an arm in a round, `s0/arms/dpo-adversarial/r2`: from round 2 on samples, reward model and scores; policy, test responses and
  evaluation.
"""

import re
from collections.abc import Container
from dataclasses import dataclass
from pathlib import Path, PurePath

from apo_bench.core.errors import ConfigError

OUT = Path("out")
DATA, LABELS, SAMPLES, MODELS, RESPONSES, RESULTS, TIMES, LEDGERS = (
    OUT / name for name in ("data", "labels", "samples", "models", "responses", "results", "times", "judge")
)
"""Records; human labels by replicate; samples to train on; models; responses to the test prompts; what stages measured; their seconds;
answers of judges."""
REPORT, STORE = Path("report"), Path("mlflow")
PAGE, TABLE, SUMMARY, NUMBERS, PLOTS, SECONDS_PAGE, SECONDS = (
    "index.html", "table.md", "summary.json", "metrics.json", "plots", "times.html", "times.json",
)  # fmt: skip
"""In REPORT: the page, the same as Markdown, all numbers, the few that DVC shows, pictures; the page of seconds and its numbers."""

START_ROUND, FIRST_ROUND = "r0", "r1"
"""`r0` is the time before the first round, of SFT and of the references."""
BASE, NO_ADVERSARIAL, ORACLE, BASE_AFTER_GOLDEN = "base", "no_adversarial", "oracle", "base_after_golden"
"""Reward models that the game does not retrain: RM_base, the same trained as long as the game's on human pairs alone, gold, and RM_base for
policies that start from SFT on the golden responses."""
ENSEMBLE = "ensemble"
"""How the names of ensembles begin, which are trained once a replicate too."""
TEST_REWARD_MODEL = "all"
"""RM_all, which scores policies and trains none."""
SFT, GOLDEN, HUMAN, BEST_OF_N = "sft", "golden", "human", "best_of_n"
"""References: the start, SFT on golden responses, DPO on human pairs, and SFT's choice among its own samples, which is no model."""
OWN = "own"
"""Models from elsewhere: their key in `references` and `reward` of params.yaml, and their folder."""
PROMPTS = {"lm": "prompts_lm", "rm": "golden_rm"}
"""The records whose prompts are sampled for: those of the LM half train policies, those of the RM half the game's reward models."""


def is_trained_once(reward_model: str) -> bool:
    """Whether a reward model is trained once a replicate, and not in each round."""
    return reward_model in (BASE, NO_ADVERSARIAL, TEST_REWARD_MODEL) or reward_model.startswith(ENSEMBLE)


@dataclass(frozen=True)
class Reference:
    """A policy that arms are compared with, in one replicate."""

    kind: str
    seed: int

    @property
    def name(self) -> str:
        """The name in tables and runs."""
        return f"{self.kind}-s{self.seed}"

    @property
    def is_own(self) -> bool:
        """Whether it comes from elsewhere, one for all replicates."""
        return self.kind not in (SFT, GOLDEN, HUMAN, BEST_OF_N)

    def policy(self, models: Path) -> Path | None:
        """None for the best of n."""
        return None if self.kind == BEST_OF_N else self.trained(models)

    def training(self, results: Path) -> Path:
        """Its curves."""
        return self.trained(results) if self.kind == SFT else self._folder(results) / "training"

    def responses(self, responses: Path) -> Path:
        """What it answered to the test prompts."""
        return all_of_references(responses, self.seed) / f"{self.kind}.jsonl"

    def responding(self, results: Path) -> Path:
        """What it took to sample these."""
        return self._folder(results) / "respond"

    def evaluation(self, results: Path, round_id: str = START_ROUND) -> Path:
        """What is said of its test responses; a reference has that round alone."""
        return self._folder(results) / "evaluation"

    def trained(self, root: Path) -> Path:
        """The model; of SFT also its curves."""
        if self.is_own:
            return root / OWN / "references" / self.kind
        return sft(root, self.seed) if self.kind == SFT else self._folder(root)

    def _folder(self, root: Path) -> Path:
        return all_of_references(root, self.seed) / self.kind


@dataclass(frozen=True)
class Arm:
    """A method with a reward model in one replicate.

    What arms share in round 1 is that of an arm without a method and, for samples of the common start, without a reward model: "".
    """

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

    @property
    def start(self) -> Reference:
        """The policy of round 0."""
        return Reference(GOLDEN if self.reward_model == BASE_AFTER_GOLDEN else SFT, self.seed)

    def against(self, reward_model: str) -> "Arm":
        """The arm that differs in the reward model alone."""
        return Arm(self.method, reward_model, self.seed)

    def folder(self, root: Path) -> Path:
        """Of all its rounds.

        Raises:
            ConfigError: no method or reward model is named.
        """
        if not (self.method and self.reward_model):
            found = f"{self.method!r} and {self.reward_model!r}"
            raise ConfigError(f"arm: found {found}, expected a method and a reward model; only in {FIRST_ROUND} arms share what they have")
        return all_of_arms(root, self.seed) / self.group

    def in_round(self, root: Path, round_id: str) -> Path:
        """Of a round of the arm."""
        return self.folder(root) / round_id

    def policy(self, models: Path, round_id: str) -> Path:
        """The policy after a round."""
        return self.in_round(models, round_id) / "policy"

    def policy_before(self, models: Path, round_id: str) -> Path:
        """The policy that a round begins with: it is sampled from, trained on, and the reference of the loss."""
        if round_id != FIRST_ROUND:
            return self.policy(models, round_before(round_id))
        return self.start.trained(models)

    def samples(self, samples: Path, round_id: str, half: str) -> Path:
        """Samples of that policy for the prompts of a half, `lm` or `rm`; in round 1 arms share them that have the same start."""
        if round_id != FIRST_ROUND:
            return self.in_round(samples, round_id) / f"{half}.jsonl"
        return first(samples, self.seed) / self._start_folder / f"{half}.jsonl"

    def sampling(self, results: Path, round_id: str, half: str) -> Path:
        """What it took to draw them."""
        if round_id != FIRST_ROUND:
            return self.in_round(results, round_id) / "sample" / half
        return first(results, self.seed) / "sample" / self._start_folder / half

    @property
    def _start_folder(self) -> str:
        return "" if self.start.kind == SFT else self.reward_model

    def reward(self, root: Path, round_id: str, own: Container[str] = ()) -> Path:
        """The reward model, or its results, that trains the policy in a round, if that is not gold; the methods share that of round 1.

        Those named in `own` come from elsewhere.
        """
        name = BASE if self.reward_model == BASE_AFTER_GOLDEN else self.reward_model
        if name in own:
            return own_reward_model(root, name)
        if is_trained_once(name):
            return reward_model(root, name, self.seed)
        return first(root, self.seed) / "reward" / name if round_id == FIRST_ROUND else self.in_round(root, round_id) / "reward"

    def score(self, results: Path, round_id: str) -> Path:
        """The scored samples that the policy of a round learns from."""
        if round_id == FIRST_ROUND:
            return first(results, self.seed) / "score" / self.reward_model
        return self.in_round(results, round_id) / "score"

    def training(self, results: Path, round_id: str) -> Path:
        """The curves of the policy's step of a round."""
        return self.in_round(results, round_id) / "align"

    def responses(self, responses: Path, round_id: str) -> Path:
        """What the policy answered to the test prompts after a round."""
        return self.folder(responses) / f"{round_id}.jsonl"

    def responding(self, results: Path, round_id: str) -> Path:
        """What it took to sample these."""
        return self.in_round(results, round_id) / "respond"

    def evaluation(self, results: Path, round_id: str) -> Path:
        """What is said of them."""
        return self.in_round(results, round_id) / "evaluation"

    def judgement(self, results: Path, round_id: str, opponent: str) -> Path:
        """The judge's verdicts on the test responses."""
        return self.in_round(results, round_id) / "judge" / opponent

    def ledger(self, ledgers: Path, round_id: str, opponent: str) -> Path:
        """The answers that these come from."""
        return self.in_round(ledgers, round_id) / f"{opponent}.jsonl"

    def game(self, results: Path) -> Path:
        """The game ledger."""
        return replicate(results, self.seed) / "game" / self.group


def replicate(root: Path, seed: int) -> Path:
    """All of a seed."""
    return root / f"s{seed}"


def all_of_arms(root: Path, seed: int) -> Path:
    """Of all arms of a replicate."""
    return replicate(root, seed) / "arms"


def all_of_references(root: Path, seed: int) -> Path:
    """Of all references of a replicate."""
    return replicate(root, seed) / "references"


def first(root: Path, seed: int) -> Path:
    """What arms share in round 1."""
    return replicate(root, seed) / "first"


def records(data: Path, name: str) -> Path:
    """A file of records: of the profile in `DATA`, of a replicate in the folder of its labels."""
    return data / f"{name}.jsonl"


def base_model(root: Path) -> Path:
    """What everything starts from, or its curves."""
    return root / "base_model"


def preparation(results: Path) -> Path:
    """What was counted as the records were made."""
    return results / "prepare"


def prompts_of(half: str) -> Path:
    """The records whose prompts are sampled for.

    Raises:
        ConfigError: there is no such half.
    """
    if half not in PROMPTS:
        raise ConfigError(f"half: found {half!r}, expected {' or '.join(PROMPTS)}")
    return records(DATA, PROMPTS[half])


def labelling(results: Path, seed: int) -> Path:
    """What was counted as labels were drawn."""
    return replicate(results, seed) / "labels"


def sft(root: Path, seed: int) -> Path:
    """The policy that arms start from, or its curves."""
    return replicate(root, seed) / SFT


def reward_model(root: Path, name: str, seed: int) -> Path:
    """A reward model that is trained once, outside the rounds, or its results."""
    return replicate(root, seed) / "reward" / name


def own_reward_model(root: Path, name: str) -> Path:
    """A reward model from elsewhere: the same in all replicates."""
    return root / OWN / "reward" / name


def reward_evaluations(results: Path) -> Path:
    """The folder of what is said of reward models on the human test pairs, in which the tree is that of the reward models."""
    return results / "reward_evaluations"


def own_scores(results: Path, name: str, seed: int) -> Path:
    """What a reward model from elsewhere makes of the test responses of all policies of a replicate."""
    return replicate(results, seed) / OWN / name


def judge_test(results: Path, pairs: str) -> Path:
    """What the judge makes of human pairs."""
    return results / "judge" / pairs


def judge_test_ledger(ledgers: Path, pairs: str) -> Path:
    """The answers that this comes from."""
    return records(ledgers / "human", pairs)


def times_file(results: Path) -> Path:
    """Where the seconds of the stage with these results are."""
    before, _, after = results.as_posix().rpartition(f"{RESULTS.name}/")
    return Path(f"{before}{TIMES.name}/{after}.json")


def round_number(round_id: str) -> int:
    """2 of r2.

    Raises:
        ConfigError: it is no round.
    """
    if not re.fullmatch(r"r[0-9]+", round_id):
        raise ConfigError(f"round: found {round_id!r}, expected {FIRST_ROUND}, r2, ...")
    return int(round_id[1:])


def round_before(round_id: str) -> str:
    """r1 of r2."""
    return f"r{round_number(round_id) - 1}"


def is_in(path: str | PurePath, root: Path) -> bool:
    """Whether a path of dvc.lock, wherever its profile lies, is in the folder of all models, all results, ..."""
    return f"/{root.name}/" in str(path)


def is_of_an_arm(path: str) -> bool:
    """Whether it is of a round of an arm, or the folder of one."""
    return "/arms/" in path


def is_shared_in_the_first_round(path: str) -> bool:
    """Whether arms share it in round 1."""
    return "/first/" in path


def of_any_replicate(path: str) -> str:
    """The path with `s*` in the place of its replicate: the same for all of them."""
    return re.sub(r"/s[0-9]+(?=/|$)", ANY_REPLICATE, path)


ANY_REPLICATE = "/s*"
