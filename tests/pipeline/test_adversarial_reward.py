"""Where a reward model of a round starts from: the base model with a fresh head, or last round's reward model."""

import json
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

from apo_bench.models.language_model import new_llama, save_model
from pipeline.stage import run_stage

ROOT = Path(__file__).parents[2]
SIZES = {
    "num_rm_prompts": 8, "num_lm_prompts": 4, "num_game_prompts": 4, "num_validation_prompts": 4,
    "num_test_pairs": 4, "num_test_prompts": 4,
    "num_pretraining_examples": 4, "num_demonstrations": 4,
}  # fmt: skip


@pytest.fixture
def train(tmp_path, monkeypatch, tokenizer, params):
    """Runs the stage for a kind and a round; returns its weights. The rate is so small that they are those it started from."""
    monkeypatch.chdir(tmp_path)
    raw = yaml.safe_load((ROOT / "profiles/tiny-full/params.yaml").read_text())
    raw["prepare"] |= SIZES | {"folder": str(ROOT / "apo_bench/data/corpus")}
    for kind in raw["run"]["retrained_reward_models"]:
        raw["reward"][kind] |= {"learning_rate": 1e-30, "batch_size": 4}
    Path("params.yaml").write_text(yaml.safe_dump(raw))
    sizes = {"hidden_size": 32, "num_layers": 2, "num_heads": 4, "intermediate_size": 64}
    save_model(new_llama(params.base_model.model_copy(update=sizes), tokenizer, seed=0), tokenizer, tmp_path / "base")
    assert run_stage("prepare", ["--output", "data", "--results", "results/prepare"]) == 0
    golden = [json.loads(line) for line in Path("data/golden_rm.jsonl").read_text().splitlines()]
    samples = [{**row, "responses": ["Well.", "Hm."], "finished": [True, True]} for row in golden]
    Path("rm.jsonl").write_text("".join(json.dumps({k: v for k, v in row.items() if k != "response"}) + "\n" for row in samples))

    def run(kind: str, number: int) -> dict[str, torch.Tensor]:
        folder = Path(f"models/first/s0/reward/{kind}" if number == 1 else f"models/arms/dpo-{kind}-s0/r{number}/reward")
        arm = f"first-{kind}" if number == 1 else f"dpo-{kind}-s0"
        places = ["--base", "base", "--models", "models", "--data", "data", "--samples", "rm.jsonl", "--output", str(folder)]
        names = ["--name", kind, "--seed", "0", "--arm", arm, "--round", f"r{number}", "--previous", f"r{number - 1}"]
        assert run_stage("adversarial_reward", [*names, *places, "--results", f"results/{kind}/r{number}"]) == 0
        return load_file(folder / "model.safetensors")

    return run


def test_sequential_goes_on_from_last_rounds_reward_model(train):
    first, second, third = (train("sequential", number) for number in (1, 2, 3))
    assert all(torch.equal(first[name], second[name]) and torch.equal(second[name], third[name]) for name in first)


@pytest.mark.parametrize("kind", ["adversarial", "gail", "no_adversarial"])
def test_others_have_a_fresh_head_each_round(train, kind):
    first, second = train(kind, 1), train(kind, 2)
    assert not torch.equal(first["score.weight"], second["score.weight"])
    assert all(torch.equal(first[name], second[name]) for name in first if name != "score.weight")
    margins = [json.loads(line) for line in Path(f"results/{kind}/r2/margins.jsonl").read_text().splitlines()]
    assert len(margins) == 4 and {"id", "subset", "margin", "probability"} == set(margins[0])
