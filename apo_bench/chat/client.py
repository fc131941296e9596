"""Asks a model behind an OpenAI-compatible server: some requests at a time, within the limits, until all are answered or no more can be.

Overload, server errors, lost connections and answers out of time are tried again by the `openai` client, answers that are no chat
completion by tenacity; aiolimiter keeps to the server's rate.
"""

import asyncio
import os
import re
from collections import deque
from collections.abc import Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from apo_bench.chat.ledger import AnswerRow, Failure, Ledger, Prompt
from apo_bench.config.sections import ChatServer
from apo_bench.core.errors import ConfigError, ServerError

if TYPE_CHECKING:
    from openai import AsyncOpenAI

NO_KEY = "none"
"""What is sent to a server that asks for no key, as the client insists on one."""
MAX_RETRIES = 6
"""Of a request, by the client: about half a minute of waiting, enough for a rate limit by the minute."""
MAX_MALFORMED = 4
"""Answers to a request that are no chat completion, after which it counts as failed."""
MAX_WAIT_SECONDS = 8.0
"""Between such answers."""
MAX_FAILURES_IN_A_ROW = 16
"""A server that fails so often has a fault of its own. With every third answer cut, chance does it once in 40 million requests."""
LIMIT_KEYS = ("max_tokens", "max_completion_tokens")
"""What a request calls the longest answer, and what servers of reasoning models want it to be called."""
MESSAGES = ("error", "errors", "message", "detail", "msg")
"""Where servers put what they have to say."""
NO_COMPLETION = "the answer is not a chat completion; see if base_url must end in /v1"
NUM_NAMED = 3
"""Prompts that a message names of those it counts, and reasons that it gives in words."""
MOST_TOKENS = 10**9
"""Of an answer, that are believed."""
MAX_MESSAGE = 250
"""Characters of a server's message that are shown."""
MAX_TEXT = 80
"""Characters of an answer in plain text that are shown: a message, or the start of a page."""


class _MalformedError(Exception):
    """The server's answer is not a chat completion."""


def ask_all(settings: ChatServer, prompts: Sequence[Prompt], ledger: Ledger, where: str, form: dict[str, Any] | None = None) -> None:
    """Answers in the ledger to all prompts; asks for those that are missing.

    Args:
        settings: the server and the budget.
        prompts: what to ask; the same key twice is asked once.
        ledger: takes the answers and watches the budget.
        where: the section of params.yaml that messages name.
        form: parameters of the request beside model, messages and decoding.

    Raises:
        ConfigError: the key holds characters that cannot be sent.
        ServerError: the server refuses, some prompts got no answer that can be used, or the budget would be passed; what came is kept.
        OutputError: the ledger cannot be written.
    """
    unanswered = {prompt.key: prompt for prompt in prompts if prompt.key not in ledger.rows}
    if unanswered:
        ledger.check_writable()
        asyncio.run(_ask_until_done(settings, list(unanswered.values()), ledger, where, dict(form or {})))
    left = [prompt for prompt in prompts if prompt.key not in ledger.rows]
    if left:
        raise _shortfall(settings, ledger, left, len(prompts), where)


async def _ask_until_done(settings: ChatServer, prompts: list[Prompt], ledger: Ledger, where: str, form: dict[str, Any]) -> None:
    """Asks prompt after prompt, some at a time, until all are asked, the budget is used up or the server fails for good."""
    from aiolimiter import AsyncLimiter

    waiting = deque(prompts)
    in_flight: dict[asyncio.Task, Prompt] = {}
    limiter = AsyncLimiter(1, 60 / settings.requests_per_minute) if settings.requests_per_minute else nullcontext()
    with tqdm(total=len(prompts), desc=where, unit="answer") as progress:
        async with _client(settings) as client:
            while True:
                is_broken = ledger.refusal or ledger.num_failures_in_a_row >= MAX_FAILURES_IN_A_ROW
                while waiting and not is_broken and len(in_flight) < settings.concurrency and not ledger.passed_limit(waiting[0]):
                    prompt = waiting.popleft()
                    ledger.reserve(prompt)
                    in_flight[asyncio.create_task(_ask(client, settings, prompt, limiter, form))] = prompt
                if not in_flight:
                    return
                done, _ = await asyncio.wait(in_flight, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    ledger.settle(in_flight.pop(task), task.result())
                    progress.update()
                progress.set_postfix_str(f"{ledger.spent_usd:.2f} of {settings.max_usd:g} USD")


def _client(settings: ChatServer) -> "AsyncOpenAI":
    from openai import AsyncOpenAI  # 0.8 s of imports that only this source needs

    key = _api_key(settings)
    if not re.fullmatch(r"[!-~]+", key):
        raise ConfigError(f"{settings.key_variable}: the key in it has spaces or signs that a header cannot carry; set it again")
    return AsyncOpenAI(base_url=settings.base_url, api_key=key, max_retries=MAX_RETRIES, timeout=settings.timeout_seconds)


def _api_key(settings: ChatServer) -> str:
    return os.environ.get(settings.key_variable, "").strip() or NO_KEY


async def _ask(client: "AsyncOpenAI", settings: ChatServer, prompt: Prompt, limiter: Any, form: dict[str, Any]) -> AnswerRow | Failure:
    """The ledger's row of the server's answer."""
    from openai import AuthenticationError, NotFoundError, OpenAIError, PermissionDeniedError
    from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

    again = AsyncRetrying(
        retry=retry_if_exception_type(_MalformedError),
        stop=stop_after_attempt(MAX_MALFORMED),
        wait=wait_random_exponential(multiplier=0.25, max=MAX_WAIT_SECONDS),
        reraise=True,
    )
    try:
        return await again(_complete, client, settings, prompt, limiter, form)
    except _MalformedError as error:
        return Failure(str(error), concerns_all=False)
    except OpenAIError as error:
        concerns_all = isinstance(error, AuthenticationError | NotFoundError | PermissionDeniedError)
        return Failure(_server_message(error, _api_key(settings)), concerns_all)


async def _complete(client: "AsyncOpenAI", settings: ChatServer, prompt: Prompt, limiter: Any, form: dict[str, Any]) -> AnswerRow:
    from openai import BadRequestError, UnprocessableEntityError

    async with limiter:
        was_asked_for = LIMIT_KEYS[1] in form
        try:
            completion = await _create(client, settings, prompt, form)
        except (BadRequestError, UnprocessableEntityError) as error:  # what reasoning models ask for, and older servers do not know
            if was_asked_for or LIMIT_KEYS[1] not in _told(error.body):
                raise
            form |= {LIMIT_KEYS[1]: settings.max_tokens}  # shared by all requests of the run
            completion = await _create(client, settings, prompt, form)
    try:
        return _row(completion, settings, prompt)
    except _MalformedError:
        raise
    except Exception as error:  # whatever a server may have put where another thing belongs
        raise _MalformedError(f"{NO_COMPLETION} ({type(error).__name__})") from error


async def _create(client: "AsyncOpenAI", settings: ChatServer, prompt: Prompt, form: dict[str, Any]) -> Any:
    from openai import OpenAIError

    limit = {} if LIMIT_KEYS[1] in form else {LIMIT_KEYS[0]: settings.max_tokens}
    temperature = {} if settings.temperature is None else {"temperature": settings.temperature}
    try:
        return await client.chat.completions.create(model=settings.model, messages=prompt.messages, **limit, **temperature, **form)  # type: ignore[call-overload]
    except OpenAIError:
        raise
    except Exception as error:  # the body is not the JSON it says it is, or a header not what it should be
        raise _MalformedError(_server_message(error, _api_key(settings)) or NO_COMPLETION) from error


def _row(completion: Any, settings: ChatServer, prompt: Prompt) -> AnswerRow:
    """A completion as an answer."""
    choices = getattr(completion, "choices", None)
    if not choices or not isinstance(choices, list):
        raise _told_error(completion, settings)
    content = getattr(getattr(choices[0], "message", None), "content", None)
    if not content and getattr(choices[0], "error", None):  # of the server behind the server
        raise _told_error(choices[0], settings)
    if isinstance(content, list):  # of parts
        content = "".join(part["text"] for part in content if isinstance(part, dict) and isinstance(part.get("text"), str))
    usage = getattr(completion, "usage", None)
    return {
        "key": prompt.key,
        "id": prompt.id,
        "model": settings.model,
        "served_model": _whole(str(getattr(completion, "model", None) or "")[:MAX_MESSAGE]),
        "response": _whole(content if isinstance(content, str) else ""),
        "finish_reason": _whole(str(getattr(choices[0], "finish_reason", None) or "")[:MAX_MESSAGE]),
        "prompt_tokens": _tokens(usage, "prompt_tokens", prompt.num_tokens),
        "completion_tokens": _tokens(usage, "completion_tokens", settings.max_tokens),
    }


def _whole(text: str) -> str:
    """The text with a question mark for each half of a surrogate pair, which no file could hold."""
    return text.encode(errors="replace").decode()


def _tokens(usage: Any, name: str, most: int) -> int:
    """What the server says it charges, or the most it can be if it says nothing that can be so."""
    found = usage.get(name) if isinstance(usage, dict) else getattr(usage, name, None)
    try:
        number = float(found)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return most
    return most if isinstance(found, bool) or not 0 <= number <= MOST_TOKENS else int(number)


def _told_error(answer: Any, settings: ChatServer) -> _MalformedError:
    """What a server says that answers with something else than a completion, or with no message in it."""
    told = _one_line(answer)[:MAX_TEXT] if isinstance(answer, str) else _told(getattr(answer, "model_extra", None))
    if told:
        return _MalformedError(_without_key(f"{NO_COMPLETION}; the server says: {told}", _api_key(settings)))
    return _MalformedError(NO_COMPLETION)


def _told(body: Any) -> str:
    """The message in a server's error, "" if there is none."""
    if isinstance(body, list):
        return "; ".join(filter(None, map(_told, body)))
    if isinstance(body, dict):
        return next(filter(None, (_told(body.get(name)) for name in MESSAGES)), "")
    return body.strip() if isinstance(body, str) else ""


def _server_message(error: Exception, key: str) -> str:
    """The server's own message in one line, without the key."""
    body = getattr(error, "body", None)
    cause = f" ({error.__cause__})" if error.__cause__ and body is None else ""
    status = getattr(error, "status_code", None)
    return _without_key(f"{f'{status} ' if status else ''}{_told(body) or error}{cause}", key)


def _without_key(text: str, key: str) -> str:
    """The text in one line, without the key, also where a server repeats it in part, as sk-12***89."""
    text = _one_line(text)
    words = (text if key == NO_KEY else text.replace(key, "***")).split()
    return " ".join("***" if "**" in word else word for word in words)[:MAX_MESSAGE]


def _one_line(text: str) -> str:
    """The words of a text, without what a terminal does not show."""
    return " ".join("".join(sign for sign in text if sign.isprintable() or sign.isspace()).split())


def _shortfall(settings: ChatServer, ledger: Ledger, left: list[Prompt], num_prompts: int, where: str) -> ServerError:
    """What stands in the way of the prompts that are left, and how far the run came."""
    unasked = [prompt for prompt in left if prompt.key not in ledger.failures]
    limit = ledger.passed_limit(unasked[0]) if unasked else None
    if ledger.refusal:
        what = f"{where}: the server at {settings.base_url} refuses"
        unset = ", which is not set" if _api_key(settings) == NO_KEY else ""
        advice = f"correct base_url, model or the key in {settings.key_variable}{unset}"
    elif ledger.num_failures_in_a_row >= MAX_FAILURES_IN_A_ROW:
        what = f"{where}: {ledger.num_failures_in_a_row} requests in a row failed"
        advice = "remove the cause and run again"
    elif limit:
        what = f"{where}.{limit}: the next request could pass {getattr(settings, limit)}"
        advice = f"raise {limit} and run again"
    else:
        what = f"{where}: some prompts got no answer that can be used"
        advice = "remove the cause and run again: only these are asked again; or change max_tokens or the model to ask all anew"
    if any("temperature" in reason for _, reason in ledger.failures.values()):
        advice = f"write {where}.temperature: null to leave it out of the requests"
    state = f"{num_prompts - len(left)} of {num_prompts} prompts are answered, {len(left)} are left"
    spent = f"{ledger.num_requests} requests and {ledger.spent_usd:.4f} USD are spent, the answers are kept in {ledger.path}"
    return ServerError(f"{what}{_listed(ledger)}; {state}; {spent}; {advice}")


def _listed(ledger: Ledger) -> str:
    """The failures of this run, the commonest reasons in words."""
    ids_by_reason: dict[str, list[str]] = {}
    for name, reason in ledger.failures.values():
        ids_by_reason.setdefault(reason, []).append(name)
    by_count = sorted(ids_by_reason.items(), key=lambda item: -len(item[1]))
    others = [name for _, ids in by_count[NUM_NAMED:] for name in ids]
    shown = by_count[:NUM_NAMED] + ([("for other reasons", others)] if others else [])
    return "".join(f"; {reason}: {counted(ids)}" for reason, ids in shown)


def counted(ids: Sequence[str]) -> str:
    """How many prompts, and the first of them by name; one that is asked about twice counts once."""
    ids = list(dict.fromkeys(ids))
    more = ", ..." if len(ids) > NUM_NAMED else ""
    return f"{len(ids)} prompt{'s' if len(ids) > 1 else ''} ({', '.join(ids[:NUM_NAMED])}{more})"
