"""Records: a broken file is named with its line, and dialogues are read as turns."""

import json

import pytest

from apo_bench.core.errors import DataError, MissingInputError
from apo_bench.data.records import format_dialogue, parse_dialogue, read_dataset, read_records, write_records

GOOD = {"id": "a", "subset": "helpful", "dialogue": format_dialogue("Hi?"), "response": "Hello.\nYou — 你好"}
LINE = json.dumps(GOOD)


def test_what_is_written_is_read(tmp_path):
    write_records(tmp_path / "rows.jsonl", [GOOD, GOOD])
    assert read_records(tmp_path / "rows.jsonl", "responses") == [GOOD, GOOD]
    assert read_dataset(tmp_path / "rows.jsonl", "responses")[1] == GOOD


def changed(**changes) -> str:
    return json.dumps({**GOOD, **changes})


@pytest.mark.parametrize(
    ("second_line", "message"),
    [
        ("{broken", "rows.jsonl:2: not JSON"),
        ("", "rows.jsonl:2: not JSON"),
        ("[1]", "rows.jsonl:2: found a JSON list, expected an object"),
        (json.dumps({"id": "a"}), "rows.jsonl:2: no key subset, dialogue, response; found id"),
        (changed(response=3), "rows.jsonl:2: response is int, expected str"),
        (changed(response=None), "rows.jsonl:2: response is NoneType, expected str"),
        (changed(subset="Not harmful"), "rows.jsonl:2: subset is 'Not harmful', expected a name such as helpful or harmless"),
        (changed(dialogue="Hi?"), "rows.jsonl:2: dialogue must begin with"),
        (changed(dialogue="\n\nHuman: Hi?"), "rows.jsonl:2: dialogue must begin with"),
    ],
)
def test_a_broken_line_is_named(tmp_path, second_line, message):
    path = tmp_path / "rows.jsonl"
    path.write_text(f"{LINE}\n{second_line}\n{LINE}\n", encoding="utf-8")
    with pytest.raises(DataError) as caught:
        read_records(path, "responses")
    assert str(tmp_path) in str(caught.value) and message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_bytes_that_are_not_utf8_are_named(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(f"{LINE}\n".encode() + '{"id": "é"}\n'.encode("latin-1"))
    with pytest.raises(DataError, match=r"rows.jsonl:2: not UTF-8 .* at byte 8"):
        read_records(path, "responses")


def test_empty_and_missing_files_are_named(tmp_path):
    (tmp_path / "empty.jsonl").write_text("")
    with pytest.raises(DataError, match=r"empty.jsonl: no records"):
        read_records(tmp_path / "empty.jsonl", "responses")
    with pytest.raises(MissingInputError, match=r"gone.jsonl: no such file; run the stage"):
        read_records(tmp_path / "gone.jsonl", "responses")


def test_turns_of_a_dialogue():
    assert parse_dialogue("\n\nHuman: Hi.\n\nAssistant: Hello.\n\nHuman: A\n\nB?\n\nAssistant:") == [
        {"role": "user", "content": "Hi."},
        {"role": "assistant", "content": "Hello."},
        {"role": "user", "content": "A\n\nB?"},
    ]
    assert format_dialogue("Hi?") == "\n\nHuman: Hi?\n\nAssistant:"
