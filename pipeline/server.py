"""A process that has imported the heavy libraries once and forks a child for each stage.

Imports take seconds and a stage of the default profile often less; the server makes them cost once, not once a stage. It changes nothing
else: the child has the caller's arguments, environment, folder and terminal, and dies with its caller. Without a server, be it that it
did not start or that it died, each stage imports for itself.
"""

import array
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

from apo_bench.core.processes import HELD_BACK, PARENT_VARIABLE, die_with_parent, scratch_prefix, undisturbed
from pipeline.forwarding import SOCKET_VARIABLE, announce, listen, receive

START_SECONDS = 120


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
