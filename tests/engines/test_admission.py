"""What cannot be used is refused when it enters, in one line that names the file or the architecture; what can, runs."""

import shutil

import pytest
import torch
from transformers import AutoModelForCausalLM, BloomConfig, CohereConfig, GPT2Config, GPT2LMHeadModel

from apo_bench.config.sections import PretrainedModel, Sampling
from apo_bench.core.errors import ApoBenchError, ModelError
from apo_bench.engines.admission import admit, admit_reward_model
from apo_bench.engines.sampling import sample_responses
from apo_bench.models.language_model import load_language_model, save_model
from apo_bench.models.pretrained import load_pretrained
from apo_bench.models.reward_model import all_rewards, new_reward_model
from apo_bench.models.tokenizer import PAD, encode, load_tokenizer

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 1210568\n"
SIZES = {"vocab_size": 400, "pad_token_id": 0, "bos_token_id": None, "eos_token_id": 3}


@pytest.fixture
def settings(params):
    """Short lengths."""
    lengths = {"compute": {"max_prompt_length": 40}, "sft": {"max_length": 80}}
    sampling = {part: getattr(params.sampling, part).model_copy(update={"max_new_tokens": 16}) for part in ("train", "test")}
    changed = {key: getattr(params, key).model_copy(update=value) for key, value in lengths.items()}
    return params.model_copy(update=changed | {"sampling": params.sampling.model_copy(update=sampling)})


def enter(model, tokenizer, folder, settings):
    """As `base_model` does."""
    save_model(model, tokenizer, folder)
    return entered(folder, settings)


def entered(folder, settings):
    hub = {"name": "a/b", "revision": "0" * 40}
    source = PretrainedModel(source="pretrained", folder=str(folder), chat_template="own", hub=hub, wheel=None, num_parameters=1)
    model, tokenizer = load_pretrained(source)
    admit(model, tokenizer, settings, str(folder))
    return model, tokenizer


@pytest.mark.parametrize("file", ["model.safetensors", "tokenizer.json"])
def test_pointers_of_git_lfs_are_named(model, tokenizer, settings, tmp_path, file):
    save_model(model, tokenizer, tmp_path)
    (tmp_path / file).write_text(POINTER)
    with pytest.raises(ModelError, match=rf"{file}: a pointer of git-lfs in the place of the file; get it with `git lfs pull`"):
        entered(tmp_path, settings)


@pytest.mark.parametrize("file", ["model.safetensors", "tokenizer.json", "config.json", "tokenizer_config.json"])
def test_broken_files_are_one_line(model, tokenizer, settings, tmp_path, file):
    save_model(model, tokenizer, tmp_path)
    (tmp_path / file).write_bytes(b"\x00broken")
    with pytest.raises(ApoBenchError, match=rf"{file}(:1)?: .*(cannot be loaded|not JSON)") as refusal:
        entered(tmp_path, settings)
    assert "\n" not in str(refusal.value)


def test_pickled_weights_alone_are_refused(model, tokenizer, settings, tmp_path):
    save_model(model, tokenizer, tmp_path)
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(ModelError, match=r"cannot be loaded .*model\.safetensors"):
        entered(tmp_path, settings)


def test_weights_of_another_model_are_refused(new_model, tokenizer, settings, tmp_path):
    """Else what they lack would be random, without a word."""
    model = new_model()
    save_model(model, tokenizer, tmp_path)
    model.config.num_hidden_layers = 3
    model.config.save_pretrained(tmp_path)
    with pytest.raises(ModelError, match=r"not the weights of LlamaForCausalLM in config.json: 9 \(model\.layers\.2\..* missing"):
        entered(tmp_path, settings)


def test_an_architecture_without_a_sequence_classifier_is_refused_at_once(tokenizer, settings, tmp_path):
    config = CohereConfig(hidden_size=32, intermediate_size=32, num_hidden_layers=1, num_attention_heads=4, **SIZES)
    with pytest.raises(ModelError, match="CohereForCausalLM has no sequence classifier in transformers"):
        enter(AutoModelForCausalLM.from_config(config), tokenizer, tmp_path, settings)


def test_a_model_that_names_no_longest_position_runs(tokenizer, settings, compute, dialogues, tmp_path):
    config = BloomConfig(hidden_size=32, n_layer=2, n_head=4, **SIZES)
    enter(AutoModelForCausalLM.from_config(config), tokenizer, tmp_path, settings)
    sampling = Sampling(num_samples=2, temperature=1.0, top_k=0, top_p=1.0, repetition_penalty=1.0, max_new_tokens=6)
    samples = sample_responses(tmp_path, load_tokenizer(tmp_path), dialogues, sampling, compute, settings.engines, 0, "Bloom")
    assert [len(group.responses) for group in samples] == [2] * len(dialogues)
    [group] = encode(tokenizer, dialogues[:1], [["Boil the water.", "No."]], 80, 40)
    reward_model = new_reward_model(tmp_path, 0, compute, False)
    together, alone = (all_rewards(reward_model, list(part), 0, "rewards") for part in (group, group[1:]))
    assert together[1].item() == pytest.approx(alone[0].item(), abs=1e-5)


def test_too_few_positions_are_told_before_anything_is_trained(tokenizer, settings, tmp_path):
    model = GPT2LMHeadModel(GPT2Config(n_embd=32, n_layer=1, n_head=4, n_positions=50, **SIZES))
    with pytest.raises(ModelError, match=r"GPT2LMHeadModel: a prompt with 16 new tokens needs 56 positions, the model has 50; lower"):
        enter(model, tokenizer, tmp_path, settings)


def test_a_pad_token_beyond_the_embeddings_is_refused_with_both_sizes(tokenizer, settings, tmp_path):
    """What "add one to the tokenizer" makes people do."""
    model = GPT2LMHeadModel(GPT2Config(n_embd=32, n_layer=1, n_head=4, n_positions=128, **SIZES))
    save_model(model, tokenizer, tmp_path)
    own = load_tokenizer(tmp_path)
    own.add_special_tokens({"pad_token": "[PAD]"})
    own.save_pretrained(tmp_path)
    with pytest.raises(ModelError, match=r"embeddings for 400 tokens, the tokenizer has 401, and pad token is beyond them; give it a row"):
        entered(tmp_path, settings)
    model.resize_token_embeddings(401)
    model.save_pretrained(tmp_path)
    assert entered(tmp_path, settings)[1].pad_token == "[PAD]" != PAD


def test_a_policy_that_no_reward_model_can_be_made_of_may_enter_all_the_same(tokenizer, settings):
    """Cohere has no sequence classifier."""
    model = AutoModelForCausalLM.from_config(CohereConfig(hidden_size=32, num_hidden_layers=1, num_attention_heads=4, **SIZES)).eval()
    assert isinstance(admit(model, tokenizer, settings, "mine", is_start=False), list)
    with pytest.raises(ModelError, match="has no sequence classifier in transformers"):
        admit(model, tokenizer, settings, "mine")


def test_rewards_of_a_reward_model_from_elsewhere_are_its_own(model, tokenizer, settings, compute, tmp_path, monkeypatch):
    save_model(model, tokenizer, tmp_path)
    reward_model = new_reward_model(tmp_path, 0, compute, False)
    assert admit_reward_model(reward_model, tokenizer, settings, "mine") == []
    short = settings.model_copy(update={"compute": settings.compute.model_copy(update={"max_prompt_length": 120})})
    with pytest.raises(ModelError, match=r"^mine: LlamaForSequenceClassification: a prompt with 16 new tokens needs 136 positions"):
        admit_reward_model(reward_model, tokenizer, short, "mine")
    plain = type(reward_model).forward

    def capped(self, **inputs):
        found = plain(self, **inputs)
        found.logits = found.logits.tanh() + 1
        return found

    monkeypatch.setattr(type(reward_model), "forward", capped)
    with pytest.raises(ModelError, match="rewards are not those of LlamaForSequenceClassification's own forward"):
        admit_reward_model(reward_model, tokenizer, settings, "mine")


def test_a_model_that_may_enter_is_left_as_it_was(model, tokenizer, settings, compute, tmp_path):
    entered_model, _ = enter(model, tokenizer, tmp_path, settings)
    assert entered_model.config._attn_implementation == "sdpa"
    assert all(torch.equal(one, other) for one, other in zip(entered_model.parameters(), model.parameters(), strict=True))
    before = (tmp_path / "config.json").read_text()
    shutil.copytree(tmp_path, tmp_path / "again")
    save_model(load_language_model(tmp_path / "again", compute), tokenizer, tmp_path / "again")
    assert "apo_bench" not in before and "apo_bench" not in (tmp_path / "again/config.json").read_text()
