"""The records that stages exchange: JSONL files with the columns of HH-RLHF (Anthropic), read as `datasets`.

A dialogue is one string in Anthropic's form: "\\n\\nHuman: ...\\n\\nAssistant:" (several turns if need be), and a response is the text
that follows it.
"""

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

from apo_bench.core.errors import DataError
from apo_bench.core.files import read_jsonl, write_jsonl
from apo_bench.core.records import GoldenScoreRow, PairRow, PromptRow, ResponseRow, SamplesRow, ScoresRow
from apo_bench.core.schemas import Schema

if TYPE_CHECKING:
    from datasets import Dataset

HUMAN = "\n\nHuman:"
ASSISTANT = "\n\nAssistant:"
SCORED = "scored.jsonl"
"""Where a stage leaves its `scores`, beside what they say of the reward model."""
SCORED_GOLDEN = "scored_golden.jsonl"
"""Where it leaves `golden_scores`, in the same order. A stage scores for all methods and does not know which of them want these."""


def write_records(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Writes records, one JSON object a line."""
    write_jsonl(path, rows)


@overload
def read_records(path: Path, kind: Literal["pairs"]) -> list[PairRow]: ...
@overload
def read_records(path: Path, kind: Literal["prompts", "prompted"]) -> list[PromptRow]: ...
@overload
def read_records(path: Path, kind: Literal["responses"]) -> list[ResponseRow]: ...
@overload
def read_records(path: Path, kind: Literal["samples"]) -> list[SamplesRow]: ...
@overload
def read_records(path: Path, kind: Literal["scores"]) -> list[ScoresRow]: ...
@overload
def read_records(path: Path, kind: Literal["golden_scores"]) -> list[GoldenScoreRow]: ...
@overload
def read_records(path: Path, kind: str) -> list[Any]: ...
def read_records(path: Path, kind: str) -> list[Any]:
    """The records of a file, checked against the schema of `kind`.

    Raises:
        MissingInputError: there is no such file.
        DataError: no records, or a line that is broken or no record of that kind; file, line and key are named.
    """
    return read_jsonl(path, SCHEMAS[kind])


def fault_of(row: Mapping[str, Any]) -> str:
    """What is wrong with a record beside the types of its columns, "" if nothing is."""
    dialogue = row["dialogue"]
    if not dialogue.startswith(HUMAN) or not dialogue.endswith(ASSISTANT):
        return f"dialogue must begin with {HUMAN!r} and end with {ASSISTANT!r}"
    if not dialogue[len(HUMAN) : -len(ASSISTANT)].strip():
        return "dialogue has no question, expected text between its first marker and its last"
    return ""


def sample_fault_of(row: Mapping[str, Any]) -> str:
    """As `fault_of`, of samples, scored or not."""
    for column in ("finished", "rewards"):
        if column in row and len(row[column]) != len(row["responses"]):
            return f"{column} has {len(row[column])} values, expected {len(row['responses'])}, one a response"
    return fault_of(row)


def read_dataset(path: Path, kind: str) -> "Dataset":
    """The records of a file as a `datasets.Dataset`; errors as those of `read_records`."""
    from datasets import Dataset  # 1 s of imports that only the tracking needs

    return Dataset.from_list([{column: row[column] for column in COLUMNS[kind]} for row in read_records(path, kind)])


SCHEMAS: dict[str, Schema[Any]] = {
    "pairs": Schema(PairRow, fault_of),
    "prompts": Schema(PromptRow, fault_of, unique="id"),
    "responses": Schema(ResponseRow, fault_of),
    "prompted": Schema(PromptRow, fault_of),
    "samples": Schema(SamplesRow, sample_fault_of, unique="id"),
    "scores": Schema(ScoresRow, sample_fault_of, unique="id"),
    "golden_scores": Schema(GoldenScoreRow, fault_of, unique="id"),
}
"""What each kind is checked against where it is read; a prompt stands once among prompts and samples. `prompted` are
records of any kind, of which the prompts alone matter."""
COLUMNS = {kind: schema.columns for kind, schema in SCHEMAS.items()}
"""Those that a kind must have."""


def prompt_id(dialogue: str) -> str:
    """The hash by which a prompt is told from others, and by which splits are checked."""
    return hashlib.sha256(dialogue.encode()).hexdigest()[:16]


def assert_disjoint(ids_by_split: dict[str, list[str]]) -> None:
    """Checks that no prompt stands in two splits or twice in one.

    Raises:
        DataError: naming the prompt's hash and the two splits.
    """
    owner: dict[str, str] = {}
    for split, ids in ids_by_split.items():
        for identity in ids:
            if identity in owner:
                raise DataError(f"prompt {identity} stands in {owner[identity]} and in {split}; splits must be disjoint")
            owner[identity] = split


def format_dialogue(question: str) -> str:
    """A one-turn dialogue that ends where the response begins."""
    return f"{HUMAN} {question}{ASSISTANT}"


def parse_dialogue(dialogue: str) -> list[dict[str, str]]:
    """The turns of a dialogue as chat messages (`role` user or assistant, `content`), without the turn to be written."""
    messages = []
    for turn in dialogue.removesuffix(ASSISTANT).split(HUMAN)[1:]:
        human, *assistant = turn.split(ASSISTANT)
        messages.append({"role": "user", "content": human.strip()})
        messages.extend({"role": "assistant", "content": text.strip()} for text in assistant)
    return messages
