"""A process that has imported the heavy libraries once and forks a child for each stage.

Imports take seconds and a stage of the default profile often less; the server makes them cost once, not once a stage. It changes nothing
else: the child has the caller's arguments, environment, folder and terminal, and dies with its caller. Without a server, be it that it
did not start or that it died, each stage imports for itself.
"""

import array
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from apo_bench.core.processes import HELD_BACK, PARENT_VARIABLE, die_with_parent, scratch_prefix, undisturbed

SOCKET_VARIABLE = "APO_BENCH_STAGE_SERVER"
NODE_VARIABLE = "APO_BENCH_NODE"
"""Environment variable: the node of a Ray cluster on which the stage is to run."""
START_SECONDS = 120
END_SECONDS = 10
"""For a stage to end whose server has died."""
PID_BYTES = 4
"""What a server answers first; the exit status follows, in one byte, when the stage has ended."""


@contextmanager
def stage_server() -> Iterator[None]:
    """Starts a server and names it in the environment of the processes that are started inside the block; says so if it does not start."""
    with TemporaryDirectory(prefix=scratch_prefix()) as folder:
        path = str(Path(folder) / "socket")
        with undisturbed():
            own = {**os.environ, PARENT_VARIABLE: str(os.getpid())}
            process = subprocess.Popen([sys.executable, "-m", "pipeline.server", path], env=own)
        try:
            deadline = time.monotonic() + START_SECONDS
            while not os.path.exists(path) and process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.05)
            if not os.path.exists(path):
                print("the stage server did not start: each stage imports for itself, which takes longer", file=sys.stderr, flush=True)
            os.environ[SOCKET_VARIABLE] = path
            yield
        finally:
            os.environ.pop(SOCKET_VARIABLE, None)
            process.kill()
            process.wait()


@contextmanager
def short(path: str) -> Iterator[str]:
    """A name for a socket that fits its address, 108 bytes, however long TMPDIR is."""
    folder = os.open(Path(path).parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{Path(path).name}"
    finally:
        os.close(folder)


def forward(path: str, arguments: list[str]) -> int | None:
    """Has the server at `path` run a stage with this process's folder, environment and terminal.

    Returns:
        Its exit status, 128 and the signal's number if a signal ended it, or None if there is no server, or none any more; then nothing of
        the stage runs any longer.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        try:
            with short(path) as address:
                connection.connect(address)
            request = json.dumps({"arguments": arguments, "folder": str(Path.cwd()), "environment": dict(os.environ)}).encode()
            files = array.array("i", [0, 1, 2]).tobytes()
            connection.sendmsg([len(request).to_bytes(8, "big")], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, files)])
            connection.sendall(request)
            begun = connection.recv(PID_BYTES, socket.MSG_WAITALL)
        except OSError:
            return _nobody()
        stage = _pidfd(int.from_bytes(begun, "big")) if len(begun) == PID_BYTES else None
        try:
            reply = connection.recv(1)
        except OSError:
            reply = b""
    if reply:
        return reply[0]
    if stage is not None:
        select.select([stage], [], [], END_SECONDS)  # it dies with the server, and must not write beside another one
    return _nobody()


def _nobody() -> int | None:
    """What to do where no server answers: a stage that was sent to another machine fails, others run here."""
    return 1 if NODE_VARIABLE in os.environ else None


def announce(connection: socket.socket, pid: int = 0) -> None:
    """Tells the caller which process runs its stage, 0 for one on another machine."""
    connection.sendall(pid.to_bytes(PID_BYTES, "big"))


def _pidfd(pid: int) -> int | None:
    try:
        return os.pidfd_open(pid) if pid else None
    except OSError:  # it has ended
        return None


def _serve(path: str) -> None:
    """Imports what stages import, then forks a handler for each connection until it is terminated."""
    die_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which ends the server
    signal.pthread_sigmask(signal.SIG_UNBLOCK, HELD_BACK)
    import evaluate  # noqa: F401  3-7 s with what it pulls in
    import transformers.models.llama.modeling_llama  # noqa: F401

    import apo_bench.engines.sampling  # noqa: F401

    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # handlers are reaped by the kernel
    with listen(path) as listener:
        while True:
            connection, _ = listener.accept()
            if os.fork() == 0:
                listener.close()
                _handle(connection)
            connection.close()


@contextmanager
def listen(path: str) -> Iterator[socket.socket]:
    """A socket at `path` that callers can connect to as soon as they see it."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        with short(path + ".new") as address:
            listener.bind(address)
        listener.listen(16)
        Path(path + ".new").rename(path)  # only now does it look started
        yield listener


def receive(connection: socket.socket) -> tuple[dict[str, Any], array.array]:
    """A caller's request, and its input, output and error output if it passes them on."""
    header, ancillary, _, _ = connection.recvmsg(8, socket.CMSG_SPACE(3 * array.array("i").itemsize))
    files = array.array("i", ancillary[0][2] if ancillary else b"")
    request = b""
    while len(request) < int.from_bytes(header, "big"):
        request += connection.recv(1 << 20)
    return json.loads(request), files


def _handle(connection: socket.socket) -> None:
    """Runs one stage in a child and answers with its exit status; kills it when the caller goes away. Never returns."""
    die_with_parent()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    request, files = receive(connection)
    child = os.fork()
    if child == 0:
        connection.close()
        _become_stage(request, files)
    with suppress(OSError):  # the caller may have gone
        announce(connection, child)
    pidfd = os.pidfd_open(child)
    ready, _, _ = select.select([pidfd, connection.fileno()], [], [])
    if pidfd not in ready:  # the caller sends nothing more, so readable means it hung up
        os.kill(child, signal.SIGKILL)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    with suppress(OSError):  # the caller may have gone
        connection.sendall(bytes([status if status >= 0 else 128 - status]))
    os._exit(0)


def _become_stage(request: dict, files: array.array) -> None:
    die_with_parent()
    for target, source in enumerate(files):
        os.dup2(source, target)
        os.close(source)
    # Anew, as those of the server know whether they can be sought, which may not be so of the caller's.
    sys.stdout = open(1, "w", encoding=sys.stdout.encoding, closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", encoding=sys.stderr.encoding, errors="backslashreplace", buffering=1, closefd=False)  # noqa: SIM115
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    from pipeline.stage import run_stage

    status = 1
    try:
        status = run_stage(request["arguments"][0], request["arguments"][1:])
    except BaseException:  # the traceback must reach the caller's terminal before the child ends
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


if __name__ == "__main__":
    _serve(sys.argv[1])
