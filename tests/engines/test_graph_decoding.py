"""Sampling by graphs draws the same tokens as sampling token by token; what is recorded there runs here as it is."""

import plain_attention
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from apo_bench.config.sections import Sampling
from apo_bench.engines import graph_decoding, in_process
from apo_bench.models import packed_attention
from apo_bench.models.packed_attention import PACKED

END = 3
PROMPTS = [[5, 6, 7, 8, 9], [4], [7, 7, 8], [5, 6], [11, 12, 13, 14]]
SETTINGS = Sampling(num_samples=3, temperature=0.7, top_k=0, top_p=0.9, repetition_penalty=1.2, max_new_tokens=40)


@pytest.fixture
def model(monkeypatch):
    """Of 20 tokens, one of which ends a response, so that many end early."""
    monkeypatch.setattr(graph_decoding, "attend", plain_attention.attend)
    monkeypatch.setattr(packed_attention, "attend", plain_attention.attend)
    monkeypatch.setattr(graph_decoding, "as_graph", lambda run: run)
    monkeypatch.setattr(in_process, "num_prompts_at_once", lambda *_: 4)
    torch.manual_seed(1)
    config = LlamaConfig(
        vocab_size=20, hidden_size=32, intermediate_size=24, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2
    )
    return LlamaForCausalLM(config).eval()


def sampled(model, attention, prompts=PROMPTS, **changes):
    model.set_attn_implementation(attention)
    seeds = [sum(prompt) for prompt in prompts]
    return in_process.generate(model, END, prompts, SETTINGS.model_copy(update=changes), seeds, "test")


@pytest.mark.parametrize("at_once", [2**15, 4], ids=["prompts at once", "prompts in parts"])
@pytest.mark.parametrize("filters", [{}, {"repetition_penalty": 1.0, "top_p": 1.0, "temperature": 1.0}, {"num_samples": 1}], ids=str)
def test_the_same_tokens(model, monkeypatch, filters, at_once):
    monkeypatch.setattr(graph_decoding, "PROMPT_TOKENS_AT_ONCE", at_once)
    expected = sampled(model, "eager", **filters)
    lengths = [len(ids) for group in expected for ids in group]
    assert min(lengths) < 8 < 16 < max(lengths)  # sequences leave at several sizes
    assert sampled(model, PACKED, **filters) == expected


def test_all_responses_ended(model):
    """The end token is all that the model says."""
    model.get_output_embeddings().bias = torch.nn.Parameter(100.0 * torch.eye(20)[END])
    assert sampled(model, PACKED, max_new_tokens=9) == [[[END]] * 3] * 5


def test_longest_response_of_one_token(model):
    assert sampled(model, PACKED, max_new_tokens=1) == sampled(model, "eager", max_new_tokens=1)
