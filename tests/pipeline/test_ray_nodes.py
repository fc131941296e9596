"""Stages on a Ray cluster of two nodes on this machine: the same bytes as without it, also when what runs there is killed."""

import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest
import yaml

from apo_bench.core.errors import EngineError
from pipeline import ray_nodes
from pipeline.ray_nodes import StageNode

pytest.importorskip("ray", reason="ray is not installed (pip install 'apo-bench[ray]')")

from ray._common.usage.usage_lib import usage_stats_enabled
from ray.cluster_utils import Cluster

ROOT = Path(__file__).parents[2]
SIZES = {
    "num_rm_prompts": 32, "num_lm_prompts": 32, "num_game_prompts": 8, "num_further_pairs": 12, "num_validation_prompts": 8,
    "num_test_pairs": 24, "num_test_prompts": 12, "num_pretraining_examples": 100, "num_demonstrations": 32,
}  # fmt: skip


def shrink(params: dict) -> None:
    params["prepare"] |= SIZES
    params["base_model"] |= {"hidden_size": 32, "num_layers": 2, "num_heads": 2, "intermediate_size": 64, "vocab_size": 400}
    params["sampling"]["train"] |= {"num_samples": 2, "max_new_tokens": 12}
    params["sampling"]["test"] |= {"max_new_tokens": 12}
    kinds = {
        "reward_models": ["base", "adversarial"],
        "fixed_reward_models": ["base"],
        "gold_reward_models": [],
        "sft_start_reward_models": ["base", "adversarial"],
    }
    params["run"] |= {"methods": ["dpo"], "seeds": [0], "later_rounds": params["run"]["later_rounds"][:1], **kinds}
    params["evaluate"] |= {"num_earlier_prompts": 8}
    params["judge"] |= {"rounds": ["r1"], "num_human_pairs": 8, "seeds": [0]}
    params["game"] |= {"seeds": [0]}
    params["compare"] |= {"num_bootstrap_draws": 1000, "num_shown_prompts": 2}


def workspace(folder: Path, stages: str) -> Path:
    """A copy of the project at very small sizes."""
    for name in ("apo_bench", "pipeline"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("dvc.yaml", ".dvcignore"):
        shutil.copy(ROOT / name, folder / name)
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    shrink(params)
    params["engines"]["stages"] = stages
    (folder / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
    subprocess.run([Path(sys.executable).parent / "dvc", "init", "--no-scm", "--quiet"], cwd=folder, check=True)
    return folder


def repro(folder: Path, **variables: str) -> subprocess.Popen[str]:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(folder), **variables}
    command = [sys.executable, "-m", "pipeline.repro"]
    return subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def outputs(folder: Path) -> dict[str, str]:
    """Path -> checksum of what stages made, but for their seconds."""
    stages = yaml.safe_load((folder / "dvc.lock").read_text())["stages"]
    found = {out["path"]: out["md5"] for stage in stages.values() for out in stage.get("outs", [])}
    return {path: md5 for path, md5 in found.items() if "times" not in path}


@pytest.fixture
def cluster():
    """Two nodes with a core each; RAY_ADDRESS is not set for anyone."""
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        yield cluster, cluster.add_node(num_cpus=1)
    finally:
        cluster.shutdown()


def running_on_nodes() -> list[psutil.Process]:
    """The actors that run a stage now, each with the process of the stage below it."""
    actors = []
    for process in psutil.process_iter(["cmdline"]):
        if any("ray::StageNode" in word for word in process.info["cmdline"] or []):
            below = process.children(recursive=True)
            if any(child.cmdline()[1:3] == ["-m", "pipeline"] for child in below):
                actors.append(process)
    return actors


def kill_when_it_runs_a_stage(seen: list[str]) -> None:
    """Kills an actor in the midst of a stage."""
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline and not seen:
        for actor in running_on_nodes():
            below = actor.children(recursive=True)
            actor.kill()
            psutil.wait_procs(below, timeout=ray_nodes.GRACE_SECONDS)
            seen.append("no stage outlives its node" if not any(process.is_running() for process in below) else "orphans")
            break
        time.sleep(0.05)


def test_two_nodes_make_the_same_bytes_also_when_they_die(cluster, tmp_path):
    """An actor is killed while it runs a stage, and then a whole node."""
    ray_cluster, second = cluster
    local = repro(workspace(tmp_path / "local", "local"))
    printed, _ = local.communicate(timeout=600)
    assert local.returncode == 0, printed[-3000:]

    folder = workspace(tmp_path / "ray", "ray")
    seen: list[str] = []
    killer = threading.Thread(target=kill_when_it_runs_a_stage, args=(seen,))
    killer.start()
    run = repro(folder, RAY_ADDRESS=ray_cluster.address)
    lines = []
    has_lost_node = False
    for line in run.stdout:
        lines.append(line)
        if "runs again elsewhere" in line and not has_lost_node:
            has_lost_node = True
            ray_cluster.remove_node(second, allow_graceful=False)
    killer.join()
    assert run.wait() == 0, "".join(lines)[-3000:]
    assert seen == ["no stage outlives its node"]
    printed = "".join(lines)
    assert "has gone; " in printed and "reward: " in printed, "stages are heard"
    assert outputs(folder) == outputs(tmp_path / "local") and len(outputs(folder)) > 40

    again = repro(folder, RAY_ADDRESS=ray_cluster.address)
    printed, _ = again.communicate(timeout=300)
    assert again.returncode == 0 and "repro: 0 of " in printed
    assert not running_on_nodes()


def test_nodes_say_what_they_have_and_stages_go_where_they_are_sent(cluster, params, tmp_path, monkeypatch):
    """Fake GPUs: Ray takes them at its word."""
    ray_cluster, _ = cluster
    ray_cluster.add_node(num_cpus=3, num_gpus=2)
    (tmp_path / "params.yaml").write_text((ROOT / "params.yaml").read_text().replace("device: cpu ", "device: cuda "))
    (tmp_path / "params.yaml").write_text((tmp_path / "params.yaml").read_text().replace("root: . ", f"root: {ROOT} "))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RAY_ADDRESS", ray_cluster.address)
    on_gpus = params.model_copy(update={"compute": params.compute.model_copy(update={"device": "cuda"})})
    with ray_nodes.ray_nodes(on_gpus) as nodes:
        hosts = nodes.hosts()
        assert {host.takes for host in hosts} == {"models"} and len({host.name for host in hosts}) == 3
        assert sorted((host.num_slots, host.devices, host.stages_per_device) for host in hosts) == [
            (1, (), 1),
            (1, (), 1),
            (3, ("0", "1"), 1),
        ]
        with_gpus = next(host for host in hosts if host.devices)
        variables = nodes.environment(with_gpus.name) | {"CUDA_VISIBLE_DEVICES": "1", "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-m", "pipeline", "sft", "--seed", "0"]
        stage = subprocess.run(command, env=os.environ | variables, capture_output=True, text=True, check=False)
        assert stage.returncode == 1 and stage.stderr.strip().startswith("sft: "), stage.stderr
        lost = subprocess.run(command, env=os.environ | variables | nodes.environment("gone"), check=False)
        assert lost.returncode == ray_nodes.LOST


def test_an_actor_passes_on_what_stages_write(tmp_path, monkeypatch):
    """Both streams, as they come, then the status; a stage sees the devices and the node's own stage server."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    node = StageNode()
    said = list(node.run(["nothing"], str(tmp_path), {"CUDA_VISIBLE_DEVICES": "1"}))
    assert said[-1] == 2 and b"no stage 'nothing'" in b"".join(text for stream, text in said[:-1] if stream == 2)
    node._stack.close()


def test_ray_that_is_not_installed_or_has_no_cluster_is_one_line(params, tmp_path, monkeypatch):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ray_nodes, "find_spec", lambda name: None)
        with pytest.raises(EngineError, match=r"^engines.stages: ray is not installed; pip install 'apo-bench\[ray\]', or write local$"):
            ray_nodes.ray_nodes(params).__enter__()
    (tmp_path / "params.yaml").write_text((ROOT / "params.yaml").read_text())
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with pytest.raises(EngineError, match=r"^engines\.stages: no Ray cluster .*'ray start --head' starts one$"):
        ray_nodes.ray_nodes(params).__enter__()


def test_hosts_of_a_hostfile_are_none_of_rays(params):
    settings = params.engines.deepspeed.model_copy(update={"hostfile": "hosts"})
    engines = params.engines.model_copy(update={"training": "deepspeed", "deepspeed": settings})
    with pytest.raises(EngineError, match="hosts are Ray's; write null"):
        ray_nodes.ray_nodes(params.model_copy(update={"engines": engines})).__enter__()


def test_ray_tells_nobody() -> None:
    """Importing the suite has switched it off."""
    assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0" and not usage_stats_enabled()
