"""Low-rank adapters, checkpointing and reduced precision change how a model is trained, not what comes out of the door."""

import pytest
import torch
from rewards import train_on_pairs

from apo_bench.config.compute_sections import LoRA
from apo_bench.core.errors import ModelError
from apo_bench.engines.training import InProcess
from apo_bench.models import language_model
from apo_bench.models.batching import pad
from apo_bench.models.language_model import response_logps, save_model
from apo_bench.models.reward_model import new_reward_model
from apo_bench.models.tokenizer import encode
from apo_bench.training.policies import fine_tune


@pytest.fixture
def rows(dialogues):
    answers = ["Boil the water.", "Rub the pan with soda and wait.", "It depends."]
    return [{"dialogue": text, "response": answer} for text, answer in zip(dialogues, answers, strict=True)]


@pytest.fixture
def settings(params):
    return params.sft.model_copy(update={"epochs": 4, "batch_size": 2, "learning_rate": 1e-3, "max_length": 128})


def train(model, tokenizer, rows, settings, compute, **changes):
    changed = compute.model_copy(update=changes)
    return fine_tune(model, tokenizer, rows, settings, changed, InProcess(changed), 0, "test")


LORA = LoRA(rank=2, alpha=4, target_modules=["q_proj", "down_proj"])


def test_adapters_change_only_their_modules_and_leave_a_plain_model(new_model, tokenizer, rows, settings, compute):
    model, before = new_model(), new_model().state_dict()
    history = train(model, tokenizer, rows, settings, compute, lora=LORA)
    assert history[-1]["loss"] < history[0]["loss"]
    assert set(model.state_dict()) == set(before)
    changed = {name for name, values in model.state_dict().items() if not torch.equal(values, before[name])}
    assert changed == {name for name in before if "q_proj" in name or "down_proj" in name}
    difference = model.state_dict()["model.layers.0.self_attn.q_proj.weight"] - before["model.layers.0.self_attn.q_proj.weight"]
    assert torch.linalg.matrix_rank(difference, rtol=1e-3) == 2
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_the_head_of_a_reward_model_is_trained_beside_adapters(new_model, tokenizer, dialogues, settings, compute, tmp_path):
    save_model(new_model(), tokenizer, tmp_path)
    model = new_reward_model(tmp_path, 0, compute, zero_head=False)
    head, body = model.score.weight.clone(), model.model.embed_tokens.weight.clone()
    pairs = [{"subset": "helpful", "dialogue": text, "chosen": "Boil the water.", "rejected": "No."} for text in dialogues]
    train_on_pairs(model, tokenizer, pairs, settings, compute.model_copy(update={"lora": LORA}), InProcess(compute), 0, "test")
    assert not torch.equal(model.score.weight, head) and torch.equal(model.model.embed_tokens.weight, body)


def test_unknown_target_names_the_known(new_model, tokenizer, rows, settings, compute):
    with pytest.raises(ModelError, match=r"\['c_attn'\] not in the model, which has down_proj, .*q_proj"):
        train(new_model(), tokenizer, rows, settings, compute, lora=LORA.model_copy(update={"target_modules": ["c_attn"]}))


@pytest.mark.parametrize("lora", [None, LORA])
def test_checkpointing_changes_no_number(new_model, tokenizer, rows, settings, compute, lora):
    plain = train(new_model(), tokenizer, rows, settings, compute, lora=lora)
    saved = train(new_model(), tokenizer, rows, settings, compute, lora=lora, gradient_checkpointing=True)
    assert len(saved) == 8 and saved[-1]["loss"] < saved[0]["loss"]
    assert [row["loss"] for row in saved] == pytest.approx([row["loss"] for row in plain], abs=1e-6)


def test_reduced_precision_keeps_float32_weights_and_stays_close(new_model, tokenizer, rows, settings, compute):
    model = new_model()
    plain = train(new_model(), tokenizer, rows, settings, compute)
    reduced = train(model, tokenizer, rows, settings, compute, dtype="bfloat16")
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert reduced[0]["loss"] != plain[0]["loss"]
    assert reduced[0]["loss"] == pytest.approx(plain[0]["loss"], rel=0.05)


def test_logits_by_chunks_change_no_gradient(new_model, tokenizer, rows, monkeypatch, compute):
    """Seven tokens at a time against all at once."""
    groups = encode(tokenizer, [row["dialogue"] for row in rows], [[row["response"]] for row in rows], 128, 1024)
    batch = pad([group[0] for group in groups], tokenizer.pad_token_id)
    results = []
    for at_once in (2**25, 7 * 400):
        monkeypatch.setitem(language_model.LOGITS_AT_ONCE, "cpu", at_once)
        model = new_model()
        logps = response_logps(model, batch)
        logps.sum().backward()
        results.append((logps.detach(), model.model.embed_tokens.weight.grad))
    assert torch.allclose(results[0][0], results[1][0], atol=1e-4)
    assert torch.allclose(results[0][1], results[1][1], rtol=1e-3, atol=1e-3)
