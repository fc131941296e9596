"""Golden responses: one a row and in order; what a server answered is paid for once, and no run spends more than its budget."""

import json
import os
import subprocess
import sys
import threading
import time

import pytest
from chat_server import Server, answer, error, running

from apo_bench.chat import client
from apo_bench.config.data_sections import GoldenAPI, GoldenChosen, GoldenFile
from apo_bench.core.errors import ConfigError, DataError, OutputError, ServerError
from apo_bench.data.golden import golden_responses
from apo_bench.data.records import format_dialogue

KEY = "sk-a-secret-that-nobody-may-see"
SYSTEM = "Answer well."
COLUMNS = ["key", "id", "model", "served_model", "response", "finish_reason", "prompt_tokens", "completion_tokens", "usd"]


def pair(name: str, question: str | None = None) -> dict[str, str]:
    dialogue = format_dialogue(question or f"Question {name}?")
    return {"id": name, "subset": "helpful", "dialogue": dialogue, "chosen": f"chosen {name}", "rejected": "no"}


PAIRS = [pair(name) for name in "abcdef"]
ANSWERS = [f"Answer to Question {name}?" for name in "abcdef"]


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("SOME_KEY", KEY)
    with running(Server()) as server:
        yield server


@pytest.fixture
def settings(server, tmp_path):
    return GoldenAPI(
        source="api", base_url=f"http://127.0.0.1:{server.server_port}/v1", model="m", key_variable="SOME_KEY", system_prompt=SYSTEM,
        temperature=0.5, max_tokens=100, concurrency=2,
        requests_per_minute=None, timeout_seconds=60.0, cache=str(tmp_path / "kept" / "cache.jsonl"), max_requests=100, max_usd=1.0,
        usd_per_million_prompt_tokens=100.0, usd_per_million_completion_tokens=200.0,
    )  # fmt: skip


def cache_of(settings) -> str:
    with open(settings.cache, encoding="utf-8") as file:  # noqa: PTH123
        return file.read()


def refused(settings, pairs=PAIRS) -> str:
    """The message of the one-line error; the key stands in nothing that is kept or shown."""
    with pytest.raises(ServerError) as caught:
        golden_responses(settings, pairs)
    message = str(caught.value)
    assert "\n" not in message and KEY not in message
    return message


class TestChosen:
    def test_the_human_choice_stands_for_the_golden_response(self):
        assert golden_responses(GoldenChosen(source="chosen"), PAIRS[:2]) == ["chosen a", "chosen b"]

    def test_an_empty_one_is_named(self):
        with pytest.raises(DataError, match=r"the chosen response of 1 prompt \(x\) is empty"):
            golden_responses(GoldenChosen(source="chosen"), [PAIRS[0], {**pair("x"), "chosen": " \n"}])


class TestFile:
    def responses(self, path, text: str, pairs=PAIRS[:2]) -> list[str]:
        path.write_text(text, encoding="utf-8")
        return golden_responses(GoldenFile(source="file", path=str(path)), pairs)

    @pytest.mark.parametrize("separator", ["list", "lines"])
    def test_a_list_and_lines_in_any_order(self, tmp_path, separator, capsys):
        rows = [{"query_id": "b", "golden": "Beta"}, {"query_id": "z", "golden": "Zeta"}, {"query_id": "a", "golden": " Alpha\n"}]
        text = json.dumps(rows, indent=1) if separator == "list" else "".join(json.dumps(row) + "\n" for row in rows)
        assert self.responses(tmp_path / "golden.json", text) == ["Alpha", "Beta"]
        assert "1 of 3 golden responses are to prompts that are not asked for" in capsys.readouterr().err

    def test_a_number_is_an_id_too(self, tmp_path):
        assert self.responses(tmp_path / "golden.json", '[{"query_id": 7, "golden": "Seven"}]', [pair("7")]) == ["Seven"]

    def test_missing_prompts_are_counted_and_the_first_three_named(self, tmp_path):
        with pytest.raises(DataError, match=r"golden.json: no golden response to 5 prompts \(b, c, d, \.\.\.\) \(of 6\)"):
            self.responses(tmp_path / "golden.json", '[{"query_id": "a", "golden": "Alpha"}]', PAIRS)

    @pytest.mark.parametrize(
        ("second", "message"),
        [
            ({"query_id": "b", "golden": " "}, "golden is ' ', expected text"),
            ({"query_id": "a", "golden": "Again"}, "a second golden response to prompt a, the first is"),
            ({"query_id": "b", "golden": 3}, "golden is int, expected str"),
            ({"query_id": None, "golden": "Beta"}, "query_id is NoneType, expected str"),
        ],
    )
    def test_a_faulty_row_has_its_place(self, tmp_path, second, message):
        rows = [{"query_id": "a", "golden": "Alpha"}, second]
        for text, place in ((json.dumps(rows), "golden.json: row 2: "), ("\n".join(map(json.dumps, rows)), "golden.json:2: ")):
            with pytest.raises(DataError) as caught:
                self.responses(tmp_path / "golden.json", text)
            assert place in str(caught.value) and message in str(caught.value)

    def test_no_file(self, tmp_path):
        with pytest.raises(DataError, match=r"gone.json: no such file; prepare.golden.path"):
            golden_responses(GoldenFile(source="file", path=str(tmp_path / "gone.json")), PAIRS)


class TestServer:
    def test_answers_are_in_the_order_of_the_rows(self, server, settings):
        server.delay = lambda question: 0.3 if "a" in question.split()[1] else 0.0  # the first question is answered last
        assert golden_responses(settings, PAIRS) == ANSWERS
        assert json.loads(cache_of(settings).splitlines()[0])["id"] != "a"
        assert server.keys == {f"Bearer {KEY}"}

    def test_what_is_asked(self, server, settings):
        turns = "\n\nHuman: Hi.\n\nAssistant: Hello.\n\nHuman: And?\n\nAssistant:"
        golden_responses(settings, [{**pair("a"), "dialogue": turns}])
        user, assistant, again = (
            {"role": "user", "content": "Hi."},
            {"role": "assistant", "content": "Hello."},
            {"role": "user", "content": "And?"},
        )
        messages = [{"role": "system", "content": SYSTEM}, user, assistant, again]
        assert server.requests == [{"model": "m", "messages": messages, "temperature": 0.5, "max_tokens": 100}]

    def test_no_more_at_a_time_than_asked(self, server, settings):
        server.delay = lambda question: 0.1
        golden_responses(settings.model_copy(update={"concurrency": 3}), PAIRS)
        assert server.most_in_flight == 3

    def test_equal_dialogues_are_asked_once(self, server, settings):
        assert golden_responses(settings, [pair("a", "Same?"), pair("b"), pair("c", "Same?")]) == [
            "Answer to Same?", "Answer to Question b?", "Answer to Same?",
        ]  # fmt: skip
        assert len(server.requests) == 2

    @pytest.mark.parametrize("status", [429, 500, 503])
    def test_passing_errors_are_asked_again(self, server, settings, status):
        server.script = lambda question, attempt: (status, error("busy")) if attempt <= 2 else None
        assert golden_responses(settings.model_copy(update={"max_requests": 2}), PAIRS[:2]) == ANSWERS[:2]  # a retry is no new request
        assert len(server.requests) == 6

    def test_no_key_is_needed(self, server, settings, monkeypatch):
        monkeypatch.delenv("SOME_KEY")
        assert golden_responses(settings, PAIRS[:1]) == ANSWERS[:1]
        assert server.keys == {"Bearer none"}

    def test_a_server_that_does_not_count_tokens_is_charged_at_the_most(self, server, settings):
        """Question and system prompt have 11 + 12 characters: 8 tokens, and 16 for two messages. 24 * 100 + 100 * 200 millionths."""
        server.script = lambda question, attempt: (200, answer(usage=None))
        golden_responses(settings, PAIRS[:1])
        assert "1 requests and 0.0224 USD" in refused(settings.model_copy(update={"max_requests": 1}))


class TestFailures:
    @pytest.mark.parametrize(("status", "text"), [(404, "The model `m` does not exist"), (401, f"Incorrect key: {KEY}, or sk-a-sec***see")])
    def test_a_refusal_of_all_stops_at_once(self, server, settings, status, text):
        server.script = lambda question, attempt: (status, error(f"{text}.\nAsk us."))
        message = refused(settings)
        assert f"{status} {text.split(':')[0]}" in message and "Ask us." in message and "SOME_KEY" in message
        assert "sk-a-sec" not in message
        assert len(server.requests) <= 2
        assert "0 of 6 prompts are answered, 6 are left" in message

    @pytest.mark.parametrize(
        ("reply", "reason"),
        [
            (answer("Half an ans", finish_reason="length"), "cut at max_tokens"),
            (answer("I can", finish_reason="content_filter"), "cut by the server's content filter"),
            (answer(" \n"), "empty answer"),
        ],
    )
    def test_no_whole_answer_is_that_prompts_fault(self, server, settings, reply, reason):
        """It is paid for, all others are saved, and the next run asks just this one again."""
        server.script = lambda question, attempt: (200, reply) if "b?" in question and attempt == 1 else None
        message = refused(settings)
        assert f"{reason}: 1 prompt (b)" in message and "5 of 6 prompts are answered, 1 are left; 6 requests" in message
        assert golden_responses(settings, PAIRS) == ANSWERS
        assert sorted(server.questions) == sorted([pair["dialogue"].split(": ")[1].split("\n")[0] for pair in PAIRS] + ["Question b?"])

    def test_a_prompt_that_the_server_does_not_take(self, server, settings):
        server.script = lambda question, attempt: (400, error(f"too long: {question}")) if "a" in question.split()[1] else None
        assert "400 too long: Question a?: 1 prompt (a); 5 of 6" in refused(settings)

    def test_many_reasons_are_summed_up(self, server, settings):
        server.script = lambda question, attempt: (400, error(f"no {question}"))
        message = refused(settings)
        assert message.count("400 no Question") == 3 and "for other reasons: 3 prompts (" in message

    def test_a_server_that_only_fails_is_not_asked_for_everything(self, server, settings, monkeypatch):
        monkeypatch.setattr(client, "MAX_RETRIES", 0)
        monkeypatch.setattr(client, "MAX_FAILURES_IN_A_ROW", 3)
        server.script = lambda question, attempt: (500, error("down"))
        message = refused(settings)
        assert "requests in a row failed; 500 down: " in message
        assert 3 <= len(server.requests) <= 4

    def test_failures_with_answers_between_them_are_not_in_a_row(self, server, settings, monkeypatch):
        monkeypatch.setattr(client, "MAX_FAILURES_IN_A_ROW", 2)
        server.script = lambda question, attempt: (400, error("no")) if question.split()[1] in ("a?", "c?", "e?") else None
        assert "400 no: 3 prompts (a, c, e); 3 of 6" in refused(settings.model_copy(update={"concurrency": 1}))

    def test_a_page_instead_of_an_answer(self, server, settings):
        server.script = lambda question, attempt: (200, "<html>hello</html>")
        assert "not a chat completion; see if base_url must end in /v1" in refused(settings, PAIRS[:1])

    def test_nobody_there(self, server, settings, monkeypatch):
        monkeypatch.setattr(client, "MAX_RETRIES", 0)
        message = refused(settings.model_copy(update={"base_url": "http://127.0.0.1:9/v1"}), PAIRS[:1])
        assert "Connection error. (" in message

    @pytest.mark.parametrize("key", ["two words", "sk-\u2026", "sk-\x01"])
    def test_a_key_that_no_header_can_carry(self, server, settings, monkeypatch, key):
        monkeypatch.setenv("SOME_KEY", key)
        with pytest.raises(ConfigError, match="SOME_KEY") as caught:
            golden_responses(settings, PAIRS)
        assert key not in str(caught.value) and not server.requests


class TestCache:
    def test_nothing_is_asked_twice(self, server, settings):
        golden_responses(settings, PAIRS[:4])
        assert golden_responses(settings, PAIRS) == ANSWERS
        assert len(server.requests) == 6
        server.script = lambda question, attempt: (500, error("gone"))
        assert golden_responses(settings, PAIRS[::-1]) == ANSWERS[::-1]
        assert len(server.requests) == 6

    def test_its_rows_hold_what_was_answered_and_no_key(self, settings, capfd):
        golden_responses(settings, PAIRS)
        rows = [json.loads(line) for line in cache_of(settings).splitlines()]
        assert [list(row) for row in rows] == [COLUMNS] * 6
        assert rows[0] | {"key": ""} == {
            "key": "", "id": rows[0]["id"], "model": "m", "served_model": "m-0613", "response": f"  Answer to Question {rows[0]['id']}?\n",
            "finish_reason": "stop", "prompt_tokens": 10, "completion_tokens": 20, "usd": 0.005,
        }  # fmt: skip
        assert KEY not in cache_of(settings) + "".join(capfd.readouterr())

    @pytest.mark.parametrize("lost", [1, 30, 150])
    def test_a_line_cut_in_half_by_a_kill_is_asked_again(self, server, settings, capsys, lost):
        """One lost character is the end of the line, which is put back: the answer is whole."""
        golden_responses(settings, PAIRS)
        whole = cache_of(settings)
        os.truncate(settings.cache, len(whole) - lost)
        assert golden_responses(settings, PAIRS) == ANSWERS
        assert len(server.requests) == (6 if lost == 1 else 7)
        assert ("cache.jsonl:6: dropped" in capsys.readouterr().err) == (lost > 1)
        assert sorted(cache_of(settings)) == sorted(whole)

    def test_a_kill_loses_only_what_is_in_flight(self, server, settings, tmp_path):
        """Killed while the server holds back two answers: the two before them are on the disk."""
        released = threading.Event()
        server.delay = lambda question: 0.0 if question.split()[1] in ("a?", "b?") else float(not released.wait(20))
        code = (
            "import json, sys; from apo_bench.config.data_sections import GoldenAPI; from apo_bench.data.golden import golden_responses;"
            "golden_responses(GoldenAPI(**json.loads(sys.argv[1])), json.loads(sys.argv[2]))"
        )
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        run = subprocess.Popen(
            [sys.executable, "-c", code, settings.model_dump_json(), json.dumps(PAIRS)], env=environment, stderr=subprocess.DEVNULL
        )
        deadline = time.monotonic() + 60
        while len(server.requests) < 4 and time.monotonic() < deadline:
            time.sleep(0.02)
        run.kill()
        run.wait()
        released.set()
        assert sorted(json.loads(line)["id"] for line in cache_of(settings).splitlines()) == ["a", "b"]
        assert golden_responses(settings, PAIRS) == ANSWERS
        assert len(server.requests) == 8

    @pytest.mark.parametrize(
        "change",
        [{"system_prompt": "Be brief."}, {"model": "n"}, {"temperature": 0.0}, {"max_tokens": 99}, {"base_url": "http://127.0.0.1:{}/v1/"}],
    )
    def test_another_question_is_asked_anew(self, server, settings, change):
        golden_responses(settings, PAIRS[:2])
        change = {key: value.format(server.server_port) if key == "base_url" else value for key, value in change.items()}
        golden_responses(settings.model_copy(update=change), PAIRS[:2])
        assert len(server.requests) == 4
        golden_responses(settings.model_copy(update={"concurrency": 5, "usd_per_million_prompt_tokens": 1.0}), PAIRS[:2])
        assert len(server.requests) == 4

    @pytest.mark.parametrize(
        ("line", "message"),
        [
            ("{broken\n", "cache.jsonl:3: not JSON"),
            ('{"key": "x"}\n', "cache.jsonl:3: no key id, model"),
            (json.dumps(dict.fromkeys(COLUMNS, "x")) + "\n", "cache.jsonl:3: prompt_tokens is str, expected a whole number"),
            ("the last line of some other file", "cache.jsonl:3: not a line of a ledger"),
        ],
    )
    def test_a_line_broken_otherwise_is_an_error(self, settings, line, message):
        golden_responses(settings, PAIRS[:2])
        with open(settings.cache, "a", encoding="utf-8") as file:  # noqa: PTH123
            file.write(line)
        before = cache_of(settings)
        with pytest.raises(DataError) as caught:
            golden_responses(settings, PAIRS[:2])
        assert message in str(caught.value)
        assert cache_of(settings) == before

    def test_a_place_that_cannot_be_written_costs_nothing(self, server, settings, tmp_path):
        (tmp_path / "file").write_text("")
        with pytest.raises(OutputError, match=r"cache.jsonl: cannot be written"):
            golden_responses(settings.model_copy(update={"cache": str(tmp_path / "file" / "cache.jsonl")}), PAIRS[:1])
        assert not server.requests


class TestBudget:
    def test_requests(self, server, settings):
        message = refused(settings.model_copy(update={"max_requests": 4}))
        assert len(server.requests) == 4
        assert message.startswith("prepare.golden.max_requests: the next request could pass 4; 4 of 6 prompts are answered, 2 are left; ")
        assert "raise max_requests" in message

    def test_what_the_cache_cost_counts(self, server, settings):
        """Answered four, with two refused as cut: 6 requests. A budget of 7 leaves one."""
        server.script = lambda question, attempt: (200, answer("Half", "length")) if question.split()[1] in ("a?", "b?") else None
        refused(settings)
        refused(settings.model_copy(update={"max_requests": 7}))
        assert len(server.requests) == 7
        refused(settings.model_copy(update={"max_requests": 7}))
        assert len(server.requests) == 7
        server.script = lambda question, attempt: None
        assert golden_responses(settings, PAIRS) == ANSWERS

    def test_money_is_reserved_for_the_worst_case(self, server, settings):
        """A request may cost 0.0224 USD (24 tokens at 100, 100 at 200 a million) and costs 0.005. Of 0.035 USD, two in flight could pass it
        (0.0448); after two answers a third fits (0.01 + 0.0224), after three a fourth does not (0.015 + 0.0224).
        """
        server.delay = lambda question: 0.02
        message = refused(settings.model_copy(update={"max_usd": 0.035}))
        assert server.most_in_flight == 1
        assert len(server.requests) == 3
        assert message.startswith("prepare.golden.max_usd: the next request could pass 0.035; 3 of 6")
        assert "3 requests and 0.0150 USD are spent" in message and "raise max_usd" in message
        refused(settings.model_copy(update={"max_usd": 0.035}))
        assert len(server.requests) == 3

    def test_it_may_be_used_up_to_the_last(self, server, settings):
        assert golden_responses(settings.model_copy(update={"max_requests": 6}), PAIRS) == ANSWERS

    def test_a_failed_request_costs_nothing_but_is_one(self, server, settings):
        server.script = lambda question, attempt: (400, error("no"))
        assert "2 requests and 0.0000 USD are spent" in refused(settings.model_copy(update={"max_requests": 2}))
        assert len(server.requests) == 2
