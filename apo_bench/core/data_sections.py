"""The section `prepare` of params.yaml: where records and golden responses come from, and how many."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from apo_bench.core.sections import ChatServer, Count, Fraction, HubRevision, Rate, Section


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


class HHData(Data):
    """Anthropic's HH-RLHF in its own layout: a folder a subset, each with a train and a test file, .jsonl or .jsonl.gz."""

    source: Literal["hh"]
    hub: HubRevision
    """Where `apo-bench fetch` gets the folder if it is not there."""
    subsets: Annotated[list[Literal["helpful-base", "helpful-online", "helpful-rejection-sampled", "harmless-base"]], Field(min_length=1)]
    validation_fraction: Rate
    """Share of the train files' conversations, by the hash of the first human turn; the halves share the rest equally."""
    golden: Annotated[GoldenChosen | GoldenFile | GoldenAPI, Field(discriminator="source")]
