"""What a model behind a server was asked, what it answered and what that cost: a cache file that survives a kill, and a budget.

Each answer is on the disk before the next request goes out, so that a killed run loses no more than its requests in flight.
"""

import json
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from apo_bench.core.errors import DataError, OutputError
from apo_bench.core.files import read_jsonl
from apo_bench.core.sections import GoldenAPI

CHARACTERS_A_TOKEN = 3
"""English has about four, so that this overestimates what a prompt costs. Counted in UTF-8 bytes, as other scripts have fewer."""
TOKENS_A_MESSAGE = 8
"""What a chat template puts around a message, at most."""
COLUMNS: dict[str, type] = {
    "key": str, "id": str, "model": str, "response": str, "finish_reason": str, "prompt_tokens": int, "completion_tokens": int,
}  # fmt: skip
FIRST_BYTES = b'{"key": "'
"""How each line of a cache begins; it tells a line that a kill cut in half from the last line of a file that is no cache."""
NEWLINE = b"\n"
CUT = {"length": "cut at max_tokens", "content_filter": "cut by the server's content filter"}
"""Finish reasons of an answer that is not whole, and what they mean."""


@dataclass(frozen=True)
class Prompt:
    """What the server is asked."""

    key: str
    """The hash of all that shapes the answer."""
    id: str
    messages: list[dict[str, str]]

    @property
    def num_tokens(self) -> int:
        """An upper estimate, as only the server has the tokenizer."""
        num_characters = sum(len(message["content"].encode()) for message in self.messages)
        return math.ceil(num_characters / CHARACTERS_A_TOKEN) + TOKENS_A_MESSAGE * len(self.messages)


@dataclass(frozen=True)
class Failure:
    """Why a request brought no answer."""

    message: str
    concerns_all: bool
    """Whether every other request would fail alike."""


@dataclass
class Ledger:
    """The answers so far, those of earlier runs included, what they and the requests in flight cost, and what failed."""

    settings: GoldenAPI
    answers: dict[str, str] = field(default_factory=dict)
    """By key; only those that can be used."""
    spent_usd: float = 0.0
    """For all answers in the cache, also those that were refused."""
    num_requests: int = 0
    """Answers in the cache, requests in flight and requests that failed in this run. A retry by the client is none."""
    reserved_usd: dict[str, float] = field(default_factory=dict)
    """By key, the most that a request in flight can cost."""
    failures: dict[str, tuple[str, str]] = field(default_factory=dict)
    """By key, the id of a prompt that got no golden response in this run, and why."""
    num_failures_in_a_row: int = 0
    refusal: str = ""
    """The server's message, if it concerns all prompts."""

    def passed_limit(self, prompt: Prompt) -> str | None:
        """The key of the limit that could be passed if this prompt were asked as well."""
        if self.num_requests + 1 > self.settings.max_requests:
            return "max_requests"
        most = self.spent_usd + sum(self.reserved_usd.values()) + self._most_usd(prompt)
        return "max_usd" if most > self.settings.max_usd else None

    def reserve(self, prompt: Prompt) -> None:
        """Enters a request that goes out."""
        self.num_requests += 1
        self.reserved_usd[prompt.key] = self._most_usd(prompt)

    def settle(self, prompt: Prompt, result: dict[str, Any] | Failure) -> None:
        """Enters what became of a request; an answer, a row of the cache, goes to the disk first.

        Raises:
            OutputError: the cache cannot be written.
        """
        if isinstance(result, Failure):
            defect = result.message
            self.refusal = result.message if result.concerns_all else self.refusal
        else:
            _append(Path(self.settings.cache), json.dumps(result).encode() + NEWLINE)
            self.enter(result)
            defect = defect_of(result)
        del self.reserved_usd[prompt.key]
        self.num_failures_in_a_row = self.num_failures_in_a_row + 1 if defect else 0
        if defect:
            self.failures[prompt.key] = (prompt.id, defect)

    def check_writable(self) -> None:
        """Makes sure that answers can be kept, before any is paid for.

        Raises:
            OutputError: the cache cannot be written.
        """
        _append(Path(self.settings.cache), b"")

    def enter(self, row: dict[str, Any]) -> None:
        """Takes up a row of the cache."""
        self.spent_usd += self._usd(row["prompt_tokens"], row["completion_tokens"])
        if not defect_of(row):
            self.answers[row["key"]] = row["response"].strip()

    def _most_usd(self, prompt: Prompt) -> float:
        return self._usd(prompt.num_tokens, self.settings.max_tokens)

    def _usd(self, num_prompt_tokens: int, num_completion_tokens: int) -> float:
        for_prompt = num_prompt_tokens * self.settings.usd_per_million_prompt_tokens
        return (for_prompt + num_completion_tokens * self.settings.usd_per_million_completion_tokens) / 1e6


def open_ledger(settings: GoldenAPI) -> tuple[Ledger, str]:
    """The ledger with what is in the cache file, and a notice, "" if there is none: a last line cut in half by a kill was dropped.

    Raises:
        DataError: another line is broken; file and line are named.
        OutputError: the cache cannot be written.
    """
    path = Path(settings.cache)
    ledger = Ledger(settings)
    notice = _mend_last_line(path) if path.is_file() else ""
    if not path.is_file() or path.stat().st_size == 0:
        return ledger, notice
    for number, row in enumerate(read_jsonl(path, required=COLUMNS), start=1):
        for column, expected in COLUMNS.items():
            if type(row[column]) is not expected:
                raise DataError(f"{path}:{number}: {column} is {type(row[column]).__name__}, expected {expected.__name__}")
        ledger.num_requests += 1
        ledger.enter(row)
    return ledger, notice


def defect_of(row: dict[str, Any]) -> str:
    """Why an answer is no golden response, which must be whole; "" if it is one."""
    return CUT.get(row["finish_reason"]) or ("" if row["response"].strip() else "empty answer")


def _mend_last_line(path: Path) -> str:
    """Drops a last line that is cut in half, with a notice; ends one that lacks only its end, as its answer is paid for."""
    data = path.read_bytes()
    start = data.rfind(b"\n") + 1
    line, where = data[start:], f"{path}:{data.count(NEWLINE) + 1}"
    if not line:
        return ""
    if not line.startswith(FIRST_BYTES[: len(line)]):
        raise DataError(f"{where}: not a line of a cache; prepare.golden.cache must name a cache or a new file")
    try:
        json.loads(line)
    except ValueError:
        with _output_errors(path):
            os.truncate(path, start)
        return f"{where}: dropped, as it was cut in half when a run was killed; the prompt is asked again"
    _append(path, NEWLINE)
    return ""


def _append(path: Path, line: bytes) -> None:
    with _output_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab") as file:
            file.write(line)
            file.flush()
            os.fsync(file.fileno())


@contextmanager
def _output_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror}); whole lines stay: free space and run again") from error
