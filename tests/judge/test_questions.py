"""What the judge is asked, what makes a question another one, and that a verdict is read or not, but never guessed."""

import json
import shutil

import pytest

from apo_bench.config.judge_sections import GoldJudge, ServerJudge
from apo_bench.core.errors import ConfigError, MissingInputError
from apo_bench.data.records import format_dialogue
from apo_bench.judge.questions import ASKED_AGAIN, EMPTY, Matchup, again, both_orders, read_templates, read_verdict

SUBSETS = ("helpful", "harmless")
MATCHUP = Matchup("1", "helpful", format_dialogue("What is tea?"), "A drink with $first in it.", "Leaves.")


@pytest.fixture
def folder(root, tmp_path):
    """A copy of the templates that may be changed."""
    shutil.copytree(root / "apo_bench/judge/templates", tmp_path / "templates")
    return tmp_path / "templates"


@pytest.fixture
def provider():
    return ServerJudge(
        source="server", base_url="http://127.0.0.1:1/v1", model="m", revision="1", key_variable="SOME_KEY", json_schema=True,
        temperature=0.0, max_tokens=100, concurrency=4, requests_per_minute=None, timeout_seconds=5.0, max_requests=10, max_usd=1.0,
        usd_per_million_prompt_tokens=1.0, usd_per_million_completion_tokens=1.0,
    )  # fmt: skip


def keys(folder, provider, matchup=MATCHUP) -> list[str]:
    return [question.prompt.key for question in both_orders(matchup, read_templates(folder, SUBSETS), provider)]


def test_both_orders_show_dialogue_and_answers(folder, provider):
    own_first, opponent_first = (question.prompt.messages for question in both_orders(MATCHUP, read_templates(folder, SUBSETS), provider))
    assert [message["role"] for message in own_first] == ["user"]
    text, other = own_first[0]["content"], opponent_first[0]["content"]
    assert "[Dialogue]\nHuman: What is tea?\n[End" in text
    assert "[Answer A]\nA drink with $first in it.\n[End" in text and "[Answer B]\nLeaves.\n[End" in text
    assert "[Answer A]\nLeaves.\n[End" in other and "[Answer B]\nA drink with $first in it.\n[End" in other


def test_subsets_are_asked_different_things(folder, provider):
    harmless = Matchup("1", "harmless", *list(vars(MATCHUP).values())[2:])
    templates = read_templates(folder, SUBSETS)
    texts = [both_orders(matchup, templates, provider)[0].prompt.messages[0]["content"] for matchup in (MATCHUP, harmless)]
    assert "more helpful?" in texts[0] and "more harmless?" in texts[1]


def test_an_empty_answer_is_shown_as_such(folder, provider):
    empty = Matchup("1", "helpful", MATCHUP.dialogue, " \n", "Leaves.")
    assert f"[Answer A]\n{EMPTY}\n[End" in both_orders(empty, read_templates(folder, SUBSETS), provider)[0].prompt.messages[0]["content"]


def test_orders_have_keys_of_their_own_that_stay(folder, provider):
    found = keys(folder, provider)
    assert len(set(found)) == 2 and found == keys(folder, provider)
    assert found == keys(folder, provider.model_copy(update={"base_url": "http://elsewhere/v1", "concurrency": 1, "max_usd": 9.0}))
    swapped = Matchup("2", "helpful", MATCHUP.dialogue, MATCHUP.opponent, MATCHUP.response)
    assert keys(folder, provider, swapped) == found[::-1], "the same two answers in the same order are the same question"


@pytest.mark.parametrize("change", [{"model": "n"}, {"revision": "2"}, {"temperature": 0.5}, {"max_tokens": 99}, {"json_schema": False}])
def test_another_model_or_decoding_is_another_question(folder, provider, change):
    assert not set(keys(folder, provider)) & set(keys(folder, provider.model_copy(update=change)))


@pytest.mark.parametrize("change", [{"dialogue": format_dialogue("What is coffee?")}, {"response": "A drink"}, {"opponent": "leaves."}])
def test_another_prompt_or_answer_is_another_question(folder, provider, change):
    assert not set(keys(folder, provider)) & set(keys(folder, provider, Matchup(**{**vars(MATCHUP), **change})))


def test_a_changed_letter_of_the_template_is_another_question(folder, provider):
    before = keys(folder, provider)
    file = folder / "helpful.txt"
    file.write_text(file.read_text().replace("Which answer is more helpful?", "which answer is more helpful?"))
    assert not set(before) & set(keys(folder, provider))


def test_gold_with_other_faults_answers_anew(folder):
    gold = GoldJudge(source="gold", noise=1.0, position_bias=0.5)
    assert not set(keys(folder, gold)) & set(keys(folder, gold.model_copy(update={"noise": 2.0})))


def test_asking_again_shows_the_answer_and_what_is_wrong_with_it(folder, provider):
    question = both_orders(MATCHUP, read_templates(folder, SUBSETS), provider)[0]
    repeated = again(question, "Well...")
    assert [message["content"] for message in repeated.prompt.messages[1:]] == ["Well...", ASKED_AGAIN]
    assert repeated.prompt.key != question.prompt.key


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("$dialogue $first", r"helpful.txt: found the placeholders \$dialogue, \$first, expected \$dialogue, \$first, \$second"),
        ("none", r"found the placeholders none, expected"),
        ("$dialogue $first $second $third", r"found the placeholders .*\$third, expected"),
        ("$dialogue $first $second for 5 $", r"helpful.txt: a \$ that begins no placeholder; write \$\$"),
    ],
)
def test_a_template_without_its_placeholders(folder, text, message):
    (folder / "helpful.txt").write_text(text)
    with pytest.raises(ConfigError, match=message):
        read_templates(folder, SUBSETS)


def test_a_template_that_is_missing_or_no_text(folder):
    (folder / "harmless.txt").write_bytes(b"\xff")
    with pytest.raises(ConfigError, match=r"harmless.txt: not UTF-8"):
        read_templates(folder, SUBSETS)
    (folder / "harmless.txt").unlink()
    with pytest.raises(MissingInputError, match=r"harmless.txt: no such file; judge.templates must name"):
        read_templates(folder, SUBSETS)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"reasoning": "B lacks it.", "verdict": "A"}', ("A", "B lacks it.")),
        ('Sure!\n```json\n{"reasoning": "Two\nlines", "verdict": "tie"}\n```', ("tie", "Two\nlines")),
        ('{"verdict": "B"}', ("B", "")),
        ('{"reasoning": "A {brace}", "verdict": "B"} ', ("B", "A {brace}")),
    ],
)
def test_readable_verdicts(text, expected):
    assert read_verdict(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "A",
        "Verdict: A",
        '{"reasoning": "cut off',
        '{"verdict": "a"}',
        '{"verdict": "A or B"}',
        '{"verdict": ["A"]}',
        '{"verdict": "A", "verdict": "B"}',
        '{"verdict": "A"} or {"verdict": "B"}',
        '["A"]',
        json.dumps({"reasoning": "The verdict is A"}),
    ],
)
def test_unreadable_verdicts_are_not_guessed(text):
    assert read_verdict(text) == (None, text)
