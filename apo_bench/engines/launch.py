"""Launches a stage as ranks, on this host or on those of a hostfile, and waits for them; one that fails ends all, with a line why."""

import json
import os
import queue
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import apo_bench
from apo_bench.config.compute_sections import TrainingEngine
from apo_bench.core.errors import EngineError
from apo_bench.core.ranks import CHECKPOINTS_VARIABLE
from apo_bench.engines.hosts import DEFAULT_REMOTE_SHELL, REMOTE_SHELL_VARIABLE, Host, remote_command
from apo_bench.engines.node import REPORT

PORT_VARIABLE = "APO_BENCH_PORT"
"""Environment variable: the port of the first host where ranks meet, for hosts with a firewall; else any that is free."""
FORWARDED = ("APO_BENCH_", "CUDA_", "DO_NOT_TRACK", "GLOO_", "HF_", "LD_LIBRARY_PATH", "MALLOC_", "NCCL_", "OMP_", "PYTORCH_", "TORCH")
"""Beginnings of the environment variables that ranks on other hosts get too."""
GRACE_SECONDS = 3.0
"""After a first failure, for those that it caused or that caused it: the ranks of other hosts often notice a death before its own host."""
BLAME = ("host", "known", "signal", "unknown", "network", "lost", "ended")
"""Kinds of failure, from causes to consequences."""
QUIET = {"TORCH_CPP_LOG_LEVEL": "ERROR"}
"""PyTorch would say at each step where an address has no name."""


def launch(
    command: list[str], hosts: list[Host], engine: TrainingEngine, device: str, checkpoints: Path, environment: Mapping[str, str]
) -> None:
    """Runs `python -m pipeline COMMAND` as ranks on hosts that share this folder, to their end.

    Args:
        command: the stage and its arguments.
        hosts: the first has the first rank, which writes and whose output is shown.
        engine: what they train by.
        device: cpu or cuda.
        checkpoints: what the ranks find in `CHECKPOINTS_VARIABLE`.
        environment: of this host's ranks; those of other hosts get what is `FORWARDED` of it.

    Raises:
        EngineError: a rank failed or a host died; the others were ended.
    """
    port = environment.get(PORT_VARIABLE, "")
    if port and not port.isdecimal():
        raise EngineError(f"{PORT_VARIABLE}: found {port!r}, expected the number of a port")
    code = str(Path(apo_bench.__file__).parents[1])
    shared = {"PYTHONPATH": os.pathsep.join(filter(None, [code, environment.get("PYTHONPATH")]))}
    forwarded = {name: value for name, value in environment.items() if name.startswith(FORWARDED)}
    request = {
        "command": command,
        "folder": str(Path.cwd()),
        "device": device,
        "ranks_key": engine.ranks_key,
        "num_nodes": len(hosts),
        "master": hosts[0].name if len(hosts) > 1 else "127.0.0.1",
        "environment": {**forwarded, **QUIET, **engine.rank_variables(device), **shared, CHECKPOINTS_VARIABLE: str(checkpoints)},
    }
    _Launch(hosts, request, environment).run(int(port) if port else None)


class _Launch:
    """The processes of a launch, one a host."""

    def __init__(self, hosts: list[Host], request: dict[str, Any], environment: Mapping[str, str]) -> None:
        self._hosts, self._request, self._environment = hosts, request, environment
        self._events: queue.Queue[tuple[int, dict[str, Any]]] = queue.Queue()
        """What hosts report, and at last `{"ended": status}`."""
        self._processes: list[subprocess.Popen[str]] = []
        self._errors: list[deque[str]] = [deque(maxlen=1) for _ in hosts]
        """The last line that each host but the first wrote to standard error."""

    def run(self, port: int | None) -> None:
        """To the end of all, or of the first that fails."""
        failures: list[dict[str, Any]] = []
        ended: set[int] = set()
        deadline: float | None = None
        try:
            self._start(0, port)
            while len(ended) < len(self._hosts):
                try:
                    number, event = self._events.get(timeout=None if deadline is None else max(0.0, deadline - time.monotonic()))
                except queue.Empty:
                    break
                if "port" in event and number == 0:
                    for other in range(1, len(self._hosts)):
                        self._start(other, event["port"])
                for failure in event.get("failures", []):
                    failures.append({**failure, "host": number})
                if "ended" in event:
                    ended.add(number)
                    if event["ended"] and not any(failure["host"] == number for failure in failures):
                        failures.append({"kind": "host", "host": number, "line": self._last_words(number, event["ended"])})
                if failures and deadline is None:
                    deadline = time.monotonic() + GRACE_SECONDS
                if failures and len(ended) == len(self._processes):
                    break
        finally:
            self._stop()
        if failures:
            raise EngineError(describe(failures, [host.name for host in self._hosts]))

    def _start(self, number: int, port: int | None) -> None:
        host = self._hosts[number]
        # Words without blanks alone, as a remote shell that is none (`ip netns exec`) takes quotes for a part of them.
        command = ["env", f"PYTHONPATH={self._request['environment']['PYTHONPATH']}", sys.executable, "-m", "apo_bench.engines.node"]
        remote_shell = self._environment.get(REMOTE_SHELL_VARIABLE, DEFAULT_REMOTE_SHELL)
        try:
            process = subprocess.Popen(
                remote_command(host, command, remote_shell),
                env=dict(self._environment),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE if number else None,
                text=True,
            )
        except OSError as error:
            name = shlex.split(remote_shell)[0]
            raise EngineError(f"{name}: cannot be started ({error.strerror}); {REMOTE_SHELL_VARIABLE} may name another") from error
        self._processes.append(process)
        threading.Thread(target=self._listen, args=(number, process), daemon=True).start()
        if process.stderr is not None:
            threading.Thread(target=self._errors[number].extend, args=(process.stderr,), daemon=True).start()
        request = {**self._request, "node": number, "num_ranks": host.num_ranks, "host": host.name, "port": port}
        assert process.stdin is not None
        with suppress(BrokenPipeError):  # it has ended, and `_listen` says so
            process.stdin.write(json.dumps(request) + "\n")
            process.stdin.flush()

    def _listen(self, number: int, process: "subprocess.Popen[str]") -> None:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith(REPORT):
                self._events.put((number, json.loads(line.removeprefix(REPORT))))
            else:
                print(line, end="", flush=True)
        self._events.put((number, {"ended": process.wait()}))

    def _last_words(self, number: int, status: int) -> str:
        if status < 0:
            return f"was ended by {signal.Signals(-status).name}"
        written = "".join(self._errors[number]).strip()
        return f"ended with status {status}{f' ({written})' if written else ''}"

    def _stop(self) -> None:
        """Ends what still runs: hosts end their ranks when their input is closed, and whoever does not hear is killed."""
        for process in self._processes:
            assert process.stdin is not None
            with suppress(BrokenPipeError):
                process.stdin.close()
        deadline = time.monotonic() + GRACE_SECONDS
        for process in self._processes:
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()


def describe(failures: list[dict[str, Any]], hosts: list[str]) -> str:
    """The line of the failure that caused the others; what a rank that crashed wrote is shown before it.

    Args:
        failures: each with its `kind` (see `BLAME`), the number of its `host`, its `line` and, if it is a rank's, `rank` and `trace`.
        hosts: their names.
    """
    cause = min(failures, key=lambda failure: (BLAME.index(failure["kind"]), failure["host"], failure.get("rank", 0)))
    host, line = hosts[cause["host"]], cause["line"]
    if cause["kind"] == "known":
        return line if len(hosts) == 1 else f"host {host}: {line}"
    print(cause.get("trace", ""), file=sys.stderr)  # on a line of its own: the first rank may have left a progress bar
    who = f"host {host}: rank {cause['rank']}" if "rank" in cause else f"host {host}"
    cure = "the kernel does so where memory runs out: lower compute.micro_batch_tokens, or use more hosts"
    return f"{who} {line}; {cure}" if line.endswith("SIGKILL") else f"{who} {line}"
