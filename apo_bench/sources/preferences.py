"""Preference pairs of one's own, in the formats that the hub knows.

A row is one of these, text being one user turn or a dialogue in HH's form, and messages a list of `role` and `content`:

- `prompt`, `chosen`, `rejected`: text or messages (TRL's explicit prompt); `chosen` and `rejected` may have the prompt in them once more;
- `chosen`, `rejected`: whole dialogues, messages or text in HH's form (TRL's implicit prompt);
- `instruction`, `completions`: UltraFeedback's; the `response` with the highest `overall_score` and that with the lowest are taken.
"""

import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from apo_bench.config.data_sections import Kind
from apo_bench.config.sections import HubRevision, Name, Rate, Section
from apo_bench.core.errors import DataError, MissingInputError
from apo_bench.core.files import complete_directory, read_jsonl
from apo_bench.core.records import PairRow
from apo_bench.data.hub import download
from apo_bench.data.pairs import NOT_ALTERNATING, Dropped, PairData, Side, clean_pairs, share_of
from apo_bench.data.records import ASSISTANT, HUMAN, parse_dialogue
from apo_bench.data.transcripts import conversation, split_text

EQUAL_SCORES = "completions are fewer than two, or score the same"
MARKER_INSIDE = "a turn holds the marker of another one"
SYSTEM_TURN = "system turn put before the first question"
TURNS = {"user": HUMAN, "assistant": ASSISTANT}
SUFFIXES = (".jsonl", ".jsonl.gz", ".parquet")
FORMATS = "prompt, chosen and rejected; chosen and rejected as whole dialogues; or instruction and completions"
Messages = list[dict[str, str]]


class PreferenceFiles(Section):
    """The files of a subset, JSONL (.jsonl, .jsonl.gz) or Parquet (.parquet), by their names in the folder."""

    train: str
    test: str | None
    """null: `test_fraction` of the train file's conversations."""


class Preferences(PairData):
    """Which files, and what their pairs are called."""

    card = "Preference pairs of the run's own; whoever ran it knows where they are from."

    hub: HubRevision | None
    """Where `apo-bench fetch` gets the files if they are not there; null: they are one's own."""
    subsets: Annotated[dict[Name, PreferenceFiles], Field(min_length=1)]
    """Kinds of prompts, by names of one's own: results are told apart by them."""
    test_fraction: Rate
    """Share of the conversations of a train file without a test file, by the hash of the first human turn."""

    @property
    def kinds(self) -> dict[str, Kind]:
        """Those of the file."""
        return {name: Kind(f"prompts of {name}") for name in self.subsets}

    def read(self, split: str) -> dict[str, list[Any]]:
        """See `PairData`; each row with where it stands."""
        names = {subset: getattr(files, split) for subset, files in sorted(self.subsets.items())}
        return {subset: read_preferences(Path(self.folder) / name) if name else [] for subset, name in names.items()}

    def clean(self, raw: dict[str, list[Any]]) -> tuple[list[PairRow], Counter[str], Counter[str]]:
        """See `PairData`."""
        return clean_preferences((subset, row) for subset, rows in raw.items() for row in rows)

    def is_held_out(self, row: PairRow) -> bool:
        """By the hash of its conversation, so that all of a conversation are on one side."""
        has_no_test = self.subsets[row["subset"]].test is None
        return has_no_test and share_of(self, "test", conversation(row["dialogue"])) < self.test_fraction

    def fetch(self) -> str:
        """See `Data`."""
        folder, hub = Path(self.folder), self.hub
        names = [name for files in self.subsets.values() for name in (files.train, files.test) if name]
        missing = [name for name in names if not (folder / name).is_file()]
        if not missing:
            return f"{folder}: there"
        cure = "name the repository of the hub that has it in prepare.hub" if hub is None else "remove the folder to have it fetched"
        if hub is None or (folder.is_dir() and any(folder.iterdir())):  # a download would replace what is one's own
            raise MissingInputError(f"{folder / missing[0]}: no such file; put it there, or {cure}")
        with complete_directory(folder) as scratch:
            told = download(hub, "dataset", scratch, names, f"or put {', '.join(names)} into {folder}")
            lacking = [name for name in names if not (scratch / name).is_file()]
            if lacking:
                raise MissingInputError(f"{hub.name}: no file {lacking[0]} in it; name those that it has in prepare.subsets")
        return f"{folder}: {told}"


SOURCE = Preferences


def read_preferences(path: Path) -> list[tuple[str, dict[str, Any]]]:
    """The rows of a JSONL or Parquet file, each with where it stands.

    Raises:
        MissingInputError: there is no such file.
        DataError: the file is of another kind, broken, or empty.
    """
    if not path.name.endswith(SUFFIXES):
        raise DataError(
            f"{path}: expected a file that ends in {', '.join(SUFFIXES)}; write the pairs as one (datasets: to_json, to_parquet)"
        )
    if not path.is_file():
        there = ", ".join(sorted(file.name for file in path.parent.glob("*"))[:5]) if path.parent.is_dir() else "no such folder"
        raise MissingInputError(f"{path}: no such file ({there}); put it there, name another in prepare.subsets, or `apo-bench fetch` it")
    if path.suffix != ".parquet":
        return [(f"{path}:{number}", row) for number, row in enumerate(read_jsonl(path), start=1)]
    import pyarrow
    import pyarrow.parquet

    try:
        rows = pyarrow.parquet.read_table(path).to_pylist()
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(f"{path}: not Parquet ({' '.join(str(error).split())[:100]}); get or write the file again") from error
    if not rows:
        raise DataError(f"{path}: no rows; expected {FORMATS}")
    return [(f"{path}: row {number}", row) for number, row in enumerate(rows, start=1)]


def clean_preferences(raw: Iterable[tuple[str, tuple[str, dict[str, Any]]]]) -> tuple[list[PairRow], Counter[str], Counter[str]]:
    """Turns rows, each with its subset and where it stands, into records of the kind "pairs"; see `clean_pairs`.

    Raises:
        DataError: a row is in no known format.
    """
    return clean_pairs(raw, _sides, [MARKER_INSIDE, EQUAL_SCORES], SYSTEM_TURN)


def _sides(placed: tuple[str, dict[str, Any]]) -> tuple[Side, Side, bool]:
    """The chosen and the rejected side of a row, and whether a system turn was moved."""
    where, row = placed
    if "completions" in row and "instruction" in row:
        prompt, sides = row["instruction"], _best_and_worst(row["completions"], where)
    elif "chosen" in row and "rejected" in row:
        prompt, sides = row.get("prompt"), (row["chosen"], row["rejected"])
    else:
        raise DataError(f"{where}: found the keys {', '.join(row)}, expected {FORMATS}; rename the columns")
    start = _messages(prompt, "prompt", where) if prompt is not None else []
    found = [_whole(start, side, name, where) for name, side in zip(("chosen", "rejected"), sides, strict=True)]
    had_system = any(messages[0]["role"] == "system" for messages in found)
    chosen, rejected = (_side(_without_system(messages)) for messages in found)
    return chosen, rejected, had_system


def _whole(start: Messages, side: Any, name: str, where: str) -> Messages:
    """The whole dialogue of one side of a pair."""
    if isinstance(side, str) and start and not side.startswith(HUMAN):
        return [*start, {"role": "assistant", "content": side}]
    if isinstance(side, str) and not side.startswith(HUMAN):
        raise DataError(f"{where}: {name} is text without a prompt; add the column prompt, or write whole dialogues as messages")
    messages = _messages(side, name, where)
    begins_anew = messages[0]["role"] != "assistant"
    return messages if begins_anew or not start else [*start, *messages]


def _messages(value: Any, name: str, where: str) -> Messages:
    """Text or messages as messages."""
    if isinstance(value, str):
        if not value.startswith(HUMAN):
            return [{"role": "user", "content": value}]
        if name == "prompt":
            return parse_dialogue(value)
        split = split_text(value)
        if split is None:
            raise Dropped(NOT_ALTERNATING)
        return [*parse_dialogue(split.dialogue), {"role": "assistant", "content": split.response}]
    is_list = isinstance(value, list) and bool(value)
    if not is_list or not all(isinstance(m, dict) and isinstance(m.get("role"), str) and isinstance(m.get("content"), str) for m in value):
        shown = json.dumps(value, default=str)[:80]
        raise DataError(f"{where}: {name} is {shown}, expected text or a list of messages with role and content, both text")
    return [{"role": message["role"], "content": message["content"]} for message in value]


def _without_system(messages: Messages) -> Messages:
    """Dialogues here have no system turn: it stands before the first question, as templates without one have it."""
    if messages[0]["role"] != "system" or len(messages) < 2:
        return messages
    first = {"role": messages[1]["role"], "content": f"{messages[0]['content'].strip()}\n\n{messages[1]['content'].strip()}"}
    return [first, *messages[2:]]


def _side(messages: Messages) -> Side:
    """Dialogue and response, as records have them."""
    roles, texts = [message["role"] for message in messages], [message["content"].strip() for message in messages]
    if roles != ["user", "assistant"] * (len(roles) // 2) or not all(texts[:-1]):
        raise Dropped(NOT_ALTERNATING)
    if any(marker in f"\n\n{text}" for text in texts for marker in (HUMAN, ASSISTANT)):
        raise Dropped(MARKER_INSIDE)
    dialogue = "".join(f"{TURNS[role]} {text}" for role, text in zip(roles[:-1], texts[:-1], strict=True)) + ASSISTANT
    return Side(dialogue, texts[-1])


def _best_and_worst(completions: Any, where: str) -> tuple[str, str]:
    """The responses with the highest and the lowest score."""
    keys = ("response", "overall_score")
    is_list = isinstance(completions, list)
    if not is_list or not all(isinstance(one, dict) and isinstance(one.get(keys[0]), str) for one in completions):
        raise DataError(f"{where}: completions are {json.dumps(completions, default=str)[:80]}, expected a list of objects with {keys}")
    scored = [(one["overall_score"], one["response"]) for one in completions if isinstance(one.get("overall_score"), int | float)]
    if completions and not scored:
        raise DataError(f"{where}: no completion has a number in overall_score; found {', '.join(completions[0])}")
    scored.sort(key=lambda pair: -pair[0])
    if len(scored) < 2 or scored[0][0] == scored[-1][0]:
        raise Dropped(EQUAL_SCORES)
    return scored[0][1], scored[-1][1]
