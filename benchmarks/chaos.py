"""Kills a small run again and again, and looks at what is left: the bytes, processes that live on, unfinished files, what was said.

    python -m benchmarks.chaos [--kills 22] [--seed 0]

Starts `python -m pipeline.repro`, kills a target at a moment that is drawn, and starts it again, which goes on from there, until one ends
by itself: then all that it made is compared with what a calm run makes, and taken away. A target that is not there yet is waited for.
"""

import argparse
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil

from benchmarks.small_run import MAX_SECONDS, TRACEBACK, Made, clear, explanations, faults_at_the_end, make_workspace, members, start

GRACE_SECONDS = 3
"""For killed processes to end."""
END_SECONDS = 60
"""For a run that is told to end: it enters in dvc.lock what has run."""
RESULT = re.compile(r"^[a-z_]+: .* (\d+\.\d) s -> ", re.MULTILINE)
CYCLE = {"main": 4, "group": 3, "worker": 4, "server": 3, "stage": 3, "interrupt": 1, "terminate": 1, "track": 3}
"""What is killed how often, in an order that is drawn but for `track`, which is last, so that the run comes so far but once. All by
SIGKILL, but for `interrupt`, as Ctrl-C does it to all of a terminal's processes, and `terminate`, SIGTERM."""
OF_GROUP = ("group", "interrupt", "track")
ENDED_BY_ITSELF = "ended"
Run = subprocess.Popen[str]


def _of(run: Run, *words: str) -> list[psutil.Process]:
    """The descendants of a run that have the words on their command line."""
    return [one for one in psutil.Process(run.pid).children(recursive=True) if {*words} <= {*one.cmdline()}]


def _server(run: Run) -> list[psutil.Process]:
    return [one for one in _of(run, "pipeline.server") if one.ppid() == run.pid]


def _itself(run: Run) -> list[psutil.Process]:
    return [psutil.Process(run.pid)]


TARGETS: dict[str, Callable[[Run], list[psutil.Process]]] = {
    "main": _itself,
    "group": _itself,
    "worker": lambda run: [one for one in _of(run, "pipeline.repro") if one.ppid() == run.pid],
    "server": _server,
    "stage": lambda run: [one for server in _server(run) for handler in server.children() for one in handler.children()],
    "interrupt": _itself,
    "terminate": _itself,
    "track": lambda run: _of(run, "pipeline", "track"),
}


class Chaos:
    """A folder in which a small run is killed."""

    def __init__(self, folder: Path) -> None:
        """Runs it once to the end, for what it makes and how long it takes."""
        self.folder, began = make_workspace(folder), time.monotonic()
        run = start(folder)
        while run.poll() is None and not RESULT.search(self.said()):
            time.sleep(0.1)
        self.begun_seconds = time.monotonic() - began
        if run.wait(MAX_SECONDS):
            raise SystemExit(self.said())
        self.work_seconds = time.monotonic() - began - self.begun_seconds
        self.track_seconds = float(RESULT.findall(self.said())[-1])
        self.expected = Made.by(folder)
        clear(folder)

    def said(self) -> str:
        """The log of the last run."""
        return (self.folder / "log").read_text(errors="replace")

    def kill(self, target: str, rng: random.Random) -> tuple[str, list[str]]:
        """Starts the run and kills a target.

        Returns:
            When, or `ENDED_BY_ITSELF` if the run did before, and what was wrong then.
        """
        run, latest = start(self.folder), self.begun_seconds + 0.3 * self.work_seconds
        early = {"worker": self.begun_seconds, "stage": self.begun_seconds, "server": 0.5 * self.begun_seconds}.get(target, 0.2)
        moment = 0.0 if target == "track" else rng.uniform(early, latest)
        time.sleep(moment)
        victims: list[psutil.Process] = []
        while not victims and run.poll() is None:
            with suppress(psutil.NoSuchProcess):
                victims = TARGETS[target](run)
            time.sleep(0.02)
        if target == "track":
            time.sleep(moment := rng.uniform(0, self.track_seconds))
        before = self.said()
        if run.poll() is not None:
            return ENDED_BY_ITSELF, [f"ends with {run.returncode}: {before[-2000:]}"] if run.returncode else []
        if target in OF_GROUP:
            os.killpg(run.pid, signal.SIGINT if target == "interrupt" else signal.SIGKILL)
        else:
            try:
                rng.choice(victims).send_signal(signal.SIGTERM if target == "terminate" else signal.SIGKILL)
            except psutil.NoSuchProcess:  # a stage that has just ended
                run.kill()
        faults = self._end(run, target, len(before))
        told = explanations(before)
        return f"after {moment:.1f} s", faults + ([f"said before: {told}"] if len(told) > 1 else [])

    def _end(self, run: Run, target: str, offset: int) -> list[str]:
        """Waits for the end of what was killed; returns what is wrong."""
        deadline = time.monotonic() + (END_SECONDS if target != "server" else MAX_SECONDS)
        while run.poll() is None and time.monotonic() < deadline:
            if target == "server" and len(RESULT.findall(self.said()[offset:])) > 1:  # stages go on without it
                os.killpg(run.pid, signal.SIGKILL)
            time.sleep(0.05)
        if run.poll() is None:
            os.killpg(run.pid, signal.SIGKILL)
            return ["did not end"]
        deadline = time.monotonic() + GRACE_SECONDS
        while (left := members(self.folder)) and time.monotonic() < deadline:
            time.sleep(0.05)
        said = self.said()
        told = explanations(said[offset:])
        found = [f"lives on: {' '.join(process.cmdline())}" for process in left if process.is_running()]
        found += [f"a traceback: {said[max(0, said.index(TRACEBACK) - 200) :][:2000]}"] if TRACEBACK in said else []
        return found + ([f"explanations: {told}"] if len(told) > 1 else [])

    def finish(self) -> list[str]:
        """Runs to the end, compares, and takes all away; returns what is wrong."""
        run = start(self.folder)
        if run.wait(MAX_SECONDS):
            return [f"the next run ends with {run.returncode}: {self.said()[-600:]}"]
        return self.compare()

    def compare(self) -> list[str]:
        """What is wrong with what an ended run made, which is taken away."""
        found = faults_at_the_end(self.folder, self.expected)
        clear(self.folder)
        return found


def main() -> int:
    """Prints a row a target; returns 1 if anything was wrong."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=sum(CYCLE.values()))
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rng = random.Random(options.seed)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell has what it starts in the background ignore it, and so its children
    kills: Counter[str] = Counter()
    num_compared = num_wrong = 0
    with TemporaryDirectory(prefix="chaos-") as place:
        chaos = Chaos(Path(place))
        calm = chaos.begun_seconds + chaos.work_seconds
        print(f"a calm run: {len(chaos.expected.outputs)} outputs, {calm:.0f} s", flush=True)
        todo: list[str] = []
        while kills.total() < options.kills:
            if not todo:
                todo = rng.sample([*CYCLE], counts=CYCLE.values(), k=sum(CYCLE.values()))
                todo.sort(key=lambda target: target == "track")
            target = todo[0]
            when, faults = chaos.kill(target, rng)
            if when == ENDED_BY_ITSELF:
                faults += chaos.compare()
                num_compared += 1
            else:
                kills[todo.pop(0)] += 1
            num_wrong += bool(faults)
            print(f"{kills.total()} {target} {when}: {'; '.join(faults) or 'no fault'}", file=sys.stderr, flush=True)
        faults = chaos.finish()
        num_wrong += bool(faults)
        print(f"the end: {'; '.join(faults) or 'no fault'}", file=sys.stderr, flush=True)
    print("\n| killed | kills |\n|---|---:|")
    for target in CYCLE:
        print(f"| {target} | {kills[target]} |")
    print(f"\n{num_compared + 1} runs came to the end and were compared; something was wrong {num_wrong} times")
    return int(num_wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
