"""What a reward model is in the game: its settings, what it trains on in a round, and its losses. No model, no tokenizer, no loop.

Shape suffixes: P pairs.
"""

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from typing import Annotated, Any, ClassVar, Final, Literal, TypeVar, overload

from pydantic import Field
from torch import Tensor

from apo_bench.config.sections import RewardTraining
from apo_bench.core.errors import ConfigError, DataError
from apo_bench.core.records import PairRow, ResponseRow, SampledRow, SamplesRow, prompt_of
from apo_bench.losses.reward import bradley_terry_loss
from apo_bench.models.ensemble import Ensemble

Example = TypeVar("Example")
Positive = Annotated[float, Field(gt=0)]
Source = Literal["human", "further", "golden", "samples", "sft_samples", "labels", "log_ratios"]
HUMAN: Final = "human"
"""The human pairs of the RM half."""
FURTHER: Final = "further"
"""Human pairs beyond those, with as many sequences as the game's golden responses and samples have."""
GOLDEN: Final = "golden"
"""A golden response to each prompt of the game, all of the RM half."""
SAMPLES: Final = "samples"
"""Samples of the policy at the round's start, for the same prompts."""
SFT_SAMPLES: Final = "sft_samples"
"""Samples of SFT's policy for the same prompts: those of the first round."""
LABELS: Final = "labels"
"""The annotator of the human pairs, who labels further ones."""
LOG_RATIOS: Final = "log_ratios"
"""The policy at the round's start, and SFT's: how much likelier the one finds a text than the other."""
OF_THE_POLICY: Final = frozenset({SAMPLES, SFT_SAMPLES, LOG_RATIOS})
"""What there is in a round alone: a reward model without any of it is trained once a replicate."""


@dataclass(frozen=True)
class Material:
    """What a round offers to train on; what is not asked for is not read."""

    rows: Mapping[Source, Callable[[], list[Any]]]
    """Reads the records of HUMAN and FURTHER (pairs), GOLDEN (responses), SAMPLES and SFT_SAMPLES (samples)."""
    num_human_pairs: int
    """Of the RM half: an epoch has as many steps as one pass over them takes, whatever is trained on."""
    num_game_pairs: int = 0
    """Pairs with as many sequences as the game's golden responses and samples have."""
    seed: int = 0
    """Of the choice of pairs to label; the same for all reward models of a round."""
    annotate: Callable[[Sequence[PairRow]], list[PairRow]] | None = None
    """Labels pairs that have `dialogue`, `chosen` and `rejected` in any order."""
    log_ratios: Callable[[Sequence[PairRow]], list[float]] | None = None
    """log pi - log pi_SFT of both responses of each pair together, in nats."""

    def only(self, sources: Iterable[Source]) -> "Material":
        """What there is of these sources."""
        found = set(sources)
        return replace(
            self,
            rows={source: read for source, read in self.rows.items() if source in found},
            annotate=self.annotate if LABELS in found else None,
            log_ratios=self.log_ratios if LOG_RATIOS in found else None,
        )

    @overload
    def __getitem__(self, source: Literal["human", "further"]) -> list[PairRow]: ...
    @overload
    def __getitem__(self, source: Literal["golden"]) -> list[ResponseRow]: ...
    @overload
    def __getitem__(self, source: Literal["samples", "sft_samples"]) -> list[SamplesRow]: ...
    def __getitem__(self, source: Source) -> list[Any]:
        """The records of a source.

        Raises:
            ConfigError: the reward model does not say that it trains on that.
        """
        if source not in self.rows:
            raise _undeclared(source)
        return self.rows[source]()

    def labelled(self, pairs: Sequence[PairRow]) -> list[PairRow]:
        """The pairs as the annotator orders them; ConfigError as above."""
        if self.annotate is None:
            raise _undeclared(LABELS)
        return self.annotate(pairs)

    def log_ratios_of(self, pairs: Sequence[PairRow]) -> list[float]:
        """See `log_ratios`; ConfigError as above."""
        if self.log_ratios is None:
            raise _undeclared(LOG_RATIOS)
        return self.log_ratios(pairs)


@dataclass(frozen=True)
class Lessons:
    """What a reward model trains on in a round, all of it once an epoch."""

    pairs: Sequence[PairRow]
    """With `finished` where a response may have been cut off."""
    weights: list[float] = field(default_factory=list)
    """Of the pairs in the mean over them; none: all weigh 1."""
    groups: Sequence[SampledRow] = field(default_factory=list)
    """Their first response is above the others: golden against sampled."""


class RewardModelPlayer:
    """A reward model of the game. A module of `apo_bench.reward_models` names its class `REWARD_MODEL`.

    As it stands here it is the plain one: Bradley-Terry on the human pairs.
    """

    Settings: ClassVar[type[RewardTraining]] = RewardTraining
    """Its section of params.yaml."""
    trains_on: ClassVar[tuple[Source, ...]] = (HUMAN,)
    """All that `lessons` may ask of its material."""
    start: ClassVar[Literal["base_model", "previous"]] = "base_model"
    """Trained from the base model with a head of its own, or from the reward model of the round before."""
    trains_as_long: ClassVar[bool] = False
    """Whether it claims as many sequences in as many steps as APO's, so that what it is worth is not put down to more training."""
    human_weight: float = 1.0
    """Of the loss on pairs."""
    game_weight: float = 0.0
    """Of the loss on groups; divided by the number of samples a prompt."""

    def __init__(self, settings: Any) -> None:
        self.settings = settings

    @property
    def num_labels(self) -> int:
        """Labels of the annotator that it asks for in a round."""
        return 0

    @property
    def ensemble(self) -> Ensemble | None:
        """How many models it is, each trained on the same lessons with draws of its own, and how their rewards become one; None: one."""
        return None

    @property
    def num_members(self) -> int:
        """Models that it is."""
        return self.ensemble.num_members if self.ensemble else 1

    def lessons(self, material: Material) -> Lessons:
        """What it trains on in a round."""
        return Lessons(material[HUMAN])

    def human_loss(self, chosen_P: Tensor, rejected_P: Tensor, weights_P: Tensor | None) -> Tensor:
        """The mean loss over pairs from their rewards, [P] each; a scalar."""
        return bradley_terry_loss(chosen_P, rejected_P, weights_P)

    def game_loss(self, golden_P: Tensor, sampled_P: Tensor) -> Tensor:
        """The mean loss over all (golden response, sample) pairs from their rewards, [P] each; a scalar."""
        return bradley_terry_loss(golden_P, sampled_P)


class GameSettings(RewardTraining):
    """Of the game beside human pairs: how much each term weighs."""

    human_weight: Positive
    """lambda: of the loss on human pairs."""
    adversarial_weight: Positive
    """alpha: of the loss on (golden, policy sample) pairs; divided by the number of samples a prompt."""


class GamePlayer(RewardModelPlayer):
    """L = lambda L(human pairs) + (alpha / n) L(golden response over each of the policy's n samples), L Bradley-Terry's."""

    Settings = GameSettings
    trains_on = (HUMAN, GOLDEN, SAMPLES)
    trains_as_long = True

    def __init__(self, settings: GameSettings) -> None:
        super().__init__(settings)
        self.human_weight, self.game_weight = settings.human_weight, settings.adversarial_weight

    def lessons(self, material: Material) -> Lessons:
        return Lessons(material[HUMAN], groups=golden_groups(material[GOLDEN], material[SAMPLES]))


class LabelSettings(RewardTraining):
    """How much annotation it buys."""

    num_labels: Annotated[int, Field(ge=0)]
    """k: pairs of samples that are labelled in a round, at most as many as have the sequences of the game."""


class LabellingPlayer(RewardModelPlayer):
    """L = L_BT(human pairs and k pairs of samples, which the annotator of the human pairs has labelled).

    It trains as long as APO's whatever k is: the human pairs stand a second time in the place of labels that it has not.
    """

    Settings = LabelSettings
    labelled_samples: ClassVar[Literal["samples", "sft_samples"]]
    """Whose samples are labelled; `trains_on` has them too."""
    trains_as_long = True

    @property
    def num_labels(self) -> int:
        return int(self.settings.num_labels)

    def lessons(self, material: Material) -> Lessons:
        human = material[HUMAN]
        labelled = material.labelled(pairs_to_label(material[self.labelled_samples], self.num_labels, material.seed))
        return Lessons([*human, *labelled, *repeated(human, material.num_game_pairs - len(labelled))])


def is_retrained(player: type[RewardModelPlayer]) -> bool:
    """Whether a reward model is trained anew in each round: if it learns from the policy, or goes on from the last."""
    return bool(OF_THE_POLICY & {*player.trains_on}) or player.start == "previous"


def golden_groups(golden: Sequence[ResponseRow], samples: Sequence[SampledRow]) -> list[SampledRow]:
    """D_APO by prompt: each group is the golden response, then the K samples.

    Raises:
        DataError: golden responses and samples are not for the same prompts.
    """
    by_id = {row["id"]: row for row in samples}
    missing = [row["id"] for row in golden if row["id"] not in by_id]
    if missing or len(golden) != len(samples):
        raise DataError(
            f"golden responses ({len(golden)}) and samples ({len(samples)}) are not for the same prompts; "
            f"without samples: {', '.join(missing[:3]) or 'none'}; sample the prompts that have golden responses"
        )
    rows = [by_id[row["id"]] for row in golden]
    return [
        {**prompt_of(gold), "responses": [gold["response"], *row["responses"]], "finished": [True, *row["finished"]]}
        for gold, row in zip(golden, rows, strict=True)
    ]


def pairs_to_label(samples: Sequence[SampledRow], number: int, seed: int) -> list[PairRow]:
    """The first so many pairs of samples that an annotator is to order: one of each prompt before a second of any, in an order drawn anew.

    Pairs of one text twice come last: there is nothing to order. The first of more pairs are those that there are of fewer.

    Raises:
        DataError: there are not so many pairs of samples.
    """
    rng = random.Random(seed)
    prompts = rng.sample(samples, len(samples))
    orders = [rng.sample(pairs, len(pairs)) for row in prompts for pairs in [list(combinations(range(len(row["responses"])), 2))]]
    turns = zip(*([(row, pair) for pair in order] for row, order in zip(prompts, orders, strict=True)), strict=True)
    chosen = [pair for turn in turns for pair in turn]
    chosen.sort(key=lambda pair: pair[0]["responses"][pair[1][0]] == pair[0]["responses"][pair[1][1]])
    if len(chosen) < number:
        raise DataError(f"{number} pairs of samples to label, and there are {len(chosen)}; label fewer, or sample more a prompt")
    return [
        {
            **prompt_of(row),
            "chosen": row["responses"][first],
            "rejected": row["responses"][second],
            "finished": [row["finished"][first], row["finished"][second]],
        }
        for row, (first, second) in chosen[:number]
    ]


def repeated(pairs: Sequence[Example], number: int) -> list[Example]:
    """So many pairs for a second time (a third, if need be): what trains as long with fewer labels goes on with those it has."""
    return [pairs[index % len(pairs)] for index in range(number)]


def mean_one(weights: Sequence[float]) -> list[float]:
    """The weights divided by their mean, so that the rate of learning is that of pairs that all weigh 1."""
    mean = sum(weights) / len(weights)
    return [weight / mean for weight in weights]


def _undeclared(source: Source) -> ConfigError:
    return ConfigError(f"a reward model asks for {source}, which its trains_on lacks; add it there")
