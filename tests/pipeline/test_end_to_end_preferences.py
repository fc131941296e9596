"""Preference pairs, a policy and a reward model of one's own, from their files to the table: the profile `preferences` with a tiny random
Llama and one method."""

import json
import os
import sys
from pathlib import Path

import pytest
import yaml
from forked import run

from apo_bench.models.language_model import save_model
from apo_bench.models.reward_model import new_reward_model
from apo_bench.models.tokenizer import train_tokenizer

ROOT = Path(__file__).parents[2]
SIZES = {
    "num_rm_prompts": 10, "num_lm_prompts": 10, "num_game_prompts": 4, "num_validation_prompts": 2,
    "num_test_pairs": 8, "num_test_prompts": 6, "test_fraction": 0.3,
}  # fmt: skip


def runs_of(profile: Path) -> dict:
    """The runs in MLflow by name."""
    import mlflow

    client = mlflow.MlflowClient(f"sqlite:///{profile}/mlflow/mlflow.db")
    experiment = client.get_experiment_by_name("preferences")
    return {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}


@pytest.fixture(scope="module")
def profile(new_model, tokenizer, compute, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The profile at very small sizes on 60 pairs of two subsets, in two of TRL's formats, reproduced; with a policy and a reward model
    whose tokens are their own."""
    folder = tmp_path_factory.mktemp("preferences") / "profiles" / "preferences"
    (folder / "inputs/preferences").mkdir(parents=True)
    (folder / "dvc.yaml").write_text((ROOT / "dvc.yaml").read_text())
    params = yaml.safe_load((ROOT / "profiles/preferences/params.yaml").read_text())
    params["root"] = os.path.relpath(ROOT, folder)
    params["prepare"] |= {**SIZES, "subsets": {name: {"train": f"{name}.jsonl", "test": None} for name in ("cooking", "garden")}}
    params["run"] |= {"methods": ["dpo"], "own_reward_models": ["judge"]}
    for key in ("reward_models", "sft_start_reward_models"):
        params["run"][key] = [*params["run"][key], "judge"]
    params["references"]["own"] = {"mine": {"folder": "inputs/mine"}}
    params["reward"]["own"] = {"judge": {"folder": "inputs/judge"}}
    params["compute"] |= {"max_prompt_length": 64, "dtype": "float32", "frozen_layers": 0}
    for name in ("train", "test"):
        params["sampling"][name] |= {"max_new_tokens": 8}
    params["compare"] |= {"num_bootstrap_draws": 1000, "num_shown_prompts": 2}
    (folder / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
    for subset, as_messages in (("cooking", True), ("garden", False)):
        rows = []
        for number in range(30):
            prompt, chosen, rejected = f"How do I do {subset} number {number}?", f"With care, {number} times.", "No."
            if as_messages:
                prompt = [{"role": "user", "content": prompt}]
                chosen, rejected = ([{"role": "assistant", "content": text}] for text in (chosen, rejected))
            rows.append({"prompt": prompt, "chosen": chosen, "rejected": rejected})
        (folder / f"inputs/preferences/{subset}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    save_model(new_model(), tokenizer, folder / params["base_model"]["folder"])
    others = train_tokenizer(["With care, many times. How do I do cooking number 3? No."] * 3, 400)
    save_model(new_model(1), others, folder / "inputs/mine")
    reward_model = new_reward_model(folder / "inputs/mine", 2, compute, zero_head=False)
    save_model(reward_model, others, folder / "inputs/judge")
    assert run(folder, "dvc", "init", "--no-scm", "--quiet").returncode == 0
    for command in (("apo-bench", "fetch"), (sys.executable, "-m", "pipeline.repro")):
        done = run(folder, *command)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return folder


def test_arms_are_compared_and_subsets_told_apart(profile: Path) -> None:
    summary = json.loads((profile / "report/summary.json").read_text())
    assert set(summary["policies"]) == {"sft", "golden", "human", "best_of_n", "mine", "dpo-base", "dpo-adversarial", "dpo-judge"}
    assert {"human_accuracy_cooking", "human_accuracy_garden"} <= set(summary["reward_models"]["base"])
    page = (profile / "report/index.html").read_text()
    assert "prompts of cooking" in page and "prompts of garden" in page


def test_a_policy_with_tokens_of_its_own_is_a_row_and_a_run(profile: Path) -> None:
    """What it wrote is text that SFT's tokenizer did not write; it has no divergence from SFT."""
    summary = json.loads((profile / "report/summary.json").read_text())
    mine = summary["replicates"]["mine-s0"]["rounds"]["r0"]
    assert {"reward_all", "own_reward_judge", "length"} <= set(mine) and "kl_to_sft" not in mine
    assert "mine over SFT" in summary["claims"]["own"]["RM_all"] and "Policies of one’s own" in (profile / "report/index.html").read_text()
    assert runs_of(profile)["mine-s0"].data.metrics["evaluation/reward_all"] == mine["reward_all"]["value"]


def test_a_reward_model_of_ones_own_trains_an_arm_and_scores_all(profile: Path) -> None:
    summary = json.loads((profile / "report/summary.json").read_text())
    assert "own_reward_judge" in summary["policies"]["sft"]["rounds"]["r0"] and "human_accuracy" in summary["reward_models"]["judge"]
    assert "own_reward_judge" in summary["differences"]["dpo-judge"]["rounds"]["r1"]
    assert runs_of(profile)["reward-judge"].data.tags["kind"] == "reward_model"


def test_what_is_no_policy_ends_in_one_line(profile: Path) -> None:
    file = profile / "params.yaml"
    before = file.read_text()
    file.write_text(before.replace("folder: inputs/mine", "folder: inputs/judge"))
    try:
        done = run(profile, sys.executable, "-m", "pipeline", "own_policy", "--name", "mine")
    finally:
        file.write_text(before)
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert done.stderr.startswith("own_policy: references.own.mine.folder: inputs/judge holds LlamaForSequenceClassification, expected")


def test_mlflow_and_cards_say_whose_data_it_is(profile: Path) -> None:
    card = (profile / "out/models/s0/reward/base/README.md").read_text()
    assert "Preference pairs of the run's own" in card and "final_loss" in card
    assert (profile / "mlflow/mlflow.db").is_file()
