"""Accuracies on the policy's own samples by hand, against gold's order and against a judge's verdicts."""

import numpy as np
import pytest

from apo_bench.core.errors import DataError, MissingInputError
from apo_bench.core.files import write_jsonl
from apo_bench.data.corpus import load_corpus
from apo_bench.data.records import format_dialogue, write_records
from apo_bench.data.writer import all_prompts
from apo_bench.game.shift import judged_rows, ordered_row, read_shifted, shift_numbers

EMPTY, RUBBISH = "", "Zip zap zup."


def rows(*found):
    """(pairs, right by base, right by own) of each prompt."""
    return [
        {"id": str(number), "subset": "helpful", "num_pairs": pairs, "correct": {"base": base, "own": own}}
        for number, (pairs, base, own) in enumerate(found)
    ]


def test_by_hand():
    """Round 1: base right on 6 of 8 pairs, own on 4; round 2: base on 2 of 4, own on 3. A prompt without pairs counts for nothing."""
    first, second = rows((6, 5, 3), (2, 1, 1), (0, 0, 0)), rows((2, 1, 2), (2, 1, 1), (0, 0, 0))
    numbers = shift_numbers({"r1": first, "r2": second}, 1000, 0.95, 0)
    values = {name: {key: found[key]["value"] for key in ("base", "own", "gain")} for name, found in numbers["rounds"].items()}
    assert values == {"r1": {"base": 0.75, "own": 0.5, "gain": -0.25}, "r2": {"base": 0.5, "own": 0.75, "gain": 0.25}}
    assert {name: found["num_pairs"] for name, found in numbers["rounds"].items()} == {"r1": 8, "r2": 4}
    assert {name: value["value"] for name, value in numbers["change"].items()} == {"base": -0.25, "own": 0.25}


def test_planted_shift_is_decided_and_no_shift_is_not():
    """200 prompts of 6 pairs: base falls from 75 % to 60 %, own stays at 75 %."""
    rng = np.random.default_rng(0)

    def draw(base, own):
        return rows(*((6, int(rng.binomial(6, base)), int(rng.binomial(6, own))) for _ in range(200)))

    change = shift_numbers({"r1": draw(0.75, 0.75), "r2": draw(0.6, 0.75)}, 1000, 0.95, 0)["change"]
    assert change["base"]["high"] < 0 and change["own"]["low"] < 0 < change["own"]["high"]


def test_one_round_has_no_change_and_no_pairs_no_accuracy():
    numbers = shift_numbers({"r1": rows((0, 0, 0))}, 1000, 0.95, 0)
    assert numbers == {"rounds": {"r1": {"num_pairs": 0}}, "change": {}}


def test_other_prompts_are_refused():
    with pytest.raises(DataError, match="r2: other prompts than in r1"):
        shift_numbers({"r1": rows((1, 1, 1)), "r2": rows((1, 1, 1), (1, 1, 1))}, 1000, 0.95, 0)


@pytest.fixture
def verdicts():
    """Better than SFT's, worse, a tie, not readable."""
    outcomes = (1.0, 0.0, 0.5, None)
    return [{"id": str(number), "subset": "helpful", "outcome": outcome} for number, outcome in enumerate(outcomes)]


def test_judge_by_hand(verdicts):
    """Base prefers the policy's response to all four: right on the first. The round's own prefers SFT's on the second, ties the first."""
    scores = {
        "base": {"r0": np.zeros(4), "r1": np.ones(4)},
        "r1": {"r0": np.array([0.0, 2.0, 0.0, 0.0]), "r1": np.array([0.0, 1.0, 1.0, 1.0])},
    }
    found = judged_rows(verdicts, scores, "r1")
    assert [row["num_pairs"] for row in found] == [1, 1, 0, 0]
    assert [row["correct"] for row in found[:2]] == [{"base": 1.0, "own": 0.5}, {"base": 0.0, "own": 1.0}]
    assert all(row["correct"] == {"base": 0.0, "own": 0.0} for row in found[2:])
    assert all(row["correct"]["base"] == row["correct"]["own"] for row in judged_rows(verdicts, {"base": scores["base"]}, "r1"))


def scored(responses, rewards):
    """Samples to a prompt that the gold scorer knows."""
    dialogue = next(format_dialogue(question) for question, situation in all_prompts(load_corpus()) if situation.subset == "helpful")
    finished = [True] * len(responses)
    return {"id": "0", "subset": "helpful", "dialogue": dialogue, "responses": responses, "finished": finished, "rewards": rewards}


def test_order_by_gold_by_hand():
    """Gold puts the rubbish above the empty response, and calls two empty ones equal: those are no pair."""
    found = [ordered_row(scored([EMPTY, RUBBISH], own), base) for own, base in (([1, 0], [0, 1]), ([0, 1], [1, 1]))]
    assert [(row["num_pairs"], row["correct"]) for row in found] == [(1, {"base": 1.0, "own": 0.0}), (1, {"base": 0.5, "own": 1.0})]
    assert ordered_row(scored([EMPTY, EMPTY], [0, 1]), [0, 1])["num_pairs"] == 0
    three = ordered_row(scored([RUBBISH, EMPTY, EMPTY], [1, 0, 2]), [2, 0, 1])
    assert three["num_pairs"] == 2 and three["correct"] == {"base": 2.0, "own": 1.0}


def test_what_is_read(verdicts, tmp_path):
    first, later = [scored([EMPTY, RUBBISH], [0.0, 1.0])], [scored([EMPTY, RUBBISH, RUBBISH], [1.0, 0.0, 2.0])]
    write_records(tmp_path / "first/scored.jsonl", first)
    write_records(tmp_path / "arm/r2/score/scored.jsonl", later)
    write_jsonl(tmp_path / "arm/r2/judge/sft/verdicts.jsonl", verdicts)
    scores = {"base": {"r0": np.zeros(4), "r1": np.ones(4), "r2": np.ones(4)}}
    given = {"r1": tmp_path / "first", "r2": tmp_path / "arm/r2/score"}, {"r2": tmp_path / "arm/r2/judge/sft"}

    def by_base(read):
        return [{2: [1.0, 0.0], 3: [2.0, 1.0, 0.0]}[len(row["responses"])] for row in read]

    by_gold = read_shifted("gold", *given, scores, by_base)
    assert by_gold == {"r1": [ordered_row(first[0], [1.0, 0.0])], "r2": [ordered_row(later[0], [2.0, 1.0, 0.0])]}
    by_judge = read_shifted("judge", *given, scores, by_base)
    assert list(by_judge) == ["r2"] and by_judge["r2"] == judged_rows(verdicts, scores, "r2")
    assert read_shifted("", *given, scores, by_base) is None
    with pytest.raises(MissingInputError, match=r"r1/judge/sft/verdicts.jsonl: no such file"):
        read_shifted("judge", {}, {"r1": tmp_path / "r1/judge/sft"}, scores, by_base)
    with pytest.raises(DataError, match="4 prompts, the ledger has 5"):
        read_shifted("judge", *given, {"base": {name: np.zeros(5) for name in scores["base"]}}, by_base)


def test_a_judge_of_the_last_round_has_read_more_prompts_than_the_ledger_has(verdicts, tmp_path):
    """Earlier rounds answer the first prompts alone, and the ledger is on what all answered: the first verdicts are theirs."""
    write_jsonl(tmp_path / "r2/judge/sft/verdicts.jsonl", verdicts)
    scores = {"base": {"r0": np.zeros(2), "r2": np.ones(2)}}
    found = read_shifted("judge", {}, {"r2": tmp_path / "r2/judge/sft"}, scores, list)
    assert found == {"r2": judged_rows(verdicts[:2], scores, "r2")}
    assert [row["id"] for row in found["r2"]] == ["0", "1"]
