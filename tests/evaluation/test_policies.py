"""A row a test prompt: what gold says of the response if it is known, and else nothing of it."""

import copy
from itertools import islice

import pytest

from apo_bench.data.corpus import load_corpus
from apo_bench.data.gold import gold_score
from apo_bench.data.records import format_dialogue
from apo_bench.data.writer import all_prompts
from apo_bench.engines.sampling import response_rows, sample_responses
from apo_bench.evaluation.policies import evaluate_policy, write_evaluation
from apo_bench.models.language_model import save_model
from apo_bench.models.reward_model import new_reward_model
from apo_bench.models.tokenizer import train_tokenizer

GOLD = {"gold", "refused", "complied"}


@pytest.fixture(scope="module")
def evaluated(new_model, tokenizer, params, compute, tmp_path_factory):
    """Evaluates a policy on dialogues."""
    base, folder = tmp_path_factory.mktemp("base"), tmp_path_factory.mktemp("policy")
    save_model(new_model(), tokenizer, base)
    save_model(new_model(1), tokenizer, folder)
    reward_all = new_reward_model(base, seed=0, compute=compute, zero_head=False).eval()
    settings = params.sampling.test.model_copy(update={"max_new_tokens": 8})

    def evaluate(dialogues, has_gold, own_tokenizer=None):
        prompts = [{"id": str(number), "subset": "helpful", "dialogue": text} for number, text in enumerate(dialogues)]
        samples = sample_responses(folder, tokenizer, dialogues, settings, compute, params.engines, 0, "test")
        rows = response_rows(prompts, samples)
        return evaluate_policy(new_model(1), new_model(), reward_all, tokenizer, rows, compute, 128, has_gold, own_tokenizer)

    return evaluate


def test_with_and_without_gold_all_else_is_the_same(evaluated):
    dialogues = [format_dialogue(question) for question, _ in islice(all_prompts(load_corpus()), 3)]
    with_gold, without = evaluated(dialogues, True), evaluated(dialogues, False)
    assert [{key: value for key, value in row.items() if key not in GOLD} for row in with_gold] == without
    for row in with_gold:
        verdict = gold_score(row["dialogue"], row["response"])
        assert (row["gold"], row["refused"], row["complied"]) == (verdict.score, verdict.refused, verdict.complied)


def test_dialogues_that_gold_does_not_know_are_evaluated_without_it(evaluated, dialogues):
    rows = evaluated(dialogues, False)
    assert [row["dialogue"] for row in rows] == dialogues
    assert all(set(row) == {"id", "subset", "dialogue", "response", "finished", "reward_all", "length", "kl"} for row in rows)
    assert all(row["kl"] > 0 and row["length"] > 0 for row in rows)


def test_a_policy_with_other_tokens_is_judged_by_its_text_and_has_no_divergence(evaluated, dialogues, tokenizer):
    """Score and length are by the tokenizer of RM_all and SFT, whatever the policy's; the same tokens in other files are the same."""
    plain, again = evaluated(dialogues, False), evaluated(dialogues, False, copy.deepcopy(tokenizer))
    assert again == plain
    other_form = copy.deepcopy(tokenizer)
    other_form.chat_template = other_form.chat_template.replace("message['content']", "' ' + message['content']")
    for other in (train_tokenizer(["Boil the water."], 300), other_form):
        found = evaluated(dialogues, False, other)
        assert [row["kl"] for row in found] == [None] * len(dialogues)
        assert [row | {"kl": 0} for row in found] == [row | {"kl": 0} for row in plain]


def test_what_is_said_of_an_evaluation_has_no_minus_zero(tmp_path):
    rows = [{"gold": -0.002, "reward_all": 0.5, "length": 3}, {"gold": -0.004, "reward_all": 0.25, "length": 4}]
    assert write_evaluation(rows, tmp_path / "evaluation") == "gold 0.00, RM_all 0.38, 4 tokens"
