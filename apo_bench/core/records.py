"""The kinds of rows that stages exchange: what is checked where a file is read is what code knows of its rows (`core/schemas.py`).

A row may have further keys, which are carried along.
"""

from typing import Annotated, Any, Literal, NotRequired

from annotated_types import Len
from typing_extensions import TypedDict  # pydantic wants this one before Python 3.12

from apo_bench.core.schemas import Name, Number, Share, Subset, Text

Record = dict[str, Any]
"""A row of a kind whose columns are known only when it is read: its metrics are those of the run, or its file is somebody else's."""


class Row(TypedDict):
    """Of a prompt."""

    id: Name
    subset: Subset


class PromptRow(Row):
    """A prompt: all that ends where a response begins."""

    dialogue: str


class PairRow(PromptRow):
    """Two responses as an annotator ordered them."""

    chosen: Text
    rejected: Text
    probability: NotRequired[Share]
    """How probable it was that the label would be this one; absent where labels are given."""
    finished: NotRequired[list[bool]]
    """Whether each ended by itself; absent where both did."""


class ResponseRow(PromptRow):
    """A response to learn from or to compare with: a golden one, a demonstration."""

    response: Text


class GoldenScoreRow(ResponseRow):
    """A golden response with its reward."""

    reward: Number


class SampledRow(PromptRow):
    """Samples of a policy. One may be empty: a model may say nothing."""

    responses: Annotated[list[str], Len(1)]
    finished: list[bool]
    """Whether each ended by itself, not at the token limit."""


class SamplesRow(SampledRow):
    """The same as a file of samples has them, which may be scored."""

    rewards: NotRequired[list[Number]]


class ScoresRow(SampledRow):
    """Samples with the reward of each."""

    rewards: list[Number]
    origins: NotRequired[list[Literal["sample", "golden"]]]
    """Who wrote each; absent where all are samples."""


class AnswerRow(PromptRow):
    """A policy's response to a test prompt."""

    response: str


class PolicyAnswerRow(AnswerRow):
    """The same as the stage leaves it that samples it."""

    finished: bool


class MarginRow(Row):
    """What a reward model makes of a human test pair."""

    margin: Number
    """The reward of the chosen response minus that of the rejected one."""
    correct: Share
    """How probable it is that a label agrees."""


class VerdictRow(Row):
    """What is compared of a judgement."""

    outcome: Share | None
    """1 won, 0.5 tie, 0 lost, None left out."""


class OwnScoreRow(TypedDict):
    """What a reward model of one's own makes of a policy's test responses after a round."""

    policy: Name
    round: Name
    rewards: list[Number]
    """In the order of the prompts."""


def prompt_of(row: PromptRow) -> PromptRow:
    """The prompt of a row of whatever kind, alone."""
    return {"id": row["id"], "subset": row["subset"], "dialogue": row["dialogue"]}
