"""Preference pairs of one's own, from a file to the table: the profile `preferences` with a tiny random Llama and one method."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from apo_bench.models.language_model import save_model

ROOT = Path(__file__).parents[2]
SIZES = {
    "num_rm_prompts": 10, "num_lm_prompts": 10, "num_game_prompts": 4, "num_validation_prompts": 2,
    "num_test_pairs": 8, "num_test_prompts": 6, "test_fraction": 0.3,
}  # fmt: skip


def run(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=500, check=False)


@pytest.fixture(scope="module")
def profile(new_model, tokenizer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The profile at very small sizes on 60 pairs of two subsets, in two of TRL's formats, reproduced."""
    folder = tmp_path_factory.mktemp("preferences") / "profiles" / "preferences"
    (folder / "inputs/preferences").mkdir(parents=True)
    (folder / "dvc.yaml").write_text((ROOT / "dvc.yaml").read_text())
    params = yaml.safe_load((ROOT / "profiles/preferences/params.yaml").read_text())
    params["root"] = os.path.relpath(ROOT, folder)
    params["prepare"] |= {**SIZES, "subsets": {name: {"train": f"{name}.jsonl", "test": None} for name in ("cooking", "garden")}}
    params["run"]["methods"] = ["dpo"]
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
    assert run(folder, "dvc", "init", "--no-scm", "--quiet").returncode == 0
    for command in (("apo-bench", "fetch"), (sys.executable, "-m", "pipeline.repro")):
        done = run(folder, *command)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return folder


def test_arms_are_compared_and_subsets_told_apart(profile: Path) -> None:
    summary = json.loads((profile / "report/summary.json").read_text())
    assert set(summary["policies"]) == {"sft", "golden", "human", "best_of_n", "dpo-base", "dpo-adversarial"}
    assert {"human_accuracy_cooking", "human_accuracy_garden"} <= set(summary["reward_models"]["base"])
    page = (profile / "report/index.html").read_text()
    assert "prompts of cooking" in page and "prompts of garden" in page


def test_mlflow_and_cards_say_whose_data_it_is(profile: Path) -> None:
    card = (profile / "out/models/s0/reward/base/README.md").read_text()
    assert "Preference pairs of the run's own" in card and "human_accuracy_cooking" in card
    assert (profile / "mlflow/mlflow.db").is_file()
