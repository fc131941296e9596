"""The hosts that ranks are launched on: this one, or those of a hostfile."""

import re
import shlex
import socket
from dataclasses import dataclass
from pathlib import Path

from apo_bench.config.compute_sections import TrainingEngine
from apo_bench.core.errors import EngineError

REMOTE_SHELL_VARIABLE = "APO_BENCH_REMOTE_SHELL"
"""Environment variable: the command that, with a host and a command behind it, runs that command there, its input and output passed on."""
DEFAULT_REMOTE_SHELL = "ssh -o BatchMode=yes -o ServerAliveInterval=10 -o ServerAliveCountMax=3"
"""Asks for no password, and notices within 40 seconds that a host is gone."""
LINE = re.compile(r"(?P<name>[\w.:-]+)\s+slots=(?P<slots>[1-9][0-9]*)")
LOCAL_NAMES = ("localhost", "127.0.0.1")


@dataclass(frozen=True)
class Host:
    """A machine and how many ranks run there."""

    name: str
    num_ranks: int

    @property
    def is_local(self) -> bool:
        """Whether it is this one, which needs no remote shell."""
        return self.name in (*LOCAL_NAMES, socket.gethostname())


def hosts(engine: TrainingEngine) -> list[Host]:
    """This host, or the hosts of the hostfile in its order; the first has the first ranks and must be reachable from the others.

    Raises:
        EngineError: the hostfile is missing or names no host, or a line of it is broken; file and line are named.
    """
    return [Host(LOCAL_NAMES[0], engine.num_devices)] if engine.hosts_file is None else _read_hostfile(Path(engine.hosts_file))


def remote_command(host: Host, command: list[str], remote_shell: str) -> list[str]:
    """The command as it is started here to run on a host; a remote shell takes words apart once more, so they are quoted for it."""
    return command if host.is_local else [*shlex.split(remote_shell), host.name, *map(shlex.quote, command)]


def _read_hostfile(path: Path) -> list[Host]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8"
        raise EngineError(f"{path}: cannot be read ({reason}); engines.deepspeed.hostfile names it, null is this host alone") from error
    found: list[Host] = []
    for number, line in enumerate(lines, start=1):
        text = line.partition("#")[0].strip()
        if not text:
            continue
        match = LINE.fullmatch(text)
        if not match:
            raise EngineError(f"{path}:{number}: found {text!r}, expected HOST slots=N")
        if match["name"] in [host.name for host in found]:
            raise EngineError(f"{path}:{number}: {match['name']} stands here twice; give all its slots in one line")
        found.append(Host(match["name"], int(match["slots"])))
    if not found:
        raise EngineError(f"{path}: no host; expected lines HOST slots=N")
    if len(found) > 1 and (local := [host.name for host in found if host.name in LOCAL_NAMES]):
        raise EngineError(f"{path}: {local[0]} means another machine on each of the {len(found)} hosts; write its name or address")
    return found
