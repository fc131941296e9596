"""The workers of a run, forked from a process with DVC and the graph loaded: each brings one stage at a time up to date."""

import os
import re
import signal
from typing import Any

from apo_bench.core.processes import HELD_BACK, PARENT_VARIABLE, die_with_parent, ended_by
from apo_bench.stages import forget_listings, parse_params_once, raise_failed_transfers
from pipeline.lock_file import Entry
from pipeline.profile import Profile
from pipeline.ray_nodes import LOST
from pipeline.stage import BAR_LINE_VARIABLE


class StageError(Exception):
    """A stage failed; DVC's own exceptions do not survive pickling."""


class LostHost(Exception):
    """The host of a stage has gone, and nothing is known against the stage."""


class Board:
    """What each worker is at, in memory that outlives it."""

    def __init__(self, num_workers: int, context: Any) -> None:
        self._numbers = context.SimpleQueue()
        for number in range(num_workers):
            self._numbers.put(number)
        self._pids, self._stages = context.RawArray("i", num_workers), context.RawArray("i", [-1] * num_workers)

    def join(self) -> int:
        """Gives the calling worker its number."""
        number = int(self._numbers.get())
        self._pids[number] = os.getpid()
        return number

    def write(self, number: int, stage: int) -> None:
        """Enters the stage that a worker is at, by its place in the order of all; -1 if at none."""
        self._stages[number] = stage

    def obituary(self, workers: list[Any], order: list[str]) -> str:
        """Says which stage was run by the worker that died first; the pool itself has ended the others by SIGTERM."""
        at = {pid: order[stage] for pid, stage in zip(self._pids, self._stages, strict=True) if stage >= 0}
        ended = {at.get(worker.pid, "a stage"): worker.exitcode for worker in workers if worker.exitcode not in (None, 0, -signal.SIGTERM)}
        names = list(ended) or sorted(at.values())
        how = ", ".join({f" by signal {-code}" if code < 0 else f" with status {code}" for code in ended.values()})
        return f"{' or '.join(names)}: the process that ran it was ended{how}; if memory ran out, run fewer stages at a time; run again"


_profile: Profile
_board: Board
_number: int
"""Of a worker: what it was forked with, and which of them it is."""


def begin_worker(profile: Profile, board: Board) -> None:
    """Prepares a worker: progress bars of its stages have a line of their own (or are rare, in a log), and it ends when it is told to."""
    global _profile, _board, _number
    die_with_parent()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # and so in its stages: Ctrl-C is for the parent, whose end they do not survive
    signal.pthread_sigmask(signal.SIG_UNBLOCK, HELD_BACK)
    parse_params_once()
    raise_failed_transfers()
    _profile, _board, _number = profile, board, board.join()
    os.environ |= {BAR_LINE_VARIABLE: str(_number), PARENT_VARIABLE: str(os.getpid())}


def reproduce_stage(name: str, variables: dict[str, str]) -> Entry | None:
    """Brings one stage up to date, its command with these environment variables; returns its entry for dvc.lock if it had to run.

    As `dvc repro --single-item`, but with the stages parsed once: dvc.yaml and params.yaml do not change during a run, and parsing them
    takes longer than a small stage.
    """
    from dvc.exceptions import DvcException
    from dvc.repo import lock_repo
    from dvc.rwlock import RWLockFileCorruptedError
    from dvc.stage.serialize import to_lockfile

    stage, before = _profile.stages[name], dict(os.environ)
    os.environ.update(variables)
    _board.write(_number, _profile.order.index(name))
    try:
        with lock_repo(_profile.repo):
            return dict(to_lockfile(stage)) if stage.reproduce() else None
    except DvcException as error:
        status = int(found[1]) if (found := re.search(r"exited with (-?\d+)$", str(error))) else 0
        if status == LOST:
            raise LostHost(name) from None
        if status < 0 or status > 128:
            raise StageError(f"{name}: {ended_by(-status if status < 0 else status - 128)}") from None
        cure = "; if the disk is full, make room; run again" if isinstance(error, RWLockFileCorruptedError) else ""
        raise StageError(f"{name} failed: {error}{cure}") from None
    except OSError as error:
        where = error.filename or "its outputs or DVC's cache"
        raise StageError(f"{name}: {where}: {error.strerror or error}; mend that and run again") from error
    finally:
        forget_listings()
        _board.write(_number, -1)
        os.environ.clear()
        os.environ.update(before)
