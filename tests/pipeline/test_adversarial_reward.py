"""Where a reward model of a round starts from: the base model with a fresh head, or last round's reward model."""

import json
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

from apo_bench.core.files import write_text
from apo_bench.core.layout import (
    DATA,
    LABELS,
    MODELS,
    RESULTS,
    SAMPLES,
    Arm,
    base_model,
    records,
    replicate,
    reward_evaluations,
    reward_model,
)
from apo_bench.core.results import read_curves
from apo_bench.models.language_model import new_llama, save_model
from pipeline.stage import run_stage

ROOT = Path(__file__).parents[2]
SIZES = {
    "num_rm_prompts": 8, "num_lm_prompts": 4, "num_game_prompts": 4, "num_further_pairs": 9, "num_validation_prompts": 4,
    "num_test_pairs": 4, "num_test_prompts": 4,
    "num_pretraining_examples": 4, "num_demonstrations": 4,
}  # fmt: skip


@pytest.fixture
def train(tmp_path, monkeypatch, tokenizer, params):
    """Runs the stage for a kind and a round; returns its weights. The rate is so small that they are those it started from."""
    monkeypatch.chdir(tmp_path)
    raw = yaml.safe_load((ROOT / "profiles/ablations/params.yaml").read_text())
    raw["prepare"] |= SIZES | {"folder": str(ROOT / "apo_bench/data/corpus")}
    raw["sampling"]["train"]["num_samples"] = 2
    raw["run"]["methods"] = ["dpo"]
    raw["evaluate"]["num_earlier_pairs"] = 3
    for kind in raw["reward"].keys() - {"own"}:
        raw["reward"][kind] = raw["reward"][kind] | {"learning_rate": 1e-30, "batch_size": 4}
    for kind in ("fresh", "stale"):
        raw["reward"][kind]["num_labels"] = 3
    Path("params.yaml").write_text(yaml.safe_dump(raw))
    sizes = {"hidden_size": 32, "num_layers": 2, "num_heads": 4, "intermediate_size": 64}
    save_model(new_llama(params.base_model.model_copy(update=sizes), tokenizer, seed=0), tokenizer, base_model(MODELS))
    assert run_stage("prepare", []) == 0
    golden = [json.loads(line) for line in records(DATA, "golden_rm").read_text().splitlines()]
    samples = [{**row, "responses": ["Well.", "Hm."], "finished": [True, True]} for row in golden]
    text = "".join(json.dumps({k: v for k, v in row.items() if k != "response"}) + "\n" for row in samples)

    def run(kind: str, number: int, seed: int = 0) -> dict[str, torch.Tensor]:
        names = ["--reward-model", kind, "--seed", str(seed)]
        assert run_stage("labels", ["--seed", str(seed)]) == 0
        if number == 0:
            assert run_stage("reward", names) == run_stage("evaluate_reward", names) == 0
            return load_file(reward_model(MODELS, kind, seed) / "model.safetensors")
        arm, round_id = Arm("dpo", kind, seed), f"r{number}"
        write_text(arm.samples(SAMPLES, round_id, "rm"), text)
        names += ["--round", round_id, *(["--method", "dpo"] if number > 1 else [])]
        assert run_stage("adversarial_reward", names) == run_stage("evaluate_reward", names) == 0
        return load_file(arm.reward(MODELS, round_id) / "model.safetensors")

    return run


def margins_of(arm: Arm, round_id: str) -> list[dict]:
    """What the reward model of a round makes of each test pair."""
    return [json.loads(line) for line in (arm.reward(reward_evaluations(RESULTS), round_id) / "margins.jsonl").read_text().splitlines()]


def test_sequential_goes_on_from_last_rounds_reward_model(train):
    first, second, third = (train("sequential", number) for number in (1, 2, 3))
    assert all(torch.equal(first[name], second[name]) and torch.equal(second[name], third[name]) for name in first)


@pytest.mark.parametrize("kind", ["adversarial", "gail"])
def test_others_start_each_round_where_the_fixed_one_started(train, kind):
    """The draw of the head is shared by all reward models that train policies, and other in each replicate."""
    base, first, second, other = train("base", 0), train(kind, 1), train(kind, 2), train(kind, 1, seed=1)
    assert all(torch.equal(base[name], first[name]) and torch.equal(first[name], second[name]) for name in first)
    assert not torch.equal(first["score.weight"], other["score.weight"])
    margins = margins_of(Arm("", kind, 0), "r1")
    assert len(margins) == 4 and {"id", "subset", "margin", "correct"} == set(margins[0])


def test_between_the_first_round_and_the_last_fewer_pairs_are_tested_on(train):
    for number in (1, 2, 3):
        train("adversarial", number)
    tested = [[row["id"] for row in margins_of(Arm("dpo", "adversarial", 0), f"r{number}")] for number in (1, 2, 3)]
    assert list(map(len, tested)) == [4, 3, 4] and tested[1] == tested[0][:3]


def test_no_adversarial_trains_as_long_on_new_pairs(train):
    """8 pairs in batches of 4, and 4 prompts of the game with 1 + 2 sequences, which are 6 pairs: 2 steps of 7 pairs."""
    train("base", 0)
    train("no_adversarial", 0)
    base, longer = (read_curves(reward_model(RESULTS, kind, 0)) for kind in ("base", "no_adversarial"))
    assert len(base) == len(longer) == 2
    assert all(more["num_tokens"] > less["num_tokens"] for less, more in zip(base, longer, strict=True))
    metrics = json.loads((reward_model(RESULTS, "no_adversarial", 0) / "metrics.json").read_text())
    files = [records(replicate(LABELS, 0), f"pairs_{name}").read_text().splitlines() for name in ("rm", "further")]
    assert len({json.loads(line)["id"] for lines in files for line in lines}) == 8 + 9, "of which it takes the first 6"
    assert (
        metrics["num_tokens_trained"]
        > 1.4 * json.loads((reward_model(RESULTS, "base", 0) / "metrics.json").read_text())["num_tokens_trained"]
    )


@pytest.mark.parametrize("kind", ["fresh", "stale", "ocrm"])
def test_what_needs_labels_or_the_policys_likelihoods_trains_in_the_first_round(train, kind):
    assert all(torch.isfinite(weights).all() for weights in train(kind, 1).values())


def test_members_of_an_ensemble_are_drawn_apart_and_the_first_is_the_fixed_ones(train):
    base, first = train("base", 0), train("ensemble", 0)
    folder = reward_model(MODELS, "ensemble", 0)
    others = [load_file(folder / f"members/{number}/model.safetensors") for number in (1, 2)]
    assert all(torch.equal(base[name], first[name]) for name in base) and not (folder / "members/3").exists()
    heads = [weights["score.weight"] for weights in (first, *others)]
    assert not any(torch.equal(heads[one], heads[other]) for one, other in ((0, 1), (0, 2), (1, 2)))
    once, thrice = (read_curves(reward_model(RESULTS, kind, 0)) for kind in ("base", "ensemble"))
    assert [row["step"] for row in thrice] == list(range(1, 3 * len(once) + 1))
    assert sum(row["num_tokens"] for row in thrice) == 3 * sum(row["num_tokens"] for row in once)
