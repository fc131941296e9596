"""A judge behind a server on loopback: through faults and a kill the same ledger and numbers, nothing paid twice, no budget passed."""

import hashlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from chat_server import Server, answer, error, running

from apo_bench.chat import client
from apo_bench.config.judge_sections import ServerJudge, VllmJudge
from apo_bench.core.errors import ConfigError, DataError, ServerError
from apo_bench.data.records import format_dialogue
from apo_bench.judge.numbers import judgement_numbers
from apo_bench.judge.questions import Matchup
from apo_bench.judge.verdicts import judge_matchups

KEY = "sk-a-secret-that-nobody-may-see"
MATCHUPS = [
    Matchup(f"p{number}", ("helpful", "harmless")[number % 2], format_dialogue(f"Question {number}?"), f"Own {number}.", f"Other {number}.")
    for number in range(20)
]
NAME = "arms/dpo-base-s0/r1/sft"
FAULTS = ((429, error("slow down")), (500, error("down")), (0, ""), (200, '{"choices": ['), (200, "<html>"))
TIMEOUT_SECONDS = 0.5


def draw(*parts) -> float:
    """A number in 0..1 that depends on the parts alone."""
    return int(hashlib.sha256(repr(parts).encode()).hexdigest()[:8], 16) / 2**32


def verdict(request) -> str:
    """The judge's answer, by hash of what it is asked; every tenth first answer cannot be read."""
    text = "".join(message["content"] for message in request["messages"])
    if len(request["messages"]) == 1 and draw(text) < 0.1:
        return "I cannot decide."
    return json.dumps({"reasoning": "So it is.", "verdict": ("A", "B", "tie")[int(3 * draw("verdict", text))]})


def fault(question: str, attempt: int):
    """Of a third of the attempts, one of the faults."""
    kind = draw("fault", question, attempt)
    return FAULTS[int(kind / 0.3 * len(FAULTS))] if kind < 0.3 else None


@pytest.fixture
def server(monkeypatch, root):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("SOME_KEY", KEY)
    monkeypatch.chdir(root)
    with running(Server()) as server:
        server.text = verdict
        server.question_of = lambda request: "\n".join(message["content"] for message in request["messages"])
        yield server


@pytest.fixture
def judge(server, params):
    return judge_by(server, params.judge)


def judge_by(server, judge, **changes):
    provider = ServerJudge(
        source="server", base_url=f"http://127.0.0.1:{server.server_port}/v1", model="m", revision="1", key_variable="SOME_KEY",
        json_schema=True, temperature=0.0, max_tokens=100, concurrency=4, requests_per_minute=None, timeout_seconds=30.0, max_requests=1000,
        max_usd=10.0, usd_per_million_prompt_tokens=100.0, usd_per_million_completion_tokens=200.0,
    )  # fmt: skip
    return judge.model_copy(update={"provider": provider.model_copy(update=changes)})


def changed(judge, **changes):
    return judge.model_copy(update={"provider": judge.provider.model_copy(update=changes)})


def judged(judge, folder, name=NAME, matchups=MATCHUPS, replay=False):
    return judge_matchups(judge, matchups, folder, name, replay)


def start(judge, folder, name, root) -> subprocess.Popen:
    """The same in a process of its own."""
    code = (
        "import json, sys; from pathlib import Path; from apo_bench.config.judge_sections import Judge;"
        "from apo_bench.judge.questions import Matchup; from apo_bench.judge.verdicts import judge_matchups;"
        "judge_matchups(Judge.model_validate_json(sys.argv[1]), [Matchup(**m) for m in json.loads(sys.argv[2])], Path(sys.argv[3]),"
        "sys.argv[4], False)"
    )
    arguments = [judge.model_dump_json(), json.dumps([vars(matchup) for matchup in MATCHUPS]), str(folder), name]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    return subprocess.Popen([sys.executable, "-c", code, *arguments], env=environment, stderr=subprocess.DEVNULL)


def ledger_of(folder, name=NAME) -> bytes:
    return (folder / f"{name}.jsonl").read_bytes()


def refused(judge, folder, **settings) -> str:
    """The message of the one-line error; the key stands in nothing that is kept or shown."""
    with pytest.raises(ServerError) as caught:
        judged(judge, folder, **settings)
    message = str(caught.value)
    assert "\n" not in message and KEY not in message
    return message


def test_every_matchup_is_judged_and_asked_again_where_it_cannot_be_read(server, judge, tmp_path):
    rows = judged(judge, tmp_path)
    assert all(row["outcome"] is not None for row in rows)
    num_again = sum(row["num_asked_again"] for row in rows)
    assert num_again > 0 and len(server.requests) == 2 * len(MATCHUPS) + num_again
    assert {row["served_models"][0] for row in rows} == {"m-0613"}
    assert all(request["response_format"]["json_schema"]["strict"] for request in server.requests)
    assert KEY.encode() not in ledger_of(tmp_path)


def test_what_stays_unreadable_is_counted_and_left_out(server, judge, tmp_path, params):
    server.text = lambda request: "no" if "Question 3?" in request["messages"][0]["content"] else verdict(request)
    rows = judged(judge, tmp_path)
    assert [row["id"] for row in rows if row["outcome"] is None] == ["p3"]
    counts = judgement_numbers(rows, params.compare.model_copy(update={"num_bootstrap_draws": 1000}), 0, {})["counts"]
    assert (counts["num_unreadable"], counts["num_judged"]) == (2, 19)


def test_a_server_without_json_schemas_is_not_asked_for_one(server, judge, tmp_path):
    judged(changed(judge, json_schema=False), tmp_path)
    assert not any("response_format" in request for request in server.requests)


def test_a_second_run_makes_no_call(server, judge, tmp_path, monkeypatch):
    rows = judged(judge, tmp_path)
    before, num_requests = ledger_of(tmp_path), len(server.requests)
    monkeypatch.delenv("SOME_KEY")
    assert judged(changed(judge, base_url="http://127.0.0.1:9/v1"), tmp_path) == rows
    assert len(server.requests) == num_requests and ledger_of(tmp_path) == before


def test_faults_change_neither_ledger_nor_numbers(server, judge, tmp_path, params):
    """A third of the attempts fail, and some answers come too late."""
    expected = judged(judge, tmp_path / "calm")
    server.script = fault
    server.delay = lambda question: 2 * TIMEOUT_SECONDS if draw("late", question, server.questions.count(question)) < 0.05 else 0.0
    num_calm = len(server.requests)
    server.requests.clear()
    rows = judged(changed(judge, timeout_seconds=TIMEOUT_SECONDS, concurrency=16), tmp_path / "faulty")
    assert len(server.requests) > 1.2 * num_calm
    assert rows == expected
    assert ledger_of(tmp_path / "faulty") == ledger_of(tmp_path / "calm")


def test_a_killed_run_goes_on_and_pays_for_no_more_than_what_was_in_flight(server, judge, tmp_path, root):
    expected = judged(judge, tmp_path / "calm")
    server.requests.clear()
    server.num_answered.clear()
    server.delay = lambda question: 0.05
    folder = tmp_path / "killed"
    run = start(judge, folder, NAME, root)
    deadline = time.monotonic() + 60
    while len(server.requests) < 15 and time.monotonic() < deadline:
        time.sleep(0.01)
    run.kill()
    run.wait()
    kept = len(ledger_of(folder).splitlines())
    assert 5 <= kept < 2 * len(MATCHUPS)
    server.delay = lambda question: 0.0
    assert judged(judge, folder) == expected
    assert ledger_of(folder) == ledger_of(tmp_path / "calm")
    paid_twice = sum(count - 1 for count in server.num_answered.values())
    assert paid_twice <= judge.provider.concurrency


def test_a_replay_needs_neither_key_nor_network(server, judge, tmp_path, monkeypatch):
    rows = judged(judge, tmp_path)
    before, num_requests = ledger_of(tmp_path), len(server.requests)
    monkeypatch.setenv("SOME_KEY", "no key at all")
    monkeypatch.setattr("socket.socket", None)
    assert judged(changed(judge, base_url="http://127.0.0.1:9/v1"), tmp_path, replay=True) == rows
    assert len(server.requests) == num_requests and ledger_of(tmp_path) == before


def test_a_changed_letter_of_the_template_is_a_miss(server, judge, tmp_path, root):
    judged(judge, tmp_path)
    templates = tmp_path / "templates"
    templates.mkdir()
    for file in (root / "apo_bench/judge/templates").iterdir():
        (templates / file.name).write_text(file.read_text().replace("Below", "below"))
    other = judge.model_copy(update={"templates": str(templates)})
    message = refused(other, tmp_path, replay=True)
    assert "sft.jsonl: a replay asks nobody, and 40 of 40 questions have no answer, about 20 prompts (p0, p1, p2, ...)" in message
    before, kept = len(server.requests), len(ledger_of(tmp_path).splitlines())
    judged(other, tmp_path)
    assert len(server.requests) >= before + 40
    assert len(ledger_of(tmp_path).splitlines()) == kept + len(server.requests) - before, (
        "answers to the old template stay: they are paid for"
    )


def test_max_requests_stops_before_it_is_passed_and_says_what_is_left(server, judge, tmp_path):
    message = refused(changed(judge, max_requests=10), tmp_path)
    assert len(server.requests) == 10
    assert message.startswith("judge.provider.max_requests: the next request could pass 10; 10 of 40 prompts are answered, 30 are left; ")
    refused(changed(judge, max_requests=10), tmp_path)
    assert len(server.requests) == 10
    judged(judge, tmp_path)
    assert len(ledger_of(tmp_path).splitlines()) == len(server.requests)


def test_max_usd_stops_before_it_is_passed(server, judge, tmp_path):
    message = refused(changed(judge, max_usd=0.15, concurrency=1), tmp_path)
    spent = sum(json.loads(line)["usd"] for line in ledger_of(tmp_path).splitlines())
    assert message.startswith("judge.provider.max_usd: the next request could pass 0.15; ") and 0.05 < spent <= 0.15


def test_all_ledgers_of_the_provider_share_the_budget(server, judge, tmp_path):
    judged(judge, tmp_path, matchups=MATCHUPS[:3])
    used = len(server.requests)
    message = refused(changed(judge, max_requests=used + 2), tmp_path, name="arms/dpo-base-s0/r2/sft")
    assert len(server.requests) == used + 2 and f"{used + 2} requests" in message


def test_a_ledger_that_a_kill_cut_in_half_does_not_stop_others(server, judge, tmp_path, capsys):
    judged(judge, tmp_path, name="a", matchups=MATCHUPS[:3])
    os.truncate(tmp_path / "a.jsonl", (tmp_path / "a.jsonl").stat().st_size - 30)
    judged(judge, tmp_path, name="b", matchups=MATCHUPS[3:6])
    assert "a.jsonl:" in capsys.readouterr().err
    before = len(server.requests)
    judged(judge, tmp_path, name="a", matchups=MATCHUPS[:3])
    assert len(server.requests) == before + 1


def test_another_stage_waits_for_its_turn(server, judge, tmp_path, root):
    """Two processes at once: together they keep to the budget, as if one had come after the other."""
    server.delay = lambda question: 0.02
    runs = [start(changed(judge, max_requests=50), tmp_path, name, root) for name in "ab"]
    assert sorted(run.wait(120) for run in runs) == [0, 1]
    assert len(server.requests) == 50
    kept = [len((tmp_path / f"{name}.jsonl").read_bytes().splitlines()) for name in "ab"]
    assert sum(kept) == 50


class TestBadInput:
    def test_no_key(self, server, judge, tmp_path, monkeypatch):
        monkeypatch.delenv("SOME_KEY")
        server.script = lambda question, attempt: (401, error("You didn't provide an API key."))
        message = refused(judge, tmp_path)
        assert "refuses; 401 You didn't provide an API key." in message and message.endswith("the key in SOME_KEY, which is not set")
        assert len(server.requests) <= judge.provider.concurrency

    def test_a_key_in_the_message_is_not_told(self, server, judge, tmp_path):
        """Nor parts of one; and a message of megabytes without a blank, as of a page that is one line, is read in no time."""
        server.script = lambda question, attempt: (401, error(f"Wrong keys:\n{KEY}, sk-12***89, {'x' * 2_000_000}"))
        started = time.monotonic()
        assert "401 Wrong keys: *** *** xxx" in refused(judge, tmp_path)
        assert time.monotonic() - started < 30

    def test_an_unknown_model(self, server, judge, tmp_path):
        server.script = lambda question, attempt: (404, error("The model `m` does not exist"))
        assert "refuses; 404 The model `m` does not exist" in refused(judge, tmp_path)
        assert len(server.requests) <= judge.provider.concurrency

    def test_a_prompt_beyond_the_judges_window(self, server, judge, tmp_path):
        """All others are judged and kept; the server's answer says what is wrong."""
        text = "This model's maximum context length is 64 tokens, your request has 90"
        server.script = lambda question, attempt: (400, error(text)) if "Question 7?" in question else None
        message = refused(judge, tmp_path)
        assert f"some prompts got no answer that can be used; 400 {text}: 1 prompt (p7); 38 of 40 prompts are answered" in message
        server.script = lambda question, attempt: None
        judged(judge, tmp_path)
        assert max(server.num_answered.values()) == 1

    def test_an_empty_answer_of_the_judge_is_unreadable(self, server, judge, tmp_path):
        server.text = lambda request: ""
        rows = judged(judge, tmp_path, matchups=MATCHUPS[:2])
        assert [row["outcome"] for row in rows] == [None, None] and len(server.requests) == 8

    def test_an_answer_cut_at_max_tokens_is_unreadable(self, server, judge, tmp_path):
        server.script = lambda question, attempt: (200, answer('{"reasoning": "and so on', "length"))
        assert judged(judge, tmp_path, matchups=MATCHUPS[:1])[0]["outcome"] is None

    def test_a_broken_line_of_a_ledger(self, judge, tmp_path):
        judged(judge, tmp_path, matchups=MATCHUPS[:1])
        file = tmp_path / f"{NAME}.jsonl"
        file.write_text("{broken\n" + file.read_text())
        with pytest.raises(DataError, match=r"sft.jsonl:1: not JSON"):
            judged(judge, tmp_path, matchups=MATCHUPS[:1], replay=True)

    def test_a_server_that_only_sends_pages_is_given_up(self, server, judge, tmp_path, monkeypatch):
        monkeypatch.setattr(client, "MAX_WAIT_SECONDS", 0.01)
        monkeypatch.setattr(client, "MAX_FAILURES_IN_A_ROW", 2)
        server.script = lambda question, attempt: (200, "<html>")
        assert "not a chat completion; see if base_url must end in /v1" in refused(judge, tmp_path, matchups=MATCHUPS[:4])


def test_the_rate_is_kept(server, judge, tmp_path):
    started = time.monotonic()
    judged(changed(judge, requests_per_minute=600, concurrency=16), tmp_path, matchups=MATCHUPS[:4])
    num_passes = 2  # what was unreadable is asked for again after all the rest, at a pace that begins anew
    assert time.monotonic() - started > 0.1 * (len(server.requests) - num_passes)


@pytest.mark.skipif("vllm" in sys.modules or bool(list(Path(sys.prefix).glob("lib/python*/site-packages/vllm"))), reason="vLLM is here")
def test_a_judge_that_is_served_here_needs_vllm(params, tmp_path, root, monkeypatch):
    monkeypatch.chdir(root)
    provider = VllmJudge(
        source="vllm", model="m", revision="1", json_schema=True, max_model_len=512, memory_fraction=0.5, temperature=0.0, max_tokens=100,
        concurrency=4, timeout_seconds=30.0, max_requests=10,
    )  # fmt: skip
    with pytest.raises(ConfigError, match=r"vllm is not installed here; pip install 'apo-bench\[vllm\]'"):
        judged(params.judge.model_copy(update={"provider": provider}), tmp_path)
