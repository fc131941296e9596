"""Packed sequences: the same log-probabilities, rewards and gradients as padded ones, whatever the architecture that can be packed."""

import plain_attention
import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    BloomConfig,
    Gemma2Config,
    GPT2Config,
    GPTNeoXConfig,
    LlamaConfig,
    MistralConfig,
    Olmo2Config,
    OPTConfig,
    Phi3Config,
    PhiConfig,
    Qwen2Config,
    Qwen3Config,
    SmolLM3Config,
)

from apo_bench.models import packed_attention
from apo_bench.models.batching import PACK, TokenSequence, pad
from apo_bench.models.language_model import response_logps
from apo_bench.models.packed_attention import PACKED, can_be_packed
from apo_bench.models.reward_model import rewards

SMALL = {"vocab_size": 50, "hidden_size": 32, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4, "pad_token_id": 0}
GROUPED = {**SMALL, "num_key_value_heads": 2}
ARCHITECTURES = {
    "llama": LlamaConfig(**GROUPED, num_labels=1),
    "qwen2": Qwen2Config(**GROUPED),
    "qwen3": Qwen3Config(**GROUPED, head_dim=8),
    "mistral": MistralConfig(**GROUPED, sliding_window=None),
    "olmo2": Olmo2Config(**GROUPED),
    "phi": PhiConfig(**SMALL),
    "phi3": Phi3Config(**GROUPED),
    "smollm3": SmolLM3Config(**GROUPED),
    "gpt_neox": GPTNeoXConfig(**SMALL),
    "gpt2": GPT2Config(vocab_size=50, n_embd=32, n_layer=2, n_head=4, n_positions=64, pad_token_id=0),
    "opt": OPTConfig(vocab_size=50, hidden_size=32, ffn_dim=24, num_hidden_layers=2, num_attention_heads=4, word_embed_proj_dim=32),
}


def sequences(shared: bool) -> list[TokenSequence]:
    generator = torch.Generator().manual_seed(0)
    made = []
    for prompt_length, responses in ((5, (4, 1, 7)), (1, (2,)), (9, (3, 3))):
        prompt = torch.randint(1, 50, (prompt_length,), generator=generator).tolist()
        for length in responses:
            made.append(TokenSequence(prompt + torch.randint(1, 50, (length,), generator=generator).tolist(), prompt_length))
            prompt = prompt if shared else torch.randint(1, 50, (prompt_length,), generator=generator).tolist()
    return made


@pytest.fixture
def plain_kernels(monkeypatch):
    for name in ("attend", "attend_backward"):
        monkeypatch.setattr(packed_attention, name, getattr(plain_attention, name))


def values_and_gradients(model, values, batch, attention):
    model.set_attn_implementation(attention)
    model.zero_grad()
    of_sequences = values(model, batch)
    (of_sequences * torch.linspace(-1, 2, len(of_sequences))).sum().backward()
    return of_sequences.detach(), {name: weight.grad for name, weight in model.named_parameters() if weight.grad is not None}


@pytest.mark.parametrize("shared", [True, False], ids=["prompts shared", "prompts alone"])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_packed_is_as_padded(name, shared, plain_kernels):
    torch.manual_seed(0)
    heads = [(AutoModelForCausalLM, response_logps)]
    if name == "llama":
        heads.append((AutoModelForSequenceClassification, rewards))
    for made_by, values in heads:
        model = made_by.from_config(ARCHITECTURES[name]).eval()
        if not can_be_packed(model):
            pytest.skip("a model that is padded")
        expected, gradients = values_and_gradients(model, values, pad(sequences(shared), 0), "eager")
        found, packed_gradients = values_and_gradients(model, values, pad(sequences(shared), 0, PACK), PACKED)
        assert torch.allclose(found, expected, rtol=0, atol=1e-5)
        assert gradients.keys() == packed_gradients.keys()
        assert all(torch.allclose(packed_gradients[key], gradients[key], rtol=0, atol=1e-5) for key in gradients)


def test_what_attends_otherwise_is_padded():
    packed = [name for name, config in ARCHITECTURES.items() if can_be_packed(AutoModelForCausalLM.from_config(config))]
    assert {"llama", "qwen2", "qwen3", "mistral", "olmo2", "phi3", "smollm3", "gpt_neox"} <= set(packed)
    windowed = MistralConfig(**GROUPED, sliding_window=4)
    narrow = LlamaConfig(**GROUPED | {"hidden_size": 16})  # heads of 4
    capped = Gemma2Config(**GROUPED, head_dim=8)
    for config in (windowed, narrow, capped, BloomConfig(hidden_size=32, n_layer=1, n_head=2, vocab_size=50)):
        assert not can_be_packed(AutoModelForCausalLM.from_config(config))
