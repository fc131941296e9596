"""What a chat template writes around messages: it is asked with placeholders in their place, and never sees the messages themselves."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from apo_bench.core.errors import ModelError

Render = Callable[[list[dict[str, str]], bool], str]
"""The text that a template makes of messages, and whether it is a prompt."""
PLACE = "\ue000{}\ue001"
"""A message's placeholder: private-use characters, which neither templates nor texts know."""
PADDING = "\n \n"
"""Around a placeholder, to see what the template does to white space there."""
TRIMS: dict[str, Callable[[str], str]] = {PADDING: lambda text: text, " \n": lambda text: text.lstrip("\n"), "": str.lstrip}
"""What is left of `PADDING` before a text -> what the template does to its beginning."""
END_TRIMS: dict[str, Callable[[str], str]] = {PADDING: lambda text: text, "\n ": lambda text: text.rstrip("\n"), "": str.rstrip}


@dataclass(frozen=True)
class Frame:
    """What the template writes around the messages of a dialogue with certain roles, up to where the answer begins, and around that."""

    pieces: tuple[str, ...]
    """Before each message, and after the last."""
    trims: tuple[Callable[[str], str], ...]
    """What it does to the white space at the ends of each message, and of the answer."""
    before: str
    """White space before the answer that is not in the prompt, but is one token with the answer's first word."""
    after: str
    """White space between the answer and the end token."""
    thought: str
    """What of the last piece stands in finished dialogues alone: an empty thought, say."""

    def filled(self, texts: Sequence[str]) -> str:
        """The prompt."""
        trimmed = [trim(text) for trim, text in zip(self.trims, texts, strict=False)]
        return "".join(part for pair in zip(self.pieces, [*trimmed, ""], strict=True) for part in pair)


def frame_of(roles: tuple[str, ...], render: Render, end_token: str, where: str) -> Frame:
    """What a template writes around messages of these roles.

    Args:
        roles: of the messages, the last of which is answered.
        render: the template.
        end_token: the tokenizer's, which the template is to end an answer with.
        where: whose template it is, for messages.

    Raises:
        ModelError: it refuses the roles, changes messages, or does not go on as the prompt begins when the dialogue is finished.
    """
    pieces, trims = _pieces(roles, render, True, where)
    finished, finished_trims = _pieces((*roles, "assistant"), render, False, where)
    tail, last, end = pieces[-1], finished[-2], finished[-1]
    if finished[:-2] != pieces[:-1] or not last.startswith(tail) or finished_trims[:-1] != trims:
        cure = "write prompt and answer as one text, or take another template (chat_template: hh)"
        raise ModelError(
            f"{where}: the chat template's prompt ends in {tail[-40:]!r}, the finished dialogue has {last[-40:]!r} before the "
            f"answer; {cure}"
        )
    stripped = end.lstrip()
    if not stripped.startswith(end_token):
        raise ModelError(f"{where}: the chat template ends an answer with {end.strip()!r}, the end token is {end_token!r}; make them one")
    rest = last.removeprefix(tail)
    thought, before = (rest, "") if rest.strip() else ("", rest)
    return Frame((*pieces[:-1], tail + thought), finished_trims, before, end[: len(end) - len(stripped)], thought)


def _pieces(
    roles: tuple[str, ...], render: Render, is_prompt: bool, where: str
) -> tuple[tuple[str, ...], tuple[Callable[[str], str], ...]]:
    """What the template writes before each message and after the last, and what it does to their ends."""
    places = [PLACE.format(number) for number in range(len(roles))]
    bare = render([{"role": role, "content": place} for role, place in zip(roles, places, strict=True)], is_prompt)
    padded = render([{"role": role, "content": PADDING + place + PADDING} for role, place in zip(roles, places, strict=True)], is_prompt)
    pieces, left = _split(bare, places), _split(padded, places)
    if pieces is None or left is None:
        raise ModelError(f"{where}: the chat template does not write each message of the turns {', '.join(roles)} once, in order")
    beginnings: list[str] = []
    endings: list[str] = [""]
    for number, piece in enumerate(pieces):  # padded, a piece has what is left of the padding at both ends
        found = [
            (end, begin)
            for end in (END_TRIMS if number else ("",))
            for begin in (TRIMS if number < len(roles) else ("",))
            if left[number] == end + piece + begin
        ]
        if not found:
            raise ModelError(f"{where}: the chat template changes the text of messages, not their ends alone")
        end, begin = found[0]
        beginnings.append(begin)
        endings.append(end)
    return pieces, tuple(_Trim(begin, end) for begin, end in zip(beginnings[:-1], endings[2:], strict=True))


@dataclass(frozen=True)
class _Trim:
    """What a template does to the ends of a message, by what it leaves of `PADDING` there."""

    begin: str
    end: str

    def __call__(self, text: str) -> str:
        return END_TRIMS[self.end](TRIMS[self.begin](text))


def _split(text: str, places: Sequence[str]) -> tuple[str, ...] | None:
    """What stands between the placeholders; None if one of them is not there once, in its order."""
    parts = []
    for place in places:
        before, found, text = text.partition(place)
        if not found or place in text:
            return None
        parts.append(before)
    return (*parts, text)
