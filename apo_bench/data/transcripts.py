"""Whole dialogues as one text, in HH's form: where the last answer begins, and what follows it by mistake."""

import re
from dataclasses import dataclass

from apo_bench.data.records import ASSISTANT, HUMAN, parse_dialogue

MARKER = re.compile(f"({HUMAN}|{ASSISTANT})")
BARE_MARKER = re.compile(r"\n\n(?:Human|Assistant)\s*\Z")
"""The beginning of a turn that the model was stopped in."""


@dataclass(frozen=True)
class SplitText:
    """A text, taken apart."""

    dialogue: str
    """Up to and with the marker of the last Assistant turn."""
    response: str
    """Stripped, and cut at a stray marker."""
    was_cut: bool


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


def conversation(dialogue: str) -> str:
    """What tells a conversation from others: its first human turn, without regard to case and white space."""
    return " ".join(parse_dialogue(dialogue)[0]["content"].casefold().split())


def _is_stray(pieces: list[str]) -> bool:
    """Whether the last turn of [..., marker, text, marker, text] comes after the response that was judged."""
    previous_marker, previous_text, marker, text = pieces[-4:]
    return marker == HUMAN or (not text.strip() and (previous_marker == ASSISTANT or not previous_text.strip()))
