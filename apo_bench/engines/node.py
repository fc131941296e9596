"""What runs on each host of a launch: starts its ranks by torch's own launcher, watches them, and says what became of them.

It reads one line of JSON, the request, from standard input, and ends with its ranks when that is closed, so that they outlive neither
the launching process nor the connection to it. Reports go to standard output, each a line of JSON behind `REPORT`.
"""

import json
import logging
import os
import shutil
import signal
import socket
import sys
import threading
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from apo_bench.core.processes import scratch_prefix

REPORT = "\x1eapo-bench "
RENDEZVOUS_SECONDS = 120
"""How long hosts wait for one another: they import torch meanwhile, from shared storage perhaps."""
TAIL_LINES = 20


def main() -> int:
    """Runs a host's ranks; returns the exit status."""
    request = json.loads(sys.stdin.readline())
    with TemporaryDirectory(prefix=scratch_prefix()) as logs:
        threading.Thread(target=_die_with_input, args=[logs], daemon=True).start()
        failures = _run_node(request, logs)
        if failures:
            _report(failures=failures)
    return 1 if failures else 0


def _run_node(request: dict[str, Any], logs: str) -> list[dict[str, Any]]:
    """Makes ready for the ranks and runs them; returns what failed."""
    os.environ |= request["environment"]
    os.chdir(request["folder"])
    try:
        port = request["port"] if request["node"] else _own_port(request["port"])
    except OSError as error:
        line = f"port {request['port']} cannot be used ({error.strerror}); APO_BENCH_PORT may name another"
        return [{"kind": "known", "line": line}]
    _report(port=port)
    if request["device"] == "cuda" and (missing := _missing_devices(request["num_ranks"], request["ranks_key"])):
        return [{"kind": "known", "line": missing}]
    if request["num_nodes"] > 1 and "GLOO_SOCKET_IFNAME" not in os.environ:
        try:
            os.environ["GLOO_SOCKET_IFNAME"] = _interface_to(request["master"])
        except OSError as error:
            line = f"finds no way to {request['master']}, where the ranks meet ({error.strerror})"
            return [{"kind": "network", "line": line}]
    return _run_ranks(request, port, logs)


def _run_ranks(request: dict[str, Any], port: int, logs: str) -> list[dict[str, Any]]:
    """Runs the ranks to their end; returns what failed."""
    import torch.distributed
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, Std
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    logging.disable(logging.CRITICAL)  # what the launcher would log is reported
    quiet = range(0 if request["node"] else 1, request["num_ranks"])  # all but the very first rank
    config = LaunchConfig(
        min_nodes=request["num_nodes"],
        max_nodes=request["num_nodes"],
        nproc_per_node=request["num_ranks"],
        run_id="apo-bench",
        rdzv_backend="static",
        rdzv_endpoint=f"{request['master']}:{port}",
        rdzv_configs={"rank": request["node"], "timeout": RENDEZVOUS_SECONDS * (1 if request["node"] else 2)},  # who cannot come says why
        local_addr=request["host"],
        max_restarts=0,
        shutdown_timeout=5,
        logs_specs=DefaultLogsSpecs(log_dir=logs, redirects=dict.fromkeys(quiet, Std.ALL)),
    )
    try:
        elastic_launch(config, sys.executable)("-m", "pipeline", *request["command"])
    except ChildFailedError as error:
        return [_describe(rank, failure, Path(logs)) for rank, failure in error.failures.items()]
    except (torch.distributed.DistError, TimeoutError) as error:
        reason = " ".join(str(error).split())
        return [{"kind": "network", "line": f"does not reach {request['master']}:{port}, where the ranks meet ({reason})"}]
    return []


def _describe(rank: int, failure: Any, logs: Path) -> dict[str, Any]:
    """A failed rank: what it said of itself (`pipeline.ranks`), or the signal that ended it and the end of what it wrote."""
    said = failure.error_file_data or {}
    if "kind" in said:
        return {"kind": said["kind"], "line": said["line"], "trace": said["trace"], "rank": rank}
    tail = ""
    for file in logs.rglob(f"{failure.local_rank}/stderr.log"):
        tail = "\n".join(file.read_text(encoding="utf-8", errors="replace").splitlines()[-TAIL_LINES:])
    kind, line = "unknown", f"ended with status {failure.exitcode}"
    if failure.exitcode < 0:
        # Libraries abort when another rank is gone, and the launcher terminates those that are left.
        kind = {signal.SIGABRT: "lost", signal.SIGTERM: "ended"}.get(-failure.exitcode, "signal")
        line = f"was ended by {failure.signal_name()}"
    return {"kind": kind, "line": line, "trace": tail, "rank": rank}


def _missing_devices(num_ranks: int, ranks_key: str) -> str | None:
    import torch

    found = torch.cuda.device_count()
    if num_ranks <= found:
        return None
    cure = f"lower {ranks_key} to {found}" if found else "write compute.device: cpu"
    return f"{num_ranks} ranks on cuda, but PyTorch sees {found} GPUs; {cure}"


def _own_port(port: int | None) -> int:
    """A free port, or the given one if it is."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("", port or 0))
        return int(probe.getsockname()[1])


def _interface_to(host: str) -> str:
    """The network interface whose address other hosts see this one by: torch would take the one that this host's name happens to mean."""
    import psutil

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect((host, 9))  # sends nothing: it only picks the route
        address = probe.getsockname()[0]
    return next(name for name, addresses in psutil.net_if_addrs().items() if address in [entry.address for entry in addresses])


def _die_with_input(logs: str) -> None:
    sys.stdin.read()
    shutil.rmtree(logs, ignore_errors=True)
    os._exit(1)  # the ranks asked the kernel to die with this process


def _report(**content: Any) -> None:
    print(REPORT + json.dumps(content), flush=True)


if __name__ == "__main__":
    sys.exit(main())
