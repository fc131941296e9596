"""Rewards are read off the last token, whatever stands beside; what lies on disk."""

from dataclasses import replace

import pytest
import torch
from safetensors import safe_open
from transformers import AutoModelForSequenceClassification

from apo_bench.core.errors import MissingInputError, ModelError
from apo_bench.data.corpus import HARMLESS, HELPFUL
from apo_bench.models import language_model
from apo_bench.models.batching import pad
from apo_bench.models.language_model import save_model
from apo_bench.models.reward_model import all_rewards, load_reward_model, new_reward_model, rewards
from apo_bench.models.tokenizer import encode

SUBSETS = (HELPFUL, HARMLESS)


@pytest.fixture(scope="module")
def base(model, tokenizer, tmp_path_factory):
    """The folder of a saved base model."""
    path = tmp_path_factory.mktemp("base")
    save_model(model, tokenizer, path)
    return path


@pytest.fixture(scope="module")
def reward_model(base, compute):
    return new_reward_model(base, 0, compute, zero_head=False).eval()


@pytest.fixture
def sequences(tokenizer, dialogues):
    """Unfinished and finished responses of different lengths."""
    groups = [["Boil the water.", "No"], ["Rub the pan with soda and wait.", "Yes"], ["Go!", "It depends on many different things."]]
    finished = [[True, False]] * 3
    return [sequence for group in encode(tokenizer, dialogues, groups, 128, 1024, finished) for sequence in group]


@torch.no_grad()
def plain_reward(model, sequence) -> float:
    """The head applied to the state of the last token of the one sequence."""
    return model.score(model.base_model(torch.tensor([sequence.ids])).last_hidden_state[0, -1]).item()


def test_rewards_match_a_plain_forward_pass(reward_model, tokenizer, sequences):
    values = rewards(reward_model, pad(sequences, tokenizer.pad_token_id))
    expected = [plain_reward(reward_model, sequence) for sequence in sequences]
    assert values.tolist() == pytest.approx(expected, abs=1e-5)
    assert max(expected) - min(expected) > 0.01


def test_a_shared_prompt_changes_no_value(reward_model, tokenizer, sequences):
    batch = pad(sequences, tokenizer.pad_token_id, pairs_a_token=1000)
    assert len(batch.input_ids_RT) == 3
    expected = rewards(reward_model, pad(sequences, tokenizer.pad_token_id))
    assert rewards(reward_model, batch).tolist() == pytest.approx(expected.tolist(), abs=1e-5)


def test_order_and_batch_size_change_nothing(reward_model, tokenizer, sequences, monkeypatch):
    expected = [plain_reward(reward_model, sequence) for sequence in sequences]
    for max_tokens in (1, 60, 8192):
        monkeypatch.setitem(language_model.TOKENS_A_BATCH, "cpu", max_tokens)
        assert all_rewards(reward_model, sequences, tokenizer.pad_token_id, "test").tolist() == pytest.approx(expected, abs=1e-5)
        backwards = all_rewards(reward_model, sequences[::-1], tokenizer.pad_token_id, "test")
        assert backwards.flip(0).tolist() == pytest.approx(expected, abs=1e-5)


def test_starts_from_the_base_with_a_head_of_its_own_seed(base, model, compute, reward_model):
    assert torch.equal(reward_model.base_model.embed_tokens.weight, model.base_model.embed_tokens.weight)
    assert torch.equal(new_reward_model(base, 0, compute, zero_head=False).score.weight, reward_model.score.weight)
    assert not torch.equal(new_reward_model(base, 1, compute, zero_head=False).score.weight, reward_model.score.weight)


def test_a_head_may_start_at_zero_and_learns_from_there(base, compute, tokenizer, sequences):
    model = new_reward_model(base, 0, compute, zero_head=True)
    values_N = rewards(model, pad(sequences, tokenizer.pad_token_id))
    assert values_N.tolist() == [0.0] * len(sequences)
    values_N.sum().backward()
    assert model.score.weight.grad.abs().max() > 0.1


def test_saved_model_loads_with_plain_transformers(reward_model, tokenizer, compute, sequences, tmp_path):
    save_model(reward_model, tokenizer, tmp_path)
    batch = pad(sequences, tokenizer.pad_token_id)
    for loaded in (AutoModelForSequenceClassification.from_pretrained(tmp_path), load_reward_model(tmp_path, compute)):
        assert torch.allclose(loaded.eval()(input_ids=batch.input_ids_RT).logits[:, 0], rewards(reward_model, batch), atol=1e-6)
    assert {file.suffix for file in tmp_path.iterdir()} <= {".safetensors", ".json", ".jinja"}
    with safe_open(tmp_path / "model.safetensors", "pt") as weights:
        assert not [name for name in weights.keys() if "lm_head" in name]  # noqa: SIM118  (not a dict)


@pytest.fixture
def two_heads(base, compute):
    return new_reward_model(base, 0, compute, zero_head=False, subsets=SUBSETS).eval()


@pytest.mark.parametrize("pairs_a_token", [0, 1000], ids=["rows of one", "shared prompts"])
def test_a_head_per_subset_scores_the_prompts_of_its_subset(two_heads, tokenizer, sequences, pairs_a_token):
    subsets = [1, 1, 0, 0, 1, 1]
    batch = pad([replace(sequence, subset=SUBSETS[subset]) for sequence, subset in zip(sequences, subsets, strict=True)], 0, pairs_a_token)
    values = rewards(two_heads, batch).tolist()
    alone = [two_heads.score(two_heads.base_model(torch.tensor([sequence.ids])).last_hidden_state[0, -1]) for sequence in sequences]
    assert values == pytest.approx([scores[subset].item() for scores, subset in zip(alone, subsets, strict=True)], abs=1e-5)
    assert min(abs(scores[0] - scores[1]) for scores in alone) > 1e-3


def test_a_head_per_subset_is_a_label_of_plain_transformers(two_heads, tokenizer, compute, sequences, tmp_path):
    save_model(two_heads, tokenizer, tmp_path)
    batch = pad([replace(sequence, subset="harmless") for sequence in sequences], tokenizer.pad_token_id)
    plain = AutoModelForSequenceClassification.from_pretrained(tmp_path).eval()
    scores = plain(input_ids=batch.input_ids_RT).logits[:, plain.config.label2id["harmless"]]
    assert torch.allclose(scores, rewards(load_reward_model(tmp_path, compute), batch), atol=1e-6)


def test_a_head_per_subset_asks_for_the_subset(two_heads, tokenizer, sequences):
    with pytest.raises(ModelError, match="a record's subset is None; mend it"):
        rewards(two_heads, pad([replace(sequences[0], subset=HELPFUL), sequences[1]], tokenizer.pad_token_id))


def test_a_language_model_is_no_reward_model(base, compute):
    """Whose missing labels transformers takes for two."""
    with pytest.raises(ModelError, match="labels LABEL_0, LABEL_1, expected a reward model with one label, or with the names of subsets"):
        load_reward_model(base, compute)


def test_missing_model_is_named(compute, tmp_path):
    for load in (load_reward_model, lambda path, compute: new_reward_model(path, 0, compute, zero_head=False)):
        with pytest.raises(MissingInputError, match=str(tmp_path / "nowhere")):
            load(tmp_path / "nowhere", compute)
