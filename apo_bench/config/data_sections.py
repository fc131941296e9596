"""The section `prepare` of params.yaml: where records and golden responses come from, and how many."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from apo_bench.config.sections import ChatServer, Count, Fraction, HubRevision, Name, Rate, Section


class Data(Section):
    """What every source of records has."""

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
    def subset_names(self) -> tuple[str, ...]:
        """What the kinds of prompts are called."""
        return ("helpful", "harmless")

    @model_validator(mode="after")
    def _game_within_halves(self) -> "Data":
        smaller = min(self.num_rm_prompts, self.num_lm_prompts)
        if self.num_game_prompts > smaller:
            raise ValueError(f"num_game_prompts {self.num_game_prompts} is more than the {smaller} prompts of a half")
        if self.num_test_prompts > self.num_test_pairs:
            raise ValueError(f"num_test_prompts {self.num_test_prompts} is more than the {self.num_test_pairs} prompts of num_test_pairs")
        return self


class EmbeddedData(Data):
    """The embedded corpus: how many of what. Prompts of the splits are disjoint."""

    source: Literal["embedded"]
    num_topics: Count
    """Harmless requests of the corpus that the world has: the first of them. A smaller world is one that a smaller model masters."""
    num_misdeeds: Count
    """Requests to be declined."""
    num_contexts: Count
    """Circumstances of each kind of request."""
    num_templates: Count
    """Ways to put a question."""
    num_pretraining_examples: Count
    num_demonstrations: Count
    harmful_fraction: Fraction
    label_agreement: Annotated[float, Field(gt=0.5, lt=1)]
    """Share of human labels that agree with the gold order; the temperature of the Bradley-Terry draw is fitted to it."""


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


class HHData(Data):
    """Anthropic's HH-RLHF in its own layout: a folder a subset, each with a train and a test file, .jsonl or .jsonl.gz."""

    source: Literal["hh"]
    hub: HubRevision
    """Where `apo-bench fetch` gets the folder if it is not there."""
    subsets: Annotated[list[Literal["helpful-base", "helpful-online", "helpful-rejection-sampled", "harmless-base"]], Field(min_length=1)]
    validation_fraction: Rate
    """Share of the train files' conversations, by the hash of the first human turn; the halves share the rest equally."""
    golden: Golden


class PreferenceFiles(Section):
    """The files of a subset, JSONL (.jsonl, .jsonl.gz) or Parquet (.parquet), by their names in the folder."""

    train: str
    test: str | None
    """null: `test_fraction` of the train file's conversations."""


class PreferenceData(Data):
    """Preference pairs of one's own, in the formats that the hub knows (data/preferences.py)."""

    source: Literal["preferences"]
    hub: HubRevision | None
    """Where `apo-bench fetch` gets the files if they are not there; null: they are one's own."""
    subsets: Annotated[dict[Name, PreferenceFiles], Field(min_length=1)]
    """Kinds of prompts, by names of one's own: results are told apart by them."""
    test_fraction: Rate
    """Share of the conversations of a train file without a test file, by the hash of the first human turn."""
    validation_fraction: Rate
    """As for HH, of what is left to train on."""
    golden: Golden

    @property
    def subset_names(self) -> tuple[str, ...]:
        """Those of the file."""
        return tuple(self.subsets)
