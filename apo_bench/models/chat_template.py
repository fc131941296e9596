"""What a chat template makes of dialogues, as token ids: its own text around the messages, and the messages as text.

The template never sees the messages themselves. It is asked what it writes around placeholders in their place (a `Frame`), and the texts
are put in afterwards: whatever stands in a record, it opens no turn, ends none, and switches nothing in the template.
"""

from collections.abc import Callable, Sequence
from datetime import datetime
from functools import cached_property
from typing import Any, cast

from transformers import PreTrainedTokenizerFast

from apo_bench.core.errors import ModelError
from apo_bench.models.frames import Frame, frame_of
from apo_bench.models.markup import Markup

DATE_KEY, DEFAULT_DATE = "chat_template_date", "2024-07-26"
"""Where tokenizer_config.json keeps the day that the template takes for today, and that day if it says none: the one that the templates of
Llama 3 write where they can read no clock."""
VARIABLES: tuple[dict[str, Any], ...] = ({}, {"enable_thinking": False, "thinking": False})
"""What a template is told beside the messages: nothing or, where its prompts then open a thought, to leave thoughts out."""
ANCHOR = "a"
"""A letter, which no token has together with white space behind it."""
KNOWN = "_apo_bench_chat"
"""Attribute of a tokenizer: its `Chat`, and what of the tokenizer that was made for."""
CHECKED_TEXT = 'are you  "there", it\'s <b>Me</b> & “you’re”?\n\n\n- {{ one }}\n- {% two %} \\n\r\n\t…\u00a0é é ﬁ 你好 🙂'
CHECKED_ENDS = ("", " ", "\n", "\t", "\u00a0")
"""What stands at both ends of it."""
CHECKED_TURNS = (1, 2, 8)
"""Human turns of dialogues that are tried."""
CHECKED_LENGTH = 2**16
"""Characters of a message that none should be too long for."""


class Chat:
    """A tokenizer's chat template."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        self._tokenizer = tokenizer
        self._markup = Markup(tokenizer)
        self._frames: dict[tuple[str, ...], Frame] = {}
        self._reads_clock = False
        self.date = datetime.fromisoformat(tokenizer.init_kwargs.get(DATE_KEY, DEFAULT_DATE))
        self._num_written: dict[Frame, int] = {}
        self._variables: dict[str, Any] = {}
        self._choose_variables()

    @property
    def reads_clock(self) -> bool:
        """Whether the template writes a date."""
        return self._reads_clock

    @property
    def writes_of_itself(self) -> bool:
        """Whether it writes more before the first message than before a later one of the same role, such as a system turn."""
        pieces = self.frame([{"role": "user"}, {"role": "assistant"}, {"role": "user"}]).pieces
        return len(pieces[0]) > len(pieces[2])

    @property
    def leaves_thoughts_out(self) -> bool:
        """Whether the template had to be told to."""
        return bool(self._variables)

    @cached_property
    def beginning(self) -> list[int]:
        """What every prompt begins with: the tokens that the tokenizer itself puts before a text."""
        own, plain = self._tokenizer("a").input_ids, self._plain(["a"])[0]
        starts = [start for start in range(len(own) - len(plain) + 1) if own[start : start + len(plain)] == plain]
        return list(own[: starts[0]]) if starts else []

    @property
    def begins_twice(self) -> bool:
        """Whether the template writes the beginning token somewhere before the first message, and the tokenizer before all."""
        beginning, bos = self.beginning, self._tokenizer.bos_token_id
        [ids] = self._plain([self.frame([{"role": "user"}]).pieces[0]])
        if ids[: len(beginning)] == beginning:
            return bos is not None and ids[:2] == [bos] * 2
        return bos != self._tokenizer.eos_token_id and bos in beginning and bos in ids

    def prompts(self, conversations: Sequence[Sequence[dict[str, str]]]) -> list[list[int]]:
        """Token ids of the dialogues, up to where the answer begins."""
        frames = [self.frame(messages) for messages in conversations]
        texts = [[message["content"] for message in messages] for messages in conversations]
        encoded = self._plain([frame.filled(contents) for frame, contents in zip(frames, texts, strict=True)])
        for index, (ids, frame) in enumerate(zip(encoded, frames, strict=True)):
            if self._markup.num_controls(ids) != self._num_controls_of(frame):
                encoded[index] = ids = self._with_texts_as_text(frame, texts[index])
            if ids[: len(self.beginning)] != self.beginning:
                encoded[index] = self.beginning + ids
        return encoded

    def answers(
        self, conversations: Sequence[Sequence[dict[str, str]]], answers: Sequence[str], finished: Sequence[bool]
    ) -> list[list[int]]:
        """Token ids of an answer to each dialogue; the end token follows those that are finished.

        The answer is tokenised behind what stands before it, and not as a text of its own: to some tokenizers that is not the same.
        """
        frames = [self.frame(messages) for messages in conversations]
        texts = [f.before + f.trims[-1](text) + f.after * ended for f, text, ended in zip(frames, answers, finished, strict=True)]
        encoded = self._behind([frame.pieces[-1] for frame in frames], texts)
        return [ids + [self._tokenizer.eos_token_id] * ended for ids, ended in zip(encoded, finished, strict=True)]

    def frame(self, messages: Sequence[dict[str, str]]) -> Frame:
        """What the template writes around these messages.

        Raises:
            ModelError: it refuses their roles, changes messages, or does not go on as the prompt begins when the dialogue is finished.
        """
        roles = tuple(message["role"] for message in messages)
        if roles not in self._frames:
            self._frames[roles] = frame_of(roles, self._render, self._tokenizer.eos_token, self._place)
        return self._frames[roles]

    def check(self) -> None:
        """Compares with what the template makes of real messages, in finished dialogues of some turns.

        Raises:
            ModelError: the template changes the text of a message.
        """
        long = CHECKED_TEXT * (CHECKED_LENGTH // len(CHECKED_TEXT))
        written = [*(f"{end}{CHECKED_TEXT}{{}}{end}" for end in CHECKED_ENDS), long + "{}", ""]
        for num_turns in CHECKED_TURNS:
            roles = ("user", *("assistant", "user") * (num_turns - 1), "assistant")
            frame = self.frame([{"role": role} for role in roles[:-1]])
            for form in written:
                *texts, answer = (form.replace("{}", str(number)) for number in range(len(roles)))
                expected = frame.filled(texts) + frame.before + frame.trims[-1](answer) + frame.after + str(self._tokenizer.eos_token)
                messages = [{"role": role, "content": content} for role, content in zip(roles, [*texts, answer], strict=True)]
                found = self._render(messages, False)
                if not found.startswith(expected):
                    raise ModelError(f"{self._place}: the chat template changes the text of messages: {_difference(expected, found)}")

    def _choose_variables(self) -> None:
        refusals = []
        for self._variables in VARIABLES:
            try:
                self.frame([{"role": "user"}])
                return
            except ModelError as refusal:
                refusals.append(refusal)
        raise refusals[0]

    @property
    def _place(self) -> str:
        return str(self._tokenizer.name_or_path or "tokenizer")

    def _render(self, messages: list[dict[str, str]], is_prompt: bool) -> str:
        def strftime_now(form: str) -> str:
            self._reads_clock = True
            return self.date.strftime(form)

        try:
            return str(
                self._tokenizer.apply_chat_template(
                    messages, tokenize=False, add_generation_prompt=is_prompt, strftime_now=strftime_now, **self._variables
                )
            )
        except Exception as error:  # a template is a program, and may raise anything
            roles = ", ".join(message["role"] for message in messages)
            raise ModelError(
                f"{self._place}: the chat template takes no dialogue of the turns {roles} "
                f"({' '.join(str(error).split()) or type(error).__name__})"
            ) from error

    def _plain(self, texts: list[str]) -> list[list[int]]:
        if not texts:
            return []
        return self._tokenizer(texts, add_special_tokens=False, return_attention_mask=False, return_token_type_ids=False).input_ids

    def _behind(self, tails: list[str], texts: list[str]) -> list[list[int]]:
        """Token ids of the texts, each behind a tail."""
        unique = [*dict.fromkeys(tails)]
        own = dict(zip(unique, self._plain(unique), strict=True))
        encoded = self._plain([tail + text for tail, text in zip(tails, texts, strict=True)])
        alone = [index for index, (ids, tail) in enumerate(zip(encoded, tails, strict=True)) if ids[: len(own[tail])] != own[tail]]
        rests = [ids[len(own[tail]) :] for ids, tail in zip(encoded, tails, strict=True)]
        for index, ids in zip(alone, self._alone([texts[index] for index in alone], self._plain), strict=True):
            rests[index] = ids
        for index, ids in enumerate(rests):
            if self._markup.num_controls(ids):
                rests[index] = self._as_text(tails[index], texts[index])
        return rests

    def _alone(self, texts: Sequence[str], encode: Callable[[list[str]], list[list[int]]]) -> list[list[int]]:
        """Token ids of texts whose beginnings would be one token with what stands before; behind a letter where they begin with white
        space, as some tokenizers put a space before whatever is first."""
        letters = [ANCHOR if text[:1].isspace() else "" for text in texts]
        own = dict.fromkeys(letters, 0) | {ANCHOR: len(encode([ANCHOR])[0])}
        encoded = encode([letter + text for letter, text in zip(letters, texts, strict=True)])
        return [ids[own[letter] :] for letter, ids in zip(letters, encoded, strict=True)]

    # Control tokens in texts

    def _num_controls_of(self, frame: Frame) -> int:
        """Control tokens that the template writes itself."""
        if frame not in self._num_written:
            [ids] = self._plain([frame.filled(["a"] * (len(frame.pieces) - 1))])
            self._num_written[frame] = self._markup.num_controls(ids)
        return self._num_written[frame]

    def _with_texts_as_text(self, frame: Frame, texts: Sequence[str]) -> list[int]:
        pieces = tuple(self._markup.renamed(piece) for piece in frame.pieces)
        renamed = Frame(pieces, frame.trims, frame.before, frame.after, frame.thought)
        for written in zip(*map(self._markup.forms, texts), strict=True):
            ids = self._markup.encoded(renamed.filled(written))
            if self._markup.num_controls(ids) == self._num_controls_of(frame):
                break
        return ids

    def _as_text(self, tail: str, text: str) -> list[int]:
        """Token ids of a text behind a tail, none of them a control token."""
        renamed = self._markup.renamed(tail)
        for written in self._markup.forms(text):
            before, ids = self._markup.encoded(renamed), self._markup.encoded(renamed + written)
            if ids[: len(before)] == before:
                ids = ids[len(before) :]
            else:
                [ids] = self._alone([written], lambda texts: [*map(self._markup.encoded, texts)])
            if not self._markup.num_controls(ids):
                break
        return ids


def chat_of(tokenizer: PreTrainedTokenizerFast) -> Chat:
    """The chat template of a tokenizer; what it writes is looked at once.

    Raises:
        ModelError: see `Chat.frame`.
    """
    state = (tokenizer.chat_template, tokenizer.bos_token, tokenizer.eos_token, len(tokenizer), tokenizer.init_kwargs.get(DATE_KEY))
    known = vars(tokenizer).get(KNOWN)
    if known is None or known[0] != state:
        known = vars(tokenizer)[KNOWN] = (state, Chat(tokenizer))
    return cast(Chat, known[1])


def describe(tokenizer: PreTrainedTokenizerFast) -> str:
    """What was found of a chat template and its tokens, in words."""
    chat = chat_of(tokenizer)
    [first, *_] = [tokenizer.convert_ids_to_tokens(ids) for ids in chat.prompts([[{"role": "user", "content": "Hi."}]])]
    beginning = tokenizer.convert_ids_to_tokens(chat.beginning)
    if beginning:
        said = [f"prompts begin with {' '.join(beginning)}, as the tokenizer writes it, once"]
    elif tokenizer.bos_token in first[:1]:
        said = [f"prompts begin with {first[0]}, which the template writes"]
    else:
        said = ["prompts have no beginning token, as neither tokenizer nor template writes one"]
    said.append(f"answers end with {tokenizer.eos_token}, padding is {tokenizer.pad_token}")
    frame = chat.frame([{"role": "user"}])
    if chat.writes_of_itself:
        said.append("it adds a turn or text of its own before the first message")
    if frame.thought.strip() or chat.leaves_thoughts_out:
        said.append("answers are without thoughts" + (f", behind {frame.thought.strip()!r}" if frame.thought.strip() else ""))
    if chat.reads_clock:
        said.append(f"it writes a date, {chat.date:%Y-%m-%d} whatever the day (base_model.chat_date)")
    said.append(
        "prompt and answer are what it makes of the finished dialogue, tried with "
        + ", ".join(map(str, CHECKED_TURNS))
        + " turns; messages are text"
    )
    return "; ".join(said)


def _difference(expected: str, found: str) -> str:
    """Where two texts part, in words."""
    at = next((at for at, (one, other) in enumerate(zip(expected, found, strict=False)) if one != other), min(len(expected), len(found)))
    start = max(0, at - 30)
    return f"{expected[start : at + 30]!r} becomes {found[start : at + 30]!r}"
