"""The parts that ranks compute of a loss and of its metrics add up to what one process computes, for every kind of training."""

import pytest
import torch
from rewards import material, train_on_pairs, train_player

from apo_bench.config.plugins import load_method, load_reward_model_player
from apo_bench.core import ranks
from apo_bench.engines.training import InProcess
from apo_bench.models import language_model, reward_model
from apo_bench.models.language_model import all_response_logps, save_model
from apo_bench.models.reward_model import all_rewards, new_reward_model
from apo_bench.models.tokenizer import encode
from apo_bench.training.policies import align, fine_tune, pretrain

ANSWERS = ["Boil the water.", "Rub the pan with soda and wait.", "It depends.", "No.", "Ask a friend who knows more about it than I do."]


class Recorder(InProcess):
    """Keeps the loss that it is given."""

    def prepare(self, model, loss, optimizer, max_gradient_norm):
        self.loss = loss
        return super().prepare(model, loss, optimizer, max_gradient_norm)


@pytest.fixture
def rows(dialogues):
    texts = [*dialogues, *dialogues][:5]
    both = zip(texts, ANSWERS, strict=True)
    return [{"id": str(n), "subset": "helpful", "dialogue": text, "response": answer} for n, (text, answer) in enumerate(both)]


@pytest.fixture
def scorer(new_model, tokenizer, compute, tmp_path):
    save_model(new_model(), tokenizer, tmp_path)
    return new_reward_model(tmp_path, 0, compute, zero_head=False)


@pytest.fixture
def losses(rows, new_model, scorer, tokenizer, params, compute):
    """The loss of each kind of training on five examples."""
    settings = params.sft.model_copy(update={"batch_size": 5, "learning_rate": 1e-9})
    section = params.reward["adversarial"] | {"batch_size": 5, "learning_rate": 1e-9}
    retrained = load_reward_model_player("adversarial", {"adversarial": section})
    pairs = [{**row, "chosen": row["response"], "rejected": "Maybe so."} for row in rows]
    samples = [{**row, "responses": ["Well.", "I do not know."], "finished": [True, False]} for row in rows[:3]]
    scored = [{**row, "responses": [row["response"], "Maybe so."], "finished": [True, True], "rewards": [1.0, 0.5]} for row in rows]
    found = {}

    def record(name, train, *arguments):
        engine = Recorder(compute)
        train(*arguments, compute, engine, *([1] if train is align else []), *([0] if train is train_player else []), 0, "test")
        found[name] = engine.loss

    record("fine_tune", fine_tune, new_model(), tokenizer, rows, settings)
    record("pretrain", pretrain, new_model(), tokenizer, rows, settings)
    record("reward", train_on_pairs, scorer, tokenizer, pairs, settings)
    record("adversarial_reward", train_player, scorer, tokenizer, material(pairs, rows[:3], samples), retrained)
    for name in ("rjs", "rrhf", "dpo"):
        record(name, align, new_model(), tokenizer, scored, load_method(name, params.methods))
    return found


KINDS = ("fine_tune", "pretrain", "reward", "adversarial_reward", "rjs", "rrhf", "dpo")


@pytest.mark.parametrize("num_ranks", [2, 3, 4])
def test_parts_add_up_also_where_they_are_unequal(losses, monkeypatch, num_ranks):
    """Five examples over 2, 3 and 4 ranks; three golden groups over 4 leave a rank none, one example leaves all but one none."""
    for kind in KINDS:
        for batch in ([0, 1, 2, 3, 4], [2]):
            monkeypatch.setattr(ranks, "_num_ranks", 1)
            monkeypatch.setattr(ranks, "_rank", 0)
            whole, metrics = losses[kind](batch, 0)
            monkeypatch.setattr(ranks, "_num_ranks", num_ranks)
            parts = []
            for rank in range(num_ranks):
                monkeypatch.setattr(ranks, "_rank", rank)
                parts.append(losses[kind](batch, 0))
            assert sum(value.item() for value, _ in parts) == pytest.approx(whole.item(), rel=1e-5), (kind, batch)
            assert all(set(mine) == set(metrics) for _, mine in parts)
            for name, metric in metrics.items():
                total = sum(mine[name].item() for _, mine in parts)
                assert total == pytest.approx(metric.item(), rel=1e-5, abs=1e-6), (kind, batch, name)


@pytest.mark.parametrize(("num_ranks", "num_parts"), [(1, 2), (1, 5), (2, 2), (3, 2)])
def test_micro_batches_add_up(losses, monkeypatch, num_ranks, num_parts):
    """Five examples and three golden groups: of five parts in one process two have no golden group, and compute none in vain."""
    batch = [0, 1, 2, 3, 4]
    for kind in KINDS:
        whole, metrics = losses[kind](batch, 0)
        found = []
        with monkeypatch.context() as patch:
            patch.setattr(ranks, "_num_ranks", num_ranks)
            for rank in range(num_ranks):
                patch.setattr(ranks, "_rank", rank)
                found += [losses[kind](batch, 0) for _ in ranks.parts(num_parts)]
        assert len(found) == num_ranks * num_parts
        assert sum(value.item() for value, _ in found) == pytest.approx(whole.item(), rel=1e-5), kind
        for name, metric in metrics.items():
            total = sum(mine[name].item() for _, mine in found if name in mine)
            assert total == pytest.approx(metric.item(), rel=1e-5, abs=1e-6), (kind, name)
        if kind == "adversarial_reward" and num_parts == 5:
            assert sum("golden_accuracy" in mine for _, mine in found) == 3
    assert losses["reward"](batch, 0)[0].item() == pytest.approx(losses["reward"]([4, 3, 2, 1, 0], 0)[0].item(), rel=1e-5)  # whole again


@pytest.mark.parametrize("num_ranks", [2, 3, 11])
def test_scores_are_in_order_of_input_and_each_is_one_ranks(rows, scorer, model, tokenizer, compute, monkeypatch, num_ranks):
    groups = encode(tokenizer, [row["dialogue"] for row in rows], [[row["response"], "Maybe."] for row in rows], 128, 1024)
    flat = [sequence for group in groups for sequence in group]
    for module, values, with_model in ((language_model, all_response_logps, model), (reward_model, all_rewards, scorer)):
        alone = values(with_model, flat, tokenizer.pad_token_id, "test")
        with monkeypatch.context() as patch:
            patch.setattr(module, "add_up", lambda values: values)
            patch.setattr(ranks, "_num_ranks", num_ranks)
            parts = []
            for rank in range(num_ranks):
                patch.setattr(ranks, "_rank", rank)
                parts.append(values(with_model, flat, tokenizer.pad_token_id, "test"))
        assert torch.allclose(sum(parts), alone, atol=1e-5)
        assert sum((part != 0).int() for part in parts).tolist() == [1] * len(flat)
        assert sum(bool((part != 0).any()) for part in parts) >= min(num_ranks, 3)
