"""Frozen layers: what is below the first trained layer stays, and what is above is trained as if it were alone."""

import pytest
import torch
from rewards import train_on_pairs
from transformers import GPT2Config, GPT2LMHeadModel

from apo_bench.core.errors import ModelError
from apo_bench.data.records import format_dialogue
from apo_bench.engines.training import InProcess
from apo_bench.models.language_model import save_model
from apo_bench.models.reward_model import new_reward_model
from apo_bench.training.freezing import freeze_lowest
from apo_bench.training.policies import fine_tune

DIALOGUES = [format_dialogue(question) for question in ("Hi?", "How do I clean a pan?", "What is a good tea, and why?")]
ROWS = [{"dialogue": text, "response": answer} for text, answer in zip(DIALOGUES, ("Hi.", "With soda.", "It depends."), strict=True)]
PAIRS = [{"subset": "helpful", "dialogue": text, "chosen": "Boil the water.", "rejected": "No."} for text in DIALOGUES]


@pytest.fixture
def settings(params):
    return params.sft.model_copy(update={"epochs": 2, "batch_size": 2, "learning_rate": 1e-3, "max_length": 128})


def changed(model, before):
    return {name for name, values in model.state_dict().items() if not torch.equal(values, before[name])}


@pytest.mark.parametrize("checkpointing", [False, True])
def test_policy_keeps_embeddings_tied_head_and_lowest_layer(new_model, tokenizer, settings, compute, checkpointing):
    model, before = new_model(), new_model().state_dict()
    frozen = compute.model_copy(update={"frozen_layers": 1, "gradient_checkpointing": checkpointing})
    history = fine_tune(model, tokenizer, ROWS, settings, frozen, InProcess(frozen), 0, "test")
    assert history[-1]["loss"] < history[0]["loss"]
    assert changed(model, before) == {name for name in before if name.startswith(("model.layers.1.", "model.norm."))}
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_reward_model_trains_its_upper_layers_and_its_head(new_model, tokenizer, settings, compute, tmp_path):
    save_model(new_model(), tokenizer, tmp_path)
    model = new_reward_model(tmp_path, 0, compute, zero_head=False)
    before = {name: values.clone() for name, values in model.state_dict().items()}
    frozen = compute.model_copy(update={"frozen_layers": 1})
    train_on_pairs(model, tokenizer, PAIRS, settings, frozen, InProcess(frozen), 0, "test")
    assert changed(model, before) == {name for name in before if name.startswith(("model.layers.1.", "model.norm.", "score."))}


def test_nothing_is_kept_of_the_frozen_part(new_model):
    """Its output needs no gradient, so that the backward pass ends above it."""
    model, needs = new_model(), []
    freeze_lowest(model, 1)
    for layer in model.model.layers:
        layer.register_forward_hook(lambda _module, _inputs, output: needs.append(output.requires_grad))
    model(torch.tensor([[1, 2, 3]]))
    assert needs == [False, True]


def test_layers_are_found_in_another_architecture():
    model = GPT2LMHeadModel(GPT2Config(vocab_size=50, n_positions=16, n_embd=8, n_layer=3, n_head=2))
    freeze_lowest(model, 2)
    frozen = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
    assert {name.rpartition(".")[0].split(".")[2] for name in frozen if ".h." in name} == {"0", "1"} and "transformer.wte.weight" in frozen
    assert all(parameter.requires_grad for parameter in model.transformer.h[2].parameters())


def test_all_layers_frozen_is_an_error(new_model):
    with pytest.raises(ModelError, match=r"compute.frozen_layers: 2 leave nothing to train of the model's 2 layers"):
        freeze_lowest(new_model(), 2)
