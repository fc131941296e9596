"""From answers to outcomes, with gold as the judge: real texts, real scores, no server."""

import pytest

from apo_bench.config.judge_sections import GoldJudge
from apo_bench.core.errors import DataError
from apo_bench.data.corpus import load_corpus
from apo_bench.data.gold import gold_score
from apo_bench.data.records import format_dialogue
from apo_bench.data.writer import all_prompts
from apo_bench.judge.questions import Matchup
from apo_bench.judge.verdicts import judge_matchups, outcome_of

QUESTION, SITUATION = next(iter(all_prompts(load_corpus())))
GOOD, BAD = " ".join(SITUATION.request.steps[:2]), "Nonsense about nothing."


@pytest.fixture
def judge(params, root, monkeypatch):
    """Gold without faults."""
    monkeypatch.chdir(root)
    return params.judge.model_copy(update={"provider": GoldJudge(source="gold", noise=0.0, position_bias=0.0)})


def matchup(response, opponent, name="1"):
    return Matchup(name, "helpful", format_dialogue(QUESTION), response, opponent)


def judged(judge, tmp_path, *matchups, replay=False):
    return judge_matchups(judge, matchups, tmp_path / "ledgers", "arm/r1", replay)


@pytest.mark.parametrize(
    ("own_first", "opponent_first", "outcome"),
    [
        ("A", "B", 1.0), ("B", "A", 0.0), ("tie", "tie", 0.5),
        ("A", "A", 0.5), ("B", "B", 0.5), ("A", "tie", 0.5), ("tie", "A", 0.5),
        ("A", None, None), (None, "B", None), (None, None, None),
    ],
)  # fmt: skip
def test_orders_that_disagree_are_a_tie_and_what_cannot_be_read_is_left_out(own_first, opponent_first, outcome):
    assert outcome_of(own_first, opponent_first) == outcome


def test_the_better_answer_wins_in_both_orders(judge, tmp_path):
    won, lost = judged(judge, tmp_path, matchup(GOOD, BAD), matchup(BAD, GOOD, "2"))
    assert (won["outcome"], won["verdict_own_first"], won["verdict_opponent_first"]) == (1.0, "A", "B")
    assert (lost["outcome"], lost["verdict_own_first"], lost["verdict_opponent_first"]) == (0.0, "B", "A")
    points = gold_score(format_dialogue(QUESTION), GOOD).score
    assert f"is worth {points:.2f} points" in won["reasoning_own_first"] and won["num_requests"] == 2


def test_identical_answers_are_a_tie_that_nobody_is_asked_about(judge, tmp_path):
    (row,) = judged(judge, tmp_path, matchup(GOOD, f" {GOOD}\n"))
    assert (row["outcome"], row["is_identical"], row["num_requests"], row["verdict_own_first"]) == (0.5, True, 0, None)


def test_an_empty_response_is_judged_too(judge, tmp_path):
    (row,) = judged(judge, tmp_path, matchup("", GOOD))
    assert row["outcome"] == 0.0


def test_a_bias_for_the_first_position_makes_ties(judge, tmp_path):
    biased = judge.model_copy(update={"provider": GoldJudge(source="gold", noise=0.0, position_bias=100.0)})
    (row,) = judged(biased, tmp_path, matchup(GOOD, BAD))
    assert (row["outcome"], row["verdict_own_first"], row["verdict_opponent_first"]) == (0.5, "A", "A")


def test_noise_depends_on_question_and_seed_alone(judge, tmp_path):
    noisy = judge.model_copy(update={"provider": GoldJudge(source="gold", noise=2.0, position_bias=0.0)})
    many = [matchup(GOOD + " " * number + str(number), BAD, str(number)) for number in range(30)]
    rows = judged(noisy, tmp_path, *many)
    assert judged(noisy, tmp_path, *many[::-1]) == rows[::-1]
    other = judged(noisy.model_copy(update={"seed": 1}), tmp_path, *many)
    assert [row["reasoning_own_first"] for row in other] != [row["reasoning_own_first"] for row in rows]


def test_replay_gives_the_same_rows(judge, tmp_path):
    rows = judged(judge, tmp_path, matchup(GOOD, BAD), matchup(BAD, GOOD, "2"))
    assert judged(judge, tmp_path, matchup(GOOD, BAD), matchup(BAD, GOOD, "2"), replay=True) == rows


def test_gold_refuses_dialogues_of_other_data(judge, tmp_path):
    with pytest.raises(DataError):
        judged(judge, tmp_path, Matchup("1", "helpful", format_dialogue("Who are you?"), GOOD, BAD))
