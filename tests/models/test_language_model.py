"""Log-probabilities of responses against a plain forward pass a sequence; padding, order and batch size; what lies on disk."""

import os

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, BloomConfig, MambaConfig, MistralConfig, Qwen2Config

from apo_bench.core.errors import MissingInputError
from apo_bench.models import language_model
from apo_bench.models.batching import TokenSequence, pad
from apo_bench.models.card import Card
from apo_bench.models.language_model import (
    all_response_logps,
    load_language_model,
    pairs_a_token,
    response_logps,
    sample_as_trained,
    save_model,
)
from apo_bench.models.tokenizer import encode


@pytest.fixture
def sequences(tokenizer, dialogues):
    """Six sequences of different lengths, one of them without a prompt (as in pretraining)."""
    responses = [["Boil the water.", ""], ["No.", "Rub the pan with soda and wait."], ["It depends on many different things.", "Yes!"]]
    flat = [sequence for group in encode(tokenizer, dialogues, responses, max_length=128, max_prompt_length=1024) for sequence in group]
    flat[5] = TokenSequence(flat[5].ids, prompt_length=0)
    return flat


@torch.no_grad()
def plain_logp(model, sequence: TokenSequence) -> float:
    """Token by token from a full forward pass over the one sequence."""
    logps = model(torch.tensor([sequence.ids])).logits[0].double().log_softmax(-1)
    first = max(1, sequence.prompt_length)
    return sum(logps[position - 1, sequence.ids[position]].item() for position in range(first, len(sequence.ids)))


def test_logps_match_a_plain_forward_pass(model, tokenizer, sequences):
    logps = response_logps(model, pad(sequences, tokenizer.pad_token_id))
    expected = [plain_logp(model, sequence) for sequence in sequences]
    assert logps.tolist() == pytest.approx(expected, rel=1e-5, abs=1e-5)
    assert max(expected) < -1  # the model is not certain of anything, so the comparison says something


def test_padding_beside_a_longer_sequence_changes_nothing(model, tokenizer, sequences):
    shortest, longest = min(sequences, key=lambda s: len(s.ids)), max(sequences, key=lambda s: len(s.ids))
    assert len(longest.ids) > 3 * len(shortest.ids)
    alone = response_logps(model, pad([shortest], tokenizer.pad_token_id))[0]
    beside = response_logps(model, pad([longest, shortest], tokenizer.pad_token_id))[1]
    assert beside.item() == pytest.approx(alone.item(), abs=1e-5)


def test_order_and_batch_size_change_nothing(model, tokenizer, sequences, monkeypatch):
    expected = [plain_logp(model, sequence) for sequence in sequences]
    for max_tokens in (1, 60, 8192):
        monkeypatch.setitem(language_model.TOKENS_A_BATCH, "cpu", max_tokens)
        logps = all_response_logps(model, sequences, tokenizer.pad_token_id, "test")
        backwards = all_response_logps(model, sequences[::-1], tokenizer.pad_token_id, "test")
        assert logps.tolist() == pytest.approx(expected, rel=1e-5, abs=1e-5)
        assert backwards.flip(0).tolist() == pytest.approx(expected, rel=1e-5, abs=1e-5)


def test_a_shared_prompt_changes_no_value_and_no_gradient(new_model, tokenizer, sequences):
    """Two rows of two responses, one of an empty response beside a full one, against a row a sequence."""
    model = new_model()
    assert pairs_a_token(model) == 32
    results = []
    for worth in (0, 1000):
        batch = pad(sequences, tokenizer.pad_token_id, worth)
        model.zero_grad()
        logps = response_logps(model, batch)
        (logps * torch.linspace(-1, 1, len(logps))).sum().backward()
        results.append((len(batch.input_ids_RT), logps.detach(), [parameter.grad.clone() for parameter in model.parameters()]))
    (rows, logps, gradients), (shared_rows, shared_logps, shared_gradients) = results
    assert (rows, shared_rows) == (6, 4)
    assert torch.allclose(shared_logps, logps, atol=1e-4)
    for gradient, shared in zip(gradients, shared_gradients, strict=True):
        assert torch.allclose(shared, gradient, rtol=1e-4, atol=1e-4 * gradient.abs().max().item())


def test_models_that_go_by_more_than_mask_and_positions_share_no_prompt():
    small = {"hidden_size": 16, "num_hidden_layers": 1, "vocab_size": 10}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 1, "intermediate_size": 16}
    assert pairs_a_token(AutoModelForCausalLM.from_config(Qwen2Config(**small, **heads))) == 16
    assert not pairs_a_token(AutoModelForCausalLM.from_config(MistralConfig(**small, **heads, sliding_window=4)))
    assert not pairs_a_token(AutoModelForCausalLM.from_config(BloomConfig(hidden_size=16, n_layer=1, n_head=2, vocab_size=10)))
    assert not pairs_a_token(AutoModelForCausalLM.from_config(MambaConfig(**small)))


def test_gradient_reaches_the_model(new_model, tokenizer, sequences):
    model = new_model()
    response_logps(model, pad(sequences, tokenizer.pad_token_id)).sum().backward()
    assert all(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in model.parameters())


def test_saved_model_loads_with_plain_transformers(model, tokenizer, compute, sequences, tmp_path):
    save_model(model, tokenizer, tmp_path)
    ids = torch.tensor([sequences[0].ids])
    for loaded in (AutoModelForCausalLM.from_pretrained(tmp_path), load_language_model(tmp_path, compute)):
        assert torch.allclose(loaded.eval()(ids).logits, model(ids).logits, atol=1e-5)
    assert AutoTokenizer.from_pretrained(tmp_path)("Boil the water.").input_ids == tokenizer("Boil the water.").input_ids
    assert {file.suffix for file in tmp_path.iterdir()} <= {".safetensors", ".json", ".jinja"}


def test_a_saved_model_is_for_colleagues_to_read(model, tokenizer, tmp_path):
    umask = os.umask(0o027)
    try:
        save_model(model, tokenizer, tmp_path, Card("SFT", "policy", "Made here.", None))
    finally:
        os.umask(umask)
    modes = {file.name: file.stat().st_mode & 0o777 for file in tmp_path.iterdir()}
    assert {*modes} >= {"README.md", "model.safetensors", "config.json", "tokenizer.json"} and {*modes.values()} == {0o640}


def test_sampling_settings_are_those_that_generate_takes(new_model, tokenizer, params, tmp_path):
    model = new_model()
    settings = params.sampling.train.model_copy(update={"temperature": 0.5, "top_k": 7, "max_new_tokens": 3})
    sample_as_trained(model, settings)
    save_model(model, tokenizer, tmp_path)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path)
    found = loaded.generation_config
    assert (found.do_sample, found.temperature, found.top_k, found.max_new_tokens) == (True, 0.5, 7, 3)
    assert found.eos_token_id == tokenizer.eos_token_id
    assert loaded.generate(torch.tensor([[5, 6]]), eos_token_id=-1).shape == (1, 5)


def test_missing_model_is_named(compute, tmp_path):
    with pytest.raises(MissingInputError, match=str(tmp_path / "nowhere")):
        load_language_model(tmp_path / "nowhere", compute)
