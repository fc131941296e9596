"""Records: a broken file is named with its line, and dialogues are read as turns."""

import json
import random

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
        (changed(subset="Not harmful"), "rows.jsonl:2: subset is 'Not harmful', expected a name of small letters, digits and _"),
        (changed(dialogue="Hi?"), "rows.jsonl:2: dialogue must begin with"),
        (changed(dialogue="\n\nHuman: Hi?"), "rows.jsonl:2: dialogue must begin with"),
        (changed(dialogue="\n\nHuman: \n\nAssistant:"), "rows.jsonl:2: dialogue has no question"),
        (changed(id=""), "rows.jsonl:2: id is '', expected text"),
        (changed(response=" \n"), "rows.jsonl:2: response is ' \\n', expected text"),
        (changed(response="\ud83d"), "rows.jsonl:2: a text has half of a surrogate pair"),
        (LINE[:-1] + ', "id": "b"}', "rows.jsonl:2: the key 'id' stands twice in an object; keep one"),
        (LINE[:-1] + ', "id" : "b"}', "rows.jsonl:2: the key 'id' stands twice in an object; keep one"),
        (changed(more='x"y')[:-1] + ', "id": "b"}', "rows.jsonl:2: the key 'id' stands twice in an object; keep one"),
        (LINE[:-1] + ', "more": {"a": 1, "a": 2}}', "rows.jsonl:2: the key 'a' stands twice in an object; keep one"),
        (LINE[:-1] + ', "more": NaN}', "rows.jsonl:2: found NaN; JSON has finite numbers only"),
        (LINE[:-1] + ', "more": 1e999}', "rows.jsonl:2: more has a number that no float can hold"),
        (LINE[:-1] + ', "more": ["a", -1e999]}', "rows.jsonl:2: more has a number that no float can hold"),
        (LINE[:-1] + ', "more": {"a": 1e999}}', "rows.jsonl:2: found the number 1e999, which no float can hold"),
        (LINE[:-1] + ', "more": ' + "9" * 5000 + "}", "rows.jsonl:2: a whole number of thousands of digits"),
        (LINE[:-1] + ', "more": ' + "[" * 100 + "]" * 100 + "}", "rows.jsonl:2: objects or lists nested more than 64 deep"),
        (LINE[:-1] + ', "more": ' + "[" * 99999 + "]" * 99999 + "}", "rows.jsonl:2: objects or lists nested more than 64 deep"),
    ],
)
def test_a_broken_line_is_named(tmp_path, second_line, message):
    path = tmp_path / "rows.jsonl"
    path.write_text(f"{LINE}\n{second_line}\n{LINE}\n", encoding="utf-8")
    with pytest.raises(DataError) as caught:
        read_records(path, "responses")
    assert str(tmp_path) in str(caught.value) and message in str(caught.value)
    assert "\n" not in str(caught.value)


SCORED = {
    **{key: GOOD[key] for key in ("id", "subset", "dialogue")},
    "responses": ["Yes.", ""], "finished": [True, False], "rewards": [1.5, -2],
}  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"responses": ["Yes.", 3]}, "responses[1] is int, expected str"),
        ({"responses": []}, "responses is [], expected at least one value"),
        ({"responses": "Yes."}, "responses is str, expected list"),
        ({"finished": [1, 0]}, "finished[0] is int, expected bool"),
        ({"finished": [True]}, "finished has 1 values, expected 2, one a response"),
        ({"rewards": ["1.5", 2]}, "rewards[0] is str, expected a number"),
        ({"rewards": [True, 2]}, "rewards[0] is bool, expected a number"),
        ({"rewards": [10**400, 2]}, "rewards[0] is int, expected a number"),
        ({"rewards": [None, 2]}, "rewards[0] is NoneType, expected a number"),
        ({"rewards": [1.5]}, "rewards has 1 values, expected 2, one a response"),
        ({"id": "a"}, "id 'a' stands at {path}:1 too, expected once"),
        ({"origins": ["sample", "people"]}, "origins[1] is 'people', expected sample or golden"),
    ],
)
def test_samples_have_one_of_each_for_each_response(tmp_path, changes, message):
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in (SCORED, {**SCORED, "id": "b", **changes})))
    with pytest.raises(DataError) as caught:
        read_records(path, "scores")
    assert str(caught.value).startswith(f"{path}:2: {message.format(path=path)}")


def test_a_number_that_no_float_can_hold_is_no_reward(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(SCORED).replace("-2", "1e999"))
    with pytest.raises(DataError, match=r"rows.jsonl:1: rewards\[1\] is inf, expected a finite number"):
        read_records(path, "scores")


def test_a_probability_is_one_and_what_ended_is_said_of_both_responses(tmp_path):
    path = tmp_path / "rows.jsonl"
    pair = {**{key: GOOD[key] for key in ("id", "subset", "dialogue")}, "chosen": "a", "rejected": "b"}
    write_records(path, [pair, pair | {"probability": 0.25}])
    assert len(read_records(path, "pairs")) == 2
    write_records(path, [pair, pair | {"probability": 1.5}])
    with pytest.raises(DataError, match=r"rows.jsonl:2: probability is 1.5, expected less than or equal to 1"):
        read_records(path, "pairs")
    write_records(path, [pair | {"finished": [True, False]}, pair | {"finished": "yes"}])
    with pytest.raises(DataError, match=r"rows.jsonl:2: finished is str, expected list"):
        read_records(path, "pairs")


def test_the_quick_reader_gives_what_pythons_gives(tmp_path):
    """Order of keys, numbers to the last bit, whatever stands in the texts."""
    rng = random.Random(0)
    texts = ['say "x": y', "{", "[]", "\\", '\\"', "\u2028 你好 🦊", "\x00\x7f", '": "', "", "\t\n"]
    rows = []
    for number in range(300):
        rewards = [rng.choice([rng.gauss(0, 1), 5e-324, 1.7976931348623157e308, -0.0, 3]) for _ in range(3)]
        responses = [rng.choice(texts) + rng.choice(texts) for _ in range(3)]
        row = SCORED | {"id": str(number), "responses": responses, "rewards": rewards, "finished": [True] * 3}
        rows.append(row if number % 3 else row | {"more": rng.choice([{"a": [1.5, {"b": None}]}, 10**30, rng.choice(texts)])})
    write_records(tmp_path / "rows.jsonl", rows)
    found = read_records(tmp_path / "rows.jsonl", "scores")
    assert list(map(repr, found)) == list(map(repr, rows))


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
