"""What rewards of samples say of who gave them, worked by hand, with gold and without.

Of a prompt of the corpus gold says -3 to an empty response and -0.6 to one unknown sentence.
"""

import numpy as np
import pytest

from apo_bench.data.corpus import load_corpus
from apo_bench.data.gold import gold_rewards
from apo_bench.data.records import format_dialogue
from apo_bench.data.writer import all_prompts
from apo_bench.evaluation import samples as module
from apo_bench.evaluation.samples import score_samples
from apo_bench.models.tokenizer import encode

EMPTY, RUBBISH = "", "Zip zap zup."


@pytest.fixture
def give(monkeypatch):
    """Fixes the rewards, a row a group of responses."""
    return lambda rewards: monkeypatch.setattr(module, "group_rewards", lambda *_: np.array(rewards))


@pytest.fixture(scope="module")
def known():
    """Three dialogues that gold knows."""
    found = [format_dialogue(question) for question, situation in all_prompts(load_corpus()) if situation.subset == "helpful"][:3]
    assert gold_rewards(found[0], [EMPTY, RUBBISH]) == [-3.0, -0.6]
    return found


def counts(tokenizer, compute, texts):
    """What scoring `samples` takes: golden responses are scored too, to measure by, and not counted."""
    groups = encode(tokenizer, texts, [[EMPTY, RUBBISH]] * len(texts), 128, compute.max_prompt_length)
    return {"num_reward_calls": 6, "num_tokens_read": sum(len(sequence.ids) for group in groups for sequence in group)}


def samples(texts):
    return [{"subset": "helpful", "dialogue": text, "responses": [EMPTY, RUBBISH], "finished": [True, True]} for text in texts]


def test_samples_with_gold(give, tokenizer, compute, known):
    """The rubbish, better by 2.4, is picked on prompts 2 and 3: gains over the mean are -1.2, 1.2 and 1.2."""
    give([[3.0, 2.0, 1.0], [0.5, 0.0, 1.0], [2.0, 0.0, 1.0]])
    golden = [{"response": "Yes."}] * 3
    scored, scored_golden, metrics = score_samples(None, tokenizer, samples(known), golden, 128, compute, has_gold=True)
    assert [row["rewards"] for row in scored] == [[2.0, 1.0], [0.0, 1.0], [0.0, 1.0]]
    assert scored_golden == [{"response": "Yes.", "reward": reward} for reward in (3.0, 0.5, 2.0)]
    expected = {"mean_reward": 5 / 6, "golden_accuracy": 5 / 6, "mean_gold": -1.8, "sample_accuracy": 2 / 3}
    expected |= {"best_of_n_gain": 0.4, "perfect_best_of_n_gain": 1.2}
    assert metrics == pytest.approx(expected | counts(tokenizer, compute, known))


def test_samples_without_gold(give, tokenizer, compute, dialogues):
    give([[3.0, 2.0, 1.0], [0.5, 0.0, 1.0], [2.0, 0.0, 1.0]])
    scored, _, metrics = score_samples(None, tokenizer, samples(dialogues), [{"response": "Yes."}] * 3, 128, compute, has_gold=False)
    assert [row["rewards"] for row in scored] == [[2.0, 1.0], [0.0, 1.0], [0.0, 1.0]]
    assert metrics == pytest.approx({"mean_reward": 5 / 6, "golden_accuracy": 5 / 6} | counts(tokenizer, compute, dialogues))


def test_samples_that_gold_calls_equal_have_no_order(give, tokenizer, compute, known):
    give([[3.0, 2.0, 1.0]])
    rows = [{"subset": "helpful", "dialogue": known[0], "responses": [EMPTY, EMPTY], "finished": [True, True]}]
    *_, metrics = score_samples(None, tokenizer, rows, [{"response": "Yes."}], 128, compute, has_gold=True)
    assert "sample_accuracy" not in metrics and metrics["best_of_n_gain"] == 0.0
