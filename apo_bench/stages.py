"""The stages of a profile: how many run at the same time, and their graph, as DVC reads it from dvc.yaml."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from apo_bench.core.config import Params
from apo_bench.engines.hosts import hosts


def stage_index(repo: Any) -> Any:
    """DVC's index of the current folder's dvc.yaml alone: that of a whole repository has the thousands of stages of all its profiles.

    Args:
        repo: a `dvc.repo.Repo`.
    """
    from dvc.repo.index import Index

    return Index.from_file(repo, str(Path("dvc.yaml").absolute()))


def stage_graph(index: Any) -> tuple[list[str], dict[str, set[str]]]:
    """The stages of a `stage_index` in an order that respects their dependencies, and the parents of each."""
    import networkx

    graph = index.graph
    from_first = reversed(list(networkx.lexicographical_topological_sort(graph, key=lambda stage: stage.addressing)))
    parents = {stage.addressing: {parent.addressing for parent in graph.successors(stage)} for stage in graph}
    return [stage.addressing for stage in from_first], parents


def depths(order: Iterable[str], parents: dict[str, set[str]]) -> dict[str, int]:
    """How many stages follow one another after each stage, at most."""
    depth = dict.fromkeys(order, 0)
    for name in reversed(list(order)):  # children come after their parents in `order`
        for parent in parents[name]:
            depth[parent] = max(depth[parent], depth[name] + 1)
    return depth


def next_stages(waiting: dict[str, set[str]], depth: dict[str, int], order: list[str]) -> list[str]:
    """The stages that wait for none, the longest chain of dependants first."""
    return sorted((name for name, missing in waiting.items() if not missing), key=lambda name: (-depth[name], order.index(name)))


def num_side_by_side(params: Params, num_cores: int) -> int:
    """How many stages run at a time: as many as the cores have room for, one on GPUs, of which a stage takes as many as it needs.

    Raises:
        EngineError: the hostfile is missing or broken.
    """
    if params.compute.device == "cuda":
        return 1
    engines = params.engines
    ranks = hosts(engines.deepspeed)[0].num_ranks if engines.training == "deepspeed" else 1
    copies = engines.vllm.tensor_parallel * engines.vllm.data_parallel if engines.sampling == "vllm" else 1
    return max(1, num_cores // (params.compute.num_threads * max(ranks, copies)))
