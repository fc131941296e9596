"""What each reward-model kind trains on: which pairs, which golden groups, how many steps and sequences."""

from collections import Counter

import pytest
import torch
from rewards import material, train_player

from apo_bench.config.plugins import load_reward_model_player
from apo_bench.data.corpus import HARMLESS, HELPFUL
from apo_bench.engines.training import InProcess
from apo_bench.models.language_model import save_model
from apo_bench.models.reward_model import new_reward_model
from apo_bench.training import reward_models

SUBSETS = (HELPFUL, HARMLESS)

NUM_PAIRS, NUM_GOLDEN, NUM_SAMPLES, BATCH, EPOCHS = 10, 3, 2, 4, 2
STEPS = 3 * EPOCHS
WEIGHTS = {"human_weight": 1.0, "adversarial_weight": 0.1}


@pytest.fixture
def trained(new_model, tokenizer, compute, params, tmp_path, monkeypatch):
    """Trains a kind; returns the curves and how often each sequence was trained on, and a number of its weights."""
    save_model(new_model(), tokenizer, tmp_path)
    texts = [f"\n\nHuman: Question {number}?\n\nAssistant:" for number in range(NUM_PAIRS)]
    prompts = [{"id": str(n), "subset": SUBSETS[n % 2], "dialogue": text} for n, text in enumerate(texts)]
    pairs = [{**prompt, "chosen": f"Yes {n}.", "rejected": "No."} for n, prompt in enumerate(prompts)]
    golden = [{**prompt, "response": "Gold."} for prompt in prompts[:NUM_GOLDEN]]
    samples = [{**row, "responses": ["Well.", "Hm."], "finished": [True, True]} for row in golden]

    def train(kind: str, micro_batch_tokens: int | None = None, **changes):
        model, seen = new_reward_model(tmp_path, 0, compute, zero_head=False), Counter()
        weights = {name: value for name, value in WEIGHTS.items() if name in changes or kind != "gail" or name == "adversarial_weight"}
        section = params.reward["base"] | weights | {"batch_size": BATCH, "epochs": EPOCHS, "learning_rate": 1e-3} | changes
        player = load_reward_model_player(kind, {kind: section})
        right = reward_models._group_rewards

        def count(model, groups, pad_token_id):
            seen.update("pair" if len(group) == 2 else "golden" for group in groups)
            return right(model, groups, pad_token_id)

        with monkeypatch.context() as patch:
            patch.setattr(reward_models, "_group_rewards", count)
            where = compute.model_copy(update={"micro_batch_tokens": micro_batch_tokens})
            curves = train_player(model, tokenizer, material(pairs, golden, samples), player, where, InProcess(where), 0, 0, "test")
        return curves, seen, torch.cat([parameter.detach().flatten() for parameter in model.parameters()])

    return train


@pytest.mark.parametrize("kind", ["adversarial", "wgan", "sequential"])
def test_both_terms_see_each_pair_and_each_golden_group_once_an_epoch(trained, kind):
    curves, seen, _ = trained(kind)
    assert len(curves) == STEPS
    assert seen == {"pair": NUM_PAIRS * EPOCHS, "golden": NUM_GOLDEN * EPOCHS}


def test_gail_sees_no_human_pair_and_trains_as_many_steps(trained):
    curves, seen, _ = trained("gail")
    assert len(curves) == STEPS and seen == {"golden": STEPS}
    assert all("accuracy" not in row and "golden_accuracy" in row and row["gradient_norm"] > 0 for row in curves)


def test_the_kinds_train_different_models(trained):
    """Those that start alike; `sequential` differs in its start alone."""
    weights = {kind: trained(kind)[2] for kind in ("adversarial", "wgan", "gail", "sequential")}
    assert torch.equal(weights["sequential"], weights["adversarial"])
    for kind in ("wgan", "gail"):
        assert not torch.allclose(weights[kind], weights["adversarial"], atol=1e-5), kind


def test_micro_batches_train_the_same(trained):
    """Parts of one pair; with them the same sequences are trained on as often, and as much in the same steps."""
    curves, seen, weights = trained("adversarial")
    curves_of_parts, seen_of_parts, weights_of_parts = trained("adversarial", micro_batch_tokens=1)
    assert seen_of_parts == seen
    for row, row_of_parts in zip(curves, curves_of_parts, strict=True):
        assert row_of_parts == pytest.approx(row, rel=1e-3, abs=1e-4)
    assert torch.allclose(weights_of_parts, weights, atol=1e-3)


def test_the_first_loss_is_the_sum_of_its_terms(trained):
    """All pairs and groups in one step: doubling lambda adds the human term once more, and what is left without it is GAIL's loss."""

    def first_loss(kind, **weights):
        return trained(kind, **weights, batch_size=NUM_PAIRS, epochs=1)[0][0]["loss"]

    both, more = (
        first_loss("adversarial", human_weight=0.7, adversarial_weight=0.6),
        first_loss("adversarial", human_weight=1.4, adversarial_weight=0.6),
    )
    game, more_game = first_loss("gail", adversarial_weight=0.6), first_loss("gail", adversarial_weight=1.2)
    assert min(both - game, game) > 0.05
    assert more - both == pytest.approx(both - game, rel=1e-4)
    assert more_game == pytest.approx(2 * game, rel=1e-4)
    critic = first_loss("wgan", human_weight=0.7, adversarial_weight=0.6)
    assert first_loss("wgan", human_weight=0.7, adversarial_weight=1.2) - critic == pytest.approx(critic - (both - game), rel=1e-3)
