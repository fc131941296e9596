"""A method that wants the golden response is offered it after the samples; one that does not never sees it."""

import pytest

from apo_bench.core.errors import DataError
from apo_bench.core.seeds import derive_seed
from apo_bench.engines.training import InProcess
from apo_bench.methods import rrhf, spin
from apo_bench.methods.base import GOLDEN, SAMPLE, Candidates
from apo_bench.training.policies import align, with_golden

SHARED = {"learning_rates": [0.001], "epochs": 1, "batch_size": 2, "max_length": 128}


@pytest.fixture
def scored(dialogues):
    samples = {"responses": ["Well.", "I do not know."], "finished": [True, False], "rewards": [0.5, -0.5]}
    return [{"id": str(number), "subset": "helpful", "dialogue": text, **samples} for number, text in enumerate(dialogues)]


@pytest.fixture
def golden(scored):
    return [{**row, "response": "Boil the water.", "reward": 2.0} for row in scored]


def offered(model, tokenizer, compute, rows, kind, **own) -> tuple[list[Candidates], dict[str, int]]:
    """What a method is asked to select from, and what training counts."""
    seen = []

    class Seeing(kind.METHOD):
        def select(self, candidates, /):
            seen.append(candidates)
            return super().select(candidates)

    method = Seeing(kind.METHOD.Hyperparameters(**SHARED, **own))
    _, counts = align(model, tokenizer, rows, method, compute, InProcess(compute), 1, derive_seed(0, "align"), "test")
    return seen, counts


def test_golden_response_comes_last(scored, golden, new_model, tokenizer, compute):
    rows = with_golden(scored, golden)
    assert rows[0]["responses"] == ["Well.", "I do not know.", "Boil the water."] and rows[0]["finished"] == [True, False, True]
    seen, counts = offered(new_model(), tokenizer, compute, rows, spin, beta=0.1)
    assert [(each, each.origins) for each in seen] == [([0.5, -0.5, 2.0], [SAMPLE, SAMPLE, GOLDEN])] * len(scored)
    assert counts["num_prompts"] == len(scored) and counts["num_tokens_read"] > 0


def test_without_it_all_are_samples(scored, new_model, tokenizer, compute):
    seen, _ = offered(new_model(), tokenizer, compute, scored, rrhf)
    assert [(each, each.origins) for each in seen] == [([0.5, -0.5], [SAMPLE, SAMPLE])] * len(scored)


def test_golden_responses_to_other_prompts_are_refused(scored, golden):
    for wrong in (golden[::-1], golden[:-1]):
        with pytest.raises(DataError, match="golden responses do not match; run the stage that scores again"):
            with_golden(scored, wrong)
