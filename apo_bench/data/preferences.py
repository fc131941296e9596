"""Preference pairs of one's own, in the formats that the hub knows, as records of the kind "pairs".

A row is one of these, text being one user turn or a dialogue in HH's form, and messages a list of `role` and `content`:

- `prompt`, `chosen`, `rejected`: text or messages (TRL's explicit prompt); `chosen` and `rejected` may have the prompt in them once more;
- `chosen`, `rejected`: whole dialogues, messages or text in HH's form (TRL's implicit prompt);
- `instruction`, `completions`: UltraFeedback's; the `response` with the highest `overall_score` and that with the lowest are taken.
"""

import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from apo_bench.config.data_sections import PreferenceData
from apo_bench.core.errors import DataError, MissingInputError
from apo_bench.core.files import read_jsonl
from apo_bench.core.seeds import derive_seed
from apo_bench.data.hh import DIALOGUES_DIFFER, DUPLICATE, EMPTY_RESPONSE, EQUAL_RESPONSES, NOT_ALTERNATING, conversation, split_text
from apo_bench.data.hh_preparation import SEED_RANGE, prepare_pairs
from apo_bench.data.preparation import Rows
from apo_bench.data.records import ASSISTANT, HUMAN, parse_dialogue, prompt_id

EQUAL_SCORES = "completions are fewer than two, or score the same"
MARKER_INSIDE = "a turn holds the marker of another one"
REASONS = (EMPTY_RESPONSE, DIALOGUES_DIFFER, EQUAL_RESPONSES, NOT_ALTERNATING, MARKER_INSIDE, EQUAL_SCORES, DUPLICATE)
"""Why a pair is dropped; of several, the first is counted."""
SYSTEM_TURN = "system turn put before the first question"
TURNS = {"user": HUMAN, "assistant": ASSISTANT}
SUFFIXES = (".jsonl", ".jsonl.gz", ".parquet")
FORMATS = "prompt, chosen and rejected; chosen and rejected as whole dialogues; or instruction and completions"
Messages = list[dict[str, str]]


class _Dropped(Exception):
    """A pair that is well formed and cannot be used; the reason is its text."""


def prepare_preferences(settings: PreferenceData) -> tuple[dict[str, Rows], dict[str, Any]]:
    """All records of the profile, by file name, and a report of their counts, as `prepare_hh` gives them.

    Raises:
        MissingInputError: the folder or a file of it is not there.
        DataError: a row is in no known format, or a split has fewer pairs or prompts than asked for.
        ApoBenchError: other children of it, if the golden responses cannot be had.
    """
    report: dict[str, dict[str, Any]] = {"num_read": {}, "dropped": {}, "changed": {}}
    rows = {}
    for split in ("train", "test"):
        raw = []
        for subset, files in sorted(settings.subsets.items()):  # the order in params.yaml must not decide which of two duplicates stays
            name = files.train if split == "train" else files.test
            found = read_preferences(Path(settings.folder) / name) if name else []
            report["num_read"][f"{subset}/{split}"] = len(found)
            raw += [(subset, where, row) for where, row in found]
        rows[split], report["dropped"][split], report["changed"][split] = clean_preferences(raw)
    without_test = {subset for subset, files in settings.subsets.items() if files.test is None}
    sides: dict[bool, Rows] = {True: rows["test"], False: []}
    for row in rows["train"]:
        sides[row["subset"] in without_test and _is_held_out(row, settings)].append(row)
    return prepare_pairs(settings, sides[False], sides[True], report)


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


def clean_preferences(raw: Iterable[tuple[str, str, dict[str, Any]]]) -> tuple[Rows, Counter[str], Counter[str]]:
    """Turns rows, each with its subset and where it stands, into records of the kind "pairs".

    Returns:
        The records, how many rows were dropped for each reason, and how many of the records were changed for each reason.

    Raises:
        DataError: a row is in no known format.
    """
    rows: dict[tuple[str, str, str], dict[str, Any]] = {}
    dropped = Counter(dict.fromkeys(REASONS, 0))
    changed = Counter({SYSTEM_TURN: 0})
    for subset, where, row in raw:
        try:
            chosen, rejected, had_system = _pair(row, where)
            if not chosen[1] or not rejected[1]:
                raise _Dropped(EMPTY_RESPONSE)
            if chosen[0] != rejected[0]:
                raise _Dropped(DIALOGUES_DIFFER)
            if chosen[1] == rejected[1]:
                raise _Dropped(EQUAL_RESPONSES)
            identity = (chosen[0], chosen[1], rejected[1])
            if identity in rows:
                raise _Dropped(DUPLICATE)
        except _Dropped as reason:
            dropped[str(reason)] += 1
            continue
        changed[SYSTEM_TURN] += had_system
        responses = {"chosen": chosen[1], "rejected": rejected[1]}
        rows[identity] = {"id": prompt_id(chosen[0]), "subset": subset, "dialogue": chosen[0], **responses}
    return list(rows.values()), dropped, changed


def _pair(row: dict[str, Any], where: str) -> tuple[tuple[str, str], tuple[str, str], bool]:
    """Dialogue and response of the chosen and the rejected side, and whether a system turn was moved."""
    if "completions" in row and "instruction" in row:
        prompt, sides = row["instruction"], _best_and_worst(row["completions"], where)
    elif "chosen" in row and "rejected" in row:
        prompt, sides = row.get("prompt"), (row["chosen"], row["rejected"])
    else:
        raise DataError(f"{where}: found the keys {', '.join(row)}, expected {FORMATS}; rename the columns")
    start = _messages(prompt, "prompt", where) if prompt is not None else []
    found = [_whole(start, side, name, where) for name, side in zip(("chosen", "rejected"), sides, strict=True)]
    had_system = any(messages[0]["role"] == "system" for messages in found)
    chosen, rejected = (_dialogue(_without_system(messages)) for messages in found)
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
            raise _Dropped(NOT_ALTERNATING)
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


def _dialogue(messages: Messages) -> tuple[str, str]:
    """Dialogue and response, as records have them."""
    roles, texts = [message["role"] for message in messages], [message["content"].strip() for message in messages]
    if roles != ["user", "assistant"] * (len(roles) // 2) or not all(texts[:-1]):
        raise _Dropped(NOT_ALTERNATING)
    if any(marker in f"\n\n{text}" for text in texts for marker in (HUMAN, ASSISTANT)):
        raise _Dropped(MARKER_INSIDE)
    return "".join(f"{TURNS[role]} {text}" for role, text in zip(roles[:-1], texts[:-1], strict=True)) + ASSISTANT, texts[-1]


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
        raise _Dropped(EQUAL_SCORES)
    return scored[0][1], scored[-1][1]


def _is_held_out(row: dict[str, Any], settings: PreferenceData) -> bool:
    """By the hash of its conversation, so that all of a conversation are on one side."""
    return derive_seed(settings.seed, "test", conversation(row["dialogue"])) / SEED_RANGE < settings.test_fraction
