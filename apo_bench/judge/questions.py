"""What the judge is asked: two answers to a prompt, in both orders, in the words of a template; and how its verdict is read."""

import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import Any, Literal

from apo_bench.chat.ledger import Prompt
from apo_bench.config.judge_sections import GoldJudge, ServerJudge, VllmJudge
from apo_bench.core.errors import ConfigError, MissingInputError
from apo_bench.core.records import VerdictRow
from apo_bench.data.records import ASSISTANT

Verdict = Literal["A", "B", "tie"]
VERDICTS: tuple[Verdict, ...] = ("A", "B", "tie")
PLACEHOLDERS = ("dialogue", "first", "second")
EMPTY = "(This answer is empty.)"
"""What stands in the place of an answer without a visible sign."""
SIGN = '"verdict"'
THOUGHT = r"(?:(?:seed:)?think|thinking|thoughts?|reasoning|reflection|analysis|scratchpad)\s*>"
MARKS = re.compile(
    rf"\{{|(?P<end></{THOUGHT}|\[/THINK\]|◁/think▷|<\|end_of_thought\|>|<channel\|>|<\|channel\|>final)"
    rf"|<{THOUGHT}|\[THINK\]|◁think▷|<\|begin_of_thought\|>|<\|channel\|>(?:analysis|commentary|thought)",
    re.IGNORECASE,
)
"""Where an object may begin, and where thoughts begin and end in answers of models that think aloud."""
ASKED_AGAIN = 'That is not the JSON object asked for. Reply with it and nothing else: {"reasoning": "...", "verdict": "A" or "B" or "tie"}'
FORM: dict[str, Any] = {
    "response_format": {
        "type": "json_schema",
        "json_schema": {
            "name": "verdict",
            "strict": True,
            "schema": {
                "type": "object",
                "properties": {"reasoning": {"type": "string"}, "verdict": {"type": "string", "enum": list(VERDICTS)}},
                "required": ["reasoning", "verdict"],
                "additionalProperties": False,
            },
        },
    }
}
"""Of the request, for servers that hold a model to it; the order of the properties has it reason first."""


class JudgementRow(VerdictRow):
    """What a judge made of a matchup, and what that took."""

    dialogue: str
    response: str
    opponent: str
    is_identical: bool
    verdict_own_first: Verdict | None
    """None if unreadable or not asked."""
    verdict_opponent_first: Verdict | None
    reasoning_own_first: str
    reasoning_opponent_first: str
    num_requests: int
    num_asked_again: int
    prompt_tokens: int
    completion_tokens: int
    usd: float
    served_models: list[str]


@dataclass(frozen=True)
class Matchup:
    """A prompt, a policy's response and the opponent's."""

    id: str
    subset: str
    dialogue: str
    response: str
    opponent: str

    @property
    def is_identical(self) -> bool:
        """A tie whatever the judge would say, so that it is not asked."""
        return self.response.strip() == self.opponent.strip()


@dataclass(frozen=True)
class Question:
    """A matchup in one of its two orders."""

    id: str
    dialogue: str
    first: str
    second: str
    prompt: Prompt


def read_templates(folder: Path, subsets: Iterable[str]) -> dict[str, Template]:
    """The template of each subset.

    Raises:
        MissingInputError: a file is not there.
        ConfigError: a placeholder is missing, unknown or broken, or the file is not UTF-8.
    """
    templates = {}
    for subset in subsets:
        file = folder / f"{subset}.txt"
        try:
            template = Template(file.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise MissingInputError(f"{file}: no such file; judge.templates must name a folder with a file for each subset") from error
        except UnicodeDecodeError as error:
            raise ConfigError(f"{file}: not UTF-8 ({error.reason} at byte {error.start}); save the file as UTF-8") from error
        expected = ", ".join(f"${name}" for name in PLACEHOLDERS)
        if not template.is_valid():
            raise ConfigError(f"{file}: a $ that begins no placeholder; write $$ for the sign itself, placeholders are {expected}")
        found = template.get_identifiers()
        if set(found) != set(PLACEHOLDERS):
            shown = ", ".join(f"${name}" for name in found) or "none"
            raise ConfigError(f"{file}: found the placeholders {shown}, expected {expected}")
        templates[subset] = template
    return templates


def both_orders(
    matchup: Matchup, templates: dict[str, Template], provider: GoldJudge | ServerJudge | VllmJudge
) -> tuple[Question, Question]:
    """The question with the response first, and with the opponent's first."""
    template = templates[matchup.subset]
    orders = (matchup.response, matchup.opponent), (matchup.opponent, matchup.response)
    first, second = (_question(matchup, template, provider, *answers) for answers in orders)
    return first, second


def again(question: Question, unreadable: str) -> Question:
    """The same question after an answer without a readable verdict."""
    turns = [{"role": "assistant", "content": unreadable}, {"role": "user", "content": ASKED_AGAIN}]
    key = hashlib.sha256(f"{question.prompt.key} {ASKED_AGAIN}".encode()).hexdigest()
    prompt = Prompt(key, question.id, [*question.prompt.messages, *turns])
    return Question(question.id, question.dialogue, question.first, question.second, prompt)


def read_verdict(text: str) -> tuple[Verdict | None, str]:
    """The verdict, None if it cannot be read, and the reasoning before it.

    Nothing is guessed: behind the thought, if there is one, the answer must hold JSON objects with one and the same of the three verdicts,
    whatever stands around them.
    """
    found = _verdicts(text)
    if len({verdict for verdict, _ in found}) != 1:
        return None, text
    return found[-1]


def _verdicts(text: str) -> list[tuple[Verdict, str]]:
    """The verdicts in an answer behind its thought, each with its reasoning."""
    found: list[tuple[int, dict[str, Any]]] = []
    last_sign = text.rfind(SIGN)
    position, thought_end = 0, 0
    for mark in MARKS.finditer(text):
        if mark.start() < position:  # inside an object
            continue
        if mark["end"]:
            position = thought_end = mark.end()
        elif mark[0] != "{":
            position = mark.end()
            if not text[thought_end : mark.start()].strip():  # else it is quoted
                thought_end = len(text)  # unless its end follows
        elif mark.start() <= last_sign:
            try:
                value, end = DECODER.raw_decode(text, mark.start())
                found += [(mark.start(), holder) for holder in _holders(value)]
                position = end
            except (ValueError, RecursionError):
                continue
    return [(holder["verdict"], str(holder.get("reasoning", ""))) for start, holder in found if start >= thought_end]


def _holders(value: Any) -> Iterator[dict[str, Any]]:
    """The objects in a value that hold a verdict, from the inside out."""
    if isinstance(value, (dict, list)):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _holders(inner)
    if isinstance(value, dict) and isinstance(value.get("verdict"), str) and value["verdict"] in VERDICTS:
        yield value


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({name for name, _ in pairs}) < len(pairs):
        raise ValueError("a name twice")
    return dict(pairs)


DECODER = json.JSONDecoder(object_pairs_hook=_without_doubles, parse_int=str, parse_float=str, strict=False)
"""Numbers stay text: none is asked for, and Python refuses integers of thousands of digits."""


def _question(matchup: Matchup, template: Template, provider: GoldJudge | ServerJudge | VllmJudge, first: str, second: str) -> Question:
    parts = [*_identity(provider), template.template, matchup.dialogue, first, second]
    key = hashlib.sha256(json.dumps(parts).encode()).hexdigest()
    shown = {"dialogue": _readable(matchup.dialogue), "first": first.strip() or EMPTY, "second": second.strip() or EMPTY}
    prompt = Prompt(key, matchup.id, [{"role": "user", "content": template.substitute(shown)}])
    return Question(matchup.id, matchup.dialogue, first, second, prompt)


def _identity(provider: GoldJudge | ServerJudge | VllmJudge) -> list[Any]:
    """Model, revision and decoding: what shapes an answer beside the text that is sent."""
    if isinstance(provider, GoldJudge):
        return ["gold", provider.noise, provider.position_bias]
    return [provider.model, provider.revision, provider.temperature, provider.max_tokens, provider.json_schema]


def _readable(dialogue: str) -> str:
    """The turns so far, without the marker of the one to be judged."""
    return dialogue.strip().removesuffix(ASSISTANT.strip()).strip()
