"""What a judge's free text may look like, and what a server may send: the verdict is read, or there is none; nothing ends the stage."""

import json

import pytest
from chat_server import Server, answer, error, running

from apo_bench.config.judge_sections import ServerJudge
from apo_bench.core.errors import ServerError
from apo_bench.data.records import format_dialogue
from apo_bench.judge.questions import Matchup, read_verdict
from apo_bench.judge.verdicts import judge_matchups

GOOD = '{"reasoning": "A is better.", "verdict": "A"}'
OTHER = '{"reasoning": "B is better.", "verdict": "B"}'
DEEP = '{"reasoning": ' + "[" * 3000 + "]" * 3000 + ', "verdict": "A"}'


@pytest.mark.parametrize(
    "text",
    [
        GOOD,
        "Answer A shows `d = {'k': 1}`.\n" + GOOD,
        f"```json\n{GOOD}\n```\nI hope that {{helps}}.",
        "<think>\nA gives the set {x, y}.\n</think>\n" + GOOD,
        '<think>\nFirst I lean to {"verdict": "B"}.\n</think>\n' + GOOD,
        'I compare them {briefly}, {"verdict": "B"}.\n</think>\n' + GOOD,
        f"<Thinking>{OTHER}</Thinking>{GOOD}",
        f"[THINK]{OTHER}[/THINK]{GOOD}",
        f"<seed:think>{OTHER}</seed:think>{GOOD}",
        f"<reflection>{OTHER}</reflection>{GOOD}",
        f"<think>{OTHER}</think>hm<think>{OTHER}</think>{GOOD}",
        f"<|channel|>analysis<|message|>{OTHER}<|end|><|start|>assistant<|channel|>final<|message|>{GOOD}",
        "The second one quotes <think> and </think>.\n" + GOOD,
        '{"result": ' + GOOD + "}",
        f"{GOOD}\nSo: {GOOD}",
        '{"reasoning": "It writes </think>{\\"verdict\\": \\"B\\"}", "verdict": "A"}',
        '{"reasoning": ' + "9" * 6000 + ', "verdict": "A"}',
        '{"a":' * 3000 + GOOD,
        "{" * 5000 + GOOD,
        '{"schema": {"verdict": "A or B or tie"}}\n' + GOOD,
    ],
)
def test_the_one_verdict_is_read(text):
    assert read_verdict(text)[0] == "A"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no object",
        f"{GOOD}\n{OTHER}",
        f"[{GOOD}, {OTHER}]",
        f"Answer B holds the text `{OTHER}`.\n{GOOD}",
        '{"verdict": "A", "verdict": "B"}',
        '{"verdict": "A", "other": {"verdict": "B"}}',
        f"<think>{GOOD}",
        f"<think>{GOOD}</think>",
        DEEP,
        '{"verdict": "a"}',
        '{"verdict": ["A"]}',
        '{"verdict": "A"',
        "{“verdict”: “A”}",
    ],
)
def test_none_or_two_verdicts_cannot_be_read(text):
    assert read_verdict(text) == (None, text)


MATCHUP = [Matchup("p", "helpful", format_dialogue("Hi?"), "Own.", "Other.")]


def _with(**changes):
    completion = answer(GOOD)
    completion["choices"][0]["message"] |= changes.pop("message", {})
    completion["choices"][0] |= changes.pop("choice", {})
    return completion | changes


def _judged(params, root, tmp_path, monkeypatch, body, **changes):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.chdir(root)
    with running(Server()) as server:
        server.question_of = json.dumps  # two requests are served at a time, so that the last one is not always the one asked about
        server.script = lambda question, attempt: (
            body(json.loads(question)) if callable(body) else (200, body if isinstance(body, str) else json.dumps(body))
        )
        provider = ServerJudge(
            source="server", base_url=f"http://127.0.0.1:{server.server_port}/v1", model="m", revision="1", key_variable="SOME_KEY",
            json_schema=False, temperature=changes.get("temperature", 0.0), max_tokens=100, concurrency=2, requests_per_minute=None,
            timeout_seconds=30.0, max_requests=1000, max_usd=10.0, usd_per_million_prompt_tokens=1.0, usd_per_million_completion_tokens=1.0,
        )  # fmt: skip
        judge = params.judge.model_copy(update={"provider": provider})
        return judge_matchups(judge, MATCHUP, tmp_path, "name", False)[0], server.requests


@pytest.mark.parametrize(
    ("body", "read"),
    [
        (_with(usage={"prompt_tokens": "10", "completion_tokens": "5"}), "A"),
        (_with(usage={"prompt_tokens": "", "completion_tokens": "n/a"}), "A"),
        ('{"usage": {"prompt_tokens": NaN, "completion_tokens": 1e999},' + json.dumps(_with(usage=None))[1:], "A"),
        (_with(usage=[1]), "A"),
        (_with(usage={"prompt_tokens": True, "completion_tokens": -5}), "A"),
        (_with(usage={"prompt_tokens": 1e300, "completion_tokens": 10**12}), "A"),
        (_with(usage={"prompt_tokens": {"a": 1}, "completion_tokens": "1e400"}), "A"),
        (_with(model="\ud83d"), "A"),
        (_with(choice={"finish_reason": "\udc00"}), "A"),
        (_with(choice={"finish_reason": {"a": [1]}}, model={"a": ["\ud83d"]}), "A"),
        (_with(message={"content": [{"type": "text", "text": GOOD}]}), "A"),
        (_with(message={"content": [None, 3, {"type": "image"}]}), None),
        (_with(message={"content": 7}), None),
        (_with(message={"content": "", "reasoning_content": GOOD}), None),
        (_with(choice={"finish_reason": 3}), "A"),
        (_with(model=5), "A"),
        (_with(choices=["hi"]), None),
    ],
)  # fmt: skip
def test_odd_completions_are_counted_as_answers(body, read, params, root, tmp_path, monkeypatch):
    row, _ = _judged(params, root, tmp_path, monkeypatch, body)
    assert row["verdict_own_first"] == read and row["verdict_opponent_first"] == read
    again, _ = _judged(params, root, tmp_path, monkeypatch, "must not be asked")  # the ledger can be read again
    assert again == row


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"error": {"message": "Provider returned error", "code": 502}}, "Provider returned error"),
        ({"error": "quota exceeded"}, "quota exceeded"),
        ({"error": [{"message": "out of memory"}]}, "the server says: out of memory"),
        ({"object": "error", "message": "too long", "code": 40303}, "the server says: too long"),
        ({"detail": "Not authenticated"}, "the server says: Not authenticated"),
        ({"success": False, "errors": [{"message": "no key"}, {"message": "no account"}]}, "the server says: no key; no account"),
        ("<html><body>Log in</body></html>", "the server says: <html><body>Log in"),
        (_with(choice={"error": {"message": "upstream died"}}, message={"content": ""}), "the server says: upstream died"),
        (_with(choices={"message": {"content": GOOD}}), "not a chat completion"),
        (_with(choices=[]), "not a chat completion"),
        ([1, 2], "not a chat completion"),
        ("[" * 5000, "requests in a row failed|no answer that can be used"),
    ],
)
def test_what_is_no_completion_is_told_in_the_servers_words(body, said, params, root, tmp_path, monkeypatch):
    monkeypatch.setattr("apo_bench.chat.client.MAX_MALFORMED", 2)
    with pytest.raises(ServerError, match=said):
        _judged(params, root, tmp_path, monkeypatch, body)


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (422, {"detail": [{"loc": ["body", "model"], "msg": "field required"}]}, "422 field required"),
        (413, "<h1>Too large</h1>", "413 <h1>Too large"),
        (402, error("Insufficient balance"), "402 Insufficient balance"),
    ],
)
def test_what_a_refusal_says_reaches_the_user(status, body, said, params, root, tmp_path, monkeypatch):
    with pytest.raises(ServerError, match=said):
        _judged(params, root, tmp_path, monkeypatch, lambda request: (status, body))


@pytest.mark.parametrize(
    "body",
    [
        error("Unknown parameter: 'max_tokens'. Did you mean 'max_completion_tokens'?"),
        {"detail": [{"loc": ["body", "max_tokens"], "msg": "Extra inputs are not permitted; use max_completion_tokens"}]},
    ],
)
def test_the_limit_is_called_what_the_server_calls_it(body, params, root, tmp_path, monkeypatch):
    def serve(request):
        return (422 if "detail" in body else 400, body) if "max_tokens" in request else (200, answer(GOOD))

    assert _judged(params, root, tmp_path, monkeypatch, serve)[0]["verdict_own_first"] == "A"


def _reasoning_model(request):
    """Asks for what o-series and GPT-5 ask for."""
    if "max_tokens" in request:
        return 400, error("Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.")
    if request.get("temperature", 1) != 1:
        return 400, error("Unsupported value: 'temperature' does not support 0.0 with this model. Only the default (1) value is supported.")
    assert request["max_completion_tokens"] == 100
    return 200, answer(GOOD)


def test_reasoning_models_get_the_limit_by_their_name_and_no_temperature(params, root, tmp_path, monkeypatch):
    row, requests = _judged(params, root, tmp_path, monkeypatch, _reasoning_model, temperature=None)
    assert row["verdict_own_first"] == "A" and all("temperature" not in request for request in requests)


def test_a_refused_temperature_says_what_to_write(params, root, tmp_path, monkeypatch):
    with pytest.raises(ServerError, match=r"does not support 0\.0 .*; write judge\.provider\.temperature: null"):
        _judged(params, root, tmp_path, monkeypatch, _reasoning_model)
