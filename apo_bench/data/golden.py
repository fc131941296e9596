"""Golden responses, one for each prompt: from the human pairs, from a file in the authors' format, or by a model behind a server.

Answers of a server cost money. Each is kept in a cache file the moment it arrives, and a later run asks only for what is not in it.
"""

import asyncio
import hashlib
import json
import os
import re
import sys
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from apo_bench.core.errors import ConfigError, DataError, ServerError
from apo_bench.core.files import read_json, read_jsonl
from apo_bench.core.sections import GoldenAPI, GoldenChosen, GoldenFile
from apo_bench.data.ledger import Failure, Ledger, Prompt, open_ledger
from apo_bench.data.records import parse_dialogue

if TYPE_CHECKING:
    from openai import AsyncOpenAI

Rows = list[dict[str, Any]]

NO_KEY = "none"
"""What is sent to a server that asks for no key, as the client insists on one."""
MAX_RETRIES = 6
"""Of a request, by the client: about half a minute of waiting, enough for a rate limit by the minute."""
MAX_FAILURES_IN_A_ROW = 16
"""A server that fails so often has a fault of its own. With every third answer cut, chance does it once in 40 million requests."""
NUM_NAMED = 3
"""Prompts that a message names of those it counts, and reasons that it gives in words."""
MAX_MESSAGE = 300
"""Characters of a server's message that are shown."""


def golden_responses(settings: GoldenChosen | GoldenFile | GoldenAPI, pairs: Rows) -> list[str]:
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


def _from_pairs(pairs: Rows) -> list[str]:
    empty = [row["id"] for row in pairs if not row["chosen"].strip()]
    if empty:
        raise DataError(f"the chosen response of {_counted(empty)} is empty; a golden response must not be: drop such pairs")
    return [row["chosen"] for row in pairs]


def _from_file(path: Path, pairs: Rows) -> list[str]:
    golden: dict[str, str] = {}
    places: dict[str, str] = {}
    for place, row in _file_rows(path):
        if not isinstance(row, dict) or type(row.get("query_id")) not in (str, int) or not isinstance(row.get("golden"), str):
            raise DataError(f"{place}: found {json.dumps(row)[:80]}, expected an object with query_id and golden, both text")
        name = str(row["query_id"])
        if not row["golden"].strip():
            raise DataError(f"{place}: golden of prompt {name} is empty; give it a response or drop the row")
        if name in golden:
            raise DataError(f"{place}: a second golden response to prompt {name}, the first is {places[name]}; drop one")
        golden[name], places[name] = row["golden"].strip(), place
    missing = [row["id"] for row in pairs if row["id"] not in golden]
    if missing:
        raise DataError(f"{path}: no golden response to {_counted(missing)} (of {len(pairs)}); add rows with these as query_id")
    unused = len(golden) - len({row["id"] for row in pairs})
    if unused:
        _notify(f"{path}: {unused} of {len(golden)} golden responses are to prompts that are not asked for")
    return [golden[row["id"]] for row in pairs]


def _file_rows(path: Path) -> list[tuple[str, Any]]:
    """The rows of a JSON list or of JSONL, each with its place."""
    if not path.is_file():
        raise DataError(f"{path}: no such file; prepare.golden.path must name a JSON list or JSONL with query_id and golden")
    if path.read_bytes().lstrip().startswith(b"["):
        return [(f"{path}: row {number}", row) for number, row in enumerate(read_json(path), start=1)]
    return [(f"{path}:{number}", row) for number, row in enumerate(read_jsonl(path, required=["query_id", "golden"]), start=1)]


def _from_server(settings: GoldenAPI, pairs: Rows) -> list[str]:
    prompts = [_prompt(settings, row) for row in pairs]
    ledger, notice = open_ledger(settings)
    if notice:
        _notify(notice)
    unanswered = {prompt.key: prompt for prompt in prompts if prompt.key not in ledger.answers}  # by key, as dialogues may repeat
    if unanswered:
        ledger.check_writable()
        asyncio.run(_ask_all(settings, list(unanswered.values()), ledger))
    left = [prompt for prompt in prompts if prompt.key not in ledger.answers]
    if left:
        raise _shortfall(settings, ledger, left, len(prompts))
    return [ledger.answers[prompt.key] for prompt in prompts]


def _prompt(settings: GoldenAPI, row: dict[str, Any]) -> Prompt:
    system = [{"role": "system", "content": settings.system_prompt}] if settings.system_prompt else []
    messages = [*system, *parse_dialogue(row["dialogue"])]
    parts = [settings.base_url, settings.model, settings.system_prompt, settings.temperature, settings.max_tokens, messages]
    return Prompt(hashlib.sha256(json.dumps(parts).encode()).hexdigest(), row["id"], messages)


async def _ask_all(settings: GoldenAPI, prompts: list[Prompt], ledger: Ledger) -> None:
    """Asks prompt after prompt, some at a time, until all are asked, the budget is used up or the server fails for good."""
    waiting = deque(prompts)
    in_flight: dict[asyncio.Task, Prompt] = {}
    with tqdm(total=len(prompts), desc="golden responses", unit="response") as progress:
        async with _client(settings) as client:
            while True:
                is_broken = ledger.refusal or ledger.num_failures_in_a_row >= MAX_FAILURES_IN_A_ROW
                while waiting and not is_broken and len(in_flight) < settings.concurrency and not ledger.passed_limit(waiting[0]):
                    prompt = waiting.popleft()
                    ledger.reserve(prompt)
                    in_flight[asyncio.create_task(_ask(client, settings, prompt))] = prompt
                if not in_flight:
                    return
                done, _ = await asyncio.wait(in_flight, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    ledger.settle(in_flight.pop(task), task.result())
                    progress.update()
                progress.set_postfix_str(f"{ledger.spent_usd:.2f} of {settings.max_usd:g} USD")


def _client(settings: GoldenAPI) -> "AsyncOpenAI":
    from openai import AsyncOpenAI  # 0.8 s of imports that only this source needs

    key = _api_key(settings)
    if not re.fullmatch(r"[!-~]+", key):
        raise ConfigError(f"{settings.key_variable}: the key in it has spaces or signs that a header cannot carry; set it again")
    return AsyncOpenAI(base_url=settings.base_url, api_key=key, max_retries=MAX_RETRIES)


def _api_key(settings: GoldenAPI) -> str:
    return os.environ.get(settings.key_variable, "").strip() or NO_KEY


async def _ask(client: "AsyncOpenAI", settings: GoldenAPI, prompt: Prompt) -> dict[str, Any] | Failure:
    """The cache row of the server's answer."""
    from openai import AuthenticationError, NotFoundError, OpenAIError

    try:
        completion: Any = await client.chat.completions.create(
            model=settings.model,
            messages=prompt.messages,  # type: ignore[arg-type]
            temperature=settings.temperature,
            max_tokens=settings.max_tokens,
        )
    except (OpenAIError, ValueError) as error:  # ValueError: the body is not the JSON it says it is
        return Failure(_server_message(error, _api_key(settings)), isinstance(error, AuthenticationError | NotFoundError))
    choices = getattr(completion, "choices", None)
    if not choices:
        return Failure("the answer is not a chat completion; see if base_url must end in /v1", concerns_all=False)
    content = getattr(getattr(choices[0], "message", None), "content", None)
    text = content if isinstance(content, str) else ""
    usage = getattr(completion, "usage", None)
    return {
        "key": prompt.key,
        "id": prompt.id,
        "model": settings.model,
        "response": text.encode(errors="replace").decode(),  # half of a surrogate pair could not be written
        "finish_reason": getattr(choices[0], "finish_reason", None) or "",
        "prompt_tokens": _tokens(usage, "prompt_tokens", prompt.num_tokens),
        "completion_tokens": _tokens(usage, "completion_tokens", settings.max_tokens),
    }


def _tokens(usage: Any, name: str, most: int) -> int:
    """What the server says it charges, or the most it can be if it does not say."""
    found = getattr(usage, name, None)
    return most if found is None else int(found)


def _server_message(error: Exception, key: str) -> str:
    """The server's own message in one line, without the key, also where the server repeats it in part, as sk-12***89."""
    body = getattr(error, "body", None)
    message = body["message"] if isinstance(body, dict) and isinstance(body.get("message"), str) else str(error)
    cause = f" ({error.__cause__})" if error.__cause__ and body is None else ""
    status = getattr(error, "status_code", None)
    text = " ".join(f"{f'{status} ' if status else ''}{message}{cause}".split())
    without_key = text if key == NO_KEY else text.replace(key, "***")
    return re.sub(r"\S*\*{2,}\S*", "***", without_key)[:MAX_MESSAGE]


def _shortfall(settings: GoldenAPI, ledger: Ledger, left: list[Prompt], num_prompts: int) -> ServerError:
    """What stands in the way of the prompts that are left, and how far the run came."""
    unasked = [prompt for prompt in left if prompt.key not in ledger.failures]
    limit = ledger.passed_limit(unasked[0]) if unasked else None
    if ledger.refusal:
        what = f"prepare.golden: the server at {settings.base_url} refuses"
        advice = f"correct base_url, model or the key in {settings.key_variable}"
    elif ledger.num_failures_in_a_row >= MAX_FAILURES_IN_A_ROW:
        what = f"prepare.golden: {ledger.num_failures_in_a_row} requests in a row failed"
        advice = "remove the cause and run again"
    elif limit:
        what = f"prepare.golden.{limit}: the next request could pass {getattr(settings, limit)}"
        advice = f"raise {limit} and run again"
    else:
        what = "prepare.golden: some prompts got no whole answer"
        advice = "run again to ask them again, or change max_tokens to ask all anew"
    state = f"{num_prompts - len(left)} of {num_prompts} prompts are answered, {len(left)} are left"
    spent = f"{ledger.num_requests} requests and {ledger.spent_usd:.4f} USD are spent, the answers are kept in {settings.cache}"
    return ServerError(f"{what}{_listed(ledger)}; {state}; {spent}; {advice}")


def _listed(ledger: Ledger) -> str:
    """The failures of this run, the commonest reasons in words."""
    ids_by_reason: dict[str, list[str]] = {}
    for name, reason in ledger.failures.values():
        ids_by_reason.setdefault(reason, []).append(name)
    by_count = sorted(ids_by_reason.items(), key=lambda item: -len(item[1]))
    others = [name for _, ids in by_count[NUM_NAMED:] for name in ids]
    shown = by_count[:NUM_NAMED] + ([("for other reasons", others)] if others else [])
    return "".join(f"; {reason}: {_counted(ids)}" for reason, ids in shown)


def _counted(ids: Sequence[str]) -> str:
    """How many prompts, and the first of them by name."""
    more = ", ..." if len(ids) > NUM_NAMED else ""
    return f"{len(ids)} prompt{'s' if len(ids) > 1 else ''} ({', '.join(ids[:NUM_NAMED])}{more})"


def _notify(notice: str) -> None:
    tqdm.write(notice, file=sys.stderr)
