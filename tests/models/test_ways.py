"""Short cuts are taken where they change nothing: architectures that differ in kind give their own numbers, or are refused by name."""

import pytest
import torch
from transformers import AutoModelForCausalLM, LlamaConfig

from apo_bench.engines.in_process import caches_well
from apo_bench.evaluation.policies import response_kl
from apo_bench.models.batching import TokenSequence, pad
from apo_bench.models.language_model import all_response_logps, pairs_a_token, response_logps
from apo_bench.models.packed_attention import can_be_packed
from apo_bench.models.ways import RECORD, Ways, length_limit, logits_of, record, ways_of
from benchmarks.architectures import examine, new_model

KINDS = {
    "llama": "equal",
    "gpt2": "equal",  # learned positions
    "gpt_neox": "equal",
    "qwen3_moe": "equal",
    "deepseek_v3": "equal",  # keys and values of other sizes
    "gemma2": "plain: shared_prompts",  # capped logits, windows
    "gemma3_text": "plain: shared_prompts",
    "falcon": "plain: shared_prompts",  # ALiBi
    "bloom": "plain: shared_prompts",
    "gpt_neo": "plain: shared_prompts",  # local layers
    "gpt_oss": "plain: shared_prompts",  # sinks, windows
    "opt": "plain: head_apart",  # a body within the body
    "openai-gpt": "plain: shared_prompts, cache",  # no cache
    "qwen3_next": "plain: shared_prompts, cache",  # a recurrence
    "lfm2": "refused: has no sequence classifier",
    "cohere": "refused: has no sequence classifier",
    "bert-generation": "refused: is no causal language model",
}


@pytest.mark.parametrize("name", KINDS)
def test_an_architecture_gives_its_own_numbers_or_is_refused(name, tokenizer, tmp_path):
    row = examine(name, tokenizer, tmp_path)
    assert row.verdict.startswith(KINDS[name])
    assert (row.deviation is None) == row.verdict.startswith("refused") and (row.deviation or 0) < 1e-5


def sequences() -> list[TokenSequence]:
    prompt = list(range(20, 40))
    return [TokenSequence(prompt + list(range(first, first + length)), 20) for first, length in ((50, 12), (90, 5), (120, 9))]


@pytest.mark.parametrize("name", ["gemma2", "cohere", "granite", "lfm2", "falcon", "llama"])
def test_log_probabilities_and_kl_are_those_of_forward(name):
    """Capped and scaled logits, a convolution and ALiBi among them; also of models that nothing has checked before."""
    policy, reference = new_model(name), new_model(name)
    with torch.no_grad():
        for weight in reference.parameters():
            weight.mul_(torch.linspace(0.3, 2.0, weight.shape[-1]))
        logps = [
            [m(torch.tensor([s.ids])).logits[0, s.prompt_length - 1 : -1].log_softmax(-1) for s in sequences()] for m in (policy, reference)
        ]
    expected = [
        own.gather(1, torch.tensor(s.ids[s.prompt_length :])[:, None]).sum().item() for own, s in zip(logps[0], sequences(), strict=True)
    ]
    assert all_response_logps(policy, sequences(), 0, "logps").tolist() == pytest.approx(expected, rel=1e-5)
    kl = [(own.exp() * (own - other)).sum().item() for own, other in zip(*logps, strict=True)]
    assert min(kl) > 1e-3 and response_kl(policy, reference, sequences(), 0).tolist() == pytest.approx(kl, rel=1e-3, abs=1e-4)


def test_gradients_reach_body_and_head_through_the_models_own_forward():
    model = new_model("gemma2")
    response_logps(model, pad(sequences(), 0)).sum().backward()
    ours = {name: weight.grad.clone() for name, weight in model.named_parameters()}
    model.zero_grad()
    for s in sequences():
        logps = model(torch.tensor([s.ids])).logits[0, s.prompt_length - 1 : -1].log_softmax(-1)
        logps.gather(1, torch.tensor(s.ids[s.prompt_length :])[:, None]).sum().backward()
    assert all(torch.allclose(ours[name], weight.grad, rtol=1e-3, atol=1e-3) for name, weight in model.named_parameters())


def test_the_body_is_left_as_it_was():
    model = new_model("llama")
    own = model.base_model.forward = model.base_model.forward  # as some libraries bind theirs
    logits_of(model, torch.zeros(3, 64))
    assert model.base_model.forward is own
    del model.base_model.forward
    with pytest.raises(RuntimeError):
        logits_of(model, torch.zeros(3, 65))
    assert "forward" not in vars(model.base_model)


def test_what_base_model_found_holds_in_later_stages(tmp_path):
    model = new_model("llama")
    assert ways_of(model) == Ways(True, True, True) and caches_well(model) and pairs_a_token(model)
    record(model, [])
    assert not hasattr(model.config, RECORD)  # nothing to say leaves no trace
    record(model, ["shared_prompts", "cache"])
    model.save_pretrained(tmp_path)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert ways_of(loaded) == ways_of(model) == Ways(True, False, True)
    assert not caches_well(loaded) and not pairs_a_token(loaded)


ROPES = {
    "dynamic": {"factor": 4.0, "original_max_position_embeddings": 24},
    "longrope": {"factor": 4.0, "original_max_position_embeddings": 24, "long_factor": [4.0] * 8, "short_factor": [1.0] * 8},
}


@pytest.mark.parametrize("kind", ROPES)
@pytest.mark.parametrize("positions", [24, 128])
def test_rotary_positions_that_hang_on_the_longest_sequence_keep_rows_apart(kind, positions):
    """A sequence's numbers change once another one of its batch, or of its row, is beyond the length that the model was made for."""
    torch.manual_seed(0)
    rope = {"rope_type": kind, "rope_theta": 100.0, **ROPES[kind]}
    sizes = {"hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": 400}
    model = AutoModelForCausalLM.from_config(LlamaConfig(**sizes, max_position_embeddings=positions, rope_parameters=rope)).eval()
    assert length_limit(model.config) == 24
    short, long = TokenSequence(list(range(5, 15)), 4), TokenSequence(list(range(30, 70)), 30)
    beside = TokenSequence([*range(5, 9), *range(50, 80)], 4)  # shares the prompt of the short one
    with torch.no_grad():
        for group in ([short, long], [short, beside]):
            together = response_logps(model, pad(group, 0, pairs_a_token(model) if positions > 24 else 0))
            alone = torch.cat([response_logps(model, pad([one], 0)) for one in group])
            assert torch.allclose(together, alone, atol=1e-5)
    assert can_be_packed(model) == (positions == 24)


def test_trying_draws_nothing_and_leaves_the_mode():
    torch.manual_seed(0)
    model = new_model("llama").train()
    state = torch.random.get_rng_state()
    ways_of(model)
    caches_well(model)
    assert model.training and torch.equal(state, torch.random.get_rng_state())
