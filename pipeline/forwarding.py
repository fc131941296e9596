"""What goes between whoever wants a stage run and the server that runs it: a request one way, an exit status back, over a socket."""

import array
import json
import os
import select
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

SOCKET_VARIABLE = "APO_BENCH_STAGE_SERVER"
NODE_VARIABLE = "APO_BENCH_NODE"
"""Environment variable: the node of a Ray cluster on which the stage is to run."""
END_SECONDS = 10
"""For a stage to end whose server has died."""
PID_BYTES = 4
"""What a server answers first; the exit status follows, in one byte, when the stage has ended."""


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
