"""What a model behind a server was asked, what it answered and what that cost: a file that survives a kill, and a budget.

Each answer is on the disk before the next request goes out, so that a killed run loses no more than its requests in flight.
"""

import json
import math
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from annotated_types import Ge
from typing_extensions import TypedDict

from apo_bench.config.sections import ChatServer
from apo_bench.core.errors import DataError, OutputError
from apo_bench.core.files import read_jsonl
from apo_bench.core.schemas import Count, Name, Number, Schema

CHARACTERS_A_TOKEN = 3
"""English has about four, so that this overestimates what a prompt costs. Counted in UTF-8 bytes, as other scripts have fewer."""
TOKENS_A_MESSAGE = 8
"""What a chat template puts around a message, at most."""
FIRST_BYTES = b'{"key": "'
"""How each line of a ledger begins; it tells a line that a kill cut in half from the last line of a file that is none."""
NEWLINE = b"\n"


class AnswerRow(TypedDict):
    """What a server answered."""

    key: Name
    """Of the prompt."""
    id: str
    model: str
    served_model: str
    """What the server says it is, which tells when a judge changed under its name."""
    response: str
    finish_reason: str
    prompt_tokens: Count
    completion_tokens: Count


class LedgerRow(AnswerRow):
    """The same with its price, a row of the file."""

    usd: Annotated[Number, Ge(0)]


SCHEMA = Schema(LedgerRow)


@dataclass(frozen=True)
class Prompt:
    """What the server is asked."""

    key: str
    """The hash of all that shapes the answer."""
    id: str
    """Of the record that it is about, for messages."""
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

    path: Path
    settings: ChatServer
    defect_of: Callable[[LedgerRow], str]
    """Why an answer cannot be used, "" if it can."""
    rows: dict[str, LedgerRow] = field(default_factory=dict)
    """By key, the answers that can be used, each as the row of the file."""
    spent_usd: float = 0.0
    """For all answers in the file, also those that were refused, and those of the ledgers that share its budget."""
    num_requests: int = 0
    """Answers in the files, requests in flight and requests that failed in this run. A retry is none."""
    reserved_usd: dict[str, float] = field(default_factory=dict)
    """By key, the most that a request in flight can cost."""
    failures: dict[str, tuple[str, str]] = field(default_factory=dict)
    """By key, the id of a prompt that got no answer in this run, and why."""
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

    def settle(self, prompt: Prompt, result: AnswerRow | Failure) -> None:
        """Enters what became of a request; an answer goes to the disk first.

        Raises:
            OutputError: the file cannot be written.
        """
        if isinstance(result, Failure):
            defect = result.message
            self.refusal = result.message if result.concerns_all else self.refusal
        else:
            row: LedgerRow = {**result, "usd": self._usd(result["prompt_tokens"], result["completion_tokens"])}
            _append(self.path, json.dumps(row).encode() + NEWLINE)
            self.enter(row)
            defect = self.defect_of(row)
        del self.reserved_usd[prompt.key]
        self.num_failures_in_a_row = self.num_failures_in_a_row + 1 if defect else 0
        if defect:
            self.failures[prompt.key] = (prompt.id, defect)

    def check_writable(self) -> None:
        """Makes sure that answers can be kept, before any is paid for.

        Raises:
            OutputError: the file cannot be written.
        """
        _append(self.path, b"")

    def enter(self, row: LedgerRow) -> None:
        """Takes up a row of the file."""
        self.spent_usd += row["usd"]
        if not self.defect_of(row):
            self.rows[row["key"]] = row

    def _most_usd(self, prompt: Prompt) -> float:
        return self._usd(prompt.num_tokens, self.settings.max_tokens)

    def _usd(self, num_prompt_tokens: int, num_completion_tokens: int) -> float:
        for_prompt = num_prompt_tokens * self.settings.usd_per_million_prompt_tokens
        return (for_prompt + num_completion_tokens * self.settings.usd_per_million_completion_tokens) / 1e6


def open_ledger(
    path: Path, settings: ChatServer, defect_of: Callable[[LedgerRow], str], sharing: Iterable[Path] = ()
) -> tuple[Ledger, str]:
    """The ledger with what is in the file, and a notice, "" if there is none: a last line cut in half by a kill was dropped.

    Args:
        path: its file, which may not be there yet.
        settings: the server and the budget.
        defect_of: why an answer, a row, cannot be used, "" if it can.
        sharing: files of other ledgers that spend of the same budget.

    Raises:
        DataError: another line is broken; file and line are named.
        OutputError: the file cannot be written.
    """
    ledger = Ledger(path, settings, defect_of)
    others = [other for other in sharing if other != path]
    notices = [_mend_last_line(file) for file in (path, *others) if file.is_file()]
    for row in read_ledger(path):
        ledger.num_requests += 1
        ledger.enter(row)
    for rows in map(read_ledger, others):
        ledger.num_requests += len(rows)
        ledger.spent_usd += sum(row["usd"] for row in rows)
    return ledger, "\n".join(filter(None, notices))


def read_ledger(path: Path) -> list[LedgerRow]:
    """The rows of a ledger's file; none if there is none.

    Raises:
        DataError: a line is broken; file and line are named.
    """
    if not path.is_file() or path.stat().st_size == 0:
        return []
    return read_jsonl(path, SCHEMA)


def _mend_last_line(path: Path) -> str:
    """Drops a last line that is cut in half, with a notice; ends one that lacks only its end, as its answer is paid for."""
    data = path.read_bytes()
    start = data.rfind(b"\n") + 1
    line, where = data[start:], f"{path}:{data.count(NEWLINE) + 1}"
    if not line:
        return ""
    if not line.startswith(FIRST_BYTES[: len(line)]):
        raise DataError(f"{where}: not a line of a ledger; the name must be that of a ledger or of a new file")
    try:
        json.loads(line)
    except (ValueError, RecursionError):
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
