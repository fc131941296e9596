"""What it costs to schedule a profile of many stages: `python -m benchmarks.scheduling [STAGES ...]`, about two minutes, on any machine.

The stages are those of the default profile with as many seeds as it takes, on simulated hosts with GPUs; none of them runs. dvc.yaml is
read, the graph made, every stage started and ended, and dvc.lock written once with an entry a stage. Seconds are those of the processor.
"""

import argparse
import os
import random
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml

from apo_bench.config.params import load_params
from apo_bench.plan.costs import simulate
from apo_bench.scheduling import Host, Places, Schedule
from apo_bench.stages import stage_graph, stage_index, stage_needs
from pipeline.lock_file import LockFile

ROOT = Path(__file__).parents[1]
HOSTS, DEVICES, STAGES_PER_GPU = 8, 8, 4


def main() -> None:
    """Prints a line a number of stages."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stages", type=int, nargs="*", default=[1_000, 3_000, 10_000])
    print(f"{'stages':>7} {'edges':>7} {'read':>6} {'graph':>6} {'schedule':>8} {'dvc.lock':>8} {'ms a stage':>10}")
    for wanted in parser.parse_args().stages:
        with tempfile.TemporaryDirectory() as folder:
            os.chdir(folder)
            measure(wanted)
            os.chdir(ROOT)


def measure(wanted: int) -> None:
    """Of a profile with about so many stages, in the current folder."""
    from dvc.repo import Repo

    Repo.init(no_scm=True).close()  # DVC says so
    shutil.copy(ROOT / "dvc.yaml", "dvc.yaml")
    per_seed = (num_stages(2) - num_stages(1)) or 1
    write_params(max(1, round((wanted - num_stages(1)) / per_seed) + 1))
    started = time.process_time()
    index = stage_index()
    read = time.process_time()
    order, parents = stage_graph(index)
    made = time.process_time()
    params = load_params(Path("params.yaml"))
    on_gpus = params.model_copy(update={"compute": params.compute.model_copy(update={"device": "cuda"})})
    needs = stage_needs(index, on_gpus)
    draw = random.Random(0)
    hosts = [Host(str(number), 16, tuple(map(str, range(DEVICES))), STAGES_PER_GPU) for number in range(HOSTS)]
    before = time.process_time()
    simulate({name: draw.uniform(1, 100) for name in order}, Schedule(order, parents, needs), Places(hosts))
    scheduled = time.process_time()
    lock = LockFile()
    for stage in index.stages:
        lock.add({stage.addressing: entry(stage)})
    lock.write()
    written = time.process_time()
    seconds = [read - started, made - read, scheduled - before, written - scheduled]
    edges = sum(map(len, parents.values()))
    shown = f"{seconds[0]:6.1f} {seconds[1]:6.1f} {seconds[2]:8.2f} {seconds[3]:8.1f} {sum(seconds) / len(order) * 1e3:10.1f}"
    print(f"{len(order):7,} {edges:7,} {shown}", flush=True)


def num_stages(num_seeds: int) -> int:
    """Of the default profile with so many seeds."""
    write_params(num_seeds)
    return len(stage_index().stages)


def write_params(num_seeds: int) -> None:
    """The default's params with other seeds."""
    params = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    params["run"]["seeds"] = params["judge"]["seeds"] = params["game"]["seeds"] = list(range(num_seeds))
    params["root"] = str(ROOT)
    Path("params.yaml").write_text(yaml.safe_dump(params, sort_keys=False), encoding="utf-8")


def entry(stage: Any) -> dict[str, Any]:
    """As large as what dvc.lock holds of a stage that has run."""
    files = [
        {"path": file.def_path, "hash": "md5", "md5": f"{'0' * 32}.dir", "size": 12345, "nfiles": 7} for file in stage.deps + stage.outs
    ]
    return {"cmd": stage.cmd, "deps": files[: len(stage.deps)], "outs": files[len(stage.deps) :]}


if __name__ == "__main__":
    sys.exit(main())
