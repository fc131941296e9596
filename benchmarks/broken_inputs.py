"""Records, HH files, ledgers, a server's answers, files of the authors' format, params.yaml: broken, and read as the pipeline does.

What is taken is judged here by rules of its own, in plain Python.
"""

import asyncio
import json
import math
import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import httpx2 as httpx  # that of openai
from openai import AsyncOpenAI
from ruamel.yaml import YAML

from apo_bench.chat import client
from apo_bench.chat.ledger import Prompt, open_ledger, read_ledger
from apo_bench.config.judge_sections import ServerJudge
from apo_bench.config.params import load_params
from apo_bench.core.errors import ServerError
from apo_bench.core.files import read_jsonl
from apo_bench.data.corpus import HARMLESS, HELPFUL
from apo_bench.data.records import ASSISTANT, HUMAN, format_dialogue, read_records, write_records
from apo_bench.exchange.exports import export_records
from apo_bench.exchange.imports import import_golden, import_pairs, import_rejection_sampled, import_samples, import_scores
from apo_bench.judge.providers import _write as write_sorted
from apo_bench.judge.questions import read_verdict
from apo_bench.sources.hh import clean_raw_pairs, read_raw_pairs
from benchmarks.fuzz import Trial, Tried, tried
from benchmarks.mutations import broken_bytes, mutated

SUBSETS = (HELPFUL, HARMLESS)

ROOT = Path(__file__).parents[1]
Row = dict[str, Any]
PROMPTS = [{"id": f"p{number}", "subset": SUBSETS[number % 2], "dialogue": format_dialogue(f"What is {number}?")} for number in range(3)]
RECORDS: dict[str, list[Row]] = {
    "pairs": [prompt | {"chosen": "A number.", "rejected": "No.", "probability": 0.75} for prompt in PROMPTS],
    "prompts": PROMPTS,
    "responses": [prompt | {"response": "It is a number."} for prompt in PROMPTS],
    "samples": [prompt | {"responses": ["One.", ""], "finished": [True, False]} for prompt in PROMPTS],
    "scores": [prompt | {"responses": ["One.", ""], "finished": [True, False], "rewards": [0.5, -1.25]} for prompt in PROMPTS],
}
LEDGER_ROW: Row = {
    "key": "00", "id": "p0", "model": "m", "served_model": "m-0613", "response": "Yes.", "finish_reason": "stop", "prompt_tokens": 10,
    "completion_tokens": 20, "usd": 0.005,
}  # fmt: skip


def records(folder: Path) -> Trial:
    """Records of each kind, one line broken."""

    def trial(rng: random.Random) -> Tried:
        kind = rng.choice(sorted(RECORDS))
        what = broken_lines(folder / "rows.jsonl", RECORDS[kind], rng)

        def read() -> str:
            rows = read_records(folder / "rows.jsonl", kind)
            return harm_of_rows(rows, kind, folder)

        return tried(f"{kind}: {what}", read)

    return trial


def hh_files(folder: Path) -> Trial:
    """A file of raw pairs, which are cleaned."""
    file = folder / "helpful-base/train.jsonl"
    file.parent.mkdir()
    text = "\n\nHuman: What is {}?\n\nAssistant: {}"
    whole = [{"chosen": text.format(number, "A number."), "rejected": text.format(number, "No.")} for number in range(3)]

    def trial(rng: random.Random) -> Tried:
        what = broken_lines(file, whole, rng)

        def read() -> str:
            rows, dropped, _ = clean_raw_pairs(("helpful", row) for row in read_raw_pairs(folder, "helpful-base", "train"))
            if len(rows) + sum(dropped.values()) != len(read_jsonl(file)):
                return "a pair is neither taken nor counted among those that were dropped"
            return harm_of_rows(rows, "pairs", folder) if rows else ""

        return tried(what, read)

    return trial


def ledgers(folder: Path) -> Trial:
    """A ledger of three answers."""
    whole = [LEDGER_ROW | {"key": f"0{number}"} for number in range(3)]
    settings = server_settings()

    def trial(rng: random.Random) -> Tried:
        file = folder / "ledger.jsonl"
        what = broken_lines(file, whole, rng)

        def read() -> str:
            ledger, _ = open_ledger(file, settings, lambda row: "")
            rows = read_ledger(file)
            if not math.isfinite(ledger.spent_usd) or ledger.spent_usd < 0:
                return f"{ledger.spent_usd} USD are spent"
            for row in rows:
                texts = ("key", "id", "model", "served_model", "response", "finish_reason")
                counts = ("prompt_tokens", "completion_tokens")
                if not all(type(row[key]) is str for key in texts) or not row["key"]:
                    return f"no text in {row}"
                if not all(type(row[key]) is int and row[key] >= 0 for key in counts) or type(row["usd"]) not in (int, float):
                    return f"no count in {row}"
            write_sorted(file, rows)
            return "" if read_ledger(file) == sorted(rows, key=lambda row: row["key"]) else "written again, it is another"

        return tried(what, read)

    return trial


def server_answers(folder: Path) -> Trial:
    """Whatever a judge's server may send; the ledger that comes of it is read again, sorted and read once more."""
    message = {"role": "assistant", "content": json.dumps({"reasoning": "So it is.", "verdict": "A"})}
    whole = {
        "id": "1", "object": "chat.completion", "created": 0, "model": "m-0613",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 10, "completion_tokens": 20, "total_tokens": 30},
    }  # fmt: skip
    settings, prompt = server_settings(), Prompt("00", "p0", [{"role": "user", "content": "Which is better?"}])

    def trial(rng: random.Random) -> Tried:
        how, body = ("answer", mutated(whole, rng))
        data, what = body.text.encode(errors="surrogatepass"), f"{body.what} {body.path}: {body.new!r}"[:200]
        if rng.random() < 0.2:
            how, data = broken_bytes(data, rng)
            what = how
        status = rng.choices((200, 200, 200, rng.choice((201, 204, 302, 400, 401, 404, 418, 429, 500, 503))))[0]
        kind = rng.choice((*["application/json"] * 6, "application/json; charset=latin-1", "text/html", "application/octet-stream", ""))
        headers = {"content-type": kind, "retry-after": rng.choice(("0", "nan", "-1", "x", "1e999"))}
        file = folder / "ledger.jsonl"
        file.unlink(missing_ok=True)

        def read() -> str:
            refusal = _ask(settings, prompt, file, httpx.Response(status, headers=headers, content=data))
            rows = read_ledger(file)
            ledger, _ = open_ledger(file, settings, lambda row: "")
            if len(rows) != (refusal is None) or not 0 <= ledger.spent_usd < math.inf:
                return f"{len(rows)} rows, {ledger.spent_usd} USD, {refusal or 'no refusal'}"
            if refusal:
                raise refusal
            write_sorted(file, rows)
            read_verdict(read_ledger(file)[0]["response"])
            return ""

        return tried(f"{status} {kind} {what}", read)

    return trial


def _ask(settings: ServerJudge, prompt: Prompt, file: Path, reply: httpx.Response) -> ServerError | None:
    """Asks a server that always answers the same; returns why it could not be asked, if so."""

    def handler(request: httpx.Request) -> httpx.Response:
        return httpx.Response(reply.status_code, headers=reply.headers, content=reply.content)

    def new_client(_: ServerJudge) -> AsyncOpenAI:
        transport = httpx.MockTransport(handler)
        return AsyncOpenAI(base_url="http://x/v1", api_key="k", max_retries=0, http_client=httpx.AsyncClient(transport=transport))

    ledger, _ = open_ledger(file, settings, lambda row: "")
    with patch.object(client, "_client", new_client), patch.object(client, "MAX_WAIT_SECONDS", 0.0), patch("asyncio.sleep", _no_sleep):
        try:
            client.ask_all(settings, [prompt], ledger, "judge.provider")
        except ServerError as error:
            return error
    return None


_sleep = asyncio.sleep


async def _no_sleep(seconds: float, *arguments: Any) -> None:
    await _sleep(0)


def server_settings() -> ServerJudge:
    """Of a judge that nobody can reach."""
    return ServerJudge(
        source="server", base_url="http://127.0.0.1:9/v1", model="m", revision="1", key_variable="NO_KEY_AT_ALL", json_schema=False,
        temperature=0.0, max_tokens=100, concurrency=1, requests_per_minute=None, timeout_seconds=5.0, max_requests=100, max_usd=10.0,
        usd_per_million_prompt_tokens=100.0, usd_per_million_completion_tokens=200.0,
    )  # fmt: skip


def exchange_files(folder: Path) -> Trial:
    """Items of the authors' formats that are imported, and records that are exported and imported again."""
    items = _their_items(folder)
    imports: dict[str, tuple[str, Callable[[Path, Path], str]]] = {
        "pairs": ("pairs", import_pairs),
        "samples": ("samples", import_samples),
        "rejection-sampled": ("scores", import_rejection_sampled),
        "golden": ("responses", lambda source, output: import_golden(source, output, folder / "prompts.jsonl")),
        "scores": ("scores", lambda source, output: import_scores(source, output, folder / "samples.jsonl")),
    }

    def trial(rng: random.Random) -> Tried:
        name = rng.choice(sorted(imports))
        kind, convert = imports[name]
        output = folder / "ours.jsonl"
        if rng.random() < 0.3:
            ours = folder / "records.jsonl"
            what = broken_lines(ours, RECORDS[kind], rng)

            def export() -> str:
                export_records(name, ours, folder / "theirs.jsonl")
                convert(folder / "theirs.jsonl", output)
                return harm_of_rows(read_records(output, kind), kind, folder)

            return tried(f"export {name}: {what}", export)
        source = folder / f"theirs{rng.choice(('.json', '.jsonl'))}"
        what = broken_lines(source, items[name], rng, is_list=source.suffix == ".json")

        def read() -> str:
            convert(source, output)
            return harm_of_rows(read_records(output, kind), kind, folder)

        return tried(f"import {name}: {what}", read)

    return trial


def _their_items(folder: Path) -> dict[str, list[Row]]:
    """Our records as their items; what imports need beside them stays in the folder."""
    found = {}
    for kind in ("prompts", "samples"):
        write_records(folder / f"{kind}.jsonl", RECORDS[kind])
    for name, kind in {
        "pairs": "pairs",
        "samples": "samples",
        "golden": "responses",
        "rejection-sampled": "scores",
        "scores": "scores",
    }.items():
        write_records(folder / "whole.jsonl", RECORDS[kind])
        export_records(name, folder / "whole.jsonl", folder / "whole.json")
        found[name] = json.loads((folder / "whole.json").read_text())
    return found


def params(folder: Path) -> Trial:
    """params.yaml, one value of which was changed."""
    yaml = YAML(typ="safe")
    whole = yaml.load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    file = folder / "params.yaml"

    def trial(rng: random.Random) -> Tried:
        mutation = mutated(whole, rng)
        raw = mutation.text[:100_000]  # YAML's reader takes minutes for two hundred thousand brackets
        if rng.random() < 0.1:
            how, data = broken_bytes((ROOT / "params.yaml").read_bytes(), rng)
            file.write_bytes(data)
            what, path = how, None
        else:
            file.write_text(raw, encoding="utf-8")
            what, path = f"{mutation.what} {mutation.path}: {mutation.old!r} -> {mutation.new!r}"[:200], mutation.path

        def read() -> str:
            loaded = load_params(file).model_dump(mode="json")
            if path is None or mutation.what in ("removed", "list changed"):
                return ""
            meant = _at(YAML(typ="safe").load(file.read_text(encoding="utf-8")), path)  # as DVC reads it: 0x10 is 16
            return "" if _taken(loaded, path, meant) else f"taken as {_at(loaded, path)!r}"

        return tried(what, read)

    return trial


def _at(value: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        try:
            value = value[key]
        except (KeyError, IndexError, TypeError):
            return "nothing"
    return value


def _taken(loaded: Any, path: tuple[Any, ...], new: Any) -> bool:
    """Whether a value was taken as it stands in the file; a whole number may stand for a float."""
    found = _at(loaded, path)
    if isinstance(found, bool) or isinstance(new, bool):
        return found is new
    return found == (float(new) if isinstance(found, float) and isinstance(new, int) else new)


def broken_lines(file: Path, rows: list[Row], rng: random.Random, is_list: bool = False) -> str:
    """Writes rows, one of which was changed, or the bytes of the file; returns what was done."""
    chosen = rng.randrange(len(rows))
    mutation = mutated(rows[chosen], rng)
    lines = [mutation.text if number == chosen else json.dumps(row) for number, row in enumerate(rows)]
    what = f"{mutation.what} {mutation.path}: {mutation.new!r}"[:200]
    if rng.random() < 0.05:
        lines.insert(rng.randrange(len(lines)), rng.choice(("", "[]", "null", "3", lines[0], "{}", "\ufeff")))
        what += ", and a line added"
    text = f"[{','.join(lines)}]" if is_list else "\n".join(lines) + "\n"
    data = text.encode()
    if rng.random() < 0.2:
        how, data = broken_bytes(data, rng)
        what = f"bytes {how}"
    file.write_bytes(data)
    return what


def harm_of_rows(rows: list[Row], kind: str, folder: Path) -> str:
    """Why records could do harm: what a stage or a reader takes for granted does not hold, or they cannot be written again."""
    for row in rows:
        if type(row["id"]) is not str or not row["id"]:
            return f"no id in {row}"
        if not re.fullmatch("[a-z][a-z0-9_]*", str(row["subset"])):  # one that the data does not have is refused where it is counted
            return f"no subset in {row}"
        if not row["dialogue"].startswith(HUMAN) or not row["dialogue"].endswith(ASSISTANT):
            return f"no dialogue in {row}"
        texts = {"pairs": ("chosen", "rejected"), "responses": ("response",)}.get(kind, ())
        if any(type(row[key]) is not str or not row[key].strip() for key in texts):
            return f"no text in {row}"
        if not isinstance(row.get("probability", 0.5), int | float) or not 0 <= row.get("probability", 0.5) <= 1:
            return f"no probability in {row}"
        if kind in ("samples", "scores"):
            num = len(row["responses"])
            if not num or any(type(text) is not str for text in row["responses"]):
                return f"no responses in {row}"
            if len(row["finished"]) != num or any(type(one) is not bool for one in row["finished"]):
                return f"no finished in {row}"
        if kind == "scores":
            numbers = [type(one) in (int, float) and abs(one) < 1e308 and math.isfinite(one) for one in row["rewards"]]
            if len(numbers) != len(row["responses"]) or not all(numbers):
                return f"no rewards in {row}"
    if kind in ("samples", "scores", "prompts") and len({row["id"] for row in rows}) < len(rows):
        return "an id twice"
    write_records(folder / "again.jsonl", rows)
    return "" if read_records(folder / "again.jsonl", kind) == rows else "written again, they are others"
