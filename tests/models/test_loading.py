"""A model that is not whole is refused in one line that names the file and the tensors; what is no fault is not."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from apo_bench.core.errors import ApoBenchError, DataError, ModelError
from apo_bench.models.language_model import load_language_model, new_llama, save_model
from apo_bench.models.reward_model import load_reward_model, new_reward_model
from apo_bench.models.tokenizer import load_tokenizer
from benchmarks.broken_models import model_folders
from benchmarks.fuzz import CLEAR, HARMLESS, sweep

NAME = "model.layers.1.mlp.up_proj.weight"


@pytest.fixture(scope="module")
def saved(new_model, tokenizer, compute, tmp_path_factory):
    """The folders of a language model and of a reward model made of it."""
    folder = tmp_path_factory.mktemp("models")
    save_model(new_model(), tokenizer, folder / "language")
    save_model(new_reward_model(folder / "language", 0, compute, zero_head=False, subsets=("a", "b")), tokenizer, folder / "reward")
    return folder


def changed(saved, kind, target, change):
    """A copy of a folder whose tensors were changed."""
    target.mkdir()
    for file in (saved / kind).iterdir():
        (target / file.name).write_bytes(file.read_bytes())
    tensors = load_file(target / "model.safetensors")
    change(tensors)
    save_file(tensors, target / "model.safetensors", metadata={"format": "pt"})
    return target


FAULTS = {
    "lost": (lambda tensors: tensors.pop(NAME), rf"1 \({NAME}\) missing;"),
    "added": (lambda tensors: tensors.update({"model.layers.2.mlp.up_proj.weight": torch.ones(2)}), r"1 \(model.layers.2.*\) unexpected;"),
    "renamed": (lambda tensors: tensors.update({"model.up": tensors.pop(NAME)}), rf"1 \({NAME}\) missing; 1 \(model.up\) unexpected;"),
    "cut": (lambda tensors: tensors.update({NAME: tensors[NAME][1:]}), rf"1 \({NAME} \[63, 32\], not \[64, 32\]\) of another shape;"),
    "whole numbers": (lambda tensors: tensors.update({NAME: tensors[NAME].to(torch.int32)}), rf"1 \({NAME} I32\) of a type that holds no"),
    "NaN": (lambda tensors: tensors[NAME].fill_(float("nan")), rf"NaN or infinity in 1 \({NAME}\) of its tensors"),
}


@pytest.mark.parametrize("kind", ["language", "reward"])
@pytest.mark.parametrize("fault", FAULTS)
def test_weights_that_are_not_the_models_are_refused_by_name(saved, compute, tmp_path, fault, kind):
    change, message = FAULTS[fault]
    broken = changed(saved, kind, tmp_path / "broken", change)
    load = load_language_model if kind == "language" else load_reward_model
    with pytest.raises(ModelError, match=rf"broken/model.safetensors: .*{message}") as refusal:
        load(broken, compute)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_reward_model_is_made_of_whole_weights_only(saved, compute, tmp_path, fault):
    change, message = FAULTS[fault]
    with pytest.raises(ModelError, match=message):
        new_reward_model(changed(saved, "language", tmp_path / "broken", change), 0, compute, zero_head=False)


def test_a_reward_model_without_its_head_is_refused(saved, compute, tmp_path):
    """Only a language model may lack it: there the head is to be fresh."""
    broken = changed(saved, "reward", tmp_path / "broken", lambda tensors: tensors.pop("score.weight"))
    with pytest.raises(ModelError, match=r"1 \(score.weight\) missing"):
        load_reward_model(broken, compute)


@pytest.mark.parametrize("tied", [True, False])
def test_tied_and_own_heads_are_no_fault(params, tokenizer, compute, tmp_path, tied):
    """A tied head stands not in the file; an own one stands beside the body that a reward model is made of."""
    sizes = {"max_length": 64, "hidden_size": 16, "num_layers": 1, "num_heads": 2, "intermediate_size": 24}
    model = new_llama(params.base_model.model_copy(update=sizes), tokenizer, 0)
    if not tied:
        model.config.tie_word_embeddings = False
        model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.clone() + 1)
    save_model(model, tokenizer, tmp_path)
    assert ("lm_head.weight" in load_file(tmp_path / "model.safetensors")) is not tied
    loaded = load_language_model(tmp_path, compute)
    assert torch.equal(loaded.lm_head.weight, model.lm_head.weight)
    reward_model = new_reward_model(tmp_path, 0, compute, zero_head=False)
    assert torch.equal(reward_model.model.embed_tokens.weight, model.model.embed_tokens.weight)


def test_half_precision_is_no_fault(saved, compute, tmp_path):
    half = changed(saved, "language", tmp_path / "half", lambda tensors: tensors.update({NAME: tensors[NAME].half()}))
    assert load_language_model(half, compute).model.layers[1].mlp.up_proj.weight.dtype == torch.float32


@pytest.mark.parametrize(("changes", "message"), [({"num_hidden_layers": 1}, "unexpected"), ({"num_hidden_layers": 3}, "missing")])
def test_another_number_of_layers_is_refused(saved, compute, tmp_path, changes, message):
    broken = changed(saved, "language", tmp_path / "broken", lambda tensors: None)
    config = json.loads((broken / "config.json").read_text())
    (broken / "config.json").write_text(json.dumps(config | changes))
    with pytest.raises(ModelError, match=rf"9 \(model.layers.*\.\.\.\) {message}"):
        load_language_model(broken, compute)


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("generation_config.json", "{broken", r"generation_config.json:1: not JSON"),
        ("generation_config.json", '{"temperature": "hot"}', r"generation_config.json: "),
        ("generation_config.json", '{"temperature": 0.5, "do_sample": false}', r"generation_config.json: settings that cannot be used"),
        ("config.json", "[]", r"config.json: found JSON that is no object"),
        ("config.json", '{"model_type": "llama", "hidden_size": "x"}', r"config.json: .* expected the configuration of a model that"),
        ("config.json", '{"model_type": "nothing"}', r"config.json: the model cannot be loaded .*expected the configuration of a model"),
    ],
)
def test_a_broken_setting_names_its_file(saved, compute, tmp_path, file, text, message):
    broken = changed(saved, "language", tmp_path / "broken", lambda tensors: None)
    (broken / file).write_text(text)
    with pytest.raises(ApoBenchError, match=message):
        load_language_model(broken, compute)


def test_a_template_that_is_no_text_names_its_file(saved, tmp_path):
    broken = changed(saved, "language", tmp_path / "broken", lambda tensors: None)
    (broken / "chat_template.jinja").write_bytes(b"\xff")
    with pytest.raises(DataError, match=r"chat_template.jinja: not UTF-8"):
        load_tokenizer(broken)


def test_whatever_is_done_to_a_folder_is_told_or_does_no_harm(tmp_path):
    """A short `make fuzz`."""
    found = sweep(model_folders, 40, seed=1)
    assert [one for one in found if one.outcome not in (CLEAR, HARMLESS)] == []
    assert {one.outcome for one in found} == {CLEAR, HARMLESS}
