"""Ensembles: how rewards become one, by hand; the sections that are refused; what a stage makes of them, saved and read again."""

import pytest
import torch
from pydantic import ValidationError
from rewards import material

from apo_bench.models.ensemble import MEMBERS, Ensemble, as_one, join, members_of, save_members
from apo_bench.models.language_model import save_model
from apo_bench.models.reward_model import all_rewards, load_reward_model, new_reward_model
from apo_bench.models.tokenizer import encode_records
from apo_bench.reward_models.ensemble import REWARD_MODEL
from apo_bench.tracking.model_files import link_model
from apo_bench.training.reward_models import mean_reward

SHARED = {"epochs": 1, "batch_size": 4, "learning_rate": 0.1, "max_length": 64, "head_per_subset": False}
REWARDS_MN = torch.tensor([[1.0, 3.0], [2.0, 3.0], [6.0, 3.0]])


@pytest.mark.parametrize(
    ("ensemble", "expected"),
    [
        (Ensemble(3, "mean"), [3.0, 3.0]),
        (Ensemble(3, "worst"), [1.0, 3.0]),
        (Ensemble(3, "mean_less_variance", 0.3), [3.0 - 0.3 * (4 + 1 + 9) / 3, 3.0]),
    ],
)
def test_combinations_by_hand(ensemble, expected):
    assert ensemble.combined(REWARDS_MN).tolist() == pytest.approx(expected)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"num_members": 1}, "num_members"),
        ({"combination": "median"}, "combination"),
        ({"variance_weight": 0.5}, "mean with variance_weight 0.5, expected above 0 for mean_less_variance alone"),
        ({"combination": "mean_less_variance"}, "mean_less_variance with variance_weight 0.0"),
    ],
)
def test_sections_that_are_none(changes, said):
    with pytest.raises(ValidationError, match=said):
        REWARD_MODEL.Settings(**SHARED, **({"num_members": 3, "combination": "mean", "variance_weight": 0.0} | changes))


def test_members_train_on_the_human_pairs_alone():
    player = REWARD_MODEL(REWARD_MODEL.Settings(**SHARED, num_members=2, combination="worst", variance_weight=0.0))
    assert player.lessons(material([{"id": "1"}]).only(player.trains_on)).pairs == [{"id": "1"}]
    assert player.ensemble == Ensemble(2, "worst")


@pytest.fixture
def members(new_model, tokenizer, compute, tmp_path):
    """Three heads on one body, in a folder of its own."""
    save_model(new_model(), tokenizer, tmp_path / "base")
    return [new_reward_model(tmp_path / "base", seed, compute, zero_head=False).eval() for seed in range(3)]


def test_saved_and_loaded_it_scores_as_its_members_do(members, tokenizer, dialogues, compute, tmp_path):
    pairs = [{"dialogue": text, "subset": "helpful", "chosen": "Boil the water.", "rejected": "No."} for text in dialogues]
    flat = [one for group in encode_records(tokenizer, pairs, [["Well.", "Soak it."]] * len(pairs), 64, 64) for one in group]
    alone = [all_rewards(member, flat, tokenizer.pad_token_id, "test") for member in members]
    offsets = [mean_reward(member, tokenizer, pairs, 64, compute) for member in members]
    model = join(members, Ensemble(3, "worst"), offsets)
    expected = torch.stack([rewards - offset for rewards, offset in zip(alone, offsets, strict=True)]).amin(0)
    folder = tmp_path / "ensemble"
    save_model(model, tokenizer, folder)
    save_members(model, tokenizer, folder)
    loaded = load_reward_model(folder, compute)
    assert len(members_of(loaded)) == 3
    for which in (model, loaded):
        assert torch.allclose(all_rewards(which, flat, tokenizer.pad_token_id, "test"), expected, atol=1e-6)
    assert not torch.allclose(expected, alone[0] - offsets[0], atol=1e-3), "the first alone"
    assert mean_reward(members[1], tokenizer, pairs, 64, compute) == pytest.approx(offsets[1]), "a member scores for itself"


def test_a_reward_model_without_members_scores_for_itself(members):
    rewards_N = torch.tensor([1.0, 2.0])
    assert as_one(members[0], [rewards_N]) is rewards_N and members_of(members[0]) == members[:1]


def test_mlflow_is_given_all_members(members, tokenizer, tmp_path):
    model = join(members, Ensemble(3, "mean"), [0.0] * 3)
    save_model(model, tokenizer, tmp_path / "model")
    save_members(model, tokenizer, tmp_path / "model")
    link_model(tmp_path / "model", tmp_path / "logged")
    found = {path.relative_to(tmp_path / "logged").as_posix() for path in (tmp_path / "logged").rglob("*") if path.is_file()}
    assert {"model/model.safetensors", "model/members/1/model.safetensors", "model/members/2/config.json"} <= found
    assert not [path for path in found if path.startswith("components/") and MEMBERS in path]
