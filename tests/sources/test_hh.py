"""Raw pairs of HH-RLHF: broken files are named, and texts are split and cut where the judged response is."""

import gzip

import pytest

from apo_bench.core.errors import DataError, MissingInputError
from apo_bench.data.transcripts import conversation, split_text
from apo_bench.sources.hh import clean_raw_pairs, read_raw_pairs

Q = "\n\nHuman: Hi?\n\nAssistant:"


def test_what_is_missing_is_named(tmp_path):
    (tmp_path / "helpful-base").mkdir()
    with pytest.raises(MissingInputError, match=r"helpful-base/test.jsonl: no such file, nor test.jsonl.gz; .*`apo-bench fetch`$"):
        read_raw_pairs(tmp_path, "helpful-base", "test")
    with pytest.raises(MissingInputError, match=r"gone: no such folder; .*`apo-bench fetch`"):
        read_raw_pairs(tmp_path / "gone", "helpful-base", "test")


def test_both_forms_of_a_file_are_an_error(tmp_path):
    (tmp_path / "helpful-base").mkdir()
    for suffix in (".jsonl", ".jsonl.gz"):
        (tmp_path / "helpful-base" / f"test{suffix}").touch()
    with pytest.raises(DataError, match=r"helpful-base/test.jsonl and .*helpful-base/test.jsonl.gz: found both"):
        read_raw_pairs(tmp_path, "helpful-base", "test")


@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.gz"])
@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b'{"chosen": "a"}', "no key rejected; found chosen"),
        (b'{"chosen": "a", "rejected": 3}', "rejected is int, expected str"),
        (b'{"chosen": null, "rejected": "b"}', "chosen is NoneType, expected str"),
        (b'{"chosen": "a", "rejected": "\\ud83d"}', "a text has half of a surrogate pair"),
        (b'{"chosen": "a", "rejected": "\xe9"}', "not UTF-8"),
        (b'{"chosen": "a", ', "not JSON"),
    ],
)
def test_a_broken_line_is_named(tmp_path, suffix, line, message):
    content = b'{"chosen": "a", "rejected": "b"}\n' + line + b"\n"
    (tmp_path / "helpful-base").mkdir()
    (tmp_path / "helpful-base" / f"train{suffix}").write_bytes(gzip.compress(content) if suffix.endswith("gz") else content)
    with pytest.raises(DataError) as caught:
        read_raw_pairs(tmp_path, "helpful-base", "train")
    assert f"helpful-base/train{suffix}:2: {message}" in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "dialogue", "response", "was_cut"),
    [
        (f"{Q} Hello. \n", Q, "Hello.", False),
        (f"{Q} One.\n\nTwo.", Q, "One.\n\nTwo.", False),
        (f"{Q} Hello.\n\nHuman: Why?{Q[11:]} So.", f"{Q} Hello.\n\nHuman: Why?{Q[11:]}", "So.", False),
        (f"{Q} Human: is a word here.", Q, "Human: is a word here.", False),
        (f"{Q} Humans.\n\nHumans are many.", Q, "Humans.\n\nHumans are many.", False),
        (f"{Q} ", Q, "", False),
        (f"{Q} Hello.{Q[:8]} Why?{Q[11:]} ", f"{Q} Hello.{Q[:8]} Why?{Q[11:]}", "", False),
        (f"{Q} Hello.\n\nHuman", Q, "Hello.", True),
        (f"{Q} Hello.\n\nAssistant \n", Q, "Hello.", True),
        (f"{Q} Hello.\n\nHuman:", Q, "Hello.", True),
        (f"{Q} Hello.\n\nHuman: And you?", Q, "Hello.", True),
        (f"{Q} Hello.\n\nAssistant:", Q, "Hello.", True),
        (f"{Q} Hello.\n\nHuman: \n\nAssistant: ", Q, "Hello.", True),
        (f"{Q} Hello.\n\nHuman\n\nAssistant:", Q, "Hello.", True),
        (f"{Q} Hello.\n\nAssistant:\n\nHuman", Q, "Hello.", True),
        (f"{Q}\n\nHuman", Q, "", True),
        (f"{Q}\n\nAssistant:", Q, "", True),
        ("\n\nHuman:\n\nAssistant: ", "\n\nHuman:\n\nAssistant:", "", False),
    ],
)
def test_a_text_is_split_at_the_last_turn_that_was_judged(text, dialogue, response, was_cut):
    split = split_text(text)
    assert (split.dialogue, split.response, split.was_cut) == (dialogue, response, was_cut)


@pytest.mark.parametrize("text", ["", "Hi?", "\n\nHuman: Hi?", f"Oh.{Q} Hello.", "\n\nAssistant: Hello.", "\n\nHuman: A\n\nHuman: B"])
def test_a_text_without_a_question_and_an_answer_is_none(text):
    assert split_text(text) is None


def test_a_pair_is_a_duplicate_only_as_a_whole():
    pairs = [(f"{Q} A", f"{Q} B"), (f"{Q} A ", f"{Q} B"), (f"{Q} A", f"{Q} C"), (f"{Q} B", f"{Q} A")]
    rows, dropped, _ = clean_raw_pairs(("helpful", {"chosen": chosen, "rejected": rejected}) for chosen, rejected in pairs)
    assert [(row["chosen"], row["rejected"]) for row in rows] == [("A", "B"), ("A", "C"), ("B", "A")]
    assert dropped["duplicate pair"] == 1 == dropped.total()


def test_a_conversation_is_its_first_human_turn():
    assert conversation("\n\nHuman: Why  IS\nit?\n\nAssistant: So.\n\nHuman: Oh.\n\nAssistant:") == "why is it?"
