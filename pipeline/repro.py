"""`dvc repro` with independent stages side by side: what `make repro` runs.

DVC runs stages one after another. Here workers, forked from a process with DVC and the graph loaded, reproduce one stage at a time of
DVC's own graph, as soon as what it depends on is up to date and a place for it is free. DVC still decides what has to run, restores from
its run cache and says what dvc.lock is to hold.
"""

import argparse
import multiprocessing
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

from apo_bench.config.params import PARAMS, Params, load_params
from apo_bench.core.checkout import use_code_of_root
from apo_bench.core.errors import ApoBenchError
from apo_bench.core.processes import HELD_BACK, interrupted_by_signals, undisturbed
from apo_bench.scheduling import Host, Place, Places, Schedule
from apo_bench.stages import stages_of_arm, this_host
from pipeline.arguments import Parser
from pipeline.leftovers import one_run, take_away
from pipeline.lock_file import Entry, LockFile
from pipeline.profile import Profile
from pipeline.progress import Progress
from pipeline.ray_nodes import LOOK_SECONDS, START_SECONDS, RayNodes, ray_nodes
from pipeline.seal import Seal, look_at_controls, sealed
from pipeline.server import stage_server
from pipeline.stage import never_fail_printing
from pipeline.workers import Board, LostHost, StageError, begin_worker, reproduce_stage

SEAL_SHARE = 0.05
"""Share of the time of a run that may go into looking, after it, whether nothing has to run any more."""
MOST_LOSSES = 3
"""Nodes that may go under a stage before it is held to be the cause."""
READERS = "apo_bench/provenance"
"""Code that reads dvc.lock, which stands in the deps of the stages that do."""

MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(2**25), "MALLOC_TRIM_THRESHOLD_": str(2**30)}
"""For glibc: blocks below 32 MiB come from its heap and stay there, or each batch of a small model waits for fresh pages (a fifth of the
time of a stage); larger ones are given back when they are freed, or batches of unequal lengths break the heap up, to twice its size."""


def main(arguments: Sequence[str] = ()) -> int:
    """Reproduces the profile in the current folder, or an arm of it; returns the exit status."""
    started, arm = time.perf_counter(), _parse(arguments).arm
    never_fail_printing()
    if refusal := use_code_of_root("pipeline.repro"):
        print(f"repro: {refusal}", file=sys.stderr)
        return 1
    os.environ.update(MEMORY | os.environ)
    interrupted_by_signals()  # what has run is entered in dvc.lock
    try:
        num_run, num_stages = _bring_up_to_date(arm)
    except (ApoBenchError, StageError) as error:
        print(f"repro: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("repro: interrupted; what has ended is kept, and the next run goes on from there", file=sys.stderr)
        return 128 + signal.SIGINT
    seconds = time.perf_counter() - started
    print(f"repro: {num_run} of {num_stages} stages run, the others up to date, {seconds:.0f} s")
    return 0


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = Parser(
        "python -m pipeline.repro", "Brings the stages of the profile in this folder up to date, independent ones side by side."
    )
    parser.add_argument("--arm", metavar="METHOD-REWARD_MODEL", help="only what the evaluations of this arm need, in all seeds")
    return parser.parse_args(arguments)


def _bring_up_to_date(arm: str | None) -> tuple[int, int]:
    """Returns how many stages had to run, of how many of the profile, or of an arm of it."""
    num_stages = None if arm else sealed()
    if num_stages is not None:
        return 0, num_stages
    params, started = load_params(PARAMS), time.monotonic()
    profile, seal = _look(params)
    if arm:
        profile = profile.only(stages_of_arm(arm, profile.stages, profile.parents, params))
    with one_run(Path(profile.repo.tmp_dir)):
        if done := take_away(profile.repo):
            print(f"repro: {done}", flush=True)
        changed = profile.changed()
        looked = time.monotonic()
        num_run = 0
        if changed.order:
            with stage_server(), ray_nodes(params) if params.engines.stages == "ray" else nullcontext() as nodes:
                num_run = reproduce(changed, this_host(params), nodes)
            if arm or (time.monotonic() - looked) * SEAL_SHARE < looked - started:
                return num_run, len(profile.order)
            profile, seal = _look(params)  # a file may have changed under the stages
            changed = profile.changed()
        if not arm and not changed.order:
            seal.write()
        return num_run, len(profile.order)


def _look(params: Params) -> tuple[Profile, Seal]:
    controls = look_at_controls()
    profile = Profile.read(params)
    return profile, Seal(profile.repo, profile.stages.values(), controls)


def reproduce(profile: Profile, host: Host, nodes: RayNodes | None = None) -> int:
    """Brings every stage up to date; returns how many had to run.

    Args:
        profile: its stages.
        host: this machine, on which all stages run or, where there are nodes, those that run no model.
        nodes: of a Ray cluster.

    Raises:
        StageError: one failed; those that ran beside it are ended.
    """
    places = Places([host]) if nodes is None else Places([replace(host, takes="light"), *nodes.hosts()])
    context = multiprocessing.get_context("fork")
    board = Board(places.capacity, context)
    with ProcessPoolExecutor(places.capacity, mp_context=context, initializer=begin_worker, initargs=(profile, board)) as pool:
        run = _Run(profile, pool, places, nodes)
        try:
            return run.run()
        except BrokenProcessPool:
            pool.shutdown()
            raise StageError(board.obituary(run.workers, profile.order)) from None
        except (Exception, KeyboardInterrupt):
            for process in multiprocessing.active_children():
                process.kill()
            pool.shutdown(cancel_futures=True)  # and waits for its thread, which at the interpreter's end may find its pipe closed
            raise


class _Run:
    """Stages that run and dvc.lock, which gets their entries."""

    def __init__(self, profile: Profile, pool: ProcessPoolExecutor, places: Places, nodes: RayNodes | None) -> None:
        self._schedule = Schedule(profile.order, profile.parents, profile.needs)
        self._stages, self._pool, self._places, self._nodes = profile.stages, pool, places, nodes
        self._num_lost: Counter[str] = Counter()
        self._last_seen = time.monotonic()
        """When there was a node, if there are to be any."""
        self._running: dict[Future[Entry | None], tuple[str, Place]] = {}
        self._progress = Progress(profile.stages, profile.order, profile.parents, places.capacity, sys.stderr)
        self._lock = LockFile()
        self._num_run = 0
        self.workers: list[Any] = []
        """The pool's processes, once they are started."""

    def run(self) -> int:
        """To the end of all; returns how many stages had to run."""
        try:
            while not self._schedule.is_finished:
                while started := self._schedule.start(self._places):
                    name, place = started
                    if _reads_lock(self._stages[name]):
                        self._lock.write()
                    variables = place.environment
                    if self._nodes and place.host:
                        variables |= self._nodes.environment(place.host)
                    with undisturbed() if not self.workers else nullcontext():  # the first call forks the workers
                        self._running[self._pool.submit(reproduce_stage, name, variables)] = started
                    self.workers = self.workers or multiprocessing.active_children()
                    self._progress.start(name)
                for future in wait(self._running, LOOK_SECONDS if self._nodes else self._progress.interval, FIRST_COMPLETED).done:
                    self._end(future)
                self._progress.show()
                if self._nodes:
                    self._look(self._nodes)
                self._lock.write_in_time()
        finally:
            self._progress.close()
            self._lock.write()
        return self._num_run

    def _end(self, future: "Future[Entry | None]") -> None:
        name, place = self._running.pop(future)
        try:
            entry = future.result()
        except LostHost:
            self._num_lost[name] += 1
            if self._num_lost[name] == MOST_LOSSES:
                raise StageError(f"{name}: {MOST_LOSSES} nodes have gone while they ran it, the last was {place.host}") from None
            print(f"repro: node {place.host} has gone; {name} runs again elsewhere", flush=True)
            self._places.remove(place.host)
            self._schedule.again(name)
            return
        if entry:
            self._num_run += 1
            self._lock.add(entry)
        self._schedule.end(name, place, self._places)
        self._progress.end(name)

    def _look(self, nodes: RayNodes) -> None:
        """Takes note of nodes that have come or gone."""
        there = {host.name: host for host in nodes.hosts()}
        for name in self._places.names - {""} - set(there):
            self._places.remove(name)
        for name in set(there) - self._places.names:
            self._places.add(there[name])
        now = time.monotonic()
        if there or self._running:
            self._last_seen = now
        elif now - self._last_seen > START_SECONDS:
            raise StageError("no node of the Ray cluster is left; run again when there is one")
        else:
            time.sleep(LOOK_SECONDS)


def _reads_lock(stage: Any) -> bool:
    return any(READERS in dep.def_path for dep in stage.deps)


if __name__ == "__main__":
    status = main(sys.argv[1:])
    for number in HELD_BACK:  # what is left is the interpreter's own end
        signal.signal(number, signal.SIG_IGN)
    sys.exit(status)
