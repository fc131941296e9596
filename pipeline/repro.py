"""`dvc repro` with independent stages side by side: what `make repro` runs.

DVC runs stages one after another. Here workers, each a process with DVC loaded once, reproduce one stage at a time of DVC's own graph, as
soon as what it depends on is up to date. DVC still decides what has to run, restores from its run cache and says what dvc.lock is to
hold. That file is written here, for many stages at a time: to write it after each one takes longer than small stages, in a large profile.
"""

import logging
import multiprocessing
import os
import sys
import time
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from pathlib import Path
from typing import Any

from apo_bench.core.checkout import use_code_of_root
from apo_bench.core.config import load_params
from apo_bench.core.errors import ApoBenchError
from apo_bench.core.processes import die_with_parent
from apo_bench.stages import depths, next_stages, num_side_by_side, stage_graph, stage_index
from pipeline.server import stage_server
from pipeline.stage import BAR_LINE_VARIABLE, never_fail_printing

LOCK_FILE = Path("dvc.lock")
LOCK_SHARE = 0.05
"""Share of the time that may go into writing dvc.lock. What a kill keeps out of it, DVC's run cache still knows."""

LARGE_BLOCK = 4 * 2**20
"""Bytes from which glibc gives memory back when it is freed. Else batches of unequal lengths break the heap up, to twice what they need."""
Entry = dict[str, Any]
"""The name of a stage, and what dvc.lock holds of it."""

_repo: Any = None
_index: Any = None
_stages: dict[str, Any] = {}
_refusal = ""
"""Why DVC does not open the repository."""
WITHOUT_GIT = "clone the repository, or run `dvc config core.no_scm true` to do without git"


def main() -> int:
    """Reproduces the profile in the current folder; returns the exit status."""
    never_fail_printing()
    if refusal := use_code_of_root("pipeline.repro"):
        print(f"repro: {refusal}", file=sys.stderr)
        return 1
    try:
        params = load_params(Path("params.yaml"))
        num_workers = num_side_by_side(params, os.cpu_count() or 1)
    except ApoBenchError as error:
        print(f"repro: {error}", file=sys.stderr)
        return 1
    os.environ.setdefault("MALLOC_MMAP_THRESHOLD_", str(LARGE_BLOCK))
    started = time.perf_counter()
    with stage_server():
        context = multiprocessing.get_context("spawn")
        numbers = context.Queue()
        for number in range(num_workers):
            numbers.put(number)
        with ProcessPoolExecutor(num_workers, mp_context=context, initializer=_open_repo, initargs=(numbers,)) as pool:
            try:
                order, parents = pool.submit(_graph).result()
                num_run = _schedule(pool, num_workers, order, parents)
            except (Exception, KeyboardInterrupt) as error:
                pool.shutdown(wait=False, cancel_futures=True)
                print(f"repro: {error or type(error).__name__}", file=sys.stderr)
                for process in multiprocessing.active_children():
                    process.kill()
                return 1
    print(f"repro: {num_run} of {len(order)} stages run, the others up to date, {time.perf_counter() - started:.0f} s")
    return 0


def _schedule(pool: ProcessPoolExecutor, num_workers: int, order: list[str], parents: dict[str, set[str]]) -> int:
    """Runs every stage after its parents, longest chain of dependants first; returns how many had to run."""
    depth = depths(order, parents)
    waiting = {name: set(parents[name]) for name in order}
    running: dict[Future[Entry | None], str] = {}
    num_run = 0
    lock = LockFile()
    try:
        while waiting or running:
            if not running:  # what comes now depends on all that ran, and may read its entries, as `track` does
                lock.write()
            for name in next_stages(waiting, depth, order)[
                : num_workers - len(running)
            ]:  # the others wait, as a longer chain may become ready before a worker is free
                del waiting[name]
                running[pool.submit(_reproduce, name)] = name
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                name = running.pop(future)
                if entry := future.result():
                    num_run += 1
                    lock.add(entry)
                for missing in waiting.values():
                    missing.discard(name)
            lock.write_in_time()
    finally:
        lock.write()
    return num_run


class LockFile:
    """dvc.lock, with the entries that it still lacks."""

    def __init__(self) -> None:
        self._entries: Entry = {}
        self._next = 0.0

    def add(self, entry: Entry) -> None:
        """Takes the entry of a stage that has run."""
        self._entries |= entry

    def write_in_time(self) -> None:
        """Writes if so far no more than `LOCK_SHARE` of the time has gone into it."""
        if time.monotonic() >= self._next:
            self.write()

    def write(self) -> None:
        """Writes what is lacking; whoever reads the file meanwhile finds the old one or the new one."""
        if not self._entries:
            return
        from dvc.utils.serialize import dump_yaml, load_yaml

        started = time.monotonic()
        data = load_yaml(LOCK_FILE) if LOCK_FILE.exists() else {}
        content = {"schema": "2.0", **data, "stages": data.get("stages", {}) | self._entries}
        partial = LOCK_FILE.with_name("dvc.lock.partial")
        dump_yaml(partial, content)
        partial.replace(LOCK_FILE)
        self._entries = {}
        self._next = time.monotonic() + (time.monotonic() - started) / LOCK_SHARE


def _open_repo(numbers: Any) -> None:
    """Prepares a worker: DVC loaded, progress bars of its stages on a line of their own (or rare, in a log)."""
    global _repo, _index, _stages, _refusal
    die_with_parent()
    from dvc.exceptions import DvcException
    from dvc.logger import setup
    from dvc.repo import Repo
    from dvc.scm import SCMError

    setup(logging.WARNING)
    os.environ[BAR_LINE_VARIABLE] = str(numbers.get())
    try:
        _repo = Repo(_wait_for_lock=True)  # while another worker hashes or writes dvc.lock
        _index = stage_index(_repo)
        _stages = {stage.addressing: stage for stage in _index.stages}
    except (DvcException, SCMError, OSError) as error:  # what ends an initializer breaks the pool and is lost
        _refusal = " ".join(str(error).split())
        if isinstance(error, SCMError):
            _refusal += f"; {WITHOUT_GIT}"


def _graph() -> tuple[list[str], dict[str, set[str]]]:
    from dvc.exceptions import DvcException

    if _refusal:
        raise RuntimeError(_refusal)
    try:
        return stage_graph(_index)
    except (DvcException, OSError) as error:
        raise RuntimeError(" ".join(str(error).split())) from None


def _reproduce(name: str) -> Entry | None:
    """Brings one stage up to date; returns its entry for dvc.lock if it had to run.

    As `dvc repro --single-item`, but with the stages parsed once: dvc.yaml and params.yaml do not change during a run, and parsing them
    takes longer than a small stage.
    """
    from dvc.exceptions import DvcException
    from dvc.repo import lock_repo
    from dvc.stage.serialize import to_lockfile

    stage = _stages[name]
    try:
        with lock_repo(_repo):
            return dict(to_lockfile(stage)) if stage.reproduce() else None
    except DvcException as error:
        raise RuntimeError(f"{name} failed: {error}") from None  # DVC's own exceptions do not survive pickling


if __name__ == "__main__":
    sys.exit(main())
