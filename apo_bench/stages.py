"""The stages of a profile: their graph, as DVC reads it from dvc.yaml, what each takes, and what this machine has for them."""

import logging
import os
from collections.abc import Iterable, Iterator, Mapping, Set
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from apo_bench.config.params import Params
from apo_bench.config.validation import near
from apo_bench.core.errors import ConfigError
from apo_bench.core.layout import RESULTS, reward_evaluations
from apo_bench.core.stage import Runs
from apo_bench.engines.devices import Need, need_of, sampling_engine, visible_devices
from apo_bench.engines.hosts import hosts
from apo_bench.scheduling import Host

STAGES = Path("dvc.yaml")
"""In the folder of a profile."""
TELLING: dict[str, Runs] = {
    "engines.sampling": "sampling",
    "engines.training": "training",
    "compute": "models",
    "judge.provider": "judge",
}
"""Params of a stage that tell what it runs, the first that it has."""
TRANSFERS = ("dvc_objects.fs.generic", "dvc_data.hashfile.transfer")
"""Loggers of what DVC copies to and from its cache."""
WITHOUT_GIT = "clone the repository, or run `dvc config core.no_scm true` to do without git"
CURE_OF_LOCK = "take one side (`git checkout --ours dvc.lock`, or --theirs) or remove it; what the run cache knows is restored, not run"


def stage_index(root: str = ".") -> Any:
    """DVC's index of the current folder's dvc.yaml alone: that of a whole repository has the thousands of stages of all its profiles.

    Args:
        root: of the params; a profile that has not run yet gets a link to the dvc.yaml there. Without it DVC knows nothing of the profile,
            and looks in vain for nothing that it would have made.

    Raises:
        ConfigError: DVC cannot open the repository or read the stages.
    """
    from dvc.repo import Repo
    from dvc.repo.index import Index

    shared = Path(root, STAGES)
    with _told_in_a_line():
        if not STAGES.exists() and shared.exists():
            STAGES.symlink_to(shared)
        repo = Repo(_wait_for_lock=True)  # while another process hashes or writes dvc.lock
        return Index.from_file(repo, str(STAGES.absolute()))


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


def changed_stages(stages: Mapping[str, Any], order: Iterable[str], parents: Mapping[str, Set[str]]) -> set[str]:
    """The names of the stages that have to run or to be restored, and of all that come after them; the others are as dvc.lock has them.

    What DVC asks of each stage, but once for each path: hundreds of stages read the same code, params and models.

    Args:
        stages: of DVC, by name.
        order: the names of those to look at, parents before children.
        parents: what each waits for.
    """
    found: set[str] = set()
    look = _Look()
    for name in order:
        if parents[name] & found or look.is_changed(stages[name]):
            found.add(name)
    return found


class _Look:
    """What is where the stages of one run read and write, at its start."""

    def __init__(self) -> None:
        self._hashes: dict[str, Any] = {}
        self._is_cached: dict[Any, bool] = {}
        self._params: dict[str, Any] = {}

    def is_changed(self, stage: Any) -> bool:
        """As DVC's `stage.changed()`."""
        return (
            stage.always_changed
            or stage.changed_stage()
            or any(self._is_param_changed(dep) for dep in stage.params)
            or any(self._is_other(dep) for dep in stage.deps if dep not in stage.params)
            or any(self._is_other(out) or (out.use_cache and not self._is_in_cache(out)) for out in stage.outs)
        )

    def _is_other(self, file: Any) -> bool:
        """Whether a file or folder is not there, or is not that of dvc.lock."""
        if file.fs_path not in self._hashes:
            self._hashes[file.fs_path] = file.get_hash() if file.exists else None
            forget_listings()
        return not file.hash_info or self._hashes[file.fs_path] != file.hash_info

    def _is_in_cache(self, out: Any) -> bool:
        if out.hash_info not in self._is_cached:
            self._is_cached[out.hash_info] = not out.changed_cache()
        return self._is_cached[out.hash_info]

    def _is_param_changed(self, dep: Any) -> bool:
        from dvc.dependency.param import read_param_file

        if dep.fs_path not in self._params:
            self._params[dep.fs_path] = read_param_file(dep.repo.fs, dep.fs_path) if dep.exists else {}
        return bool(dep.hash_info.value is None or _values(self._params[dep.fs_path], dep.params) != dep.hash_info.value)


def _values(params: Any, keys: Iterable[str]) -> dict[str, Any]:
    """Those of params that are there, by key: `methods.dpo`."""
    found = {}
    for key in keys:
        value = params
        for part in key.split("."):
            if not isinstance(value, dict) or part not in value:
                break
            value = value[part]
        else:
            found[key] = value
    return found


def forget_listings() -> None:
    """Drops the listings of folders that DVC has hashed, once nothing is at work on them.

    DVC leaves each in fsspec's file system in memory and goes through all that are there when it hashes the next one, so that without this
    what a stage costs grows with the stages before it.
    """
    from fsspec.implementations.memory import MemoryFileSystem

    MemoryFileSystem.store.clear()
    MemoryFileSystem.pseudo_dirs[:] = [""]


def parse_params_once() -> None:
    """Has DVC, in this process, parse a file of params once for all stages, and anew only if it changes.

    DVC does so three times a stage, which is a good part of what a small one costs.
    """
    from dvc.utils import serialize

    parsed: dict[tuple[str, int, int], Any] = {}

    def load(path: str, fs: Any = None, **settings: Any) -> Any:
        look = Path(path).stat()
        key = (path, look.st_mtime_ns, look.st_size)
        if key not in parsed:
            parsed[key] = serialize.load_yaml(path, fs=fs, **settings)
        return parsed[key]

    serialize.LOADERS[".yaml"] = load


def raise_failed_transfers() -> None:
    """Has DVC, in this process, raise what it meets when it copies a file to or from its cache.

    It tells of it in two lines a file and goes on, with a cache that lacks what dvc.lock has.
    """
    for name in TRANSFERS:
        logging.getLogger(name).addFilter(_raise)


def _raise(record: logging.LogRecord) -> bool:
    if record.exc_info and record.exc_info[1]:
        raise record.exc_info[1]
    return True


@contextmanager
def _told_in_a_line() -> Iterator[None]:
    from dvc.exceptions import DvcException
    from dvc.scm import SCMError

    try:
        yield
    except (DvcException, SCMError, OSError) as error:
        broken = Path(str(getattr(error, "path", None) or STAGES)).name
        if isinstance(error, SCMError):
            cure = WITHOUT_GIT
        elif broken == "dvc.lock":
            cure = CURE_OF_LOCK
        elif isinstance(error, OSError):
            cure = "DVC needs it; its own settings lie in the home (HOME)"
        else:
            cure = "run from the folder of a profile"
        raise ConfigError(f"dvc.yaml: {' '.join(str(error).split())}; {cure}") from error


def stages_of_arm(group: str, stages: Mapping[str, Any], parents: Mapping[str, Set[str]], params: Params) -> set[str]:
    """The names of the stages that the evaluations of an arm and of its reward models need, in all seeds and rounds.

    Args:
        group: method and reward model, such as dpo-adversarial.
        stages: of DVC, by name.
        parents: what each waits for.
        params: of the profile.

    Raises:
        ConfigError: the run has no such arm.
    """
    members = [arm for arm in params.run.arms if arm.group == group]
    if not members:
        known = list(dict.fromkeys(arm.group for arm in params.run.arms))
        raise ConfigError(f"arm: found {group!r};{near(group, known) or ' the run has ' + ', '.join(known)}")
    in_rounds = [(arm, round_id) for arm in members for round_id in params.run.rounds]
    wanted = {arm.evaluation(RESULTS, round_id).as_posix() for arm, round_id in in_rounds}
    wanted |= {arm.reward(reward_evaluations(RESULTS), round_id, params.run.own_reward_models).as_posix() for arm, round_id in in_rounds}
    waiting = [name for name, stage in stages.items() if wanted & {out.def_path for out in stage.outs}]
    found: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += parents[name]
    return found


def stage_needs(index: Any, params: Params) -> dict[str, Need]:
    """What each stage of a `stage_index` takes."""
    return {stage.addressing: need_of(runs_of({key for dep in stage.params for key in dep.params}), params) for stage in index.stages}


def runs_of(keys: Set[str]) -> Runs:
    """What a stage runs, by the params that it hangs on: those of an engine tell."""
    return next((runs for key, runs in TELLING.items() if key in keys), "nothing")


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
        if not devices or engines.trainer.hosts_file:
            return Host(name, 1)
        per_device = min(compute.stages_per_gpu, max(1, num_cores // len(devices)))
        return Host(name, max(1, num_cores // compute.num_threads), devices, per_device)
    ranks = hosts(engines.trainer)[0].num_ranks
    copies = engines.samplers[sampling_engine(engines, compute)].num_devices
    return Host(name, max(1, num_cores // (compute.num_threads * max(ranks, copies))))


def num_side_by_side(host: Host) -> int:
    """How many stages that run models have room on a host."""
    return len(host.devices) * host.stages_per_device or host.num_slots


def num_on_a_gpu(host: Host, needs: dict[str, Need]) -> int:
    """How many stages share a GPU of a host: one, if all that run models have theirs for themselves."""
    is_shared = any(need.num_devices and not need.is_whole for need in needs.values())
    return host.stages_per_device if is_shared else 1
