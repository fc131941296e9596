"""Stages that train or score are launched as ranks if `engines.training` says so: fresh processes that run the same stage together."""

import json
import os
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

from apo_bench.config.params import PARAMS, load_params
from apo_bench.core.errors import ApoBenchError, EngineError, NotTheWriter, is_out_of_memory
from apo_bench.core.ranks import CHECKPOINTS_VARIABLE, join, leave
from apo_bench.core.stage import Files, Stage
from apo_bench.engines.checkpoints import last_step, remove, scratch_folder
from apo_bench.engines.hosts import hosts
from apo_bench.engines.launch import launch
from apo_bench.engines.memory import memory_error
from pipeline.forwarding import SOCKET_VARIABLE

LOST_PEER = ("gloo", "nccl", "connection", "socket")
"""Words in what PyTorch says where another rank has gone."""


def is_rank() -> bool:
    """Whether this process was launched as one."""
    return CHECKPOINTS_VARIABLE in os.environ


def launched(name: str, arguments: list[str], stage: Stage, files: Files) -> bool:
    """Runs a stage as ranks to their end, if its params ask for ranks; whether they do.

    Raises:
        ConfigError: params.yaml is broken.
        EngineError: the engine is not installed, the hostfile is broken, or ranks failed.
    """
    if stage.runs != "training":
        return False
    params = load_params(PARAMS)
    trainer = params.engines.trainer
    if not trainer.is_launched or not stage.uses_ranks(params):
        return False
    trainer.check_installed()
    on = hosts(trainer)
    inputs = list(files.reads.values())
    inputs += [Path(params.base_model.folder)] if name == "base_model" else []
    shaping = params.model_dump(mode="json", exclude={"engines"}) | {"engine": trainer.checkpointed}
    folder = scratch_folder([name, *arguments], shaping, inputs, sum(host.num_ranks for host in on), trainer.package)
    environment = {variable: value for variable, value in os.environ.items() if variable != SOCKET_VARIABLE}
    try:
        launch([name, *arguments], on, trainer, params.compute.device, folder, environment)
    except EngineError as error:
        if step := last_step(folder):
            raise EngineError(f"{error} (run again, it goes on after step {step})") from None
        remove(folder)
        raise
    remove(folder)
    return True


def run_rank(name: str, work: Callable[[], tuple[str, Path]]) -> int:
    """Runs a stage as one of its ranks: the first says what was done, and whichever fails says why to the launching process.

    Returns the exit status of one that failed; one that did not fail ends its process.
    """
    started = time.perf_counter()
    params = load_params(PARAMS)
    try:
        join(params.compute.device)
        did, where = work()
        print(f"{name}: {did}, {time.perf_counter() - started:.1f} s -> {where}", flush=True)
    except NotTheWriter:
        pass
    except Exception as error:
        _tell(memory_error(params) if is_out_of_memory(error) else error)
        return 1
    leave()
    sys.stderr.flush()
    os._exit(0)  # all is written: threads of gloo and DeepSpeed that meet the interpreter's end can abort a rank that has done its work


def _tell(error: Exception) -> None:
    """Writes an error where torch's launcher looks for it (`apo_bench.engines.node` reads it)."""
    text = " ".join(str(error).split())
    if isinstance(error, ApoBenchError):
        kind = "known"
    else:
        kind = "lost" if any(word in text.lower() for word in LOST_PEER) else "unknown"
        text = f"failed with {type(error).__name__}: {text}"
    message = {"message": text, "extraInfo": {"timestamp": str(int(time.time()))}}
    said = {"message": message, "kind": kind, "line": text, "trace": "" if kind == "known" else traceback.format_exc()}
    Path(os.environ["TORCHELASTIC_ERROR_FILE"]).write_text(json.dumps(said), encoding="utf-8")
