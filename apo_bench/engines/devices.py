"""Which engine a stage works by, and how many devices it takes."""

import importlib.metadata
import os
from dataclasses import dataclass

from apo_bench.config.compute_sections import Compute, Engines
from apo_bench.config.judge_sections import VllmJudge
from apo_bench.config.params import AUTO, IN_PROCESS, Params
from apo_bench.core.stage import Runs

VISIBLE_VARIABLE = "CUDA_VISIBLE_DEVICES"
"""Environment variable: the GPUs that a process may use, by number or by name."""


@dataclass(frozen=True)
class Need:
    """What a stage takes of a host."""

    num_devices: int = 0
    """GPUs; 0: processors alone."""
    is_whole: bool = False
    """Whether no other stage may be on them: some engines fill the devices that they are given."""
    is_light: bool = False
    """Whether the stage runs no model: it reads and writes what is small, or asks a server."""


def sampling_engine(engines: Engines, compute: Compute) -> str:
    """The name of what samples. With `auto` it depends on what is installed, and each draws other samples."""
    if engines.sampling != AUTO:
        return engines.sampling
    there = (name for name, sampler in engines.samplers.items() if sampler.packages and is_installed(sampler.packages["cuda"]))
    return next(there, IN_PROCESS) if compute.device == "cuda" else IN_PROCESS


def is_installed(package: str) -> bool:
    """Whether there is a distribution of that name."""
    try:
        return bool(importlib.metadata.version(package))
    except importlib.metadata.PackageNotFoundError:
        return False


def need_of(runs: Runs, params: Params) -> Need:
    """What a stage that runs these takes; its share of processors goes without saying."""
    engines = params.engines
    if runs == "nothing" or (runs == "judge" and not isinstance(params.judge.provider, VllmJudge)):
        return Need(is_light=True)
    if params.compute.device == "cpu":
        return Need()
    if runs == "judge":
        return Need(1, is_whole=True)
    if runs == "sampling":
        sampler = engines.samplers[sampling_engine(engines, params.compute)]
        return Need(sampler.num_devices, sampler.is_whole)
    return Need(engines.trainer.num_devices, engines.trainer.is_launched) if runs == "training" else Need(1)


def visible_devices() -> tuple[str, ...]:
    """The GPUs that this process may use, as `VISIBLE_VARIABLE` names them."""
    import torch

    there, named = torch.cuda.device_count(), os.environ.get(VISIBLE_VARIABLE)
    return tuple(named.split(",")[:there] if named else map(str, range(there)))
