"""Anthropic's HH-RLHF in its own layout: the raw pairs of a file, and their cleaning with a count for each reason.

A raw pair is two whole dialogues, `chosen` and `rejected`, that share all but the last turn of the assistant. Most are so; about one in
a hundred is not.
"""

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from apo_bench.core.errors import DataError, MissingInputError
from apo_bench.core.files import read_jsonl
from apo_bench.core.schemas import Schema
from apo_bench.data.records import ASSISTANT, HUMAN, parse_dialogue, prompt_id

NO_TURNS = "no Human turn first or no Assistant turn"
EMPTY_RESPONSE = "empty response"
DIALOGUES_DIFFER = "dialogues of chosen and rejected differ"
EQUAL_RESPONSES = "both responses equal"
NOT_ALTERNATING = "turns do not alternate"
DUPLICATE = "duplicate pair"
REASONS = (NO_TURNS, EMPTY_RESPONSE, DIALOGUES_DIFFER, EQUAL_RESPONSES, NOT_ALTERNATING, DUPLICATE)
"""Why a pair is dropped; of several, the first is counted."""
CUT = "cut at a stray marker"

MARKER = re.compile(f"({HUMAN}|{ASSISTANT})")
BARE_MARKER = re.compile(r"\n\n(?:Human|Assistant)\s*\Z")
"""The beginning of a turn that the model was stopped in."""
RAW_PAIR = Schema({"chosen": str, "rejected": str})


@dataclass(frozen=True)
class SplitText:
    """One side of a raw pair."""

    dialogue: str
    """Up to and with the marker of the last Assistant turn."""
    response: str
    """Stripped, and cut at a stray marker."""
    was_cut: bool


def read_raw_pairs(folder: Path, subset: str, split: str) -> list[dict[str, str]]:
    """The rows of `<folder>/<subset>/<split>.jsonl` or `.jsonl.gz`, with `chosen` and `rejected`.

    Raises:
        MissingInputError: there is no such folder or file.
        DataError: both files are there, the compression is broken, or a line is not an object with these two texts.
    """
    return read_jsonl(_find(Path(folder), subset, split), RAW_PAIR)


def split_text(text: str) -> SplitText | None:
    """Splits a raw text at its last Assistant turn; None if it does not begin with a Human turn or has no Assistant turn.

    What follows the response is cut off: a Human turn that nobody answers, an empty Assistant turn right after another one or after an
    empty Human turn, or the bare beginning of a turn. An empty Assistant turn after a question is an empty response and stays.
    """
    pieces = MARKER.split(BARE_MARKER.sub("", text))
    while len(pieces) > 5 and _is_stray(pieces):  # 5: what stands before the first question, the question and its answer
        del pieces[-2:]
        pieces[-1] = BARE_MARKER.sub("", pieces[-1])
    before, *turns = pieces
    if before or turns[:1] != [HUMAN] or turns[-2] != ASSISTANT:
        return None
    kept = "".join(pieces)
    return SplitText("".join(pieces[:-1]), pieces[-1].strip(), was_cut=len(kept) < len(text))


def clean_pairs(raw: Iterable[tuple[str, dict[str, str]]]) -> tuple[list[dict[str, Any]], Counter[str], Counter[str]]:
    """Turns raw pairs, each with its subset, into rows of the kind "pairs".

    Returns:
        The rows, how many pairs were dropped for each reason, and how many of the rows were changed for each reason.
    """
    rows: dict[tuple[str, str, str], dict[str, Any]] = {}
    dropped = Counter(dict.fromkeys(REASONS, 0))
    changed = Counter({CUT: 0})
    for subset, pair in raw:
        chosen, rejected = split_text(pair["chosen"]), split_text(pair["rejected"])
        if chosen is None or rejected is None:
            dropped[NO_TURNS] += 1
            continue
        identity = (chosen.dialogue, chosen.response, rejected.response)
        reason = _fault(chosen, rejected) or (DUPLICATE if identity in rows else None)
        if reason:
            dropped[reason] += 1
            continue
        changed[CUT] += chosen.was_cut or rejected.was_cut
        responses = {"chosen": chosen.response, "rejected": rejected.response}
        rows[identity] = {"id": prompt_id(chosen.dialogue), "subset": subset, "dialogue": chosen.dialogue, **responses}
    return list(rows.values()), dropped, changed


def conversation(dialogue: str) -> str:
    """What tells a conversation from others: its first human turn, without regard to case and white space."""
    return " ".join(parse_dialogue(dialogue)[0]["content"].casefold().split())


def _find(folder: Path, subset: str, split: str) -> Path:
    if not folder.is_dir():
        raise MissingInputError(f"{folder}: no such folder; get it with `apo-bench fetch`, or name it in prepare.folder")
    plain, compressed = (folder / subset / f"{split}{suffix}" for suffix in (".jsonl", ".jsonl.gz"))
    found = [path for path in (plain, compressed) if path.is_file()]
    if len(found) > 1:
        raise DataError(f"{plain} and {compressed}: found both, expected one of them; remove the other")
    if not found:
        raise MissingInputError(f"{plain}: no such file, nor {compressed.name}; get the folder again with `apo-bench fetch`")
    return found[0]


def _is_stray(pieces: list[str]) -> bool:
    """Whether the last turn of [..., marker, text, marker, text] comes after the response that was judged."""
    previous_marker, previous_text, marker, text = pieces[-4:]
    return marker == HUMAN or (not text.strip() and (previous_marker == ASSISTANT or not previous_text.strip()))


def _fault(chosen: SplitText, rejected: SplitText) -> str | None:
    """Why a pair cannot be used, if so."""
    if not chosen.response or not rejected.response:
        return EMPTY_RESPONSE
    if chosen.dialogue != rejected.dialogue:
        return DIALOGUES_DIFFER
    if chosen.response == rejected.response:
        return EQUAL_RESPONSES
    turns = parse_dialogue(chosen.dialogue)
    expected = ["user", "assistant"] * (len(turns) // 2) + ["user"]
    alternates = [turn["role"] for turn in turns] == expected and all(turn["content"] for turn in turns)
    return None if alternates else NOT_ALTERNATING
