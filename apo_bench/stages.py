"""The stages of a profile: their graph, as DVC reads it from dvc.yaml, what each takes, and what this machine has for them."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from apo_bench.budget import script
from apo_bench.core.config import Params
from apo_bench.core.errors import ConfigError
from apo_bench.engines.devices import Need, need_of, sampling_engine, visible_devices
from apo_bench.engines.hosts import hosts
from apo_bench.scheduling import Host

WITHOUT_GIT = "clone the repository, or run `dvc config core.no_scm true` to do without git"


def stage_index() -> Any:
    """DVC's index of the current folder's dvc.yaml alone: that of a whole repository has the thousands of stages of all its profiles.

    Raises:
        ConfigError: DVC cannot open the repository or read the stages.
    """
    from dvc.repo import Repo
    from dvc.repo.index import Index

    with _told_in_a_line():
        repo = Repo(_wait_for_lock=True)  # while another process hashes or writes dvc.lock
        return Index.from_file(repo, str(Path("dvc.yaml").absolute()))


def stage_graph(index: Any) -> tuple[list[str], dict[str, set[str]]]:
    """The stages of a `stage_index` in an order that respects their dependencies, and the parents of each.

    Raises:
        ConfigError: they are no graph, as two have the same output or each waits for the other.
    """
    import networkx

    with _told_in_a_line():
        graph = index.graph
    from_first = reversed(list(networkx.lexicographical_topological_sort(graph, key=lambda stage: stage.addressing)))
    parents = {stage.addressing: {parent.addressing for parent in graph.successors(stage)} for stage in graph}
    return [stage.addressing for stage in from_first], parents


@contextmanager
def _told_in_a_line() -> Iterator[None]:
    from dvc.exceptions import DvcException
    from dvc.scm import SCMError

    try:
        yield
    except (DvcException, SCMError, OSError) as error:
        cure = WITHOUT_GIT if isinstance(error, SCMError) else "run from the folder of a profile"
        raise ConfigError(f"dvc.yaml: {' '.join(str(error).split())}; {cure}") from error


def stage_needs(index: Any, params: Params) -> dict[str, Need]:
    """What each stage of a `stage_index` takes."""
    return {stage.addressing: need_of(script({"cmd": stage.cmd}), params) for stage in index.stages}


def this_host(params: Params) -> Host:
    """What this machine has for stages; see `host_of`.

    Raises:
        EngineError: the hostfile is missing or broken.
    """
    return host_of("", params, os.cpu_count() or 1, visible_devices() if params.compute.device == "cuda" else ())


def host_of(name: str, params: Params, num_cores: int, devices: tuple[str, ...]) -> Host:
    """What a machine has for stages: as many as the cores have room for and, with GPUs, `compute.stages_per_gpu` on each.

    A stage on a GPU keeps a core busy, so where cores are short fewer share one. Without GPUs, or where ranks are on those of a hostfile's
    hosts, a profile for GPUs runs one stage at a time.

    Raises:
        EngineError: the hostfile is missing or broken.
    """
    compute, engines = params.compute, params.engines
    if compute.device == "cuda":
        if not devices or (engines.training == "deepspeed" and engines.deepspeed.hostfile):
            return Host(name, 1)
        per_device = min(compute.stages_per_gpu, max(1, num_cores // len(devices)))
        return Host(name, max(1, num_cores // compute.num_threads), devices, per_device)
    ranks = hosts(engines.deepspeed)[0].num_ranks if engines.training == "deepspeed" else 1
    copies = engines.vllm.tensor_parallel * engines.vllm.data_parallel if sampling_engine(engines, compute) == "vllm" else 1
    return Host(name, max(1, num_cores // (compute.num_threads * max(ranks, copies))))


def num_side_by_side(host: Host) -> int:
    """How many stages that run models have room on a host."""
    return len(host.devices) * host.stages_per_device or host.num_slots


def num_on_a_gpu(host: Host, needs: dict[str, Need]) -> int:
    """How many stages share a GPU of a host: one, if all that run models have theirs for themselves."""
    is_shared = any(need.num_devices and not need.is_whole for need in needs.values())
    return host.stages_per_device if is_shared else 1
