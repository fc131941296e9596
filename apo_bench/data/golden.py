"""Golden responses, one for each prompt: from the human pairs, from a file in the authors' format, or by a model behind a server.

Answers of a server cost money. Each is kept in a cache file the moment it arrives, and a later run asks only for what is not in it.
"""

import hashlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm
from typing_extensions import TypedDict

from apo_bench.chat.client import ask_all, counted
from apo_bench.chat.ledger import LedgerRow, Prompt, open_ledger
from apo_bench.config.data_sections import GoldenAPI, GoldenChosen, GoldenFile
from apo_bench.core.errors import DataError
from apo_bench.core.files import read_jsonl
from apo_bench.core.records import PairRow, PromptRow
from apo_bench.core.schemas import Name, Schema, Text
from apo_bench.core.strict_json import parse_list
from apo_bench.data.records import parse_dialogue


class FileRow(TypedDict):
    """A golden response in the authors' format, whose ids may be numbers."""

    query_id: Name | int
    golden: Text


FILE_ROW = Schema(FileRow)
CUT = {"length": "cut at max_tokens", "content_filter": "cut by the server's content filter"}
"""Finish reasons of an answer that is not whole, and what they mean."""


def golden_responses(settings: GoldenChosen | GoldenFile | GoldenAPI, pairs: Sequence[PairRow]) -> list[str]:
    """The golden response to each row's dialogue, in the order of the rows; none is empty.

    Raises:
        DataError: a response is empty, missing or there twice, or a line of the file or of the cache is broken.
        ConfigError: the key holds characters that cannot be sent.
        ServerError: the server refuses, some prompts got no whole answer, or the budget would be passed; all other answers are cached.
        OutputError: the cache cannot be written.
    """
    if isinstance(settings, GoldenChosen):
        return _from_pairs(pairs)
    if isinstance(settings, GoldenFile):
        return _from_file(Path(settings.path), pairs)
    return _from_server(settings, pairs)


def _from_pairs(pairs: Sequence[PairRow]) -> list[str]:
    empty = [row["id"] for row in pairs if not row["chosen"].strip()]
    if empty:
        raise DataError(f"the chosen response of {counted(empty)} is empty; a golden response must not be: drop such pairs")
    return [row["chosen"] for row in pairs]


def _from_file(path: Path, pairs: Sequence[PairRow]) -> list[str]:
    golden: dict[str, str] = {}
    places: dict[str, str] = {}
    for place, row in _file_rows(path):
        name = str(row["query_id"])
        if name in golden:
            raise DataError(f"{place}: a second golden response to prompt {name}, the first is {places[name]}; drop one")
        golden[name], places[name] = row["golden"].strip(), place
    missing = [row["id"] for row in pairs if row["id"] not in golden]
    if missing:
        raise DataError(f"{path}: no golden response to {counted(missing)} (of {len(pairs)}); add rows with these as query_id")
    unused = len(golden) - len({row["id"] for row in pairs})
    if unused:
        _notify(f"{path}: {unused} of {len(golden)} golden responses are to prompts that are not asked for")
    return [golden[row["id"]] for row in pairs]


def _file_rows(path: Path) -> list[tuple[str, FileRow]]:
    """The rows of a JSON list or of JSONL, checked, each with its place."""
    if not path.is_file():
        raise DataError(f"{path}: no such file; prepare.golden.path must name a JSON list or JSONL with query_id and golden")
    if path.read_bytes().lstrip().startswith(b"["):
        rows = parse_list(path.read_bytes(), path, lambda number: f"{path}: row {number}")
        FILE_ROW.check(rows, lambda number: f"{path}: row {number}")
        return [(f"{path}: row {number}", row) for number, row in enumerate(rows, start=1)]
    return [(f"{path}:{number}", row) for number, row in enumerate(read_jsonl(path, FILE_ROW), start=1)]


def _from_server(settings: GoldenAPI, pairs: Sequence[PairRow]) -> list[str]:
    prompts = [_prompt(settings, row) for row in pairs]
    ledger, notice = open_ledger(Path(settings.cache), settings, _defect_of)
    if notice:
        _notify(notice)
    ask_all(settings, prompts, ledger, "prepare.golden")
    return [ledger.rows[prompt.key]["response"].strip() for prompt in prompts]


def _defect_of(row: LedgerRow) -> str:
    """Why an answer is no golden response, which must be whole; "" if it is one."""
    return CUT.get(row["finish_reason"]) or ("" if row["response"].strip() else "empty answer")


def _prompt(settings: GoldenAPI, row: PromptRow) -> Prompt:
    system = [{"role": "system", "content": settings.system_prompt}] if settings.system_prompt else []
    messages = [*system, *parse_dialogue(row["dialogue"])]
    parts = [settings.base_url, settings.model, settings.system_prompt, settings.temperature, settings.max_tokens, messages]
    return Prompt(hashlib.sha256(json.dumps(parts).encode()).hexdigest(), row["id"], messages)


def _notify(notice: str) -> None:
    tqdm.write(notice, file=sys.stderr)
