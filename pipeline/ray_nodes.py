"""Stages on the nodes of a Ray cluster (Moritz et al. 2018, arXiv 1712.05889), which share this folder.

On each node an actor has all that Ray knows there of processors and GPUs, and a stage server of its own. A process beside that of
`make repro` talks to Ray: stages reach it by the socket that `python -m pipeline` forwards them to, and it has the actor of the node that
they were given run them. DVC's books stay where they are. An actor or node that dies ends its stages with `LOST`, to be run elsewhere.
"""

import array
import json
import logging
import os
import selectors
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import apo_bench
from apo_bench.config.params import PARAMS, Params, load_params
from apo_bench.core.errors import ApoBenchError, EngineError
from apo_bench.core.processes import die_with_parent, scratch_prefix
from apo_bench.engines.devices import VISIBLE_VARIABLE
from apo_bench.engines.launch import FORWARDED
from apo_bench.scheduling import Host
from apo_bench.stages import host_of
from pipeline.forwarding import NODE_VARIABLE, SOCKET_VARIABLE, announce, listen, receive, short
from pipeline.server import stage_server

LOST = 69
"""Exit status of a stage whose node has gone (EX_UNAVAILABLE of <sysexits.h>)."""
START_SECONDS = 120
"""For an actor to come up: torch is imported there."""
LOOK_SECONDS = 5
"""Between looks for nodes that have joined, or whose actor has died."""
GRACE_SECONDS = 5
"""For the processes of a lost actor to end before its stages run again."""


class RayNodes:
    """The process that talks to Ray, as `make repro` sees it."""

    def __init__(self, path: str) -> None:
        self._path = path

    def hosts(self) -> list[Host]:
        """The nodes that stages can run on now; one that has died and come back has another name.

        Raises:
            EngineError: the process has ended.
        """
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection, short(self._path) as address:
                connection.connect(address)
                request = json.dumps({"hosts": True}).encode()
                connection.sendall(len(request).to_bytes(8, "big") + request)
                with connection.makefile() as reply:
                    return [_host(fields) for fields in json.load(reply)]
        except (OSError, ValueError) as error:
            raise EngineError("engines.stages: what talks to Ray has ended; run again") from error

    def environment(self, host: str) -> dict[str, str]:
        """Environment variables that send a stage there."""
        return {SOCKET_VARIABLE: self._path, NODE_VARIABLE: host}


@contextmanager
def ray_nodes(params: Params) -> Iterator[RayNodes]:
    """Reserves the nodes of the cluster that RAY_ADDRESS or this machine's Ray names, for as long as the block lasts.

    Raises:
        EngineError: Ray is not installed, there is no cluster, or it has no node that a stage could run on.
    """
    if find_spec("ray") is None:
        raise EngineError("engines.stages: ray is not installed; pip install 'apo-bench[ray]', or write local")
    if params.engines.trainer.hosts_file:
        raise EngineError("engines.deepspeed.hostfile: with engines.stages: ray hosts are Ray's; write null")
    with TemporaryDirectory(prefix=scratch_prefix()) as folder, (Path(folder) / "log").open("w+") as log:
        path = str(Path(folder) / "socket")
        process = subprocess.Popen([sys.executable, "-m", "pipeline.ray_nodes", path], stdout=subprocess.PIPE, stderr=log, text=True)
        assert process.stdout is not None
        try:
            if refusal := process.stdout.readline().strip():
                raise EngineError(refusal)
            if process.poll() is not None:
                log.seek(0)
                raise EngineError(f"engines.stages: Ray cannot be used: {(log.read().strip().splitlines() or ['it says nothing'])[-1]}")
            yield RayNodes(path)
        finally:
            process.terminate()
            process.wait()


def _host(fields: dict[str, Any]) -> Host:
    return Host(**{**fields, "devices": tuple(fields["devices"])})


class StageNode:
    """The actor of a node."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._stack.enter_context(stage_server())  # which names itself in the environment

    def devices(self) -> list[str]:
        """The GPUs that Ray gave the actor, as CUDA names them."""
        return [device for device in os.environ.get(VISIBLE_VARIABLE, "").split(",") if device]

    def run(self, arguments: list[str], folder: str, environment: dict[str, str]) -> Iterator[tuple[int, bytes] | int]:
        """Runs a stage; gives what it writes, each time with 1 or 2 for the stream, and its exit status at last."""
        command = [sys.executable, "-m", "pipeline", *arguments]
        variables = {**os.environ, **environment, SOCKET_VARIABLE: os.environ[SOCKET_VARIABLE]}
        process = subprocess.Popen(
            command, cwd=folder, env=variables, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        with process, selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ, 1)  # type: ignore[arg-type]
            selector.register(process.stderr, selectors.EVENT_READ, 2)  # type: ignore[arg-type]
            while selector.get_map():
                for key, _ in selector.select():
                    if written := os.read(key.fd, 1 << 16):
                        yield key.data, written
                    else:
                        selector.unregister(key.fileobj)
        yield process.returncode


class _Cluster:
    """The actors, by the names of their hosts."""

    def __init__(self, params: Params) -> None:
        import ray

        self._ray, self._params = ray, params
        self._actors: dict[str, tuple[str, Any, Host]] = {}
        """Host -> the node's id, its actor and what it has."""
        self._lock = threading.Lock()
        self._num_started = 0

    @property
    def hosts(self) -> list[Host]:
        """Those that have an actor."""
        with self._lock:
            return [host for _, _, host in self._actors.values()]

    def look(self) -> None:
        """Starts an actor on each node that has none; a node on which none comes up is left out until the next look."""
        with self._lock:
            served = {node for node, _, _ in self._actors.values()}
        nodes = [node for node in self._ray.nodes() if node["Alive"] and node["NodeID"] not in served and node["Resources"].get("CPU")]
        started = [(node, self._start(node)) for node in nodes]
        for node, actor in started:
            try:
                devices = self._ray.get(actor.devices.remote(), timeout=START_SECONDS)
            except self._ray.exceptions.RayError:
                self._kill(actor)
                continue
            self._num_started += 1
            name = f"{node['NodeManagerAddress']}-{self._num_started}"
            host = host_of(name, self._params, int(node["Resources"]["CPU"]), tuple(devices))
            with self._lock:
                self._actors[name] = (node["NodeID"], actor, Host(**{**asdict(host), "takes": "models"}))

    def _start(self, node: dict[str, Any]) -> Any:
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        resources = node["Resources"]
        code = str(Path(apo_bench.__file__).parents[1])
        paths = os.pathsep.join(filter(None, [code, os.environ.get("PYTHONPATH")]))
        return (
            self._ray.remote(StageNode)
            .options(
                num_cpus=resources["CPU"],
                num_gpus=resources.get("GPU", 0),
                max_concurrency=int(resources["CPU"]) + int(resources.get("GPU", 0)) * self._params.compute.stages_per_gpu + 1,
                scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False),
                runtime_env={"env_vars": {"PYTHONPATH": paths}},
            )
            .remote()
        )

    def run(self, request: dict[str, Any], files: array.array) -> int:
        """Runs a stage on the node that its environment names; returns its exit status, or `LOST`."""
        name = request["environment"][NODE_VARIABLE]
        with self._lock:
            actor = self._actors[name][1] if name in self._actors else None
        if actor is None:
            return LOST
        forwarded = {key: value for key, value in request["environment"].items() if key.startswith(FORWARDED)}
        exceptions = self._ray.exceptions
        try:
            for chunk in actor.run.options(num_returns="streaming").remote(request["arguments"], request["folder"], forwarded):
                said = self._ray.get(chunk)
                if isinstance(said, int):
                    return said if 0 <= said < LOST else 1
                os.write(files[said[0]], said[1])
        except exceptions.RayTaskError as error:
            os.write(files[2], f"{error}\n".encode())
            return 1
        except exceptions.RayError:
            with self._lock:
                self._actors.pop(name, None)
            self._kill(actor)
            time.sleep(GRACE_SECONDS)
        return LOST

    def _kill(self, actor: Any) -> None:
        with suppress(self._ray.exceptions.RayError):
            self._ray.kill(actor)


def _serve(path: str) -> int:
    """Connects to Ray, says so by an empty line, or what is wrong, and answers until it is terminated; returns the exit status."""
    die_with_parent()
    import ray

    try:
        params = load_params(PARAMS)
        ray.init(os.environ.get("RAY_ADDRESS", "auto"), log_to_driver=False, logging_level=logging.ERROR)
        cluster = _Cluster(params)
        cluster.look()
        if not cluster.hosts:
            raise EngineError("engines.stages: no node of the Ray cluster has processors free for stages; end what else runs there")
    except ConnectionError as error:
        print(f"engines.stages: no Ray cluster ({' '.join(str(error).split())[:120]}); 'ray start --head' starts one", flush=True)
        return 1
    except ApoBenchError as error:
        print(error, flush=True)
        return 1
    with listen(path) as listener:
        print(flush=True)
        threading.Thread(target=_look_on, args=(cluster,), daemon=True).start()
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=_answer, args=(cluster, connection), daemon=True).start()


def _look_on(cluster: _Cluster) -> None:
    while True:
        time.sleep(LOOK_SECONDS)
        cluster.look()


def _answer(cluster: _Cluster, connection: socket.socket) -> None:
    with connection, suppress(OSError):  # the caller may have gone
        request, files = receive(connection)
        if "hosts" in request:
            connection.sendall(json.dumps([asdict(host) for host in cluster.hosts]).encode())
            return
        try:
            announce(connection)
            connection.sendall(bytes([cluster.run(request, files)]))
        finally:
            for file in files:
                os.close(file)


if __name__ == "__main__":
    from pipeline import ray_nodes as own_name  # by which the nodes know the actor's class

    sys.exit(own_name._serve(sys.argv[1]))
