"""Pairs of one's own: each format becomes the same record, what cannot be used is counted, what is wrong is said with what to do."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from apo_bench.config.data_sections import PreferenceData
from apo_bench.core.errors import DataError, MissingInputError
from apo_bench.data.hh import conversation
from apo_bench.data.preferences import clean_preferences, prepare_preferences, read_preferences

DIALOGUE = "\n\nHuman: Why is the sky blue?\n\nAssistant:"
QUESTION = {"role": "user", "content": "Why is the sky blue?"}
GOOD, BAD = ({"role": "assistant", "content": text} for text in ("Air scatters blue light.", "It is not."))
SYSTEM = {"role": "system", "content": "Be brief."}
RECORD = {"dialogue": DIALOGUE, "chosen": GOOD["content"], "rejected": BAD["content"]}

FORMATS = {
    "text": {"prompt": QUESTION["content"], "chosen": GOOD["content"], "rejected": BAD["content"]},
    "messages": {"prompt": [QUESTION], "chosen": [GOOD], "rejected": [BAD]},
    "messages, implicit prompt": {"chosen": [QUESTION, GOOD], "rejected": [QUESTION, BAD]},
    "text of HH, implicit prompt": {"chosen": f"{DIALOGUE} {GOOD['content']}", "rejected": f"{DIALOGUE} {BAD['content']}"},
    "ultrafeedback_binarized": {
        **{"prompt": QUESTION["content"], "prompt_id": "1", "chosen": [QUESTION, GOOD], "rejected": [QUESTION, BAD]},
        **{"messages": [QUESTION, GOOD], "score_chosen": 8.0, "score_rejected": 2.0},
    },
    "UltraFeedback": {
        "instruction": QUESTION["content"],
        "completions": [
            {"response": text, "overall_score": score} for text, score in ((BAD["content"], 2), ("So so.", 5.0), (GOOD["content"], 8.5))
        ],
    },
}


def cleaned(*rows: dict) -> tuple:
    return clean_preferences([("own", f"f.jsonl:{number}", row) for number, row in enumerate(rows, start=1)])


@pytest.mark.parametrize("name", FORMATS)
def test_each_format_is_the_same_record(name):
    rows, dropped, _ = cleaned(FORMATS[name])
    assert [{key: row[key] for key in RECORD} for row in rows] == [RECORD] and rows[0]["subset"] == "own"
    assert not sum(dropped.values())


def test_turns_before_the_last_are_kept_and_a_system_turn_stands_before_the_question():
    turns = [SYSTEM, QUESTION, GOOD, {"role": "user", "content": "Really?"}]
    rows, _, changed = cleaned({"chosen": [*turns, GOOD], "rejected": [*turns, BAD]}, FORMATS["text"])
    first = "\n\nHuman: Be brief.\n\nWhy is the sky blue?"
    assert rows[0]["dialogue"] == f"{first}\n\nAssistant: Air scatters blue light.\n\nHuman: Really?\n\nAssistant:"
    assert sum(changed.values()) == 1 and len(rows) == 2


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (FORMATS["text"] | {"rejected": " "}, "empty response"),
        (FORMATS["text"] | {"rejected": GOOD["content"]}, "both responses equal"),
        ({"chosen": [QUESTION, GOOD], "rejected": [QUESTION | {"content": "Why?"}, BAD]}, "dialogues of chosen and rejected differ"),
        ({"chosen": [QUESTION, QUESTION, GOOD], "rejected": [QUESTION, QUESTION, BAD]}, "turns do not alternate"),
        (FORMATS["text"] | {"prompt": "Say\n\nHuman: hello"}, "a turn holds the marker of another one"),
        (FORMATS["UltraFeedback"] | {"completions": FORMATS["UltraFeedback"]["completions"][:1]}, "completions are fewer than two"),
        (FORMATS["messages"], "duplicate pair"),
    ],
)
def test_what_cannot_be_used_is_counted_under_its_reason(row, reason):
    rows, dropped, _ = cleaned(*([FORMATS["text"]] if reason == "duplicate pair" else []), row)
    assert sum(dropped.values()) == 1 and next(name for name, count in dropped.items() if count).startswith(reason)
    assert len(rows) == (reason == "duplicate pair")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"question": "a", "chosen": "b"}, r"found the keys question, chosen, expected prompt, chosen and rejected; .*rename the columns"),
        ({"chosen": "b", "rejected": "c"}, r"chosen is text without a prompt; add the column prompt"),
        ({"prompt": "a", "chosen": 3, "rejected": "c"}, r"chosen is 3, expected text or a list of messages"),
        (
            {"prompt": [{"from": "human"}], "chosen": "b", "rejected": "c"},
            r"prompt is \[\{\"from\": \"human\"\}\], expected text or a list",
        ),
        ({"instruction": "a", "completions": [{"response": "b"}, {"response": "c"}]}, r"no completion has a number in overall_score"),
    ],
)
def test_a_row_in_no_format_is_one_line_that_says_what_to_do(row, message):
    with pytest.raises(DataError, match=rf"^f.jsonl:1: {message}[^\n]*$"):
        cleaned(row)


@pytest.mark.parametrize("name", ["pairs.jsonl", "pairs.parquet"])
def test_rows_of_a_file_and_where_they_stand(tmp_path, name):
    rows = [FORMATS["messages"], FORMATS["messages"] | {"chosen": [BAD], "rejected": [GOOD]}]
    if name.endswith("parquet"):
        pq.write_table(pa.Table.from_pylist(rows), tmp_path / name)
    else:
        (tmp_path / name).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    found = read_preferences(tmp_path / name)
    assert [row for _, row in found] == rows and found[1][0].startswith(str(tmp_path / name)) and found[1][0].endswith("2")


def test_files_that_cannot_be_read_say_what_to_do(tmp_path):
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 no")
    (tmp_path / "pairs.csv").write_text("a,b")
    with pytest.raises(DataError, match=r"broken.parquet: not Parquet .*again"):
        read_preferences(tmp_path / "broken.parquet")
    with pytest.raises(DataError, match=r"pairs.csv: expected a file that ends in .jsonl"):
        read_preferences(tmp_path / "pairs.csv")
    with pytest.raises(MissingInputError, match=r"pairs.jsonl: no such file \(broken.parquet, pairs.csv\); put it there"):
        read_preferences(tmp_path / "pairs.jsonl")


def settings_of(folder: Path, **changed: object) -> PreferenceData:
    """Two subsets, of which one has a test file of its own."""
    subsets = {"chat": {"train": "chat.jsonl", "test": None}, "code": {"train": "code.jsonl", "test": "code_test.jsonl"}}
    sizes = {"num_rm_prompts": 20, "num_lm_prompts": 20, "num_validation_prompts": 2, "num_test_pairs": 20, "num_test_prompts": 10}
    known = {"source": "preferences", "folder": str(folder), "hub": None, "seed": 0, "subsets": subsets, "golden": {"source": "chosen"}}
    known |= {"num_game_prompts": 6, "num_further_pairs": 0, "test_fraction": 0.3, "validation_fraction": 0.1, **sizes}
    return PreferenceData.model_validate(known | changed)


@pytest.fixture
def folder(tmp_path) -> Path:
    for name, count in (("chat", 60), ("code", 60), ("code_test", 20)):
        lines = [json.dumps(FORMATS["text"] | {"prompt": f"{name} {number}?"}) + "\n" for number in range(count)]
        (tmp_path / f"{name}.jsonl").write_text("".join(lines), encoding="utf-8")
    return tmp_path


def test_subsets_keep_their_names_and_splits_share_no_conversation(folder):
    files, report = prepare_preferences(settings_of(folder))
    splits = {name: {conversation(row["dialogue"]) for row in files[f"pairs_{name}"]} for name in ("rm", "lm", "validation", "test")}
    assert sum(map(len, splits.values())) == len(set().union(*splits.values()))
    assert {row["subset"] for row in files["pairs_test"]} == {"chat", "code"}
    tested = {row["dialogue"] for row in files["pairs_test"] if row["subset"] == "code"}
    assert tested and all("code_test" in dialogue for dialogue in tested), "a subset with a test file is tested on that"
    assert sum(report["num_read"].values()) == 140
    kept = sum(report["num_records"][f"pairs_{name}"] for name in splits) + sum(report["num_beyond_size"].values())
    assert kept + sum(sum(reasons.values()) for reasons in report["dropped"].values()) == 140
    assert prepare_preferences(settings_of(folder)) == (files, report)


def test_too_few_pairs_say_how_many_there_are(folder):
    with pytest.raises(DataError, match=r"prepare.num_test_pairs: 90 pairs of split test wanted, \d+ found in .*; lower it to \d+ or less"):
        prepare_preferences(settings_of(folder, num_test_pairs=90))
