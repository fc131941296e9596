"""Control tokens of a tokenizer, and texts that hold their names: text to whoever reads them, and text to the model."""

import json
import re
from collections.abc import Sequence
from functools import cached_property
from typing import cast

from tokenizers import AddedToken, Tokenizer
from transformers import PreTrainedTokenizerFast

RENAMED = "\U000f0000{}\U000f0001"
"""A control token's name for the tokenizer that takes its real one for text."""
SEPARATOR = "\U000f0002"
"""Keeps two characters from becoming one token; leaves no token itself."""
BRACKETED = re.compile(r"(<.+>|\[.+\]|<?\|.+\|>?)")
"""The look of added tokens that are control tokens without being marked as special, such as <think>."""


class Markup:
    """What of a tokenizer's added tokens is markup, and the tokenizer that takes the names of those for text."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        self._tokenizer = tokenizer

    def num_controls(self, ids: Sequence[int]) -> int:
        """How many of the tokens are control tokens."""
        controls = self.controls
        return sum(id in controls for id in ids)

    def renamed(self, markup: str) -> str:
        """The template's own text with the other names of its control tokens."""
        for id, token in sorted(self.controls.items(), key=lambda item: -len(item[1].content)):
            markup = markup.replace(token.content, RENAMED.format(id))
        return markup

    def forms(self, text: str) -> tuple[str, str, str]:
        """What to try for `encoded` to find no control token in a text: the text; with a separator in each name of one, for tokenizers
        whose own vocabulary has these names as well, and in what would be another name of one; and with separators all over it, for those
        that make such names of other signs."""
        named = text.replace(RENAMED[0], RENAMED[0] + SEPARATOR)
        for token in self.controls.values():
            if len(token.content) > 1:
                named = named.replace(token.content, token.content[0] + SEPARATOR + token.content[1:])
        return text, named, SEPARATOR.join(text)

    def encoded(self, text: str) -> list[int]:
        """Token ids of a text, in which a control token's own name is text and its other name (`renamed`) the token."""
        encoder, ids = self._text_encoder
        separator = encoder.token_to_id(SEPARATOR)
        return [ids.get(id, id) for id in encoder.encode(text, add_special_tokens=False).ids if id != separator]

    @cached_property
    def controls(self) -> dict[int, AddedToken]:
        """Added tokens that are not text: special ones, and those that have the look of one; but for what stands for unknown signs."""
        tokenizer, added = self._tokenizer, self._tokenizer.added_tokens_decoder
        unknown = {tokenizer.unk_token_id} - {tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id}
        named = {id: token for id, token in added.items() if token.special or BRACKETED.fullmatch(token.content)}
        return {id: token for id, token in named.items() if id not in unknown}

    @cached_property
    def _text_encoder(self) -> tuple[Tokenizer, dict[int, int]]:
        """The tokenizer with other names for control tokens, so that their own are text; and its ids -> those of the tokenizer."""
        content = json.loads(self._tokenizer.backend_tokenizer.to_str())
        content |= {"added_tokens": [], "post_processor": None, "truncation": None, "padding": None}
        encoder = Tokenizer.from_str(json.dumps(content))
        ids = {}
        for id, token in sorted(self._tokenizer.added_tokens_decoder.items()):
            name, kept = token.content, {key: getattr(token, key) for key in ("lstrip", "rstrip", "single_word", "normalized", "special")}
            if id in self.controls:
                name, kept = RENAMED.format(id), kept | {"normalized": False, "special": True}
            encoder.add_tokens([AddedToken(name, **kept)])
            ids[cast(int, encoder.token_to_id(name))] = id
        encoder.add_tokens([AddedToken(SEPARATOR, normalized=False, special=True)])
        return encoder, ids
