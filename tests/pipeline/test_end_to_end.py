"""One very small reproduction of the whole pipeline with the real stages, DVC and MLflow; then what must and must not run again."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
SIZES = {
    "num_rm_prompts": 48, "num_lm_prompts": 48, "num_game_prompts": 12, "num_validation_prompts": 10, "num_test_prompts": 24,
    "num_pretraining_examples": 300, "num_demonstrations": 64,
}  # fmt: skip
ARMS = [f"{method}-{reward_model}-s0" for method in ("rjs", "rrhf", "dpo") for reward_model in ("base", "adversarial")]


def run(workspace: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Runs a command of this virtual environment in the workspace, on the workspace's copy of the code."""
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "PYTHONPATH": str(workspace)}
    return subprocess.run(command, cwd=workspace, env=environment, capture_output=True, text=True, timeout=500, check=False)


def edit(workspace: Path, change) -> None:
    """Applies `change` to the parsed params.yaml."""
    file = workspace / "params.yaml"
    params = yaml.safe_load(file.read_text())
    change(params)
    file.write_text(yaml.safe_dump(params, sort_keys=False))


def stale_stages(workspace: Path) -> set[str]:
    """The stages that `dvc status` would run again."""
    done = run(workspace, "dvc", "status", "--json")
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout))


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project at very small sizes, reproduced once by what `make repro` runs."""
    folder = tmp_path_factory.mktemp("workspace")
    for name in ("apo_bench", "pipeline"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("dvc.yaml", "params.yaml", ".dvcignore"):
        shutil.copy(ROOT / name, folder / name)
    subprocess.run(["git", "init", "--quiet"], cwd=folder, check=True)
    assert run(folder, "dvc", "init", "--quiet").returncode == 0

    def shrink(params: dict) -> None:
        params["prepare"] |= SIZES
        params["base_model"] |= {"hidden_size": 32, "num_layers": 2, "num_heads": 2, "intermediate_size": 64, "vocab_size": 400}
        params["sampling"]["train"] |= {"num_samples": 2, "max_new_tokens": 24}
        params["sampling"]["test"] |= {"max_new_tokens": 24}
        params["run"]["later_rounds"] = params["run"]["later_rounds"][:1]
        params["judge"] |= {"rounds": ["r1", "r2"], "num_human_pairs": 16}
        params["compare"] |= {"num_bootstrap_draws": 1000, "num_shown_prompts": 2}

    edit(folder, shrink)
    done = run(folder, sys.executable, "-m", "pipeline.repro")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return folder


def test_every_arm_has_results_of_every_round(workspace: Path) -> None:
    policies = json.loads((workspace / "report/summary.json").read_text())["policies"]
    assert set(policies) == {"sft", "golden", "human", *ARMS}
    for arm in ARMS:
        assert set(policies[arm]["rounds"]) == {"r1", "r2"}
        estimate = policies[arm]["rounds"]["r2"]["gold"]
        assert estimate["low"] <= estimate["value"] <= estimate["high"]


def test_page_is_written_and_loads_nothing(workspace: Path) -> None:
    page = (workspace / "report/index.html").read_text()
    assert "dpo" in page.lower()
    assert 'src="http' not in page and 'href="http' not in page


def test_policies_load_as_plain_transformers_models(workspace: Path) -> None:
    from transformers import AutoModelForCausalLM

    folder = workspace / "out/models/arms/dpo-adversarial-s0/r2/policy"
    assert AutoModelForCausalLM.from_pretrained(folder).num_parameters() > 0
    assert not [file for file in (workspace / "out").rglob("*") if file.suffix in (".bin", ".pt", ".pkl")]


def test_mlflow_has_one_run_an_arm_with_metrics_by_round(workspace: Path) -> None:
    import mlflow

    client = mlflow.MlflowClient(f"sqlite:///{workspace}/mlflow/mlflow.db")
    experiment = client.get_experiment_by_name("tiny")
    runs = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id], max_results=500)}
    assert set(ARMS) <= set(runs)
    history = client.get_metric_history(runs["dpo-base-s0"].info.run_id, "evaluation/gold")
    assert [metric.step for metric in sorted(history, key=lambda metric: metric.step)] == [0, 1, 2]


def test_arms_are_judged_and_the_judge_is_audited(workspace: Path) -> None:
    judged = json.loads((workspace / "report/summary.json").read_text())["judge"]
    assert set(judged["arms"]["sft"]) == set(ARMS) and set(judged["arms"]["base"]) == {arm for arm in ARMS if "adversarial" in arm}
    counts = judged["arms"]["sft"]["dpo-base-s0"]["r2"]["counts"]
    assert counts["num_judged"] == counts["num_wins"] + counts["num_ties"] + counts["num_losses"] == SIZES["num_test_prompts"]
    assert {"human_kappa", "gold_kappa", "flip_fraction"} <= set(judged["human"]["pairs_test"]["estimates"])
    assert "What a judge says" in (workspace / "report/index.html").read_text()


def test_replay_writes_the_same_bytes(workspace: Path, tmp_path: Path) -> None:
    done = "out/results/arms/dpo-adversarial-s0/r2"
    folders = f"--responses {done}/evaluation --opponent out/results/references/sft/evaluation --ledgers out/judge/gold"
    command = f"judge --replay {folders} --name arms/dpo-adversarial-s0/r2/sft --results {tmp_path}/results"
    assert run(workspace, sys.executable, "-m", "pipeline", *command.split()).returncode == 0
    for name in ("metrics.json", "verdicts.jsonl"):
        assert (tmp_path / "results" / name).read_bytes() == (workspace / done / "judge/sft" / name).read_bytes()


def test_ledgers_outlive_a_stage_that_runs_again(workspace: Path) -> None:
    """DVC deletes the outputs of a stage before it runs, but not what was paid for."""
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    for name in ("judge", "judge_versus_base", "judge_human"):
        ledgers = [out for out in stages[name]["outs"] if isinstance(out, dict)]
        assert [settings for out in ledgers for settings in out.values()] == [{"persist": True}]


def test_second_reproduction_runs_nothing(workspace: Path) -> None:
    lock = (workspace / "dvc.lock").read_bytes()
    done = run(workspace, "dvc", "repro")
    assert done.returncode == 0 and "Running stage" not in done.stdout + done.stderr
    assert (workspace / "dvc.lock").read_bytes() == lock


def test_changed_beta_touches_dpo_arms_and_what_follows_only(workspace: Path) -> None:
    edit(workspace, lambda params: params["methods"]["dpo"].update(beta=0.2))
    try:
        stale = stale_stages(workspace)
    finally:
        edit(workspace, lambda params: params["methods"]["dpo"].update(beta=0.1))
    assert "align_first@dpo-base-0" in stale
    assert all("dpo" in stage or stage in ("compare", "track") for stage in stale), stale
    assert stale_stages(workspace) == set()


def test_new_method_leaves_existing_stages_unchanged(workspace: Path) -> None:
    shutil.copy(workspace / "apo_bench/methods/rjs.py", workspace / "apo_bench/methods/mine.py")

    def add(params: dict) -> None:
        params["methods"]["mine"] = params["methods"]["rjs"]
        params["run"]["methods"].append("mine")

    def remove(params: dict) -> None:
        del params["methods"]["mine"]
        params["run"]["methods"].remove("mine")

    edit(workspace, add)
    try:
        stale = stale_stages(workspace)
    finally:
        edit(workspace, remove)
        (workspace / "apo_bench/methods/mine.py").unlink()
    assert "align_first@mine-adversarial-0" in stale
    assert all("mine" in stage or stage in ("compare", "track") for stage in stale), stale


def test_missing_upstream_output_is_one_line(workspace: Path, tmp_path: Path) -> None:
    command = "align --method dpo --policy nowhere --scores nowhere.jsonl --seed 0 --arm a --round r1"
    outputs = f"--output {tmp_path}/policy --results {tmp_path}/results"
    done = run(workspace, sys.executable, "-m", "pipeline", *command.split(), *outputs.split())
    assert done.returncode == 1
    assert done.stderr.strip().splitlines() == ["align: nowhere: no model there; run the stage that writes it (dvc repro) first"]
    assert not list(tmp_path.iterdir())


def test_unknown_method_stops_before_anything_runs(workspace: Path) -> None:
    edit(workspace, lambda params: params["run"]["methods"].append("dpoo"))
    try:
        done = run(workspace, sys.executable, "-m", "pipeline.repro")
    finally:
        edit(workspace, lambda params: params["run"]["methods"].remove("dpoo"))
    assert done.returncode == 1
    assert len(done.stderr.strip().splitlines()) == 1 and "did you mean dpo" in done.stderr
