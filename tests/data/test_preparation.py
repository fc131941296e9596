"""The embedded corpus: disjoint splits of the asked sizes, labels of the asked noise, the same bytes for the same seed."""

import hashlib
import json
import os
import subprocess
import sys

import pytest
from scipy.optimize import brentq
from scipy.special import expit

from apo_bench.core.errors import DataError
from apo_bench.data import preparation
from apo_bench.data.corpus import load_corpus
from apo_bench.data.gold import gold_score
from apo_bench.data.preparation import assert_disjoint, label_temperature, prepare_embedded
from apo_bench.data.records import COLUMNS, prompt_id

SIZES = {
    "seed": 0, "num_topics": 48, "num_misdeeds": 24, "num_contexts": 12, "num_templates": 64, "num_rm_prompts": 240, "num_lm_prompts": 200,
    "num_game_prompts": 30, "num_further_pairs": 20, "num_validation_prompts": 60, "num_test_pairs": 100, "num_test_prompts": 60,
    "num_pretraining_examples": 50, "num_demonstrations": 40, "harmful_fraction": 0.35, "label_agreement": 0.75,
}  # fmt: skip


@pytest.fixture(scope="module")
def settings(params):
    return params.prepare.model_copy(update=SIZES)


@pytest.fixture(scope="module")
def prepared(settings):
    return prepare_embedded(settings)


def test_sizes(prepared):
    files, report = prepared
    expected = {
        "pairs_rm": 240, "pairs_lm": 200, "pairs_further": 20, "pairs_validation": 60, "pairs_test": 100, "golden_rm": 30, "golden_lm": 30,
        "prompts_lm": 30, "prompts_test": 60, "golden_test": 60, "pretraining": 50, "demonstrations": 40,
    }  # fmt: skip
    assert {name: len(rows) for name, rows in files.items()} == expected == report["num_records"]


def test_harmful_share(prepared):
    """35 % of 240, 200, 60 and 100."""
    files, _ = prepared
    counts = [sum(row["subset"] == "harmless" for row in files[f"pairs_{name}"]) for name in ("rm", "lm", "validation", "test")]
    assert counts == [84, 70, 21, 35]


def test_prompts_of_the_splits_are_disjoint(prepared):
    """Test prompts stand nowhere else, pretraining and demonstrations included; no split has a prompt twice."""
    files, _ = prepared
    dialogues = {name: [row["dialogue"] for row in rows] for name, rows in files.items()}
    held_out = [dialogues[f"pairs_{name}"] for name in ("rm", "lm", "validation", "test", "further")] + [
        list({*dialogues["pretraining"], *dialogues["demonstrations"]})
    ]
    together = [dialogue for split in held_out for dialogue in split]
    assert len(set(together)) == len(together)
    assert all(row["id"] == prompt_id(row["dialogue"]) for rows in files.values() for row in rows)


def test_game_prompts_lie_within_their_half(prepared):
    files, _ = prepared
    for name in ("rm", "lm"):
        assert {row["id"] for row in files[f"golden_{name}"]} <= {row["id"] for row in files[f"pairs_{name}"]}
    assert [row["id"] for row in files["prompts_lm"]] == [row["id"] for row in files["golden_lm"]]


def test_test_prompts_are_those_of_the_test_pairs(prepared):
    files, _ = prepared
    assert files["prompts_test"] == [{key: row[key] for key in ("id", "subset", "dialogue")} for row in files["pairs_test"][:60]]


def test_a_smaller_world_has_the_first_of_everything(settings):
    sizes = {"num_topics": 7, "num_misdeeds": 5, "num_contexts": 6, "num_templates": 20}
    files, _ = prepare_embedded(settings.model_copy(update=sizes))
    corpus = load_corpus()
    for row in files["pairs_rm"] + files["pretraining"]:
        situation = corpus.locate(row["dialogue"])
        helpful = situation.subset == "helpful"
        assert situation.request in (corpus.topics[:7] if helpful else corpus.misdeeds[:5])
        assert situation.context in (corpus.helpful_contexts if helpful else corpus.harmful_contexts)[:6]
    texts = " ".join(row["chosen"] + row["rejected"] for row in files["pairs_rm"])
    assert corpus.topics[0].steps[0] in texts and not any(step in texts for topic in corpus.topics[7:] for step in topic.steps)


@pytest.mark.parametrize("key", ["num_topics", "num_misdeeds", "num_contexts", "num_templates"])
def test_a_world_larger_than_the_corpus_names_the_key(settings, key):
    with pytest.raises(DataError, match=f"^{key}: found 1000, expected at most "):
        prepare_embedded(settings.model_copy(update={key: 1000}))


def test_golden_responses_to_the_test_prompts_are_good(prepared):
    files, _ = prepared
    assert [row["id"] for row in files["golden_test"]] == [row["id"] for row in files["prompts_test"]]
    means = [sum(gold_score(row["dialogue"], row["response"]).score for row in files[name]) / len(files[name]) for name in
             ("golden_test", "golden_rm")]  # fmt: skip
    assert abs(means[0] - means[1]) < 0.5


@pytest.mark.parametrize("planted", [{"a": ["1", "2"], "b": ["3", "1"]}, {"a": ["2"], "b": ["1", "1"]}])
def test_a_shared_prompt_is_named(planted):
    with pytest.raises(DataError, match=r"prompt 1 stands in . and in b"):
        assert_disjoint(planted)
    assert_disjoint({"a": ["1", "2"], "b": ["3"]})


@pytest.mark.parametrize("reused", ["pretraining", "demonstrations"])
def test_a_test_prompt_in_the_training_text_is_an_error(settings, monkeypatch, reused):
    def split_badly(corpus, sizes):
        splits = split(corpus, sizes)
        return {**splits, reused: [*splits[reused], splits["test"][0]]}

    split = preparation._split_prompts
    monkeypatch.setattr(preparation, "_split_prompts", split_badly)
    with pytest.raises(DataError, match="stands in test and in pretraining or demonstrations"):
        prepare_embedded(settings)


def test_labels_agree_with_gold_as_often_as_asked(settings):
    """Of about 3,400 pairs: three standard deviations are 0.022."""
    files, report = prepare_embedded(settings.model_copy(update={"num_test_pairs": 3000}))
    pairs = [row for name in ("rm", "lm", "validation", "test", "further") for row in files[f"pairs_{name}"]]
    gaps = [gold_score(row["dialogue"], row["chosen"]).score - gold_score(row["dialogue"], row["rejected"]).score for row in pairs]
    agreement = sum(gap > 0 for gap in gaps) / sum(gap != 0 for gap in gaps)
    assert agreement == pytest.approx(0.75, abs=0.022)
    assert report["label_agreement"] == pytest.approx(agreement)
    assert all(row["chosen"] != row["rejected"] for row in pairs)


def test_golden_responses_are_good_and_demonstrations_leave_room(prepared):
    _, report = prepared
    assert report["gold"]["golden_rm"] > 4.2
    assert report["gold"]["demonstrations"] < report["gold"]["golden_rm"] - 0.5


@pytest.mark.parametrize("agreement", [0.6, 0.75, 0.95])
def test_temperature_is_that_of_brentq(agreement):
    gold = [(4.6, 1.2), (0.3, 0.3), (-3.0, 2.0), (1.0, 1.25), (0.0, 0.9)]  # the tie does not count
    gaps = [3.4, 5.0, 0.25, 0.9]
    expected = brentq(lambda t: sum(expit(gap / t) for gap in gaps) / 4 - agreement, 1e-3, 1e3, xtol=1e-12)
    assert label_temperature(gold, agreement) == pytest.approx(expected, rel=1e-6)


def test_only_ties_is_an_error():
    with pytest.raises(DataError, match="every pair ties"):
        label_temperature([(1.0, 1.0)], 0.75)


def test_seed_decides_every_byte(settings, prepared):
    """Also in a process with another hash seed, so that no order of a set or `hash()` enters."""
    digest = "hashlib.sha256(json.dumps(prepare_embedded({})).encode()).hexdigest()"
    code = (
        "import hashlib, json, sys; from apo_bench.config.data_sections import EmbeddedData;"
        "from apo_bench.data.preparation import prepare_embedded;"
        f"print({digest.format('EmbeddedData(**json.loads(sys.argv[1]))')})"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", code, settings.model_dump_json()]
    printed = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout.strip()
    assert printed == hashlib.sha256(json.dumps(prepared).encode()).hexdigest()
    other, _ = prepare_embedded(settings.model_copy(update={"seed": 1}))
    assert all(other[name] != rows for name, rows in prepared[0].items())


@pytest.mark.parametrize("key", ["num_rm_prompts", "num_lm_prompts", "num_validation_prompts", "num_test_pairs"])
def test_too_many_prompts_name_the_key(settings, key):
    with pytest.raises(DataError, match=f"^{key}: .* left of the corpus; ask for fewer$"):
        prepare_embedded(settings.model_copy(update={key: 10**6}))


def test_rows_have_the_columns_of_their_kind(prepared):
    files, _ = prepared
    kinds = {"pairs": "pairs", "golden": "responses", "prompts": "prompts", "demonstrations": "responses", "pretraining": "responses"}
    for name, rows in files.items():
        drawn = {"probability"} if name.startswith("pairs") else set()
        assert all(set(row) == set(COLUMNS[kinds[name.split("_")[0]]]) | drawn for row in rows)


def test_the_probability_of_a_label_is_that_of_bradley_terry(prepared):
    files, report = prepared
    for row in files["pairs_test"]:
        gap = gold_score(row["dialogue"], row["chosen"]).score - gold_score(row["dialogue"], row["rejected"]).score
        assert row["probability"] == pytest.approx(expit(gap / report["label_temperature"]), abs=1e-6)
