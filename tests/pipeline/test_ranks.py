"""Stages under DeepSpeed: two ranks of ZeRO-3 on the CPU end as one process does; one that is killed ends both, and a new run goes on."""

import csv
import re
import shutil
import threading
import time
from pathlib import Path

import psutil
import pytest
import torch
import yaml
from other_engines import with_engines

from apo_bench.config.compute_sections import DeepspeedEngine
from apo_bench.config.params import load_params
from apo_bench.core.layout import MODELS, RESULTS, Reference, reward_model
from apo_bench.core.stage import Files, Stage
from apo_bench.data.records import read_records
from apo_bench.models.batching import pad
from apo_bench.models.language_model import load_language_model, new_llama, save_model
from apo_bench.models.reward_model import load_reward_model
from apo_bench.models.tokenizer import encode
from apo_bench.scheduling import Host
from apo_bench.stages import this_host
from pipeline import ranks
from pipeline.stage import run_stage

ROOT = Path(__file__).parents[2]
SIZES = {
    "num_rm_prompts": 23, "num_lm_prompts": 16, "num_game_prompts": 15, "num_further_pairs": 38, "num_validation_prompts": 8,
    "num_test_pairs": 8, "num_test_prompts": 8,
    "num_pretraining_examples": 8, "num_demonstrations": 8,
}  # fmt: skip
TOLERANCE = 1e-4
STAGES = {
    "reward": ["reward", "--reward-model", "base"],
    "golden": ["reference", "--name", "golden"],
    "human": ["reference", "--name", "human"],
}
"""A reward model, SFT, and DPO with its reference log-probabilities: 23 and 15 examples in batches of 4, which 2 ranks share unequally."""
FROZEN_LAYERS, ZERO_STAGES = {"human": 1}, {"reward": 2}


def write_params(folder: Path, engine: str, name: str) -> None:
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    params["prepare"] |= SIZES | {"folder": str(ROOT / "apo_bench/data/corpus")}
    training = {"epochs": 2, "batch_size": 4}
    for kind in params["reward"].keys() - {"own"}:
        params["reward"][kind]["head_per_subset"] = True
    params["reward"]["base"] |= training
    params["references"]["golden"] |= training
    params["references"]["human"] |= training
    params["engines"] |= {"training": engine}
    params["base_model"] = {
        **yaml.safe_load((ROOT / "profiles/small/params.yaml").read_text())["base_model"],
        "folder": "out/models/base_model",
    }
    params["compute"] |= {"micro_batch_tokens": None if engine == "in_process" else 100, "frozen_layers": FROZEN_LAYERS.get(name, 0)}
    params["engines"]["deepspeed"] |= {"checkpoint_steps": 3, "zero_stage": ZERO_STAGES.get(name, 3)}
    (folder / "params.yaml").write_text(yaml.safe_dump(params))


@pytest.fixture(scope="module")
def folder(tmp_path_factory, tokenizer, params):
    """A profile's folder with data and a model, and what one process trains from them."""
    folder = tmp_path_factory.mktemp("profile")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        write_params(folder, "in_process", "golden")
        sizes = {"hidden_size": 32, "num_layers": 2, "num_heads": 4, "intermediate_size": 64}
        save_model(new_llama(params.base_model.model_copy(update=sizes), tokenizer, seed=0), tokenizer, folder / "out/models/base_model")
        shutil.copytree("out/models/base_model", "out/models/s0/sft")
        assert run_stage("prepare", []) == 0
        assert run_stage("labels", ["--seed", "0"]) == 0
        for name in STAGES:
            assert run(name, "one") == 0
        yield folder


def run(name: str, where: str) -> int:
    """Runs a stage, whose outputs are moved to a folder: in one process if it is named so, else as ranks."""
    write_params(Path.cwd(), "in_process" if where == "one" else "deepspeed", name)
    script, *options = STAGES[name]
    status = run_stage(script, [*options, "--seed", "0"])
    if status == 0:
        made = reward_model if name == "reward" else lambda root, *_: Reference(name, 0).trained(root)
        results = reward_model(RESULTS, "base", 0) if name == "reward" else Reference(name, 0).training(RESULTS)
        for path, kind in ((made(MODELS, "base", 0), "model"), (results, "results")):
            Path(where, name).mkdir(parents=True, exist_ok=True)
            path.rename(Path(where, name, kind))
    return status


def curves(folder: Path) -> list[dict[str, float]]:
    with (folder / "results/curves.csv").open() as file:
        return [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]


def logits(folder: Path, name: str, tokenizer) -> torch.Tensor:
    """Of the saved model, on the test pairs."""
    compute = load_params(Path("params.yaml")).compute
    load = load_reward_model if name == "reward" else load_language_model
    model = load(folder / "model", compute)
    rows = read_records(Path("out/data/pairs_test.jsonl"), "pairs")
    groups = encode(tokenizer, [row["dialogue"] for row in rows], [[row["chosen"]] for row in rows], 256, compute.max_prompt_length)
    with torch.no_grad():
        hidden = model.base_model(input_ids=pad([group[0] for group in groups], tokenizer.pad_token_id).input_ids_RT).last_hidden_state
        return (model.score if name == "reward" else model.lm_head)(hidden)


def assert_equal(one: Path, two: Path, name: str, tokenizer) -> None:
    expected, found = curves(one), curves(two)
    assert [row.keys() for row in found] == [row.keys() for row in expected] and len(found) > 6
    for expected_row, row in zip(expected, found, strict=True):
        assert row == pytest.approx(expected_row, abs=TOLERANCE)
    assert (logits(two, name, tokenizer) - logits(one, name, tokenizer)).abs().max() < TOLERANCE
    assert sorted(file.name for file in (two / "model").iterdir()) == sorted(file.name for file in (one / "model").iterdir())


def kill_second_rank_after_a_checkpoint() -> None:
    """Waits for the first checkpoint of the stage that this process runs."""
    deadline = time.monotonic() + 120
    while not list(Path("out/checkpoints").glob("*/*/step-*")) and time.monotonic() < deadline:
        time.sleep(0.01)
    ranks = [process for process in psutil.Process().children(recursive=True) if process.environ().get("RANK") == "1"]
    ranks[0].kill()


@pytest.mark.parametrize("name", ["reward", "human"])
def test_two_ranks_end_as_one_process(folder, tokenizer, name):
    assert run(name, "two") == 0
    assert_equal(folder / "one" / name, folder / "two" / name, name, tokenizer)
    assert not Path("out/checkpoints").exists()


def test_killed_rank_ends_the_stage_and_a_new_run_goes_on(folder, tokenizer, capfd):
    killer = threading.Thread(target=kill_second_rank_after_a_checkpoint)
    killer.start()
    assert run("golden", "two") == 1
    killer.join()
    error = capfd.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("reference: host localhost: rank 1 was ended by SIGKILL") and "it goes on after step" in error
    step = int(re.search(r"after step (\d+)", error).group(1))
    assert not (folder / "two/golden").exists()
    assert run("golden", "two") == 0
    assert f"| {step}/8 [00:00<?" in capfd.readouterr().err  # where the progress bar began
    assert_equal(folder / "one/golden", folder / "two/golden", "golden", tokenizer)
    assert not Path("out/checkpoints").exists()


def test_error_of_all_ranks_is_one_line_as_without_ranks(folder, capfd):
    (folder / "out/data/golden_rm.jsonl").rename(folder / "out/data/hidden")
    try:
        assert run("golden", "three") == 1
    finally:
        (folder / "out/data/hidden").rename(folder / "out/data/golden_rm.jsonl")
    assert (
        capfd.readouterr().err.strip()
        == "reference: out/data/golden_rm.jsonl: no such file; run the stage that writes it (dvc repro) first"
    )
    assert not (folder / "three").exists() and not Path("out/checkpoints").exists()


def test_deepspeed_that_is_not_installed_is_named(folder, monkeypatch, capfd):
    monkeypatch.setattr("apo_bench.config.compute_sections.find_spec", lambda name: None)
    assert run("reward", "three") == 1
    assert capfd.readouterr().err.strip() == (
        "reward: engines.training: deepspeed is not installed; pip install 'apo-bench[deepspeed]', or write in_process"
    )


def test_checkpoints_hang_on_what_of_the_engines_shapes_them(params, monkeypatch):
    """Not on how samples are drawn, nor on how often checkpoints are kept."""
    seen = []
    monkeypatch.setattr(ranks, "scratch_folder", lambda *given: seen.append(given) or Path("scratch"))
    for name in ("launch", "remove"):
        monkeypatch.setattr(ranks, name, lambda *_: None)
    ran = with_engines(params, training="deepspeed")
    other = with_engines(params, sampling="vllm", training="deepspeed")
    seldom, sharded = (
        ran.model_copy(update={"engines": ran.engines.model_copy(update={"deepspeed": ran.engines.deepspeed.model_copy(update=update)})})
        for update in ({"checkpoint_steps": 9999}, {"cpu_offload": not ran.engines.deepspeed.cpu_offload})
    )
    for given in (ran, other, seldom, sharded):
        monkeypatch.setattr(ranks, "load_params", lambda _, given=given: given)
        assert ranks.launched("sft", [], Stage("training"), Files({}, {}))
    assert seen[0] == seen[1] == seen[2] != seen[3]


@pytest.mark.parametrize(("training", "expected"), [("in_process", Host("", 8)), ("deepspeed", Host("", 4))])
def test_fewer_stages_run_side_by_side_where_they_are_ranks(params, monkeypatch, training, expected):
    """On 8 cores, of 1 thread and 2 ranks each."""
    monkeypatch.setattr("os.cpu_count", lambda: 8)
    settings = DeepspeedEngine(zero_stage=3, cpu_offload=False, num_processes=2, hostfile=None, checkpoint_steps=1)
    engines = params.engines.model_copy(update={"training": training, "deepspeed": settings})
    assert this_host(params.model_copy(update={"engines": engines})) == expected


def test_ranks_on_the_gpus_of_other_hosts_run_one_stage_at_a_time(params, monkeypatch):
    monkeypatch.setattr("apo_bench.stages.visible_devices", lambda: ("0", "1"))
    settings = DeepspeedEngine(zero_stage=3, cpu_offload=False, num_processes=2, hostfile="hosts", checkpoint_steps=1)
    engines = params.engines.model_copy(update={"training": "deepspeed", "deepspeed": settings})
    compute = params.compute.model_copy(update={"device": "cuda"})
    assert this_host(params.model_copy(update={"engines": engines, "compute": compute})) == Host("", 1)
