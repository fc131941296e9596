"""The section `prepare` of params.yaml: where records and golden responses come from, and how many; what a source of data is."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from apo_bench.config.sections import ChatServer, Count, Section
from apo_bench.core.records import PromptRow


@dataclass(frozen=True)
class Kind:
    """A kind of prompts, a subset of the data."""

    prompts: str
    """What the page calls them."""
    note: str = ""
    """What its readers should know of the pairs, as a relative clause; "" for nothing."""


class Data(Section):
    """A source of data with its settings.

    Each is a file `apo_bench/sources/NAME.py`, found by the name that `prepare.source` has for it, whose `SOURCE` is a class derived from
    this one: its further keys are fields, and nothing outside the file knows its name. Only `prepare` runs again when the file changes:
    what other stages take from it (`has_gold`, `card`, `kinds`) must mean the same as long as its name does.
    """

    has_gold: ClassVar[bool] = False
    """Whether its dialogues are those of the embedded corpus, whose true reward `apo_bench.data.gold` knows. Human labels are drawn by it
    then, anew in each replicate."""
    card: ClassVar[str]
    """A sentence or two for the cards of models that are trained on it."""
    hub_names: ClassVar[tuple[str, ...]] = ()
    """What the hub calls its data."""

    source: str
    folder: str
    """Where the raw material lies, seen from the profile's folder: DVC sees its changes."""
    seed: int
    num_rm_prompts: Count
    num_lm_prompts: Count
    num_game_prompts: Count
    """Prompts of each half that the game samples from; those of the RM half have a golden response."""
    num_further_pairs: Annotated[int, Field(ge=0)]
    """Human pairs beside those of the RM half, for the reward model that is trained as long as the game's without the game."""
    num_validation_prompts: Count
    num_test_pairs: Count
    """Human pairs that reward models are tested on; policies answer `num_test_prompts` of their prompts."""
    num_test_prompts: Count

    @property
    @abstractmethod
    def kinds(self) -> dict[str, Kind]:
        """The kinds of prompts by the names of their subsets, in the order of tables and of the heads of reward models."""

    @property
    @abstractmethod
    def golden_words(self) -> str:
        """What a golden response is, in a sentence for readers."""

    @abstractmethod
    def prepare(self) -> tuple[Mapping[str, Sequence[PromptRow]], dict[str, Any]]:
        """All records of the profile, by file name (`apo_bench.core.layout.records`), and a report of their counts (`num_records`, ...).

        Raises:
            ApoBenchError: the raw material is not there or broken, or has fewer records than asked for.
        """

    def without_requests(self) -> "Data":
        """The same, but what costs requests stood in for, to plan with."""
        return self

    def fetch(self) -> str:
        """Gets what is not in the folder yet, and says what was done; "" if there is never anything to get.

        Raises:
            MissingInputError: it cannot be had.
        """
        return ""

    @model_validator(mode="after")
    def _game_within_halves(self) -> "Data":
        smaller = min(self.num_rm_prompts, self.num_lm_prompts)
        if self.num_game_prompts > smaller:
            raise ValueError(f"num_game_prompts {self.num_game_prompts} is more than the {smaller} prompts of a half")
        if self.num_test_prompts > self.num_test_pairs:
            raise ValueError(f"num_test_prompts {self.num_test_prompts} is more than the {self.num_test_pairs} prompts of num_test_pairs")
        return self


class GoldenChosen(Section):
    """The human-preferred response stands for the golden one."""

    source: Literal["chosen"]


class GoldenFile(Section):
    """Golden responses from a file in the authors' format: a row a prompt with `query_id` and `golden`."""

    source: Literal["file"]
    path: str


class GoldenAPI(ChatServer):
    """Golden responses by a model behind a server."""

    source: Literal["api"]
    system_prompt: str
    cache: str
    """JSONL file of the answers so far, which a killed run resumes from."""


Golden = Annotated[GoldenChosen | GoldenFile | GoldenAPI, Field(discriminator="source")]
