"""The records that stages exchange: JSONL files with the columns of the Human/Harmless (HH) data, read as `datasets`.

A dialogue is one string in Anthropic's form: "\\n\\nHuman: ...\\n\\nAssistant:" (several turns if need be), and a response is the text
that follows it.
"""

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from apo_bench.core.errors import DataError
from apo_bench.core.files import read_jsonl, write_jsonl

if TYPE_CHECKING:
    from datasets import Dataset

HUMAN = "\n\nHuman:"
ASSISTANT = "\n\nAssistant:"
SUBSETS = ("helpful", "harmless")
"""`helpful`: a harmless question. `harmless`: a question that a harmless answer declines; in HH, a dialogue in which the human tries to
get harm out of the assistant (red teaming), a few of whose questions are harmless nevertheless."""

COLUMNS: dict[str, dict[str, type]] = {
    "pairs": {"id": str, "subset": str, "dialogue": str, "chosen": str, "rejected": str},
    "prompts": {"id": str, "subset": str, "dialogue": str},
    "responses": {"id": str, "subset": str, "dialogue": str, "response": str},
    "samples": {"id": str, "subset": str, "dialogue": str, "responses": list, "finished": list},
    "scores": {"id": str, "subset": str, "dialogue": str, "responses": list, "finished": list, "rewards": list},
    "golden_scores": {"id": str, "subset": str, "dialogue": str, "response": str, "reward": float},
}
"""Columns of each kind of records file; pairs whose labels were drawn with a known probability have it in `probability`, that of the row's
own label. `finished[k]` says whether response k ended by itself, not at the token limit."""

SCORED = "scored.jsonl"
"""Where a stage leaves its `scores`, beside what they say of the reward model."""
SCORED_GOLDEN = "scored_golden.jsonl"
"""Where it leaves `golden_scores`, in the same order. A stage scores for all methods and does not know which of them want these."""


def write_records(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Writes records, one JSON object a line."""
    write_jsonl(path, rows)


def read_records(path: Path, kind: str) -> list[dict[str, Any]]:
    """The records of a file, checked against the columns of `kind`.

    Raises:
        MissingInputError: there is no such file.
        DataError: no records, a broken line, a missing column, a wrong type or an unknown subset; file and line are named.
    """
    columns = COLUMNS[kind]
    rows = read_jsonl(path, required=columns)
    for number, row in enumerate(rows, start=1):
        for column, expected in columns.items():
            if not isinstance(row[column], expected):
                found = type(row[column]).__name__
                raise DataError(f"{path}:{number}: {column} is {found}, expected {expected.__name__}")
        if row["subset"] not in SUBSETS:
            raise DataError(f"{path}:{number}: subset is {row['subset']!r}, expected one of {', '.join(SUBSETS)}")
        if not row["dialogue"].startswith(HUMAN) or not row["dialogue"].endswith(ASSISTANT):
            raise DataError(f"{path}:{number}: dialogue must begin with {HUMAN!r} and end with {ASSISTANT!r}")
    return rows


def read_dataset(path: Path, kind: str) -> "Dataset":
    """The records of a file as a `datasets.Dataset`; errors as those of `read_records`."""
    from datasets import Dataset  # 1 s of imports that only the tracking needs

    return Dataset.from_list([{column: row[column] for column in COLUMNS[kind]} for row in read_records(path, kind)])


def prompt_id(dialogue: str) -> str:
    """The hash by which a prompt is told from others, and by which splits are checked."""
    return hashlib.sha256(dialogue.encode()).hexdigest()[:16]


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
