"""Sampling against `generate` of transformers and against the model's own distribution."""

import numpy as np
import pytest
import scipy.stats
import torch
from transformers.generation import TopPLogitsWarper

from apo_bench.config.sections import Sampling
from apo_bench.core.seeds import derive_seed
from apo_bench.engines import in_process
from apo_bench.models.tokenizer import encode_prompts

PLAIN = {"num_samples": 3, "temperature": 1.0, "top_k": 0, "top_p": 1.0, "repetition_penalty": 1.0, "max_new_tokens": 24}


def settings(**changes) -> Sampling:
    return Sampling(**{**PLAIN, **changes})


def sample(model, tokenizer, dialogues, options: Sampling, seed: int = 0) -> list[list[list[int]]]:
    """Token ids of the responses to each dialogue."""
    seeds = [derive_seed(seed, dialogue) for dialogue in dialogues]
    return in_process.generate(model, tokenizer.eos_token_id, encode_prompts(tokenizer, dialogues, 1024), options, seeds, "test")


@pytest.fixture(scope="module")
def ending_model(new_model, tokenizer):
    """A model whose end token is likely, so that responses end early, each at a time of its own."""
    model = new_model()
    with torch.no_grad():
        model.base_model.embed_tokens.weight[tokenizer.eos_token_id] *= 2.5
    return model


@torch.no_grad()
def generated(model, tokenizer, dialogue: str, **options) -> list[int]:
    [prompt] = encode_prompts(tokenizer, [dialogue], 1024)
    ids = torch.tensor([prompt])
    output = model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=24, **options)
    return output[0, len(prompt) :].tolist()


@pytest.mark.parametrize("greedy", [{"temperature": 1e-4}, {"top_k": 1}, {"top_p": 1e-6}])
@pytest.mark.parametrize("model_seed", [0, 1])
def test_greedy_is_that_of_generate(new_model, tokenizer, dialogues, greedy, model_seed):
    model = new_model(model_seed)
    results = sample(model, tokenizer, dialogues, settings(**greedy))
    for dialogue, result in zip(dialogues, results, strict=True):
        assert result == [generated(model, tokenizer, dialogue)] * 3


def test_repetition_penalty_is_that_of_generate(model, tokenizer, dialogues):
    results = sample(model, tokenizer, dialogues, settings(top_k=1, repetition_penalty=1.3))
    expected = [generated(model, tokenizer, dialogue, repetition_penalty=1.3) for dialogue in dialogues]
    assert [result[0] for result in results] == expected
    assert expected != [generated(model, tokenizer, dialogue) for dialogue in dialogues]


@pytest.mark.parametrize("which", ["model", "ending_model"])
def test_samples_do_not_depend_on_the_other_prompts(request, which, tokenizer, dialogues, monkeypatch):
    model = request.getfixturevalue(which)
    together = sample(model, tokenizer, dialogues, settings())
    assert [sample(model, tokenizer, [dialogue], settings())[0] for dialogue in dialogues] == together
    assert sample(model, tokenizer, dialogues[::-1], settings())[::-1] == together
    monkeypatch.setattr(in_process, "SEQUENCES_A_BATCH", 1)
    assert sample(model, tokenizer, dialogues, settings()) == together


@pytest.mark.parametrize("top_p", [0.3, 0.9])
def test_top_p_is_that_of_transformers(top_p):
    """Rows whose likeliest tokens hold the mass, rows so flat that they do not, and one that `top_k` filtered."""
    logits = torch.randn(6, 4000, generator=torch.Generator().manual_seed(0)) * torch.tensor([0.5, 0.5, 3, 3, 6, 6])[:, None]
    logits[5, 4:] = -torch.inf
    ids = torch.zeros(6, 3, dtype=torch.long)
    expected = TopPLogitsWarper(top_p)(ids, logits)
    assert torch.equal(in_process._TopPWarper(top_p)(ids, logits), expected)
    kept = expected.isfinite().sum(-1)
    assert kept[0] > in_process.NUM_LIKELY > kept[4]
    # With few bits many are equals; which of them stay is anybody's choice, how many is not.
    coarse = logits.bfloat16().float()
    expected, found = TopPLogitsWarper(top_p)(ids, coarse), in_process._TopPWarper(top_p)(ids, coarse)
    assert torch.equal(found.sort().values, expected.sort().values)


def test_padding_is_not_repetition(new_model, tokenizer, dialogues):
    """With a model that may well say the pad token, so that a penalty on it shows."""
    model = new_model()
    with torch.no_grad():
        model.base_model.embed_tokens.weight[tokenizer.pad_token_id] = 2 * model.base_model.embed_tokens.weight[7]
    options = settings(num_samples=20, repetition_penalty=1.3)
    together = sample(model, tokenizer, dialogues, options)
    assert [sample(model, tokenizer, [dialogue], options)[0] for dialogue in dialogues] == together


def test_seed_decides(model, tokenizer, dialogues):
    first = sample(model, tokenizer, dialogues, settings())
    assert sample(model, tokenizer, dialogues, settings()) == first
    assert sample(model, tokenizer, dialogues, settings(), 1) != first


@pytest.mark.parametrize("temperature", [0.7, 1.5])
def test_first_tokens_follow_the_softmax(model, tokenizer, dialogues, temperature):
    """Chi-square over 5000 samples; tokens expected fewer than 5 times are counted together."""
    options = settings(num_samples=5000, temperature=temperature, max_new_tokens=1)
    [result] = sample(model, tokenizer, dialogues[:1], options)
    with torch.no_grad():
        logits = model(torch.tensor(encode_prompts(tokenizer, dialogues[:1], 1024))).logits[0, -1].double()
    expected = 5000 * (logits / temperature).softmax(-1).numpy()
    counts = np.bincount([ids[0] for ids in result], minlength=len(expected))
    common = expected >= 5
    assert 5 < common.sum() < len(expected)
    bins = [np.append(values[common], values[~common].sum()) for values in (counts, expected)]
    assert scipy.stats.chisquare(*bins).pvalue > 0.001


def test_second_tokens_follow_the_first(model, tokenizer, dialogues):
    """The second token's distribution given the first, so that samples of a prompt do not see one another's keys and values."""
    [result] = sample(model, tokenizer, dialogues[:1], settings(num_samples=5000, max_new_tokens=2))
    first = max({pair[0] for pair in result if len(pair) == 2}, key=lambda token: sum(pair[0] == token for pair in result))
    seconds = [pair[1] for pair in result if pair[0] == first]
    [prompt] = encode_prompts(tokenizer, dialogues[:1], 1024)
    with torch.no_grad():
        expected = len(seconds) * model(torch.tensor([[*prompt, first]])).logits[0, -1].double().softmax(-1).numpy()
    counts = np.bincount(seconds, minlength=len(expected))
    common = expected >= 5
    assert common.sum() > 3
    bins = [np.append(values[common], values[~common].sum()) for values in (counts, expected)]
    assert scipy.stats.chisquare(*bins).pvalue > 0.001


@pytest.mark.parametrize("num_samples", [1, 5])
def test_number_of_responses(model, tokenizer, dialogues, num_samples):
    results = sample(model, tokenizer, dialogues, settings(num_samples=num_samples))
    assert [len(result) for result in results] == [num_samples] * 3
    assert len(set(map(tuple, results[0]))) == num_samples  # they differ


def test_a_response_ends_with_the_end_token_or_at_its_longest(ending_model, tokenizer, dialogues):
    results = sample(ending_model, tokenizer, dialogues, settings(num_samples=50))
    responses = [ids for result in results for ids in result]
    finished = [ids[-1] == tokenizer.eos_token_id for ids in responses]
    assert 0.2 < sum(finished) / 150 < 0.98 and len({len(ids) for ids in responses}) > 5
    for ids, ended in zip(responses, finished, strict=True):
        assert ids.count(tokenizer.eos_token_id) == ended
        assert ended or len(ids) == 24
