"""What a stage leaves behind of itself: the libraries, the device and the tokenizer it worked with, and the seconds it took.

The first is the same in every run on one machine and lies among the results. Seconds never are: they lie in a folder of their own, on which
nothing depends but the page about them. Both are outputs, so that what DVC restores comes with the record of the run that made it.
"""

import platform
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from apo_bench.config.params import Params
from apo_bench.core.errors import OutputError
from apo_bench.core.files import write_json
from apo_bench.core.layout import times_file
from apo_bench.core.results import ENVIRONMENT, read_metrics
from apo_bench.core.stage import Files, Runs, Stage
from apo_bench.engines.devices import need_of, sampling_engine
from apo_bench.engines.hosts import hosts
from apo_bench.provenance.times import Stopwatch

LIBRARIES = ("torch", "transformers", "tokenizers", "safetensors", "numpy")
FUSED_KERNELS = "liger_kernel"
"""What computes norms, rotary positions and gates on a GPU."""
WITH_TOKENIZER = ("policy", "base", "model", "output")
"""Names of folders with a tokenizer among the files of stages; the first that a stage has is the one it reads."""


def leave_record(stage: Stage, files: Files, params: Params, stopwatch: Stopwatch) -> None:
    """Writes what a stage ran its models with beside its results, and its seconds where `times_file` says.

    Raises:
        OutputError: a file cannot be written, or the stage has not counted what it says it counts.
    """
    results = files.writes.get("results")
    if results is None:
        return
    if stage.is_recorded:
        write_json(results / ENVIRONMENT, environment(stage.runs, files.reads | files.writes, params))
    if stage.counts:
        if missing := set(stage.counts) - set(read_metrics(results)):
            raise OutputError(f"{results}/metrics.json: no {', '.join(sorted(missing))}; mend the stage, which says that it counts them")
        write_json(times_file(results), stopwatch.seconds(num_gpus(stage.runs, params)))


def environment(runs: Runs, files: Mapping[str, Path], params: Params) -> dict[str, str]:
    """Versions of the libraries that the stage used, the device, the type of its matrix products and the tokenizer's checksum."""
    import torch

    from apo_bench.models.precision import reduced_dtype
    from apo_bench.models.tokenizer import tokenizer_checksum

    packages = {name: name for name in LIBRARIES} | _engine_package(runs, params)
    packages |= {"peft": "peft"} if params.compute.lora and runs == "training" else {}
    packages |= {FUSED_KERNELS: FUSED_KERNELS} if params.compute.device == "cuda" else {}
    model = next(files[name] for name in WITH_TOKENIZER if name in files)
    return {
        "python": platform.python_version(),
        **{library: _version(package) for library, package in packages.items()},
        "device": torch.cuda.get_device_name() if params.compute.device == "cuda" else _processor(),
        "dtype": str(reduced_dtype(params.compute)).removeprefix("torch."),
        "tokenizer": tokenizer_checksum(model),
    }


def num_gpus(runs: Runs, params: Params) -> float:
    """GPUs that a stage takes, of all hosts; a part of one that it may have to share."""
    need = need_of(runs, params)
    if not need.is_whole:
        return need.num_devices / params.compute.stages_per_gpu
    return sum(host.num_ranks for host in hosts(params.engines.trainer)) if runs == "training" else need.num_devices


def _engine_package(runs: Runs, params: Params) -> dict[str, str]:
    """The engine of such a stage -> the package that it is on this device; none if the stage's process needs no other."""
    if runs == "sampling":
        name = sampling_engine(params.engines, params.compute)
        builds = params.engines.samplers[name].packages
        return {name: builds[params.compute.device]} if builds else {}
    package = params.engines.trainer.package if runs == "training" else ""
    return {package: package} if package else {}


def _version(library: str) -> str:
    try:
        return version(library)
    except PackageNotFoundError:
        return "not installed"


def _processor() -> str:
    """The model of the processor, as rounding differs between them."""
    file = Path("/proc/cpuinfo")
    lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
