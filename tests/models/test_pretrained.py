"""A pretrained model is made safe to train with, or refused with the reason; a GGUF file becomes plain safetensors."""

import json

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from apo_bench.config.sections import ModelFolder, PretrainedModel
from apo_bench.core.errors import MissingInputError, ModelError
from apo_bench.models.language_model import save_model
from apo_bench.models.pretrained import convert_gguf, load_own_policy, load_own_reward_model, load_pretrained
from apo_bench.models.reward_model import LENGTH, new_reward_model
from apo_bench.models.tokenizer import END, PAD, encode, encode_prompts, train_tokenizer

DIALOGUE = "\n\nHuman: Hi.\n\nAssistant: Hello.\n\nHuman: Bye.\n\nAssistant:"


@pytest.fixture
def settings(model, tmp_path):
    """Saves the tiny model with a tokenizer changed as asked; returns the settings that name it."""

    def save(chat_template="own", **changes):
        changed = train_tokenizer(["Boil the water. Hi. Bye. Hello. Yes, I am."] * 3, 400)
        for name, value in changes.items():
            setattr(changed, name, value)
        save_model(model, changed, tmp_path)
        hub = {"name": "a/b", "revision": "0" * 40}
        return PretrainedModel(
            source="pretrained", folder=str(tmp_path), chat_template=chat_template, hub=hub, wheel=None, num_parameters=1
        )

    return save


def test_pad_is_never_the_end_token(settings):
    """Where pad is the end token, as in many models, a spare special token takes its place, in the model's configuration too."""
    model, tokenizer = load_pretrained(settings(pad_token=END, unk_token="<|user|>"))
    assert tokenizer.pad_token == "<|user|>" != tokenizer.eos_token == END
    assert load_pretrained(settings(pad_token=END))[1].pad_token == PAD
    assert model.config.pad_token_id == tokenizer.pad_token_id and model.config.eos_token_id == tokenizer.eos_token_id


def test_end_token_is_trained_on(settings, tokenizer):
    """The last token of a finished response is the end token, and it is not padding."""
    _, loaded = load_pretrained(settings())
    [[sequence]] = encode(loaded, [DIALOGUE], [["Boil the water."]], 128, 1024)
    assert sequence.ids[-1] == loaded.eos_token_id != loaded.pad_token_id


def test_two_beginning_tokens_are_refused(settings):
    doubled = "{{ bos_token }}{{ bos_token }}{% for message in messages %}{{ message['content'] + eos_token }}{% endfor %}"
    with pytest.raises(ModelError, match=r"begin with .* twice"):
        load_pretrained(_saved(settings, doubled))


def _saved(settings, template):
    made = settings(bos_token="<|user|>")
    tokenizer = AutoTokenizer.from_pretrained(made.folder)
    tokenizer.chat_template = template
    tokenizer.save_pretrained(made.folder)
    return made


def test_template_that_ends_answers_with_another_token_is_refused(settings):
    other = "{% for message in messages %}{{ message['content'] + '<|user|>' }}{% endfor %}"
    with pytest.raises(ModelError, match=r"ends an answer with '<\|user\|>', the end token is '<\|end\|>'"):
        load_pretrained(_saved(settings, other))


def test_hh_form_for_models_without_a_template(settings):
    made = settings(chat_template="hh", bos_token="<|user|>")
    _, tokenizer = load_pretrained(made)
    [ids] = encode_prompts(tokenizer, [DIALOGUE], 1024)
    assert tokenizer.decode(ids) == "<|user|>\n\nHuman: Hi.\n\nAssistant: Hello.<|end|>\n\nHuman: Bye.\n\nAssistant:"


def test_missing_model_says_how_to_get_it(settings, tmp_path):
    made = settings().model_copy(update={"folder": str(tmp_path / "nowhere")})
    with pytest.raises(MissingInputError, match=r"nowhere: no model there; `apo-bench fetch`"):
        load_pretrained(made)


@pytest.fixture
def folders(model, tokenizer, compute, tmp_path):
    """A policy and a reward model from elsewhere, and adapters alone."""
    save_model(model, tokenizer, tmp_path / "policy")
    save_model(new_reward_model(tmp_path / "policy", 0, compute, False), tokenizer, tmp_path / "reward")
    (tmp_path / "adapters").mkdir()
    (tmp_path / "adapters/adapter_config.json").write_text("{}")
    return {name: ModelFolder(folder=str(tmp_path / name)) for name in ("policy", "reward", "adapters", "nowhere")}


@pytest.mark.parametrize(
    ("of", "name", "error", "said"),
    [
        ("policy", "nowhere", MissingInputError, "no config.json in .*nowhere, expected a causal language model as save_pretrained"),
        ("policy", "adapters", MissingInputError, r"adapters holds adapters alone, expected .*; merge them \(peft's merge_and_unload\)"),
        ("policy", "reward", ModelError, "reward holds LlamaForSequenceClassification, expected a causal language model; name the folder"),
        ("reward", "policy", ModelError, "policy holds LlamaForCausalLM, expected a sequence classifier with one label"),
        ("reward", "nowhere", MissingInputError, "no config.json in .*nowhere, expected a sequence classifier with one label"),
    ],
)
def test_what_is_no_model_of_the_kind_is_told_by_its_key(folders, compute, of, name, error, said):
    with pytest.raises(error, match=f"^own.mine.folder: .*{said}") as refusal:
        if of == "policy":
            load_own_policy(folders[name], "own.mine")
        else:
            load_own_reward_model(folders[name], "own.mine", compute, 64)
    assert "\n" not in str(refusal.value)


def test_models_of_ones_own_are_loaded_as_they_are(folders, model, compute):
    policy, tokenizer = load_own_policy(folders["policy"], "own.mine")
    assert all(torch.equal(one, other) for one, other in zip(policy.parameters(), model.parameters(), strict=True))
    for max_length, expected in ((64, 64), (4096, 128)):  # it has 128 positions
        reward_model, _ = load_own_reward_model(folders["reward"], "own.mine", compute, max_length)
        assert reward_model.config.pad_token_id == tokenizer.pad_token_id and getattr(reward_model.config, LENGTH) == expected


def test_gguf_file_becomes_plain_safetensors(model, tokenizer, tmp_path):
    """The file is written here by the `gguf` package, unquantised, so that the weights must come back as they were."""
    gguf = pytest.importorskip("gguf")
    config = model.config
    writer = gguf.GGUFWriter(tmp_path / "tiny.gguf", "llama")
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(10000.0)
    writer.add_rope_dimension_count(config.hidden_size // config.num_attention_heads)
    writer.add_vocab_size(config.vocab_size)
    vocabulary = sorted(tokenizer.get_vocab(), key=tokenizer.get_vocab().get)
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(vocabulary)
    writer.add_token_types([3 if token in (PAD, "<|user|>", "<|assistant|>", END) else 1 for token in vocabulary])
    writer.add_token_merges([f"{left} {right}" for left, right in _merges(tokenizer)])
    writer.add_eos_token_id(tokenizer.eos_token_id)
    writer.add_pad_token_id(tokenizer.pad_token_id)
    writer.add_chat_template(tokenizer.chat_template)
    for name, values in _gguf_tensors(model):
        writer.add_tensor(name, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    convert_gguf(tmp_path / "tiny.gguf", tmp_path / "plain")
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "plain")
    ids = torch.tensor([[5, 6, 7, 8]])
    assert torch.allclose(loaded(ids).logits, model(ids).logits, atol=1e-4)
    assert (tmp_path / "plain" / "model.safetensors").is_file() and not getattr(loaded.config, "quantization_config", None)
    assert AutoTokenizer.from_pretrained(tmp_path / "plain")("Boil the water.").input_ids == tokenizer("Boil the water.").input_ids


def _merges(tokenizer):

    return [
        tuple(merge) if isinstance(merge, list) else merge.split(" ")
        for merge in json.loads(tokenizer.backend_tokenizer.to_str())["model"]["merges"]
    ]


def _gguf_tensors(model):
    """Names and layouts of llama.cpp: the rows of queries and keys are interleaved for its rotary positions."""
    state, config = model.state_dict(), model.config
    heads = config.num_attention_heads
    yield "token_embd.weight", state["model.embed_tokens.weight"].numpy()
    yield "output_norm.weight", state["model.norm.weight"].numpy()
    names = {
        "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output",
        "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
        "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm",
    }  # fmt: skip
    for layer in range(config.num_hidden_layers):
        for theirs, ours in names.items():
            values = state[f"model.layers.{layer}.{theirs}.weight"]
            if ours in ("attn_q", "attn_k"):
                rows, columns = values.shape
                values = values.reshape(heads, 2, rows // heads // 2, columns).transpose(1, 2).reshape(rows, columns)
            yield f"blk.{layer}.{ours}.weight", values.contiguous().numpy()


def test_file_that_is_no_gguf_is_refused(tmp_path):
    (tmp_path / "broken.gguf").write_bytes(b"not a model")
    with pytest.raises(ModelError, match=r"broken.gguf: cannot be read as a GGUF model"):
        convert_gguf(tmp_path / "broken.gguf", tmp_path / "plain")
