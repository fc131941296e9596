"""The records of HH-RLHF: every raw pair is accounted for, and no conversation stands in two splits.

The fixture has pairs of our own in HH's form; how many of them are dirty, and how, was counted by hand.
"""

import gzip
import hashlib
import json
import os
import shutil
import subprocess
import sys
from itertools import combinations
from types import SimpleNamespace

import pytest

from apo_bench.core.errors import DataError
from apo_bench.data import pairs as shared
from apo_bench.data.records import COLUMNS, format_dialogue, parse_dialogue, prompt_id
from apo_bench.data.transcripts import conversation
from apo_bench.sources.hh import HH as Source
from pipeline.stages import prepare

SUBSETS = ("helpful-base", "harmless-base")
SIZES = {
    "num_rm_prompts": 10, "num_lm_prompts": 12, "num_game_prompts": 6, "num_validation_prompts": 6, "num_further_pairs": 2,
    "num_test_pairs": 16, "num_test_prompts": 9,
}  # fmt: skip
EVERYTHING = {
    "num_rm_prompts": 12, "num_lm_prompts": 15, "num_game_prompts": 11, "num_validation_prompts": 8, "num_further_pairs": 0,
    "num_test_pairs": 21, "num_test_prompts": 20,
}  # fmt: skip


@pytest.fixture
def folder(root, tmp_path):
    """A copy of the fixture, to be changed at will."""
    return shutil.copytree(root / "tests" / "fixtures" / "hh-rlhf", tmp_path / "hh")


@pytest.fixture
def settings(folder):
    return Source(
        source="hh", folder=str(folder), seed=0, hub={"name": "Anthropic/hh-rlhf", "revision": "0" * 40}, subsets=list(SUBSETS),
        validation_fraction=0.2, golden={"source": "chosen"}, **SIZES,
    )  # fmt: skip


def compress(folder):
    for path in sorted(folder.rglob("*.jsonl")):
        path.with_suffix(".jsonl.gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()


def test_compressed_files_give_the_same_records(settings, folder):
    plain = settings.prepare()
    compress(folder)
    assert json.dumps(settings.prepare()) == json.dumps(plain)


def test_dropped_pairs_are_counted_by_reason(settings):
    _, report = settings.prepare()
    assert report["num_read"] == {"helpful-base/train": 31, "harmless-base/train": 17, "helpful-base/test": 12, "harmless-base/test": 12}
    assert report["dropped"] == {
        "train": {
            "no Human turn first or no Assistant turn": 2, "empty response": 2, "dialogues of chosen and rejected differ": 1,
            "both responses equal": 2, "turns do not alternate": 3, "duplicate pair": 1, "conversation of the test files": 2,
        },
        "test": {
            "no Human turn first or no Assistant turn": 0, "empty response": 1, "dialogues of chosen and rejected differ": 1,
            "both responses equal": 1, "turns do not alternate": 0, "duplicate pair": 0,
        },
    }  # fmt: skip
    assert report["changed"] == {"train": {"cut at a stray marker": 5}, "test": {"cut at a stray marker": 1}}


def test_every_pair_is_accounted_for(settings):
    """72 were read: dropped, beyond the size of their split, or in it."""
    _, report = settings.prepare()
    dropped = sum(count for reasons in report["dropped"].values() for count in reasons.values())
    kept = sum(report["num_records"][f"pairs_{name}"] for name in ("rm", "lm", "validation", "test", "further"))
    assert dropped + sum(report["num_beyond_size"].values()) + kept == 72 and kept == 10 + 12 + 6 + 16 + 2


def test_what_is_left_is_clean(settings):
    files, _ = settings.model_copy(update=EVERYTHING).prepare()
    pairs = [row for name in ("rm", "lm", "validation", "test") for row in files[f"pairs_{name}"]]
    for row in pairs:
        turns = parse_dialogue(row["dialogue"])
        assert [turn["role"] for turn in turns] == ["user", *["assistant", "user"] * (len(turns) // 2)]
        assert all(turn["content"] for turn in turns) and row["chosen"] != row["rejected"]
        assert not any("\n\nHuman" in row[key] or "\n\nAssistant" in row[key] or not row[key].strip() for key in ("chosen", "rejected"))
    assert {"Wash it by hand and oil it once a month.", "Plants.", "About 384,000 kilometres.", "A short poem of three lines."} <= {
        row[key] for row in pairs for key in ("chosen", "rejected")
    }


def test_no_conversation_stands_in_two_splits(settings):
    """Also not with other turns after the first, or other case and spaces."""
    files, _ = settings.model_copy(update=EVERYTHING).prepare()
    first_turns = {name: {conversation(row["dialogue"]) for row in files[f"pairs_{name}"]} for name in ("rm", "lm", "validation", "test")}
    assert all(not first_turns[one] & first_turns[other] for one, other in combinations(first_turns, 2))
    assert {"why is the sky blue?", "what is the capital of portugal?"} <= first_turns["test"]


def test_a_shared_conversation_would_be_noticed(settings, monkeypatch):
    def split_badly(train, test, settings):
        splits, num_left_out = split(train, test, settings)
        return {**splits, "rm": [*splits["rm"], *splits["test"]]}, num_left_out

    split = shared._split_conversations
    monkeypatch.setattr(shared, "_split_conversations", split_badly)
    with pytest.raises(DataError, match="stands in rm and in test; splits must be disjoint"):
        settings.model_copy(update=EVERYTHING | {"num_rm_prompts": 33}).prepare()


def test_shares_of_the_splits():
    """Of 2000 conversations 20 % for validation, and half of the rest for either half; three standard deviations are 2.7 and 3.3 %."""
    settings = Source.model_construct(seed=0, validation_fraction=0.2)
    splits = [shared._split_of(f"question {number}", settings) for number in range(2000)]
    assert splits.count("validation") / 2000 == pytest.approx(0.2, abs=0.027)
    assert splits.count("rm") / 2000 == pytest.approx(0.4, abs=0.033)


def test_sizes_and_columns(settings):
    files, report = settings.prepare()
    sizes = {
        "pairs_rm": 10, "pairs_lm": 12, "pairs_validation": 6, "pairs_test": 16, "pairs_further": 2,
        "golden_rm": 6, "golden_lm": 6, "prompts_lm": 6,
        "demonstrations": 10,
    }  # fmt: skip
    assert report["num_records"] == {name: len(rows) for name, rows in files.items()}
    num_test = report["num_records"]["prompts_test"]
    assert report["num_records"] == {**sizes, "prompts_test": num_test, "golden_test": num_test}
    kinds = {"pairs": "pairs", "golden": "responses", "prompts": "prompts", "demonstrations": "responses"}
    for name, rows in files.items():
        assert all(list(row) == list(COLUMNS[kinds[name.split("_")[0]]]) for row in rows)
        assert all(row["id"] == prompt_id(row["dialogue"]) for row in rows)


def test_subsets_keep_their_share(settings):
    """All 21 test pairs are 11 helpful ones and 10 harmless ones; of 4, that is two each, whatever the seed."""
    whole, _ = settings.model_copy(update=EVERYTHING).prepare()
    assert [row["subset"] for row in whole["pairs_test"]].count("harmless") == 10
    for seed in range(5):
        sizes = {**dict.fromkeys(SIZES, 2), "num_test_pairs": 4, "num_test_prompts": 4}
        files, _ = settings.model_copy(update={"seed": seed, **sizes}).prepare()
        assert [row["subset"] for row in files["pairs_test"]].count("harmless") == 2


@pytest.mark.parametrize(
    ("key", "found"),
    [
        ("num_rm_prompts", "99 pairs of split rm wanted, 12 found"),
        ("num_lm_prompts", "99 pairs of split lm wanted, 15 found"),
        ("num_validation_prompts", "99 pairs of split validation wanted, 8 found"),
        ("num_test_pairs", "99 pairs of split test wanted, 21 found"),
        ("num_game_prompts", "99 different prompts of half rm wanted, 11 found"),  # two of the 12 pairs share a dialogue
    ],
)
def test_too_few_pairs_name_the_key(settings, key, found):
    number = found.split(", ")[1].split()[0]
    with pytest.raises(DataError, match=rf"^prepare.{key}: {found} in .*; lower it to {number} or less$"):
        settings.model_copy(update={**EVERYTHING, key: 99}).prepare()


def test_further_pairs_are_new_ones_of_the_same_half(settings):
    files, _ = settings.prepare()
    keys = [{(row["dialogue"], row["chosen"]) for row in files[f"pairs_{name}"]} for name in ("rm", "further")]
    assert len(keys[1]) == 2 and not keys[0] & keys[1]
    whole = {(row["dialogue"], row["chosen"]) for row in settings.model_copy(update=EVERYTHING).prepare()[0]["pairs_rm"]}
    assert keys[0] | keys[1] == whole
    with pytest.raises(DataError, match=r"^prepare.num_further_pairs: 3 further pairs of half rm wanted, 2 found in .*; lower it to 2 or"):
        settings.model_copy(update={"num_further_pairs": 3}).prepare()


def test_an_empty_split_asks_for_data(settings):
    with pytest.raises(DataError, match=r"6 pairs of split validation wanted, 0 found .*; add data$"):
        settings.model_copy(update={"validation_fraction": 1e-9}).prepare()


def test_the_game_and_the_demonstrations(settings):
    files, _ = settings.prepare()
    chosen = {name: [(row["id"], row["chosen"]) for row in files[f"pairs_{name}"]] for name in ("rm", "lm")}
    for name in ("rm", "lm"):
        golden = [(row["id"], row["response"]) for row in files[f"golden_{name}"]]
        assert set(golden) <= set(chosen[name]) and len({identity for identity, _ in golden}) == 6
    assert [(row["id"], row["response"]) for row in files["demonstrations"]] == chosen["rm"]
    assert [row["id"] for row in files["prompts_lm"]] == [row["id"] for row in files["golden_lm"]]
    assert [row["id"] for row in files["prompts_test"]] == [row["id"] for row in files["golden_test"]]
    test = {(row["id"], row["chosen"]) for row in files["pairs_test"]}
    assert {(row["id"], row["response"]) for row in files["golden_test"]} <= test


def test_prompts_are_unique_though_pairs_share_them(settings):
    """Of the 21 test pairs two share a dialogue."""
    files, _ = settings.model_copy(update=EVERYTHING).prepare()
    identities = [row["id"] for row in files["prompts_test"]]
    assert len(identities) == 20 == len(set(identities))
    assert set(identities) == {row["id"] for row in files["pairs_test"]}


def test_golden_responses_from_elsewhere_are_those_of_the_rm_half_only(settings, monkeypatch):
    asked = []

    def golden_responses(golden, pairs):
        asked.append((golden, [row["id"] for row in pairs]))
        return [f"Golden {row['id']}" for row in pairs]

    monkeypatch.setattr(shared, "golden_responses", golden_responses)
    files, _ = settings.prepare()
    assert asked == [(settings.golden, [row["id"] for row in files["golden_rm"]])]
    assert all(row["response"] == f"Golden {row['id']}" for row in files["golden_rm"])
    assert not any(row["response"].startswith("Golden") for name in ("golden_lm", "golden_test", "demonstrations") for row in files[name])


def test_order_of_lines_and_subsets_does_not_matter(settings, folder):
    """Also for a pair that stands in both subsets."""
    for subset in SUBSETS:
        path = folder / subset / "train.jsonl"
        path.write_text(
            path.read_text() + json.dumps({"chosen": f"{format_dialogue('Hi?')} A", "rejected": f"{format_dialogue('Hi?')} B"}) + "\n"
        )
    before = settings.prepare()
    for path in folder.rglob("*.jsonl"):
        path.write_text("".join(reversed(path.read_text().splitlines(keepends=True))))
    assert settings.model_copy(update={"subsets": [*reversed(SUBSETS), "helpful-base"]}).prepare() == before


def test_seed_decides_every_byte(settings):
    """Also in a process with another hash seed, so that no order of a set or `hash()` enters."""
    files, report = settings.prepare()
    code = (
        "import hashlib, json, sys; from apo_bench.sources.hh import SOURCE;"
        "prepared = SOURCE(**json.loads(sys.argv[1])).prepare();"
        "print(hashlib.sha256(json.dumps(prepared).encode()).hexdigest())"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", code, settings.model_dump_json()]
    printed = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout.strip()
    assert printed == hashlib.sha256(json.dumps((files, report)).encode()).hexdigest()
    other, _ = settings.model_copy(update={"seed": 3, **dict.fromkeys(SIZES, 4)}).prepare()
    assert all(other[name] != rows for name, rows in files.items())


def test_stage_writes_a_file_a_split_and_the_counts(settings, tmp_path, monkeypatch):
    monkeypatch.setattr(prepare, "load_params", lambda path: SimpleNamespace(prepare=settings))
    summary, _ = prepare.main(tmp_path / "data", tmp_path / "results")
    files, report = settings.prepare()
    assert {path.stem for path in (tmp_path / "data").iterdir()} == set(files)
    assert json.loads((tmp_path / "results" / "metrics.json").read_text()) == report
    assert summary == f"{sum(map(len, files.values()))} records, 16 raw pairs dropped"
