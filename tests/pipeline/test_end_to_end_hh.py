"""The real-data path on dialogues in HH's form with a tiny random Llama: as `small`, but minutes shorter."""

import csv
import json
import os
import shutil
import sys
from pathlib import Path

import pytest
import yaml
from forked import run
from safetensors import safe_open

from apo_bench.models.language_model import save_model

ROOT = Path(__file__).parents[2]
FIXTURE = ROOT / "tests/fixtures/hh-rlhf"
SHARED = ROOT.parent / "shared/data/hh-rlhf-mini"
"""Real records, where they are at hand."""
SIZES = {
    "num_rm_prompts": 10, "num_lm_prompts": 10, "num_game_prompts": 6, "num_validation_prompts": 4,
    "num_test_pairs": 14, "num_test_prompts": 9,
}  # fmt: skip


@pytest.fixture(scope="module")
def profile(new_model, tokenizer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The profile `small` at very small sizes, fetched by a link and reproduced."""
    folder = tmp_path_factory.mktemp("hh") / "profiles" / "small"
    folder.mkdir(parents=True)
    text = (ROOT / "dvc.yaml").read_text()
    (folder / "dvc.yaml").write_text(text)
    params = yaml.safe_load((ROOT / "profiles/small/params.yaml").read_text())
    params["root"] = os.path.relpath(ROOT, folder)
    params["prepare"] |= SIZES
    params["run"]["methods"] = ["dpo", "rjs"]
    params["compute"] |= {"max_prompt_length": 64, "dtype": "bfloat16", "frozen_layers": 1}
    for name in ("train", "test"):
        params["sampling"][name] |= {"max_new_tokens": 12}
    params["compare"] |= {"num_bootstrap_draws": 1000, "num_shown_prompts": 2}
    (folder / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
    save_model(new_model(), tokenizer, folder / params["base_model"]["folder"])
    assert run(folder, "dvc", "init", "--no-scm", "--quiet").returncode == 0
    done = run(folder, "apo-bench", "fetch", "--data", str(SHARED if SHARED.is_dir() else FIXTURE))
    assert done.returncode == 0, done.stderr
    done = run(folder, sys.executable, "-m", "pipeline.repro")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return folder


def test_arms_are_compared_without_gold(profile: Path) -> None:
    summary = json.loads((profile / "report/summary.json").read_text())
    arms = {f"{method}-{kind}" for method in ("dpo", "rjs") for kind in ("base", "adversarial")}
    assert set(summary["policies"]) == {"sft", "golden", "human", "best_of_n", *arms}
    metrics = summary["policies"]["dpo-base"]["rounds"]["r1"]
    assert {"reward_all", "win_rate_reward_all", "kl_to_sft", "length"} <= set(metrics) and "gold" not in metrics
    assert summary["num_test_prompts"] == SIZES["num_test_prompts"]
    page = (profile / "report/index.html").read_text()
    assert "unknown" in page
    assert "policy r1: method.batch_size: 4 | 8" in page, "the profile says that batches may differ"
    assert summary["unlike_arms"]["dpo-base-s0 | rjs-base-s0"] == ["policy r1: method.batch_size: 4 | 8"]


def test_records_are_of_the_folder_and_nothing_is_lost_unsaid(profile: Path) -> None:
    report = json.loads((profile / "out/results/prepare/metrics.json").read_text())
    kept = sum(count for name, count in report["num_records"].items() if name.startswith("pairs_"))
    dropped = sum(count for reasons in report["dropped"].values() for count in reasons.values())
    assert sum(report["num_read"].values()) == kept + dropped + sum(report["num_beyond_size"].values())
    assert report["num_records"]["prompts_test"] == SIZES["num_test_prompts"]


@pytest.mark.parametrize("stage", ["s0/reward/base", "s0/first/reward/adversarial"])
def test_reward_models_of_a_pretrained_model_start_at_zero(profile: Path, stage: str) -> None:
    with (profile / "out/results" / stage / "curves.csv").open() as file:
        margins = [float(row["reward_margin"]) for row in csv.DictReader(file)]
    assert margins[0] == 0.0 and any(margins)


@pytest.mark.parametrize("model", ["s0/reward/base", "s0/reward/all", "s0/first/reward/adversarial"])
def test_reward_models_have_a_head_per_subset_and_both_learn(profile: Path, model: str) -> None:
    with safe_open(profile / "out/models" / model / "model.safetensors", "pt") as weights:
        heads = weights.get_tensor("score.weight")
    assert len(heads) == 2 and heads.abs().sum(dim=1).min() > 0 and not heads[0].equal(heads[1])


def test_samples_are_plain_text(profile: Path) -> None:
    """No token of the chat template, no turn of the human's."""
    files = [*profile.glob("out/samples/**/*.jsonl"), *profile.glob("out/results/**/prompts.jsonl")]
    assert len(files) >= 8
    for file in files:
        for line in file.read_text().splitlines():
            row = json.loads(line)
            for response in row.get("responses", [row.get("response")]):
                assert "<|" not in response and "\n\nHuman:" not in response


def test_a_changed_record_of_the_folder_is_seen(profile: Path) -> None:
    copy = profile / "changed"
    shutil.copytree(FIXTURE, copy)
    (copy / "helpful-base/train.jsonl").write_text((FIXTURE / "helpful-base/train.jsonl").read_text().replace("the", "a", 1))
    assert run(profile, "apo-bench", "fetch", "--data", str(copy)).returncode == 0
    stale = json.loads(run(profile, "dvc", "status", "--json").stdout)
    assert any(stage.endswith("prepare") for stage in stale)
